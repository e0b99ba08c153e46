"""What a request has used, as its usage rows tell it."""

from __future__ import annotations

import msgspec


class Use(msgspec.Struct, frozen=True, gc=False):
    """Whole tokens and milliseconds; None where the request has no such thing."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    execution_ms: int | None = None
