"""An engine that says canaries, in every field and in every way in which an engine can go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from retention_routes import Plant

from fake_engines import DONE, USAGE, Answer, Seen, delta, event
from fondaco.media.multipart import boundary_of, read_form

STATUSES = (302, 400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 502, 503, 504, 529)

KINDS = ("tts", "asr", "embedding")
"""What can be asked beside a chat. `refuses-400` as one that speaks is bound as `tts-refuses-400`."""

NAMES = (
    "says",
    "calls",
    "thinks",
    *(f"refuses-{status}" for status in STATUSES),
    "refuses-in-html",
    "refuses-with-text",
    "refuses-with-detail",
    "too-long",
    "fails-in-stream",
    "fails-with-text",
    "overloaded-in-stream",
    "breaks",
    "breaks-at-once",
    "ends-early",
    "babbles",
    "babbles-binary",
    "says-something-else",
    "says-wrong-types",
    "bad-head",
    "hangs",
    "hangs-at-once",
)


def answering(plant: Plant) -> Callable[[Seen], Answer]:
    """Answers by the name of the model."""

    def answer(seen: Seen) -> Answer:
        if seen.body is None:
            return _web(seen.path, plant)
        name = _model(seen)

        def told(field: str) -> str:
            return plant(f"{field} that {name} said")

        match name:
            case "embeds":
                return _vectors(seen, told)
            case "speaks":
                return _speech(told)
            case "hears":
                return _transcript(told)
            case _:
                streamed = isinstance(seen.body, dict) and bool(seen.body.get("stream"))
                return _answer(name, streamed, told)

    return answer


def _web(path: str, plant: Plant) -> Answer:
    """What a search of SearXNG's and a page say; neither is there where the path says so."""
    if "gone" in path:
        return Answer([plant("a page that is gone").encode()], status=500, content_type="text/html")
    if path.startswith("/search"):
        row = {
            "url": f"https://{plant('host of a result')}.example/",
            "title": plant("title of a result"),
            "content": plant("content of a result"),
            "publishedDate": "2026-01-02T00:00:00",
        }
        found = {"query": plant("query of an answer"), "results": [row], "unresponsive_engines": []}
        return Answer([json.dumps(found).encode()], content_type="application/json")
    if "picture" in path:
        return Answer([plant("no picture").encode()], content_type="image/png")
    text = " ".join(f"{plant('text of a page')} is here." for _ in range(20))
    page = f"<html><head><title>{plant('title of a page')}</title></head><body><p>{text}</p></body></html>"
    return Answer([page.encode()], content_type="text/html")


def _model(seen: Seen) -> str:
    if isinstance(seen.body, dict):
        return str(seen.body["model"])
    boundary = boundary_of(seen.headers["content-type"].encode())
    return read_form(seen.body, boundary).text("model") or ""


def _answer(name: str, streamed: bool, plant: Plant) -> Answer:
    told = {
        "message": plant("message"),
        "type": plant("type"),
        "code": plant("code"),
        "param": plant("param"),
    }
    error = json.dumps({"error": told, "detail": plant("detail"), plant("key"): 1}).encode()
    begun = [event([delta(role="assistant", content="")]), event([delta(content=plant("content"))])]
    headers = {
        "x-request-id": plant("header"),
        "retry-after": plant("retry-after"),
        plant("name").title(): "1",
    }
    if name.startswith("refuses-") and name[8:].isdigit():
        return Answer([error], status=int(name[8:]), content_type="application/json", headers=headers)
    match name:
        case "refuses-in-html":
            page = f"<html><h1>{plant('page')}</h1>".encode()
            return Answer([page], status=502, content_type="text/html", headers=headers)
        case "refuses-with-text":
            body = json.dumps({"error": plant("error as text")}).encode()
            return Answer([body], status=400, content_type="application/json")
        case "refuses-with-detail":
            body = json.dumps(
                {"detail": [{"loc": [plant("loc")], "msg": plant("msg"), "input": plant("in")}]}
            )
            return Answer([body.encode()], status=422, content_type="application/json")
        case "too-long":
            body = json.dumps({"error": {"message": f"maximum context length {plant('text')}"}}).encode()
            return Answer([body], status=400, content_type="application/json")
        case "fails-in-stream":
            return Answer([*begun, b"data: " + error + b"\n\n"])
        case "fails-with-text":
            return Answer([*begun, b'data: {"error": "%b"}\n\n' % plant("error as text").encode()])
        case "overloaded-in-stream":
            body = json.dumps({"error": {**told, "code": 429}}).encode()
            return Answer([*begun, b"data: " + body + b"\n\n"])
        case "breaks":
            return Answer([*begun, b'data: {"id": "' + plant("half an event").encode()], breaks=True)
        case "breaks-at-once":
            return Answer([], breaks=True, headers=headers)
        case "ends-early":
            return Answer(begun)
        case "babbles":
            return Answer([*begun, f"data: {{'not': json {plant('babble')}\n\n".encode(), *begun])
        case "babbles-binary":
            return Answer([b"\xff\xfe\x00" + plant("binary").encode() + b"\x00" * 50])
        case "says-something-else":
            body = json.dumps([plant("list")]).encode()
            return Answer([body], content_type=f"text/{plant('content type')}")
        case "says-wrong-types":
            body = json.dumps({"choices": plant("choices"), "usage": plant("usage")}).encode()
            return Answer(
                [body if not streamed else b"data: " + body + b"\n\n"], content_type=_kind(streamed)
            )
        case "bad-head":
            return Answer([plant("body").encode()], headers={"content-length": plant("content-length")})
        case "hangs":
            return Answer(begun, hangs=True)
        case "hangs-at-once":
            return Answer([], hangs=True)
        case _:
            return _good(name, streamed, plant, headers)


