"""The headers that say which model answered."""

from __future__ import annotations

from functools import lru_cache

from fondaco.http.reply import Header


@lru_cache(512)
def model_headers(model_id: str, name: str, *, local: bool) -> tuple[Header, ...]:
    """Id and display name of what ran, and whether on this machine."""
    return (
        (b"x-venice-model-id", model_id.encode()),
        (b"x-venice-model-name", _printable(name)),
        (b"x-venice-model-router", b"local" if local else b"remote"),
    )


def _printable(name: str) -> bytes:
    """A display name as a header's value, which holds neither line breaks nor what is not ASCII."""
    return "".join(letter if letter.isprintable() else "?" for letter in name).encode("ascii", "replace")
