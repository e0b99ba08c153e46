"""`fondaco models`: which weights there are, whose they are, and fetching and removing them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from fondaco.engines.weights import Weight, WeightStore

app = typer.Typer(
    name="models",
    help="The weights of local models: list, fetch and remove them.",
    no_args_is_help=True,
    add_completion=False,
)

Config = Annotated[Path | None, typer.Option("--config", help="Settings file.", show_default=False)]
NAMES = "A model's id for all that it needs, or a weight's name (also short of suffix and quantisation), or hf:owner/repo/file."


@app.command("list")
def list_weights(config: Config = None) -> None:
    """Show every weight that can be fetched, the model that it belongs to, and which are here."""
    from fondaco.cli.tables import print_table
    from fondaco.engines.weights import pinned

    store = _store(config)
    owners = {name: model_id for model_id, names in _models().items() for name in names}
    rows = [_row(store, weight, owners.get(weight.name, "-")) for weight in pinned().values()]
    print_table([("MODEL", "NAME", "SIZE", "HERE", "LICENCE", "SOURCES"), *rows])
    typer.echo(f"\nKept in {store.folder}")


@app.command()
def pull(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", help=NAMES, show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Fetch every weight of the list.")] = False,
    config: Config = None,
) -> None:
    """Fetch weights, so that models start without waiting and without a network.

    Without a name: those of the first model of each type, which `serve` would fetch when it is asked for them.
    """
    import asyncio

    from fondaco.engines.weights import pinned

    if everything and names:
        _fail("Name what to fetch, or give --all.", status=2)
    weights = tuple(pinned().values()) if everything else _weights(names or _first_models())
    store = _store(config)
    try:
        whole = asyncio.run(_pull(store, weights))
    except KeyboardInterrupt:
        _fail("Stopped. What has come so far is kept, and the next pull goes on from there.", status=130)
    if not whole:
        raise typer.Exit(1)


@app.command()
def remove(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help=NAMES, show_default=False)],
    config: Config = None,
) -> None:
    """Delete weights, and parts of weights, from the disk."""
    from fondaco.cli.progress import megabytes
    from fondaco.engines.weights import WeightError

    store = _store(config)
    for weight in _weights(names):
        try:
            freed = store.remove(weight)
        except WeightError as error:
            _fail(str(error))
        typer.echo(f"{weight.name}: {megabytes(freed)} freed" if freed else f"{weight.name}: was not here")


async def _pull(store: WeightStore, weights: tuple[Weight, ...]) -> bool:
    """One after the other; a weight that cannot be had does not keep the next from being tried."""
    from fondaco.cli.progress import FetchProgress, megabytes
    from fondaco.engines.weights import WeightError

    whole = True
    try:
        for weight in weights:
            if (path := store.find(weight)) is None:
                size = megabytes(weight.size) if weight.size else "of unknown size"
                typer.echo(f"{weight.name}: {size}, licence {weight.licence}, to {store.folder}")
                try:
                    with FetchProgress(store):
                        path = await store.fetch(weight)
                except WeightError as error:
                    typer.echo(f"fondaco: {error}", err=True)
                    whole = False
                    continue
            typer.echo(f"{weight.name}: here, {path}")
    finally:
        await store.close()
    return whole


def _models() -> dict[str, tuple[str, ...]]:
    """The names of the weights of each local model, by its id."""
    from fondaco.models.catalogue import Catalogue

    return {local.model.id: local.weights for local in Catalogue().local}


def _first_models() -> list[str]:
    from fondaco.models.catalogue import Catalogue

    return [local.model.id for local in Catalogue().local if local.fetched_first]


def _weights(names: list[str]) -> tuple[Weight, ...]:
    """All that is meant, each once. Ends the command where nothing is."""
    from fondaco.engines.weights import WeightError, named, pinned, weight_of

    models = _models()
    found: list[Weight] = []
    for name in names:
        if name.lower() in models:
            found += (pinned()[weight] for weight in models[name.lower()])
            continue
        if name.startswith("hf:"):
            try:
                found.append(weight_of(name, None))
            except WeightError as error:
                _fail(str(error), status=2)
            continue
        meant = named(name)
        if not meant:
            _fail(f"There is no model or weight named {name}; `fondaco models list` shows all.", status=2)
        if len(meant) > 1:
            _fail(f"{name} can be {' or '.join(weight.name for weight in meant)}: say which.", status=2)
        found += meant
    return tuple(dict.fromkeys(found))


def _row(store: WeightStore, weight: Weight, model_id: str) -> tuple[str, ...]:
    from fondaco.cli.progress import megabytes
    from fondaco.engines.weights.sources import suppliers_of

    sources = ", ".join(supplier.label for supplier in suppliers_of(weight, store.settings))
    size = megabytes(weight.size) if weight.size else "?"
    return model_id, weight.name, size, "yes" if store.find(weight) else "no", weight.licence, sources


def _store(config: Path | None) -> WeightStore:
    from fondaco import settings
    from fondaco.engines.weights import WeightStore

    return WeightStore(settings.load(config).weights)


def _fail(message: str, status: int = 1) -> NoReturn:
    typer.echo(f"fondaco: {message}", err=True)
    raise typer.Exit(status)
