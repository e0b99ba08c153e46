"""Every error a caller can meet, as one tree.

    FondacoError
    ├── InvalidRequest            400  one or more fields are wrong; carries issues with paths
    │   └── ModelNotText          400  `model` absent or not a string
    ├── MalformedJson             400
    ├── MalformedForm             400
    ├── InvalidAudioFormat        400
    ├── ContextExceeded           400  the OpenAI-shaped body
    ├── UpstreamRefused           400  an engine found fault with the request
    ├── KeyNotFound               400
    ├── AuthenticationFailed      401
    │   └── AdminRequired         401
    ├── PaymentRequired           402  some wall of money was hit; its code says which
    │   ├── InsufficientBalance   402
    │   └── KeySpendLimitExceeded 402
    ├── Forbidden                 403
    │   ├── AccessDisabled        403
    │   └── ModelNotAllowed       403
    ├── ModelNotFound             404
    ├── CharacterNotFound         404
    ├── RouteNotFound             404
    ├── MethodNotAllowed          405
    ├── Conflict                  409
    ├── PayloadTooLarge           413
    ├── UnsupportedContentType    415
    ├── ContentPolicy             422
    ├── AudioNotProcessed         422
    ├── ModelOverloaded           429
    ├── RateLimitExceeded         429  with Retry-After
    │   └── TooManyFailures       429
    ├── InferenceFailed           500
    ├── PageUnavailable           500
    ├── UpstreamFailed            502
    │   └── TranscriptionFailed   502
    ├── ModelOffline              503
    │   ├── ModelLoading          503  with Retry-After and how far it is
    │   └── ModelAtCapacity       503
    ├── LedgerUnavailable         503
    ├── SearchUnavailable         503
    └── RequestTimeout            504

`message` is what the caller reads and may repeat what the caller sent; `str()` of an error is its code alone,
so that no log line or traceback can carry content. They are rendered in one place, `http/errors.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import msgspec

PathPart = str | int


class Issue(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fault in a request: where (`path` from the body's root), which kind (`code`), and what is allowed."""

    code: str
    path: tuple[PathPart, ...]
    message: str
    keys: tuple[str, ...] = ()


class FondacoError(Exception):
    """The root: an HTTP status, a machine code, and a sentence for the caller."""

    status: ClassVar[int] = 500
    code: str = "UNKNOWN_ERROR"
    default: ClassVar[str] = "An unknown error occurred"

    def __init__(self, message: str | None = None, *, retry_after: int | None = None) -> None:
        """`retry_after` in whole seconds becomes the `Retry-After` header."""
        super().__init__()
        self.message = message or self.default
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.code

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code})"


class InvalidRequest(FondacoError):
    """Some fields are wrong; `issues` names each with its path."""

    status = 400
    code = "INVALID_REQUEST"
    default = "Invalid request parameters"

    def __init__(self, issues: Sequence[Issue] = (), message: str | None = None) -> None:
        super().__init__(message)
        self.issues = tuple(issues)

    @classmethod
    def at(cls, *path: PathPart, message: str, code: str = "custom") -> InvalidRequest:
        """A single fault at `path`."""
        return cls([Issue(code=code, path=path, message=message)])


class ModelNotText(InvalidRequest):
    """`model` is missing or not a string; said before the schema is looked at, as the vendor does."""


class MalformedJson(FondacoError):
    status = 400
    code = "INVALID_REQUEST"
    default = "Invalid JSON request"


class MalformedForm(FondacoError):
    status = 400
    code = "INVALID_REQUEST"
    default = "Invalid form request"


class InvalidAudioFormat(FondacoError):
    """The file is not audio of a kind that is read, whatever its name says."""

    status = 400
    code = "INVALID_AUDIO_FORMAT"
    default = "Invalid audio format"


class ContextExceeded(FondacoError):
    """The prompt, or the prompt and completion asked for, do not fit the model."""

    status = 400
    code = "TOO_MANY_TOKENS"
    default = (
        "Your request exceeds the model's maximum context. Please reduce your prompt or completion length."
    )


class UpstreamRefused(FondacoError):
    """An engine answered 4xx; its sentence goes to the caller, never to a log."""

    status = 400
    code = "INVALID_REQUEST"
    default = "The model refused the request"

    def __init__(
        self, message: str | None = None, *, param: str | None = None, reason: str | None = None
    ) -> None:
        """`param` is the field that the engine finds at fault, and `reason` its own code for why."""
        super().__init__(message)
        self.param = param
        self.reason = reason


class KeyNotFound(FondacoError):
    status = 400
    code = "INVALID_REQUEST"
    default = "API key not found"


class AuthenticationFailed(FondacoError):
    status = 401
    code = "AUTHENTICATION_FAILED"
    default = "Authentication failed"


class AdminRequired(AuthenticationFailed):
    default = "Admin API key required"


class PaymentRequired(FondacoError):
    """The money that this request may cost is not there. Nothing was run and nothing charged."""

    status = 402
    code = "INSUFFICIENT_BALANCE"


