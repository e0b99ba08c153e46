"""Pictures: which are taken, which are shown to the model, and that no URL of one is handed on."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from fake_engines import whole
from scripted_chat import LOCAL, Gateway, in_json

pytestmark = pytest.mark.anyio

ANSWER = in_json(whole({"content": "A cat."}))


def encoded(kind: str = "PNG", size: tuple[int, int] = (80, 64), colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


def url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def image(where: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": where, **more}}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


TEXT = {"type": "text", "text": "What is it?"}
PNG = url(encoded())


def bomb() -> bytes:
    """A PNG of a few bytes whose header promises 60,000 by 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = b""
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")):
        chunks += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_a_picture_goes_to_the_engine_unchanged(kind: str) -> None:
    gateway = Gateway(ANSWER, vision=True)
    sent = url(encoded(kind), f"image/{kind.lower()}")
    await gateway.both(messages=[user(TEXT, image(sent, detail="low"))])
    assert gateway.engine.messages == [user(TEXT, image(sent, detail="low"))]


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(url(encoded(size=(32, 32))), id="too small"),
        pytest.param(url(encoded(size=(200, 63))), id="one side too small"),
        pytest.param(url(b"not a picture at all" * 10), id="garbage"),
        pytest.param(url(encoded("GIF"), "image/gif"), id="another format"),
        pytest.param(url(encoded()[:20]), id="cut off"),
        pytest.param(url(bomb()), id="bomb"),
        pytest.param(url(b""), id="empty"),
        pytest.param("data:image/png,abc", id="not base64"),
        pytest.param("data:image/png;base64,%%%", id="bad base64"),
        pytest.param("data:", id="nothing"),
        pytest.param("http://127.0.0.1:1/x.png", id="http"),
        pytest.param("https://example.invalid/x.png", id="https"),
        pytest.param("HTTP://127.0.0.1/x.png", id="HTTP"),
        pytest.param("file:///etc/passwd", id="file"),
        pytest.param("//host/x.png", id="no scheme"),
        pytest.param("/etc/passwd", id="a path"),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
async def test_what_is_no_picture_is_refused_by_its_place_and_not_handed_on(
    where: str, streamed: bool
) -> None:
    gateway = Gateway(ANSWER, vision=True)
    response = await gateway.ask(messages=[user(TEXT, image(where))], stream=streamed)
    assert response.status == 400
    [issue] = response.json["issues"]
    assert issue["path"] == ["messages", 0, "content", 1, "image_url", "url"]
    assert len(issue["message"]) < 300
    assert response.json["details"]["messages"]["0"]["content"]["1"]["image_url"]["url"]["_errors"]
    assert gateway.engine.asked == []


async def test_a_model_that_does_not_see_says_so() -> None:
    gateway = Gateway(ANSWER)
    response = await gateway.ask(messages=[user(TEXT, image(PNG))])
    assert response.status == 400
    [issue] = response.json["issues"]
    assert issue["path"][:4] == ["messages", 0, "content", 1]
    assert "not supported by this model" in issue["message"]
    assert gateway.engine.asked == []


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "https://example.invalid/x.mp4"}},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
    ],
)
async def test_other_media_are_refused_by_their_place(part: dict[str, Any]) -> None:
    gateway = Gateway(ANSWER, vision=True)
    response = await gateway.ask(messages=[user(TEXT, part)])
    assert response.status == 400
    assert response.json["issues"][0]["path"][:4] == ["messages", 0, "content", 1]
    assert gateway.engine.asked == []


async def test_every_wrong_picture_is_named_at_its_place() -> None:
    gateway = Gateway(ANSWER, vision=True)
    far = image("file:///x.png")
    response = await gateway.ask(
        messages=[user(TEXT, far), {"role": "assistant", "content": "x"}, user(far, TEXT, far)]
    )
    assert [issue["path"][1:4:2] for issue in response.json["issues"]] == [[0, 1], [2, 0], [2, 2]]


async def test_a_model_for_one_message_of_pictures_sees_only_the_last() -> None:
    old, new = url(encoded(colour="green")), url(encoded(colour="blue"))
    messages = [
        user(TEXT, image(old)),
        {"role": "assistant", "content": "Green."},
        user(image(old)),
        {"role": "assistant", "content": "Again."},
        user(image(new), TEXT, image(PNG)),
        {"role": "user", "content": "Well?"},
    ]
    gateway = Gateway(ANSWER, vision=True, multiple_images=False)
    await gateway.whole(messages=messages)
    sent = gateway.engine.messages
    assert [message["content"] for message in sent] == [
        "What is it?",
        "Green.",
        *([""] if len(sent) == 6 else []),
        "Again.",
        [image(new), TEXT, image(PNG)],
        "Well?",
    ]
    several = Gateway(ANSWER, vision=True, multiple_images=True)
    await several.whole(messages=messages)
    assert [message["content"] for message in several.engine.messages] == [m["content"] for m in messages]


async def test_a_message_has_at_most_ten_pictures() -> None:
    gateway = Gateway(ANSWER, vision=True, multiple_images=True)
    await gateway.whole(messages=[user(*[image(PNG)] * 10)])
    response = await gateway.ask(messages=[user(*[image(PNG)] * 11)])
    assert response.status == 400
    assert response.json["issues"][0]["path"] == ["messages", 0, "content"]


async def test_a_local_model_without_eyes_is_never_shown_one() -> None:
    gateway = Gateway(ANSWER)
    response = await gateway.ask(model=LOCAL, messages=[user(image(PNG))])
    assert response.status == 400
    assert gateway.local.leases == []
