"""`fondaco prompt show`: what a model is told before anything that a caller says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fondaco.cli.keyring import Config, DataDir, fail, run
from fondaco.cli.tables import harmless

if TYPE_CHECKING:
    from fondaco.characters.roster import Roster
    from fondaco.settings import Settings

app = typer.Typer(
    name="prompt",
    help="Show the system prompt that a model is given.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def prompt() -> None:
    """System prompts."""


@app.command()
def show(
    model: Annotated[
        str, typer.Option(metavar="ID", help="A model's id, or another name that leads to one.")
    ] = "default",
    character: Annotated[
        str | None, typer.Option(metavar="SLUG", help="As this character.", show_default=False)
    ] = None,
    user: Annotated[str, typer.Option(help="The user's name for a character.", metavar="NAME")] = "User",
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Print the system prompt in force today; of a character, its greeting and last word too."""
    run(_show(model, character, user, data_dir, config), config)


async def _show(
    name: str, character: str | None, user: str, data_dir: Path | None, config: Path | None
) -> None:
    from fondaco.app import App
    from fondaco.chat.cast import Cast
    from fondaco.chat.messages import ChatMessage, UserMessage
    from fondaco.chat.options import effective
    from fondaco.chat.prompt import PromptBuilder
    from fondaco.chat.wire import VeniceParameters
    from fondaco.clock import SystemClock
    from fondaco.errors import CharacterNotFound, ModelNotFound, ModelOffline
    from fondaco.settings import load

    settings = load(config, {"server": {"data_dir": data_dir}})
    try:
        resolved = App(settings).registry.resolve(name, "text")
    except (ModelNotFound, ModelOffline) as error:
        fail(error.message, status=1)
    model = resolved.model
    builder = PromptBuilder(SystemClock(), settings.prompt.system, settings.prompt.by_model)
    options = effective(VeniceParameters(character_slug=character), resolved.suffix)
    messages: list[ChatMessage] = []
    if options.character_slug is not None:
        messages = [UserMessage(content="…", name=user)]
        cast = Cast(await _characters(settings), builder)
        try:
            messages, options = cast.play(options.character_slug, messages, options, model)
        except CharacterNotFound:
            listed = "`fondaco characters list` shows those that there are."
            fail(f"There is no character {harmless(options.character_slug)} to be asked. {listed}", status=1)
    _print(model.id, builder.build(messages, [], own_prompt=builder.own_prompt(model, options)))


async def _characters(settings: Settings) -> Roster:
    """Those of the server's database; where there is none yet, those that come with the program."""
    from fondaco.characters.roster import Roster
    from fondaco.store.errors import DatabaseAbsent
    from fondaco.store.sqlite import Database

    database = Database(settings.server.data_dir, create=False)
    roster = Roster(database)
    try:
        await database.open()
        await roster.open()
    except DatabaseAbsent:
        pass
    finally:
        await database.close()
    return roster


def _print(model_id: str, messages: list[Any]) -> None:
    """The messages, each under who says it; what only says where the conversation is, as that."""
    from fondaco.chat.messages import AssistantMessage, SystemMessage, UserMessage

    typer.echo(f"# {harmless(model_id)}", err=True)
    for message in messages:
        if isinstance(message, UserMessage):
            typer.echo("\n[the conversation]")
        elif isinstance(message, AssistantMessage):
            typer.echo(f"\n[greeting]\n{message.content}")
        elif isinstance(message, SystemMessage):
            typer.echo(f"\n[after the last message]\n{message.content}")
        else:
            typer.echo(message["content"])
