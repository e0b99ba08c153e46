"""`fondaco keys`: make, list and revoke API keys, also while a server runs on the same data directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fondaco.cli.keyring import Config, DataDir, fail, opened, run
from fondaco.cli.tables import day, harmless, print_table

if TYPE_CHECKING:
    from fondaco.keys.service import KeyRecord
    from fondaco.money import NanoUsd

app = typer.Typer(
    name="keys", help="Make, list and revoke API keys.", no_args_is_help=True, add_completion=False
)

_HEADINGS = (
    "ID",
    "KIND",
    "LAST6",
    "ACCOUNT",
    "CREATED",
    "EXPIRES",
    "LAST USED",
    "LIMITS",
    "MODELS",
    "DESCRIPTION",
)
_PERIODS = {"EPOCH": "a day", "MONTH": "a month", "LIFETIME": "in all"}


@app.command()
def create(
    admin: Annotated[bool, typer.Option("--admin", help="A key that may also manage keys.")] = False,
    description: Annotated[
        str, typer.Option(help="What the key is for, in 64 characters.")
    ] = "Made on the command line",
    expires: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="The key ends at 00:00 UTC of this day.", metavar="YYYY-MM-DD"
        ),
    ] = None,
    account: Annotated[
        str, typer.Option(help="Whose key it is; made if it is not there.", metavar="NAME")
    ] = "default",
    usd_limit: Annotated[
        str | None,
        typer.Option(help="What it may spend in each period, in dollars such as 2.50.", metavar="AMOUNT"),
    ] = None,
    diem_limit: Annotated[
        str | None, typer.Option(help="What it may spend in each period, in DIEM.", metavar="AMOUNT")
    ] = None,
    limit_period: Annotated[
        Literal["EPOCH", "MONTH", "LIFETIME"],
        typer.Option(help="When limits begin anew: each UTC day, each UTC month, never."),
    ] = "EPOCH",
    model_privacy: Annotated[
        Literal["ALL", "PRIVATE_TEXT", "PRIVATE_ONLY"],
        typer.Option(help="Which models it may ask: all, private ones for text, private ones only."),
    ] = "ALL",
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Make a key and print it, this once: the key alone goes to standard output."""
    from fondaco.keys.caller import SpendLimits
    from fondaco.keys.service import DESCRIPTION_LENGTH

    kind = "ADMIN" if admin else "INFERENCE"
    end = None if expires is None else expires.replace(tzinfo=UTC)
    # Said before an account is made for it.
    if len(description) > DESCRIPTION_LENGTH:
        fail(f"A description has at most {DESCRIPTION_LENGTH} characters.", status=2)
    if end is not None and end <= datetime.now(UTC):
        fail("The day on which a key ends must be in the future.", status=2)
    limits = SpendLimits(limit_period, _amount(usd_limit), _amount(diem_limit))

    async def make() -> str:
        async with opened(data_dir, config, make=True) as (keys, accounts):
            owner = await accounts.find(account)
            if owner is None:
                owner = await accounts.ensure(account)
                typer.echo(f"Made the account {account}.", err=True)
            made = await keys.create(
                owner.id, kind, description, end, limits=limits, model_privacy=model_privacy
            )
            typer.echo(f"Made the {kind} key {made.id}. It is not kept and cannot be shown again.", err=True)
            return made.token

    typer.echo(run(make(), config))


@app.command("list")
def list_keys(data_dir: DataDir = None, config: Config = None) -> None:
    """Show the keys that are neither revoked nor expired, newest first."""

    async def rows() -> tuple[Sequence[KeyRecord], Mapping[str, str]]:
        async with opened(data_dir, config) as (keys, accounts):
            return await keys.list(), {account.id: account.name for account in await accounts.list()}

    found, names = run(rows(), config)
    if not found:
        typer.echo("There are no keys. `fondaco keys create` makes one.", err=True)
        return
    print_table([_HEADINGS, *(_row(key, names[key.account_id]) for key in found)])


# A key may end in `-x9_Qa`, which must not be taken for an option.
@app.command(context_settings={"ignore_unknown_options": True})
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID|LAST6", help="The key's id, or its last six characters.")],
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """End a key. Running servers refuse it within a tenth of a second."""

    async def end() -> KeyRecord:
        async with opened(data_dir, config) as (keys, _):
            return await keys.revoke(key)

    ended = run(end(), config)
    typer.echo(f"Revoked the {ended.kind} key {ended.id} that ends in {ended.last6}.", err=True)


def _amount(text: str | None) -> NanoUsd | None:
    import re
    from decimal import Decimal

    from fondaco.keys import amounts

    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,9})?", text) is None or Decimal(text) > amounts.MOST:
        fail(f"A limit is a number such as 2.50, from 0 to {amounts.MOST}.", status=2)
    return amounts.kept(Decimal(text))


def _row(key: KeyRecord, account: str) -> tuple[str, ...]:
    return (
        key.id,
        key.kind,
        key.last6,
        harmless(account),
        day(key.created_at),
        day(key.expires_at),
        "never" if key.last_used_at is None else f"{key.last_used_at:%Y-%m-%d %H:%M}Z",
        _limits(key),
        key.model_privacy,
        harmless(key.description),
    )


def _limits(key: KeyRecord) -> str:
    from fondaco import money

    named = (("USD", key.limit_usd), ("DIEM", key.limit_diem), ("VCU", key.limit_vcu))
    told = [f"{money.to_json(amount).decode()} {name}" for name, amount in named if amount is not None]
    return f"{', '.join(told)} {_PERIODS[key.limit_period]}" if told else "-"
