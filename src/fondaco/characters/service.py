"""What an operator does with characters: take cards in, give them out, change them, switch them on and off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection

from fondaco import ids
from fondaco.characters import store
from fondaco.characters.card import Card, Read
from fondaco.characters.card_file import Opened
from fondaco.characters.character import SLUG, Character, says_adult, slug_of
from fondaco.characters.ours import document as document_of_ours
from fondaco.characters.ours import ours
from fondaco.characters.roster import everybody, of_record
from fondaco.characters.store import Record
from fondaco.clock import Clock
from fondaco.content import Sealed
from fondaco.errors import CharacterNotFound, InvalidRequest
from fondaco.store.interface import Store

__all__ = ["Changes", "Character", "CharacterExists", "CharacterService", "Kept"]


class CharacterExists(Exception):
    """A character has that slug already."""

    def __init__(self, slug: str) -> None:
        super().__init__(f"There is a character `{slug}` already")
        self.slug = slug


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said of a character from now on; None leaves it as it is."""

    enabled: bool | None = None
    adult: bool | None = None
    featured: bool | None = None
    web_enabled: bool | None = None
    model_id: str | None = None
    """Empty text: none."""

    def to(self, record: Record) -> Record:
        said: dict[str, Any] = {
            name: value for name, value in msgspec.structs.asdict(self).items() if value is not None
        }
        if self.model_id is not None:
            said["model_id"] = self.model_id or None
        return msgspec.structs.replace(record, **said)


class Kept(Sealed, frozen=True):  # pyright: ignore[reportGeneralTypeIssues]
    """A card as it is kept, for export."""

    document: bytes
    picture: bytes | None


class CharacterService:
    def __init__(self, database: Store, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def list(self) -> Sequence[Character]:
        """All of them, disabled ones too, by slug."""
        known = await self._database.read(everybody)
        return [known[slug] for slug in sorted(known)]

    async def add(
        self, opened: Opened, changes: Changes, slug: str | None = None, *, replace: bool = False
    ) -> Character:
        """Take a card in. Raises CharacterExists unless `replace`, and InvalidRequest for what cannot be a slug.

        Without a word in `changes`, a new character is adult if its tags say so.
        """
        read = opened.read
        name = slug_of(read.card.name) if slug is None else slug
        if SLUG.fullmatch(name) is None:
            message = "A slug has 1 to 100 small letters, digits and hyphens, and no hyphen at its ends"
            raise InvalidRequest.at("slug", message=message)

        def work(connection: Connection) -> Record:
            before = store.one(connection, name)
            if not replace and (before is not None or name in ours()):
                raise CharacterExists(name)
            record = before or self._new(name, read.card)
            record = msgspec.structs.replace(changes.to(record), card=read.document.decode())
            self._put(connection, record)
            store.set_picture(connection, name, opened.picture)
            return record

        return _known(await self._database.write(work))

    async def change(self, slug: str, changes: Changes) -> Character:
        """Say something else of a character. Raises CharacterNotFound."""
        return _known(await self._changed(slug, changes.to))

    async def rewrite(self, slug: str, read: Read) -> Character:
        """Another card for it; one that comes with the program becomes the operator's. Raises CharacterNotFound."""

        def rewritten(record: Record) -> Record:
            return msgspec.structs.replace(record, card=read.document.decode())

        return _known(await self._changed(slug, rewritten))

    async def remove(self, slug: str) -> bool:
        """Forget the operator's character, or what the operator said of one of ours. False if there was nothing.

        Raises CharacterNotFound where there is none at all.
        """
        if await self._database.write(lambda connection: store.remove(connection, slug)):
            return True
        if slug in ours():
            return False
        raise CharacterNotFound

    async def export(self, slug: str) -> Kept:
        """Raises CharacterNotFound."""

        def work(connection: Connection) -> Kept:
            record = store.one(connection, slug)
            if record is not None and record.card is not None:
                return Kept(record.card.encode(), store.picture(connection, slug))
            if slug not in ours():
                raise CharacterNotFound
            return Kept(document_of_ours(slug), None)

        return await self._database.read(work)

    async def _changed(self, slug: str, change: Callable[[Record], Record]) -> Record:
        def work(connection: Connection) -> Record:
            before = store.one(connection, slug)
            if before is None:
                if (own := ours().get(slug)) is None:
                    raise CharacterNotFound
                before = _record(own)
            record = change(before)
            self._put(connection, record)
            return record

        return await self._database.write(work)

    def _new(self, slug: str, card: Card) -> Record:
        if (own := ours().get(slug)) is not None:
            return _record(own)
        now = self._clock.now()
        return Record(
            slug=slug,
            id=ids.row_id(),
            created_at=now,
            updated_at=now,
            enabled=True,
            adult=says_adult(card),
            featured=False,
            web_enabled=False,
            model_id=None,
            card=None,
        )

    def _put(self, connection: Connection, record: Record) -> None:
        store.put(connection, msgspec.structs.replace(record, updated_at=self._moved(record.updated_at)))

    def _moved(self, before: datetime) -> datetime:
        """Now, and never the same moment twice: others see by it that something changed."""
        return max(self._clock.now(), before + timedelta(milliseconds=1))


def _record(own: Character) -> Record:
    return Record(
        slug=own.slug,
        id=own.id,
        created_at=own.created_at,
        updated_at=own.updated_at,
        enabled=own.enabled,
        adult=own.adult,
        featured=own.featured,
        web_enabled=own.web_enabled,
        model_id=own.model_id,
        card=None,
    )


def _known(record: Record) -> Character:
    character = of_record(record)
    assert character is not None, "a card that is kept was read before"
    return character
