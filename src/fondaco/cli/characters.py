"""`fondaco characters`: cards in and out, what is said of them, on and off; also while a server runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from fondaco.cli.keyring import Config, DataDir, fail, run
from fondaco.cli.tables import day, harmless, print_table

if TYPE_CHECKING:
    from fondaco.characters.card_file import Opened
    from fondaco.characters.service import Changes, Character, CharacterService, Kept

T = TypeVar("T")

app = typer.Typer(
    name="characters",
    help="Import, list, change and export characters.",
    no_args_is_help=True,
    add_completion=False,
)

Slug = Annotated[str, typer.Argument(metavar="SLUG", help="As `fondaco characters list` shows it.")]
Adult = Annotated[
    bool | None, typer.Option("--adult/--no-adult", help="For adults only, or not.", show_default=False)
]
Featured = Annotated[
    bool | None,
    typer.Option("--featured/--no-featured", help="First in lists, or not.", show_default=False),
]
Web = Annotated[
    bool | None, typer.Option("--web/--no-web", help="Meant to search the web, or not.", show_default=False)
]
Model = Annotated[
    str | None,
    typer.Option(metavar="ID", help="The model it is recommended for; '' for none.", show_default=False),
]


@app.command("import")
def import_cards(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Cards as JSON or PNG, V1 to V3.")],
    slug: Annotated[
        str | None, typer.Option(metavar="SLUG", help="Instead of one made of the name; for one file.")
    ] = None,
    adult: Adult = None,
    featured: Featured = None,
    web: Web = None,
    model: Model = None,
    replace: Annotated[bool, typer.Option("--replace", help="In place of one with the same slug.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Take character cards in. Running servers have them within a tenth of a second."""
    from fondaco.characters.card import BadCard

    if slug is not None and len(files) > 1:
        fail("--slug is for a single file.", status=2)
    changes = _changes(adult=adult, featured=featured, web_enabled=web, model_id=model)
    whole = True
    for file in files:
        try:
            opened = _opened_card(file)
        except (OSError, BadCard) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            typer.echo(f"fondaco: {harmless(str(file))}: {why}", err=True)
            whole = False
            continue
        whole = _import(opened, changes, slug, replace, data_dir, config) and whole
    if not whole:
        raise typer.Exit(1)


@app.command("list")
def list_characters(data_dir: DataDir = None, config: Config = None) -> None:
    """Show all characters, disabled ones too."""

    async def rows() -> Sequence[Character]:
        async with _opened(data_dir, config) as service:
            return await service.list()

    head = ("SLUG", "NAME", "STATE", "ADULT", "FEATURED", "MODEL", "SINCE")
    print_table([head, *map(_row, run(rows(), config))])


