"""`fondaco credit`: an account topped up by hand, with an entry in its ledger that says who did it and why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fondaco.cli.keyring import Config, DataDir, fail, run
from fondaco.cli.opened import account_named, opened_database
from fondaco.cli.tables import harmless

if TYPE_CHECKING:
    from fondaco.billing.balances import Balances
    from fondaco.money import NanoUsd

app = typer.Typer(name="credit", help="Top an account up by hand, or take from it.", add_completion=False)

NOTE_LENGTH = 200

_AMOUNT = re.compile(r"[+-]?\d{1,9}(\.\d{1,9})?", re.ASCII)


# An amount below zero must not be taken for an option.
@app.command(context_settings={"ignore_unknown_options": True})
def credit(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's name.")],
    amount: Annotated[
        str, typer.Argument(metavar="AMOUNT", help="Such as 25 or 0.50; below zero it is taken out.")
    ],
    note: Annotated[str, typer.Option(help="Why: kept with the entry, beside your user name.")],
    currency: Annotated[
        Literal["usd", "diem-daily", "bundled"],
        typer.Option(help="`diem-daily` sets what each day begins with, instead of adding to it."),
    ] = "usd",
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Put money into an account, or take out what is free of it, also while a server runs."""
    nano = _amount(amount)
    if currency == "diem-daily" and nano < 0:
        fail("A daily allowance is not below zero.", status=2)
    if currency != "diem-daily" and not nano:
        fail("Nothing to put in or to take out: the amount is zero.", status=2)
    said = _signed(note)
    has = run(_move(account, nano, currency, said, data_dir, config), config)
    typer.echo(
        f"{harmless(account)} has {_figure(has.usd)} USD, {_figure(has.bundled)} USD in bundled credits and "
        f"{_figure(has.diem)} of {_figure(has.diem_allocation)} DIEM today.",
        err=True,
    )


async def _move(
    account: str,
    amount: NanoUsd,
    currency: Literal["usd", "diem-daily", "bundled"],
    note: str,
    data_dir: Path | None,
    config: Path | None,
) -> Balances:
    from fondaco.billing.ledger import Ledger, TooMuch
    from fondaco.clock import SystemClock
    from fondaco.errors import InsufficientBalance
    from fondaco.store.presence import Presence

    async with opened_database(data_dir, config) as (database, settings):
        owner = await account_named(database, account)
        clock = SystemClock()
        ledger = Ledger(
            database, clock, Presence(database, clock), prepaid=settings.billing.mode == "prepaid"
        )
        try:
            if currency == "diem-daily":
                await ledger.set_diem_daily(owner, amount, note)
                return await ledger.balances(owner)
            return await ledger.credit(owner, amount, "USD" if currency == "usd" else "BUNDLED_CREDITS", note)
        except InsufficientBalance:
            fail(
                "Not so much is free: spent money and what running requests hold cannot be taken out.",
                status=1,
            )
        except TooMuch:
            fail("That would be more than an account can have.", status=1)


def _amount(text: str) -> NanoUsd:
    from fondaco import money

    if not _AMOUNT.fullmatch(text):
        fail(
            "An amount has at most nine digits before the point and nine after it, such as 25 or 0.50.",
            status=2,
        )
    return money.from_decimal(text)


def _signed(note: str) -> str:
    """The note with the name of whoever runs the command, within what a ledger entry holds."""
    why = note.strip()
    signature = f" (by {_user()})"
    room = NOTE_LENGTH - len(signature)
    if not why or not why.isprintable():
        fail("A note says why, in one line of text.", status=2)
    if len(why) > room:
        fail(f"A note has at most {room} characters.", status=2)
    return why + signature


def _user() -> str:
    """By the process, not by its environment, which says what its user likes it to."""
    import os
    import pwd

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"user {os.getuid()}"
    return harmless(name)[:64]


def _figure(amount: NanoUsd) -> str:
    from fondaco import money

    return money.to_json(amount).decode()
