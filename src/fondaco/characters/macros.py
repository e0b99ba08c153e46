"""The words in a card that stand for others: `{{char}}`, `{{user}}` and the rest of what the V3 format lists."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable

_PASSES = 4
"""One within another is replaced from the inside out, so deep."""

_USER_LENGTH = 64
USER = "User"
"""Who asks, where no name is given."""

# The innermost ones; what is no macro stays as it is.
_macro = re.compile(r"\{\{([^{}]{1,4096})\}\}|<(char|bot|user)>", re.IGNORECASE)
_comma = re.compile(r"(?<!\\),")
_original = re.compile(r"\{\{\s*original\s*\}\}", re.IGNORECASE)


class Macros:
    """Replaces macros for one conversation. Called with a text; unknown ones are left alone."""

    def __init__(self, char: str, user: str | None = None, chance: random.Random | None = None) -> None:
        self.char = char
        # Somebody's name must not be taken for a macro.
        self.user = re.sub(r"[{}<>]", "", user or "")[:_USER_LENGTH].strip() or USER
        self._chance = chance or random.Random()

    def __call__(self, text: str | None) -> str:
        return self._replaced(text).strip() if text else ""

    def around(self, text: str | None, original: str) -> str:
        """The same, where `{{original}}` stands for what the text takes the place of, which is left as it is."""
        return original.join(map(self._replaced, _original.split(text))).strip() if text else ""

    def _replaced(self, text: str) -> str:
        # Nearly all of them are these two.
        text = text.replace("{{char}}", self.char).replace("{{user}}", self.user)
        for _ in range(_PASSES):
            if "{{" not in text and "<" not in text:
                break
            replaced = _macro.sub(self._replace, text)
            if replaced == text:
                break
            text = replaced
        return text

    def _replace(self, found: re.Match[str]) -> str:
        if (tag := found[2]) is not None:
            return self.user if tag.lower() == "user" else self.char
        name, colon, value = found[1].partition(":")
        word = name.strip().lower()
        if word.startswith("//"):
            return ""
        if not colon:
            return {"char": self.char, "user": self.user}.get(word, found[0])
        make = _WITH_VALUE.get(word)
        made = None if make is None else make(value.removeprefix(":"), self._chance)
        return found[0] if made is None else made


def _any(value: str, chance: random.Random) -> str:
    return chance.choice(_values(value))


def _always_the_same(value: str, chance: random.Random) -> str:
    """By the values themselves, so that every turn of a conversation has it so."""
    values = _values(value)
    return values[zlib.crc32(value.encode()) % len(values)]


def _rolled(value: str, chance: random.Random) -> str | None:
    sides = value.strip().lower().removeprefix("d")
    if not (sides.isascii() and sides.isdigit() and len(sides) <= 9 and int(sides)):
        return None
    return str(chance.randint(1, int(sides)))


def _values(value: str) -> list[str]:
    return [part.strip().replace("\\,", ",") for part in _comma.split(value)]


_WITH_VALUE: dict[str, Callable[[str, random.Random], str | None]] = {
    "random": _any,
    "pick": _always_the_same,
    "roll": _rolled,
    "reverse": lambda value, _: value[::-1],
    "hidden_key": lambda value, _: "",
    "comment": lambda value, _: "",
}