class InsufficientBalance(PaymentRequired):
    default = "Insufficient USD or Diem balance to complete request. Visit https://venice.ai/settings/api to add credits."


class KeySpendLimitExceeded(PaymentRequired):
    """The account could pay; this key may not spend so much."""

    def __init__(self, currency: Literal["USD", "DIEM"]) -> None:
        super().__init__(
            f"API key {currency} spend limit exceeded. Your account may still have {currency} balance, "
            f"but this API key has reached its configured {currency} spending limit."
        )
        self.code = f"API_KEY_{currency}_SPEND_LIMIT_EXCEEDED"


class Forbidden(FondacoError):
    status = 403
    code = "UNAUTHORIZED"
    default = "Unauthorized access"


class AccessDisabled(Forbidden):
    """The key is good, and its account is suspended."""

    code = "API_ACCESS_DISABLED"
    default = "API access has been disabled for this account. Please contact support@venice.ai"


class ModelNotAllowed(Forbidden):
    """The key's `modelPrivacy` keeps it from this model."""

    code = "MODEL_PRIVACY_RESTRICTED"


class ModelNotFound(FondacoError):
    status = 404
    code = "MODEL_NOT_FOUND"
    default = "Specified model not found"


class CharacterNotFound(FondacoError):
    status = 404
    code = "CHARACTER_NOT_FOUND"
    default = "No character could be found from the provided character_slug"


class RouteNotFound(FondacoError):
    status = 404
    code = "NOT_FOUND"
    default = "Not found"


class MethodNotAllowed(FondacoError):
    status = 405
    code = "METHOD_NOT_ALLOWED"
    default = "Method not allowed"

    def __init__(self, message: str | None = None, *, allow: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.allow = tuple(allow)


class Conflict(FondacoError):
    """The same `Idempotency-Key` was used before; `code` says how that request stands."""

    status = 409
    code = "CONFLICT"
    default = "The request conflicts with an earlier one"

    def __init__(
        self, message: str | None = None, *, code: str = "CONFLICT", facts: Mapping[str, object] | None = None
    ) -> None:
        """`facts` stand in the answer's body beside `error` and `code`: what a program may ask of that request."""
        super().__init__(message)
        self.code = code
        self.facts = facts or {}


class PayloadTooLarge(FondacoError):
    status = 413
    code = "PAYLOAD_TOO_LARGE"
    default = "Request body exceeds the maximum allowed size."


class UnsupportedContentType(FondacoError):
    status = 415
    code = "INVALID_CONTENT_TYPE"
    default = "Invalid request content-type"


class ContentPolicy(FondacoError):
    status = 422
    code = "CONTENT_POLICY_VIOLATION"
    default = "Your prompt violates the content policy of Venice.ai or the model provider"


class AudioNotProcessed(FondacoError):
    """The file is audio, and cannot be transcribed."""

    status = 422
    code = "ASR_UPSTREAM_VALIDATION_FAILED"
    default = "The audio could not be processed for transcription."


class ModelOverloaded(FondacoError):
    status = 429
    code = "MODEL_OVERLOADED"
    default = "The model is currently overloaded. Please try again later."


class RateLimitExceeded(FondacoError):
    status = 429
    code = "RATE_LIMIT_EXCEEDED"
    default = "Rate limit exceeded"


class TooManyFailures(RateLimitExceeded):
    """Abuse protection: this key has sent too many requests that failed."""


class InferenceFailed(FondacoError):
    status = 500
    code = "INFERENCE_FAILED"
    default = "Inference processing failed"


class PageUnavailable(FondacoError):
    """A page of the web could not be fetched, or has nothing to be read."""

    status = 500
    code = "PAGE_UNAVAILABLE"
    default = "The page could not be fetched."


class UpstreamFailed(FondacoError):
    status = 502
    code = "UPSTREAM_FAILED"
    default = "The model's engine gave no usable answer. Please try again."


class TranscriptionFailed(UpstreamFailed):
    code = "ASR_UPSTREAM_FAILED"


class ModelOffline(FondacoError):
    status = 503
    code = "MODEL_OFFLINE"
    default = "The model is temporarily offline. Please try again later."


class ModelLoading(ModelOffline):
    code = "MODEL_LOADING"
    default = "The model is being made ready. Please try again later."


class ModelAtCapacity(ModelOffline):
    code = "MODEL_AT_CAPACITY"
    default = "The model is at capacity. Please try again later."


class LedgerUnavailable(FondacoError):
    """What this request would cost cannot be written down, so it is not begun."""

    status = 503
    code = "LEDGER_UNAVAILABLE"
    default = "Usage cannot be recorded at the moment. Please try again later."


class SearchUnavailable(FondacoError):
    """Nobody who searches has answered."""

    status = 503
    code = "SEARCH_UNAVAILABLE"
    default = "No search provider answered."


class RequestTimeout(FondacoError):
    status = 504
    code = "REQUEST_TIMEOUT"
    default = (
        "The request took too long to complete and was timed-out. For long-running inference requests, "
        "use the streaming API by setting stream=true in your request."
    )
