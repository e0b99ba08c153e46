"""`fondaco engine`: one engine alone in the foreground, on OpenAI's wire, for whoever needs no gateway before it."""

from __future__ import annotations

import asyncio
import importlib
import os
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from fondaco.engines.launch import Launch
    from fondaco.engines.lease import LocalModel
    from fondaco.engines.weights import WeightStore

KEY = "FONDACO_ENGINE_KEY"


def engine(
    kind: Annotated[
        Literal["speech", "transcription", "embeddings"],
        typer.Argument(help="Which engine.", show_default=False),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any free one.")] = 0,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    model: Annotated[
        str | None, typer.Option(help="A model's id, or your own file or folder.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Read this file instead of ./fondaco.toml.", show_default=False)
    ] = None,
    offline: Annotated[
        bool | None, typer.Option("--offline", help="Fetch nothing; use the weights that are there.")
    ] = None,
) -> None:
    """Run one engine alone, without the gateway: no accounts, limits, money or log.

    FONDACO_ENGINE_KEY, if set, is the key that callers must send; without one only this machine may ask.
    """
    from fondaco import settings
    from fondaco.cli.engine_model import model_for
    from fondaco.cli.serve import listen
    from fondaco.engines import machine
    from fondaco.engines.kinds import KINDS
    from fondaco.engines.launch import Launch
    from fondaco.engines.weights import WeightError, WeightStore
    from fondaco.models.serving import FactsError

    key = os.environ.get(KEY, "")
    if not key and not _is_loopback(host):
        _fail(f"{KEY} is not set, and without a key only this machine may ask: set it, or leave --host out")
    if missing := KINDS[kind].missing:
        _fail(f"{', '.join(missing)} not installed: pip install 'fondaco[local]'")
    from fondaco.engines.serving import serve

    tree = settings.load(config, {"weights": {"offline": offline}})
    try:
        local = model_for(kind, model, tree.models)
        with listen(host, port) as listening:
            paths = asyncio.run(_fetched(WeightStore(tree.weights), local))
            launch = Launch(
                model=str(paths.pop("model")),
                files={role: str(path) for role, path in paths.items()},
                options=dict(local.options),
                name=local.id,
                key=key,
                threads=tree.engines.threads or machine.cores(),
                slots=KINDS[kind].slots or 1,
            )
            app = _created(KINDS[kind].module, launch)
            shown, bound = f"[{host}]" if ":" in host else host, listening.getsockname()[1]
            asked = f"asks for the key in {KEY}" if key else "asks for no key"
            typer.echo(f"{local.id} listens on http://{shown}:{bound}/v1 and {asked}")
            serve(app, listening)
    except (FactsError, WeightError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        pass


async def _fetched(store: WeightStore, model: LocalModel) -> dict[str, Path]:
    """The model's files by role, fetched if need be. Raises WeightError."""
    from fondaco.cli.progress import FetchProgress, megabytes

    try:
        with FetchProgress(store) as progress:
            for weight in model.weights:
                if store.find(weight) is None and weight.own_path is None:
                    size = megabytes(weight.size) if weight.size else "size unknown"
                    progress.say(f"Fetching {weight.name} ({size}, {weight.licence}) to {store.folder}")
            return {role: await store.fetch(weight) for role, weight in model.files.items()}
    finally:
        await store.close()


def _created(module: str, launch: Launch) -> Starlette:
    from fondaco.engines.serving import LoadFailed

    # Before any runtime is loaded: busy waiting makes shared cores several times slower.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        return importlib.import_module(f"{module}.app").create(launch)
    except ImportError as error:
        _fail(f"{error.name or 'a part of its runtime'} cannot be imported: pip install 'fondaco[local]'")
    except LoadFailed:
        _fail(f"the files of {launch.name} are damaged, or not of the kind that this engine reads")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _fail(line: str) -> NoReturn:
    typer.echo(f"fondaco: {line}", err=True)
    raise typer.Exit(1)
