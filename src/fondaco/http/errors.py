"""The one place where errors become answers."""

from __future__ import annotations

from typing import Any

import msgspec

from fondaco.errors import (
    AuthenticationFailed,
    Conflict,
    ContextExceeded,
    FondacoError,
    InferenceFailed,
    InvalidRequest,
    MethodNotAllowed,
    ModelLoading,
    ModelOffline,
    ModelOverloaded,
    RequestTimeout,
    UpstreamFailed,
    UpstreamRefused,
)
from fondaco.http.reply import Header, Reply
from fondaco.http.validation import error_details

_encoder = msgspec.json.Encoder()


def body_of(error: FondacoError, request_id: str) -> dict[str, Any]:
    """The error's JSON body: `error` as text (an object for context overflow) and `code` beside it."""
    if isinstance(error, ContextExceeded):
        return {
            "error": {
                "message": error.message,
                "type": "invalid_request_error",
                "param": "messages",
                "code": "context_length_exceeded",
            },
            "code": error.code,
        }
    body: dict[str, Any] = {"error": error.message, "code": error.code}
    if isinstance(error, InvalidRequest) and error.issues:
        body["details"] = error_details(error.issues)
        body["issues"] = error.issues
    if isinstance(error, Conflict):
        body.update(error.facts)
    if isinstance(error, UpstreamRefused):
        body["request_id"] = request_id
    return body


def render(error: FondacoError, request_id: str) -> Reply:
    """The whole answer for `error`."""
    headers: list[Header] = []
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, error.retry_after)))
    if isinstance(error, AuthenticationFailed):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allow).encode()))
    return Reply(_encoder.encode(body_of(error, request_id)), status=error.status, headers=tuple(headers))


def stream_error(error: FondacoError) -> bytes:
    """The event that ends a stream which failed after its head had gone out (CONTRACT 3.8)."""
    kind, code = "api_error", "upstream_error"
    if isinstance(error, ModelOverloaded):
        code = "model_overloaded"
    elif isinstance(error, (ModelLoading, ModelOffline, InferenceFailed, UpstreamFailed, RequestTimeout)):
        kind = "server_error"
    inner: dict[str, Any] = {"message": error.message, "type": kind, "code": code, "param": None}
    if error.retry_after is not None:
        inner["retry_after"] = error.retry_after
    return b"data: " + _encoder.encode({"error": inner}) + b"\n\ndata: [DONE]\n\n"
