"""What a request to a target says before its body, the same through either transport, and checked."""

from __future__ import annotations

from fondaco.upstream.transport import ConnectFailed, Target

_OURS = frozenset(
    {b"connection", b"content-length", b"expect", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
"""Framing belongs to the transport: a target that could set it could split requests."""


def request_headers(target: Target) -> list[tuple[bytes, bytes]]:
    """Ours, then the target's own, which take the place of ours by name.

    Raises ConnectFailed if one of the target's headers could change the framing. It names no value.
    """
    for name, value in target.headers:
        if name.lower() in _OURS:
            raise ConnectFailed("the target's headers may not set the framing")
        if not is_header_value(value) or not _is_token(name):
            raise ConnectFailed("the target's headers hold a forbidden character")
    ours = {
        b"host": _host(target),
        b"accept": b"*/*",
        b"accept-encoding": b"identity",
        b"user-agent": b"fondaco",
    }
    for name, _ in target.headers:
        ours.pop(name.lower(), None)
    return [*ours.items(), *target.headers]


def request_path(target: Target, method: str, path: str) -> str:
    """The path as it is sent. Raises ConnectFailed for what would end the request line early and start another."""
    whole = target.base_path + path
    if not (method.isascii() and method.isalpha() and whole.startswith("/") and whole.isascii()):
        raise ConnectFailed("the request line is not one")
    if not whole.isprintable() or " " in whole or "#" in whole:
        raise ConnectFailed("the request line holds a forbidden character")
    return whole


def is_header_value(value: bytes) -> bool:
    """Whether `value` stays inside its header."""
    return not any(byte in b"\r\n\0" for byte in value)


def _host(target: Target) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    if target.port != (443 if target.tls else 80):
        host = f"{host}:{target.port}"
    if not host.isascii() or not host.isprintable() or " " in host or "/" in host:
        raise ConnectFailed("the target's host is not a name or an address")
    return host.encode()


def _is_token(name: bytes) -> bool:
    return bool(name) and name.isascii() and name.replace(b"-", b"").replace(b"_", b"").isalnum()
