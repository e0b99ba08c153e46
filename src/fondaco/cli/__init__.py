"""The command line: a table of commands, each imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, NoReturn, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from fondaco import __version__
from fondaco.errors import FondacoError


class Entry(NamedTuple):
    where: str
    """`module:attribute`: a function with Typer's annotations, or a Typer app for a noun with several verbs."""
    help: str


COMMANDS: Final[Mapping[str, Entry]] = {
    "serve": Entry("fondaco.cli.serve:serve", "Start the server on local models."),
    "engine": Entry("fondaco.cli.engine:engine", "Run one engine alone, without the gateway."),
    "accounts": Entry("fondaco.cli.accounts:app", "Make, list, suspend and resume accounts."),
    "keys": Entry("fondaco.cli.keys:app", "Make, list and revoke API keys."),
    "models": Entry("fondaco.cli.models:app", "List models; fetch and remove their weights."),
    "characters": Entry("fondaco.cli.characters:app", "Import, list, change and export characters."),
    "index": Entry("fondaco.cli.index:app", "Add folders and pages to the local search index; list, remove."),
    "prompt": Entry("fondaco.cli.prompt:app", "Show the system prompt that a model is given."),
    "usage": Entry("fondaco.cli.usage:usage", "Show what was spent, by day, model and key."),
    "credit": Entry("fondaco.cli.credit:app", "Top an account up by hand, or take from it."),
    "config": Entry("fondaco.cli.config:app", "Show each setting, its value and where it came from."),
    "doctor": Entry("fondaco.cli.doctor:doctor", "Say what is missing for `serve` and how to mend it."),
}


class Commands(TyperGroup):
    """Names and one-line helps come from the table; the module comes when its command is run."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=entry.help) for name, entry in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        return name, found if name is None else _load(name), rest


def run() -> None:
    """The console script. What the user can mend is told in a line, without a traceback."""
    try:
        get_command(app).main(prog_name="fondaco")
    except FondacoError as error:
        _leave([error.message], status=1)
    except Exception as error:
        # Imported late: most commands have loaded it by then, and `--help` does without it.
        from fondaco.settings_origin import explain

        faults = explain(error)
        if not faults:
            raise
        _leave(faults, status=2)


def _load(name: str) -> TyperCommand | TyperGroup:
    module, _, attribute = COMMANDS[name].where.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        single = typer.Typer(add_completion=False)
        single.command(name)(found)
        found = single
    command = cast("TyperCommand | TyperGroup", get_command(found))
    command.name = name
    return command


def _leave(lines: Iterable[str], *, status: int) -> NoReturn:
    for line in lines:
        typer.echo(f"fondaco: {line}", err=True)
    sys.exit(status)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fondaco {__version__}")
        raise typer.Exit


app = typer.Typer(cls=Commands, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def fondaco(
    version: bool = typer.Option(
        False, "--version", "-V", help="Print the version.", is_eager=True, callback=_print_version
    ),
) -> None:
    """A private AI platform on your own machine that speaks the Venice.ai and OpenAI APIs."""
