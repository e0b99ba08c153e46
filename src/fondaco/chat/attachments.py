"""Documents in a conversation: their names, and their text where a model reads it best."""

from __future__ import annotations

import hashlib
import secrets
from urllib.parse import unquote, urlsplit

MAX_NAME = 100

_KEY = secrets.token_bytes(16)
# What could end a mark, open another, or pass for one of a chat template's own.
_MARKS = frozenset('<>[]{}|`"\\')


def name_of(given: str | None, url: str | None = None) -> str:
    """A document's name on one line, without anything that could pass for more than a name."""
    told = given or _last_segment(url or "")
    if len(told) > 4 * MAX_NAME:
        told = told[: 2 * MAX_NAME] + told[-2 * MAX_NAME :]
    plain = "".join(mark if mark.isprintable() and mark not in _MARKS else " " for mark in told)
    name = " ".join(plain.split())
    if len(name) > MAX_NAME:
        name = f"{name[: MAX_NAME // 2].rstrip()}…{name[-MAX_NAME // 2 + 1 :].lstrip()}"
    return name or "document"


def enclosed(name: str, text: str, *, cut: bool) -> str:
    """The caller's own document, told apart from what he says by a mark that neither its name nor its text can write.

    The mark is always the same for the same text, so that an engine's memory of the conversation holds.
    """
    mark = f"file-{hashlib.blake2b(text.encode(), digest_size=5, key=_KEY).hexdigest()}"
    end = "\n[The rest of this file is left out: it is too long]" if cut else ""
    return f"Attached file: {name}\n<{mark}>\n{text}{end}\n</{mark}>"


def elsewhere(name: str) -> str:
    """In the place of a document whose text stands among what was found on the web."""
    return f"[Attached: {name}]"


def unread(name: str, why: str) -> str:
    return f"[Error processing file {name}: {why}]"


def _last_segment(url: str) -> str:
    try:
        return unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])
    except ValueError:
        return ""
