"""The API's OpenAPI 3.1 document, made from the same structs that read requests and write answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

import msgspec

from fondaco.errors import Issue

Access = Literal["open", "key", "admin"]
Json = dict[str, Any]

OPENAPI = "3.1.0"
API_BASE = "/api/v1"

_MEDIA_EVENTS = "text/event-stream"
_MEDIA_FORM = "multipart/form-data"
_MEDIA_JSON = "application/json"


class Query(msgspec.Struct, frozen=True):
    """One parameter in the query string."""

    name: str
    type: Any = str
    description: str = ""
    required: bool = False


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What the document says of one route.

    `path` is written as it is routed: `/models/{id:path}` becomes `/models/{id}` with its parameter. `answer` is the
    type of a JSON answer, or a media type such as `image/png`. `chunk` is the type of one event where the answer may
    be a stream. `errors` are the statuses to be expected besides those that every route of its access has.
    """

    method: str
    path: str
    summary: str
    description: str = ""
    tag: str
    access: Access = "key"
    based: bool = True
    request: Any = None
    form: bool = False
    """The request is `multipart/form-data`, not JSON."""
    files: tuple[str, ...] = ()
    """Files that the form must hold, beside the fields of `request`."""
    answer: Any = None
    chunk: Any = None
    export: str | None = None
    """The media type that `Accept` may ask for instead of JSON."""
    status: int = 200
    query: tuple[Query, ...] = ()
    errors: tuple[int, ...] = ()
    once: bool = False
    """Runs at most once for each `Idempotency-Key` of a caller."""


class ErrorAnswer(msgspec.Struct, frozen=True):
    """Any error: a sentence and, beside it, a code for programs."""

    error: str
    code: str


class InvalidRequestAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Fields are wrong: as a tree by field name (`details`) and as a list with paths (`issues`)."""

    error: str
    code: str
    details: dict[str, Any] = {}
    issues: list[Issue] = []


class ContextExceeded(msgspec.Struct, frozen=True):
    message: str
    param: Literal["messages"] = "messages"
    type: Literal["invalid_request_error"] = "invalid_request_error"
    code: Literal["context_length_exceeded"] = "context_length_exceeded"


class ContextExceededAnswer(msgspec.Struct, frozen=True):
    """The prompt does not fit the model."""

    error: ContextExceeded
    code: str


def document(
    operations: Sequence[Operation],
    *,
    title: str,
    version: str,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    base: str = API_BASE,
) -> Json:
    """The whole document, ready to be encoded. `tags` describes tags by name; `base` is the server's path."""
    schema_of = _Schemas([type_ for operation in operations for type_ in _types(operation)])
    paths: dict[str, Json] = {}
    for operation in operations:
        path = _parameter.sub(r"{\1}", operation.path)
        if not operation.based:
            paths.setdefault(path, {"servers": [{"url": "/"}]})
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, path, schema_of)
    described = tags or {}
    used = dict.fromkeys(operation.tag for operation in operations)
    return {
        "openapi": OPENAPI,
        "info": {"title": title, "version": version, "description": description},
        "servers": [{"url": base}],
        "tags": [{"name": tag, "description": described.get(tag, "")} for tag in used],
        "security": [{"BearerAuth": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "BearerAuth": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`Authorization: Bearer <key>`",
                }
            },
            "schemas": schema_of.components,
        },
    }


class _Schemas:
    """JSON Schemas of types, as references into the document's components."""

    def __init__(self, types: Iterable[Any]) -> None:
        listed: list[Any] = []
        for type_ in [ErrorAnswer, InvalidRequestAnswer, ContextExceededAnswer, *types]:
            if type_ not in listed:
                listed.append(type_)
        schemas, self.components = msgspec.json.schema_components(
            listed, ref_template="#/components/schemas/{name}"
        )
        self._found = list(zip(listed, schemas, strict=True))

    def __call__(self, type_: Any) -> Json:
        return next(schema for listed, schema in self._found if listed == type_)


