"""Cross-origin requests from browsers, for the origins that the operator names."""

from __future__ import annotations

from collections.abc import Iterable

from fondaco.http.call import Call
from fondaco.http.reply import Header, Reply

_METHODS = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"
_REMEMBER = b"600"


class Cors:
    def __init__(self, origins: Iterable[str]) -> None:
        """`*` among the origins stands for any."""
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, call: Call) -> list[Header]:
        """What an answer says to a browser that asked from one of the origins. Keys are never sent by themselves,
        so credentials need not be allowed."""
        origin = call.headers.get(b"origin")
        if b"*" in self._origins:
            return [] if origin is None else [(b"access-control-allow-origin", b"*"), _EXPOSED]
        if origin is None or origin not in self._origins:
            # Without an origin too: a cache must not give this answer to a browser that asks from one of ours.
            return [_VARIES]
        return [(b"access-control-allow-origin", origin), _VARIES, _EXPOSED]

    def preflight(self, call: Call) -> Reply | None:
        """The answer to a browser that asks beforehand; None for any other call."""
        if call.method != "OPTIONS" or b"access-control-request-method" not in call.headers:
            return None
        asked = call.headers.get(b"access-control-request-headers", b"authorization, content-type")
        return Reply(
            status=204,
            headers=(
                (b"access-control-allow-methods", _METHODS),
                (b"access-control-allow-headers", asked),
                (b"access-control-max-age", _REMEMBER),
            ),
        )


_EXPOSED = (b"access-control-expose-headers", b"*")
_VARIES = (b"vary", b"origin")
