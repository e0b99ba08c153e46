"""What a gateway tells an engine's process on stdin, and what the process says back on stdout."""

from __future__ import annotations

import msgspec


class Launch(msgspec.Struct, frozen=True):
    """One JSON line on the child's stdin. It stays open after it: its end means that the gateway is gone."""

    model: str
    """Path of the weight."""
    key: str
    """The bearer key that guards every route but `/health`; made anew at each start."""
    context_tokens: int
    slots: int
    threads: int
    mmproj: str | None = None
    """Path of the projector of a model that sees."""
    socket: str | None = None
    """Path of the Unix socket to listen on; without one, a free loopback port is taken."""
    gpu_layers: int = 0

    def __repr__(self) -> str:
        return "Launch()"


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """One JSON line on the child's stdout. Nothing else the child prints is ever trusted or kept."""

    event: str
    """`listening`, `no_runtime` or `load_failed`."""
    port: int = 0


def encode(message: Launch | Said) -> bytes:
    return msgspec.json.encode(message) + b"\n"
