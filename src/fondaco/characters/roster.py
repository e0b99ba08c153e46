"""All characters that can be asked, in memory: those that come with the program and the operator's.

The database is the truth; when another process has changed it, what is here is read anew within a tenth of a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from fondaco.characters import store
from fondaco.characters.card import BadCard, read
from fondaco.characters.character import Character
from fondaco.characters.ours import ours
from fondaco.characters.store import Record
from fondaco.errors import CharacterNotFound
from fondaco.store.errors import StoreError
from fondaco.store.interface import Store
from fondaco.telemetry.logs import logger

_log = logger(__name__)


class Roster:
    """Knows those that come with the program; after `open`, all."""

    def __init__(self, database: Store) -> None:
        self._database = database
        self._known: Mapping[str, Character] = ours()
        self._stamp: tuple[int, int] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._again = False
        self._closed = False

    async def open(self) -> None:
        """Raises StoreError."""
        self._database.on_foreign_change(self._look_soon)
        await self._look()

    async def close(self) -> None:
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def find(self, slug: str) -> Character:
        """Raises CharacterNotFound for one that is unknown or disabled."""
        found = self._known.get(slug)
        if found is None or not found.enabled:
            raise CharacterNotFound
        return found

    def enabled(self) -> Iterable[Character]:
        return (character for character in self._known.values() if character.enabled)

    def _look_soon(self) -> None:
        self._again = True
        if not self._closed and (self._looking is None or self._looking.done()):
            self._looking = asyncio.get_running_loop().create_task(self._look_until_still())

    async def _look_until_still(self) -> None:
        while self._again:
            self._again = False
            try:
                await self._look()
            except StoreError as error:
                _log.warning("characters.not_read", exc_info=error)  # the next change looks again

    async def _look(self) -> None:
        """Nearly always it was something else that changed."""
        if (now := await self._database.read(store.stamp)) != self._stamp:
            self._known = await self._database.read(everybody)
            self._stamp = now


def everybody(connection: Connection) -> dict[str, Character]:
    """By slug; what the database has goes before what comes with the program."""
    known = dict(ours())
    for record in store.everything(connection):
        character = of_record(record)
        if character is None:
            known.pop(record.slug, None)
        else:
            known[record.slug] = character
    return known


def of_record(record: Record) -> Character | None:
    """None for a row whose card cannot be read, or is not in the program any more."""
    if record.card is None:
        own = ours().get(record.slug)
        card = None if own is None else own.card
    else:
        try:
            card = read(record.card.encode()).card
        except BadCard:
            _log.error("characters.unreadable")
            card = None
    if card is None:
        return None
    return Character(
        slug=record.slug,
        id=record.id,
        card=card,
        created_at=record.created_at,
        updated_at=record.updated_at,
        enabled=record.enabled,
        adult=record.adult,
        featured=record.featured,
        web_enabled=record.web_enabled,
        model_id=record.model_id,
        ours=record.card is None,
    )