@app.command()
def export(
    slug: Slug,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Where to: .json, or .png for one that has a picture."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A PNG to put the card into.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Write a character's card: to a file, or its JSON to standard output."""
    from fondaco.characters.card_file import as_png
    from fondaco.characters.png import BadPng

    async def kept() -> Kept:
        async with _opened(data_dir, config) as service:
            return await service.export(slug)

    found = _run(kept(), slug, config)
    try:
        if out is None:
            typer.echo(_indented(found.document))
        elif out.suffix.lower() == ".png":
            image = picture.read_bytes() if picture is not None else found.picture
            if image is None:
                fail("It has no picture: name a PNG with --picture, or export to .json.", status=2)
            out.write_bytes(as_png(found.document, image))
        else:
            out.write_text(_indented(found.document) + "\n", encoding="utf-8")
    except BadPng as error:
        fail(str(error), status=1)
    except OSError as error:
        fail(f"{harmless(str(error.filename))}: {error.strerror}", status=1)


@app.command()
def edit(
    slug: Slug,
    adult: Adult = None,
    featured: Featured = None,
    web: Web = None,
    model: Model = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Say something else of a character or, without options, open its card in $EDITOR."""
    if any(said is not None for said in (adult, featured, web, model)):
        changes = _changes(adult=adult, featured=featured, web_enabled=web, model_id=model)
        _run(_change(slug, changes, data_dir, config), slug, config)
    elif not _run(_edit(slug, data_dir, config), slug, config):
        typer.echo("Nothing was changed.", err=True)
        return
    typer.echo(f"Changed {slug}.", err=True)


@app.command()
def enable(slug: Slug, data_dir: DataDir = None, config: Config = None) -> None:
    """List a character again, and let it be asked."""
    _run(_change(slug, _changes(enabled=True), data_dir, config), slug, config)
    typer.echo(f"Enabled {slug}.", err=True)


@app.command()
def disable(slug: Slug, data_dir: DataDir = None, config: Config = None) -> None:
    """Neither list a character nor let it be asked, and keep it."""
    _run(_change(slug, _changes(enabled=False), data_dir, config), slug, config)
    typer.echo(f"Disabled {slug}.", err=True)


@app.command()
def remove(slug: Slug, data_dir: DataDir = None, config: Config = None) -> None:
    """Delete a character. One that comes with the program is again as it came."""

    async def work() -> bool:
        async with _opened(data_dir, config) as service:
            return await service.remove(slug)

    if not _run(work(), slug, config):
        fail(f"{slug} comes with the program: `fondaco characters disable {slug}` hides it.", status=1)
    typer.echo(f"Removed {slug}.", err=True)


def _opened_card(file: Path) -> Opened:
    """Raises OSError and BadCard."""
    from fondaco.characters.card_file import MAX_FILE, opened

    with file.open("rb") as stream:
        return opened(stream.read(MAX_FILE + 1))


def _import(
    opened: Opened, changes: Changes, slug: str | None, replace: bool, data_dir: DataDir, config: Config
) -> bool:
    from fondaco.characters.service import CharacterExists

    async def work() -> Character | str:
        async with _opened(data_dir, config) as service:
            try:
                return await service.add(opened, changes, slug, replace=replace)
            except CharacterExists as error:
                return error.slug

    added = run(work(), config)
    if isinstance(added, str):
        typer.echo(f"fondaco: There is a character {added} already: give --replace, or --slug.", err=True)
        return False
    kind = " (adult)" if added.adult else ""
    typer.echo(f"{added.slug}: {harmless(added.card.name)}{kind}")
    for note in opened.read.notes:
        typer.echo(f"fondaco: {added.slug}: {note}.", err=True)
    return True


async def _change(slug: str, changes: Changes, data_dir: DataDir, config: Config) -> None:
    async with _opened(data_dir, config) as service:
        await service.change(slug, changes)


async def _edit(slug: str, data_dir: DataDir, config: Config) -> bool:
    """Whether its card is another now."""
    import click

    from fondaco.characters.card import read

    async with _opened(data_dir, config) as service:
        before = _indented((await service.export(slug)).document)
        after = click.edit(before, extension=".json", require_save=True)
        if after is None or after.strip() == before.strip():
            return False
        await service.rewrite(slug, read(after.encode()))
        return True


def _changes(**said: Any) -> Changes:
    from fondaco.characters.service import Changes

    return Changes(**said)


def _run(work: Coroutine[Any, Any, T], slug: str, config: Config) -> T:
    from fondaco.characters.card import BadCard
    from fondaco.errors import CharacterNotFound

    try:
        return run(work, config)
    except CharacterNotFound:
        listed = "`fondaco characters list` shows those that there are."
        fail(f"There is no character {harmless(slug)}. {listed}", status=1)
    except BadCard as error:
        fail(f"{error}.", status=1)


@asynccontextmanager
async def _opened(data_dir: DataDir, config: Config) -> AsyncGenerator[CharacterService, None]:
    """The server's characters; its database is made if there is none yet."""
    from fondaco import settings
    from fondaco.characters.service import CharacterService
    from fondaco.clock import SystemClock
    from fondaco.store.sqlite import Database

    database = Database(settings.load(config, {"server": {"data_dir": data_dir}}).server.data_dir)
    await database.open()
    try:
        yield CharacterService(database, SystemClock())
    finally:
        await database.close()


def _indented(document: bytes) -> str:
    import msgspec

    return msgspec.json.format(document, indent=2).decode()


def _row(character: Character) -> tuple[str, ...]:
    state = "enabled" if character.enabled else "disabled"
    return (
        character.slug,
        harmless(character.card.name),
        state + (", ours" if character.ours else ""),
        "yes" if character.adult else "no",
        "yes" if character.featured else "no",
        harmless(character.model_id or "-"),
        day(character.created_at),
    )
