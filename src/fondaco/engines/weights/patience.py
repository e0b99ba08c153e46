"""How long a source may be silent before the next one is tried."""

from __future__ import annotations

import msgspec


class Patience(msgspec.Struct, frozen=True):
    """Seconds."""

    first: float = 5.0
    """From the connection's begin to the first byte."""
    stalled: float = 30.0
    """Between two bytes, once some have come."""
    starting: float = 20.0
    """What a client program gets on top for starting itself; on a busy machine an interpreter is slow to begin."""
