"""What a gateway tells an engine's process on stdin, and what the process says back on stdout."""

from __future__ import annotations

import msgspec


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """One JSON line on the child's stdin. It stays open after it: its end means that the gateway is gone."""

    model: str
    """Path of the main weight."""
    files: dict[str, str] = {}
    """Paths of the other files that the engine needs, by their role."""
    options: dict[str, str] = {}
    """What else the engine is to know of its model."""
    name: str = ""
    """The model's id."""
    key: str = ""
    """The bearer key that guards every route but `/health`; made anew at each start. Empty: no key is asked for."""
    threads: int
    slots: int = 1
    """Requests that it is given at once."""
    context_tokens: int = 0
    """Tokens that a text engine's slots share."""
    gpu_layers: int = 0
    socket: str | None = None
    """Path of the Unix socket to listen on; without one, a free loopback port is taken."""

    def __repr__(self) -> str:
        return "Launch()"


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """One JSON line on the child's stdout. Nothing else the child prints is ever trusted or kept."""

    event: str
    """`listening`, `no_runtime` or `load_failed`."""
    port: int = 0


def encode(message: Launch | Said) -> bytes:
    return msgspec.json.encode(message) + b"\n"
