"""`fondaco index`: the folders and pages that searches find passages of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fondaco.augment.index.gathering import Gathered
    from fondaco.settings import Settings

app = typer.Typer(
    name="index",
    help="The local search index: add folders and pages, list them, remove them.",
    no_args_is_help=True,
    add_completion=False,
)


def _named(place: str) -> str:
    """An empty path would be the folder one stands in, with all that is in it."""
    if not place.strip():
        raise typer.BadParameter("It must not be empty.")
    return place


def _web_url(url: str | None) -> str | None:
    from fondaco.augment.index.gathering import is_url

    if url is not None and not is_url(url):
        raise typer.BadParameter("It must begin with http:// or https://.")
    return url


Place = Annotated[
    str,
    typer.Argument(
        metavar="PATH|URL", help="A folder, a file, or a page's URL.", show_default=False, callback=_named
    ),
]
Config = Annotated[Path | None, typer.Option("--config", help="Settings file.", show_default=False)]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Data directory.", show_default=False)]


@app.command()
def add(
    place: Place,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            help="Where these files are on the web; citations lead there.",
            show_default=False,
            callback=_web_url,
        ),
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Add a folder, a file or a page, or bring one up to date."""
    import asyncio

    from fondaco.augment.index.gathering import NoSuchPlace
    from fondaco.augment.index.store import IndexBroken
    from fondaco.cli.keyring import fail
    from fondaco.cli.tables import harmless

    try:
        done = asyncio.run(_add(_settings(data_dir, config), place, url))
    except NoSuchPlace as missing:
        fail(f"{harmless(place)}: {missing}.", status=1)
    except IndexBroken as broken:
        fail(f"{broken}.", status=1)
    if not (done.added or done.unchanged or done.gone):
        fail(f"{harmless(place)}: nothing of it could be taken in.", status=1)
    typer.echo(
        f"{done.added} added, {done.unchanged} unchanged, {done.left_out} left out, {done.gone} no longer there."
    )
    if done.added:
        typer.echo("Words are searched at once; a running server adds the meanings as it goes.")


@app.command("list")
def list_sources(data_dir: DataDir = None, config: Config = None) -> None:
    """Show what is in the index."""
    from fondaco.augment.index.store import FILE_NAME, IndexBroken, IndexStore
    from fondaco.cli.keyring import fail
    from fondaco.cli.tables import harmless, print_table

    folder = _settings(data_dir, config).server.data_dir
    if not (folder / FILE_NAME).is_file():
        typer.echo("The index is empty. `fondaco index add` takes folders and pages.")
        return
    try:
        store = IndexStore(folder)
        sources = store.sources()
        store.close()
    except IndexBroken as broken:
        fail(f"{broken}.", status=1)
    rows = [
        (harmless(each.place), f"{each.documents:,}", f"{each.passages:,}", f"{each.embedded:,}")
        for each in sources
    ]
    print_table([("PLACE", "DOCUMENTS", "PASSAGES", "WITH MEANING"), *rows], figures=3)


@app.command()
def remove(
    place: Place,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Take a folder, a file or a page out of the index."""
    from fondaco.augment.index.gathering import is_url
    from fondaco.augment.index.store import FILE_NAME, IndexBroken, IndexStore
    from fondaco.cli.keyring import fail
    from fondaco.cli.tables import harmless

    folder = _settings(data_dir, config).server.data_dir
    known = place if is_url(place) else str(Path(place).resolve())
    try:
        removed = False
        if (folder / FILE_NAME).is_file():
            store = IndexStore(folder)
            removed = store.remove(known)
            store.close()
    except IndexBroken as broken:
        fail(f"{broken}.", status=1)
    if not removed:
        fail(f"{harmless(place)} is not in the index. `fondaco index list` shows what is.", status=1)
    typer.echo(f"{harmless(place)}: removed")


async def _add(settings: Settings, place: str, url: str | None) -> Gathered:
    from fondaco.augment.documents import Documents
    from fondaco.augment.index.gathering import Gathering
    from fondaco.augment.index.store import IndexStore
    from fondaco.augment.sources import fetcher_of
    from fondaco.cli.tables import harmless
    from fondaco.store.folder import prepare

    def tell(name: str, what: str) -> None:
        if what != "unchanged":
            typer.echo(f"{harmless(name)}: {what}")

    prepare(settings.server.data_dir)
    store = IndexStore(settings.server.data_dir)
    documents = Documents()
    try:
        return await Gathering(store, documents, fetcher_of(settings.net)).add(place, url, tell)
    finally:
        await documents.close()
        store.close()


def _settings(data_dir: Path | None, config: Path | None) -> Settings:
    from fondaco import settings

    return settings.load(config, {"server": {"data_dir": data_dir}})
