"""`fondaco doctor`: what is missing for `serve`, and how to mend it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from fondaco import settings
from fondaco.cli import engine_findings, findings
from fondaco.cli.findings import Finding
from fondaco.settings_origin import explain

_COLOURS: Final = {"ok": "green", "warning": "yellow", "problem": "red"}


def doctor(
    config: Annotated[
        Path | None, typer.Option(help="Read this file instead of ./fondaco.toml.", metavar="FILE")
    ] = None,
    host: Annotated[str | None, typer.Option(help="As for `serve`.")] = None,
    port: Annotated[int | None, typer.Option(help="As for `serve`.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="As for `serve`.")] = None,
    offline: Annotated[bool | None, typer.Option("--offline", help="As for `serve`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is missing for `serve` and how to mend it. Exits with 1 if `serve` could not work."""
    flags: dict[str, dict[str, object]] = {
        "server": {"host": host, "port": port, "data_dir": data_dir},
        "weights": {"offline": offline},
    }
    told: list[Finding] = []
    for finding in _examine(config, flags):
        told.append(finding)
        if not as_json:
            _print(finding)
    problems = sum(finding.level == "problem" for finding in told)
    warnings = sum(finding.level == "warning" for finding in told)
    if as_json:
        typer.echo(json.dumps([msgspec.to_builtins(finding) for finding in told], indent=2))
    elif problems:
        typer.echo(f"\n{problems} problem(s), {warnings} warning(s): `fondaco serve` would not work.")
    else:
        typer.echo(f"\nReady to serve, {warnings} warning(s).")
    if problems:
        raise typer.Exit(1)


def _examine(config: Path | None, flags: dict[str, dict[str, object]]) -> Iterator[Finding]:
    yield from findings.python()
    yield from findings.system()
    try:
        tree = settings.load(config, flags)
    except Exception as error:
        faults = explain(error, config)
        if not faults:
            raise
        for fault in faults:
            yield Finding("problem", fault, "see `fondaco config show` once it is mended")
        # The rest is looked at as the defaults would have it.
        tree = settings.Settings.model_construct()
    else:
        file = settings.config_file(config)
        yield Finding(
            "ok", f"configuration {file} is valid" if file else "configuration: defaults and environment"
        )
    yield from engine_findings.runtimes(tree)
    yield from engine_findings.languages()
    yield from engine_findings.weights(tree)
    yield from findings.web(tree)
    yield from findings.data_dir(tree)
    yield from findings.books(tree)
    yield from findings.unix_sockets(tree)
    yield from findings.port(tree)


def _print(finding: Finding) -> None:
    level = typer.style(f"{finding.level:<8}", fg=_COLOURS[finding.level])
    typer.echo(f"{level} {finding.what}")
    if finding.remedy:
        typer.echo(f"         → {finding.remedy}")