def _vectors(seen: Seen, plant: Plant) -> Answer:
    """Vectors of which those in base64 are canaries."""
    count = 1 if isinstance(seen.body["input"], str) else len(seen.body["input"])
    packed = seen.body.get("encoding_format") == "base64"
    made = [
        {
            "object": "embedding",
            "index": at,
            "embedding": plant("vector") if packed else [0.5],
            plant("key"): plant("value"),
        }
        for at in range(count)
    ]
    usage = {"prompt_tokens": 12, "total_tokens": 12}
    body = json.dumps({"data": made, "model": plant("model"), "usage": usage})
    return Answer([body.encode()], content_type="application/json", headers={"x-request-id": plant("header")})


def _speech(plant: Plant) -> Answer:
    """Audio that is hardly anything but canaries."""
    file = [b"ID3" + plant("audio").encode(), b"\0" * 9 + plant("more audio").encode()]
    return Answer(file, content_type="audio/mpeg", headers={"x-request-id": plant("header")})


def _transcript(plant: Plant) -> Answer:
    word = {"word": plant("word"), "start": 0, "end": 1, plant("key of a word"): plant("value")}
    segment = {"id": 0, "start": 0, "end": 1, "text": plant("text of a segment"), "words": [word]}
    told = {"text": plant("text"), "language": plant("language"), "duration": 1.5, "words": [word]}
    body = json.dumps({**told, "segments": [segment], plant("key"): plant("value")})
    return Answer([body.encode()], content_type="application/json", headers={"x-request-id": plant("header")})


def _kind(streamed: bool) -> str:
    return "text/event-stream" if streamed else "application/json"


def _good(name: str, streamed: bool, plant: Plant, headers: dict[str, str]) -> Answer:
    call: dict[str, Any] = {"index": 0, "id": plant("call id"), "type": "function"}
    call["function"] = {"name": plant("name of the call"), "arguments": json.dumps({"a": plant("arguments")})}
    said: dict[str, Any] = {
        "content": plant("content"),
        "refusal": plant("refusal"),
        plant("key"): plant("value"),
    }
    if name == "calls":
        said = {"content": None, "tool_calls": [call]}
    elif name == "thinks":
        said = {
            "reasoning_content": plant("reasoning_content"),
            "content": f"<think>{plant('think')}</think>x",
        }
    likely = {"content": [{"token": plant("token"), "logprob": -1, "bytes": None, "top_logprobs": []}]}
    more = {"id": plant("id"), "model": plant("model"), "system_fingerprint": plant("fingerprint")}
    if not streamed:
        choice = {
            "index": 0,
            "message": {"role": "assistant", **said},
            "logprobs": likely,
            "finish_reason": "stop",
        }
        choice["stop_reason"] = plant("stop_reason")
        body = json.dumps(
            {"object": "chat.completion", "created": 1, **more, "choices": [choice], "usage": USAGE}
        )
        return Answer([body.encode()], content_type="application/json", headers=headers)
    plain = [event([delta(content=plant("one of several chunks"))]) for _ in range(3)]
    last = {**delta(finish="stop"), "stop_reason": plant("stop_reason")}
    pieces = [
        event([delta(role="assistant", content="")], **more),
        event([{**delta(**said), "logprobs": likely}], **more),
        b"".join(plain),
        b": " + plant("comment").encode() + b"\n\n",
        b"event: " + plant("event name").encode() + b"\n" + event([delta(content=plant("named event"))]),
        event([last]),
        event([], usage=USAGE),
        DONE,
    ]
    return Answer(pieces, headers=headers)
