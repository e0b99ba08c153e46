"""`fondaco config`: each setting, its value and where it came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fondaco import settings
from fondaco.settings_origin import Origins, Row, explain, rows

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Show the settings and where they came from."
)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Read this file instead of ./fondaco.toml.", metavar="FILE")
]


@app.command()
def show(
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="As for `serve`: see what a flag changes.")] = None,
    port: Annotated[int | None, typer.Option(help="As for `serve`.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="As for `serve`.")] = None,
    offline: Annotated[bool | None, typer.Option("--offline", help="As for `serve`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Each setting: its value, where that came from, and what it means. Secrets are masked."""
    flags: dict[str, dict[str, object]] = {
        "server": {"host": host, "port": port, "data_dir": data_dir},
        "weights": {"offline": offline},
    }
    try:
        told = list(rows(settings.load(config, flags), Origins(config, flags)))
    except Exception as error:
        faults = explain(error, config)
        if not faults:
            raise
        for fault in faults:
            typer.echo(f"fondaco: {fault}", err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps([msgspec.to_builtins(row) for row in told], indent=2))
        return
    for row in told:
        _print(row)


@app.command()
def path(config: ConfigFile = None) -> None:
    """The file that is read. Exits with 1 where there is none."""
    file = settings.config_file(config)
    if file is None:
        typer.echo(f"no {settings.CONFIG_NAME} here, and FONDACO_CONFIG is not set", err=True)
        raise typer.Exit(1)
    typer.echo(str(file.absolute()))


def _print(row: Row) -> None:
    value = json.dumps(row.value, ensure_ascii=False)
    origin = typer.style(
        f"({row.origin})", dim=row.origin.kind == "default", bold=row.origin.kind != "default"
    )
    typer.echo(f"{typer.style(row.key, fg='cyan')} = {value}  {origin}")
    if row.doc:
        typer.echo(f"    {' '.join(row.doc.split())}")
