"""The generated OpenAPI document and the page that shows it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from typing import Any, Literal

import jsonschema_rs
import msgspec

from fondaco.chat.answer_wire import Chunk, Completion
from fondaco.chat.wire import ChatRequest
from fondaco.http import docs
from fondaco.http.openapi import Operation, Query, document

OPERATIONS = [
    Operation(
        method="POST",
        path="/chat/completions",
        summary="Complete a chat",
        tag="Chat",
        request=ChatRequest,
        answer=Completion,
        chunk=Chunk,
        errors=(404, 429),
        once=True,
    ),
    Operation(
        method="GET",
        path="/models/{id:path}",
        summary="One model",
        tag="Models",
        access="open",
        query=(Query("type", Literal["text", "image"], "Only these"),),
        answer="image/png",
    ),
    Operation(method="GET", path="/healthz", summary="Alive", tag="Server", access="open", based=False),
]


def made() -> dict[str, Any]:
    encoded = msgspec.json.encode(document(OPERATIONS, title="Fondaco", version="1", tags={"Chat": "Talk."}))
    decoded: dict[str, Any] = msgspec.json.decode(encoded)
    return decoded


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_document_is_openapi_3_1_with_all_routes() -> None:
    api = made()
    assert api["openapi"].startswith("3.1")
    assert list(api["paths"]) == ["/chat/completions", "/models/{id}", "/healthz"]
    assert [tag["name"] for tag in api["tags"]] == ["Chat", "Models", "Server"]


def test_every_reference_leads_to_a_component() -> None:
    api = made()
    found = set(references(api))
    assert found
    for reference in found:
        assert reference.removeprefix("#/components/schemas/") in api["components"]["schemas"]


def test_component_names_are_what_openapi_allows() -> None:
    for name in made()["components"]["schemas"]:
        assert re.fullmatch(r"[A-Za-z0-9.\-_]+", name)


def test_a_streamed_answer_is_described_beside_the_whole_one() -> None:
    content = made()["paths"]["/chat/completions"]["post"]["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/event-stream"}


def test_errors_are_described_with_their_bodies() -> None:
    responses = made()["paths"]["/chat/completions"]["post"]["responses"]
    assert {"400", "401", "404", "413", "415", "429", "500"} <= set(responses)
    assert responses["404"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer")


def test_open_routes_say_that_no_key_is_needed() -> None:
    api = made()
    assert {} in api["paths"]["/models/{id}"]["get"]["security"]
    assert "security" not in api["paths"]["/chat/completions"]["post"]


def test_path_and_query_parameters_are_listed() -> None:
    parameters = made()["paths"]["/models/{id}"]["get"]["parameters"]
    assert [(one["name"], one["in"], one["required"]) for one in parameters] == [
        ("id", "path", True),
        ("type", "query", False),
    ]


def test_a_route_that_runs_once_names_its_header_and_its_conflict() -> None:
    api = made()
    chat = api["paths"]["/chat/completions"]["post"]
    assert [(one["name"], one["in"], one["required"]) for one in chat["parameters"]] == [
        ("Idempotency-Key", "header", False)
    ]
    assert "409" in chat["responses"]
    assert "409" not in api["paths"]["/models/{id}"]["get"]["responses"]


def test_a_route_outside_the_base_names_its_own_server() -> None:
    assert made()["paths"]["/healthz"]["servers"] == [{"url": "/"}]


def test_the_schema_says_what_the_decoder_takes() -> None:
    api = made()
    schema = {"$ref": "#/components/schemas/ChatRequest", "components": api["components"]}
    validator = jsonschema_rs.validator_for(schema)
    good = {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
        "temperature": None,
        "stop": ["a"],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    }
    assert validator.is_valid(good)
    assert not validator.is_valid(good | {"temperature": 3})
    assert not validator.is_valid(good | {"unknown": 1})
    assert not validator.is_valid(good | {"messages": []})


def test_the_page_asks_no_other_host_for_anything() -> None:
    page = docs.page("/api/v1/openapi.json").decode()
    assert 'data-document="/api/v1/openapi.json"' in page
    assert "//" not in re.sub(r"^\s*//.*$", "", page, flags=re.MULTILINE)
    assert not re.search(r"<(script|link|img|iframe)\s", page)


def test_the_page_may_run_its_own_script_and_no_other() -> None:
    page = docs.page().decode()
    policy = docs.content_security_policy()
    for kind in ("script", "style"):
        (inline,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_a_path_cannot_break_out_of_the_page() -> None:
    assert b'"><script>x' not in docs.page('/a"><script>x')