# A parameter of a routed path: its name, and how much it matches.
_parameter = re.compile(r"\{(\w+)(?::\w+)?\}")


_ONCE: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": (
        "Of your own choice, new for each new request. A repeat within 24 hours is not run or charged again: it gets "
        "the first answer, or 409."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}


def _types(operation: Operation) -> list[Any]:
    asked = [operation.request, operation.chunk, *(query.type for query in operation.query)]
    if not isinstance(operation.answer, str):
        asked.append(operation.answer)
    return [type_ for type_ in asked if type_ is not None]


def _operation(operation: Operation, path: str, schema_of: _Schemas) -> Json:
    described: Json = {
        "operationId": _operation_id(operation.method, path),
        "summary": operation.summary,
        "tags": [operation.tag],
    }
    if operation.description:
        described["description"] = operation.description
    if operation.access == "open":
        described["security"] = [{}, {"BearerAuth": []}]
    if parameters := _parameters(operation, path, schema_of):
        described["parameters"] = parameters
    if operation.request is not None:
        media = _MEDIA_FORM if operation.form else _MEDIA_JSON
        described["requestBody"] = {
            "required": True,
            "content": {media: {"schema": _request_schema(operation, schema_of)}},
        }
    described["responses"] = _responses(operation, schema_of)
    return described


def _request_schema(operation: Operation, schema_of: _Schemas) -> Json:
    fields = schema_of(operation.request)
    if not operation.files:
        return fields
    files = {name: {"type": "string", "format": "binary"} for name in operation.files}
    return {"allOf": [fields, {"type": "object", "properties": files, "required": list(files)}]}


def _operation_id(method: str, path: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", path)
    return method.lower() + "".join(word[0].upper() + word[1:] for word in words)


def _parameters(operation: Operation, path: str, schema_of: _Schemas) -> list[Json]:
    in_path: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _parameter.findall(path)
    ]
    in_query: list[Json] = [
        {
            "name": query.name,
            "in": "query",
            "required": query.required,
            "description": query.description,
            "schema": schema_of(query.type),
        }
        for query in operation.query
    ]
    return in_path + in_query + ([_ONCE] if operation.once else [])


def _responses(operation: Operation, schema_of: _Schemas) -> Json:
    content: Json = {}
    if isinstance(operation.answer, str):
        content[operation.answer] = {"schema": _schema_of_media(operation.answer)}
    elif operation.answer is not None:
        content[_MEDIA_JSON] = {"schema": schema_of(operation.answer)}
    if operation.chunk is not None:
        content[_MEDIA_EVENTS] = {"schema": schema_of(operation.chunk)}
    if operation.export is not None:
        content[operation.export] = {"schema": _schema_of_media(operation.export)}
    good: Json = {"description": HTTPStatus(operation.status).phrase}
    if content:
        good["content"] = content
    responses: Json = {str(operation.status): good}
    for status in sorted({*operation.errors, *_usual(operation)}):
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {_MEDIA_JSON: {"schema": _error_schema(status, schema_of)}},
        }
    return responses


def _schema_of_media(media: str) -> Json:
    if media == _MEDIA_JSON:
        return {"type": "object"}
    return {"type": "string"} if media.startswith("text/") else {"type": "string", "format": "binary"}


def _usual(operation: Operation) -> set[int]:
    """The errors that any route of this kind may answer with."""
    usual = {500}
    if operation.access != "open":
        # 403: the account is suspended. 429: the key failed too often.
        usual |= {401, 403, 429}
    if operation.request is not None:
        usual |= {400, 413, 415}
    if operation.once:
        usual |= {409}
    return usual


def _error_schema(status: int, schema_of: _Schemas) -> Json:
    if status != 400:
        return schema_of(ErrorAnswer)
    return {"anyOf": [schema_of(InvalidRequestAnswer), schema_of(ContextExceededAnswer)]}
