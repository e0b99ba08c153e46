"""Cards as files: what is read of them, what is kept, and what is refused with a reason."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from card_files import in_base64, picture, raw
from fondaco.characters import card_file, png
from fondaco.characters.card import MAX_DOCUMENT, MAX_ENTRIES, BadCard, is_v3, read
from fondaco.characters.card_file import MAX_FILE, as_png, opened

SIX = {
    "name": "Nell",
    "description": "A miller.",
    "personality": "kind",
    "scenario": "",
    "first_mes": "Hello!",
    "mes_example": "",
}


def v2(**more: Any) -> dict[str, Any]:
    return {"spec": "chara_card_v2", "spec_version": "2.0", "data": {**SIX, "extensions": {}, **more}}


def v3(**more: Any) -> dict[str, Any]:
    return {
        "spec": "chara_card_v3",
        "spec_version": "3.0",
        "data": {**SIX, "group_only_greetings": [], **more},
    }


def test_a_card_of_each_version_is_read() -> None:
    for document in (SIX, v2(), v3(nickname="Nelly")):
        card = opened(raw(document)).read.card
        assert (card.name, card.description, card.first_mes) == ("Nell", "A miller.", "Hello!")
    assert read(raw(v3(nickname="Nelly"))).card.called == "Nelly"
    assert read(raw(v3(nickname=" "))).card.called == "Nell"


def test_a_card_of_the_first_version_is_kept_as_one_of_the_second() -> None:
    kept = json.loads(read(raw(SIX)).document)
    assert kept["spec"] == "chara_card_v2"
    assert kept["data"] == SIX


def test_what_is_not_known_of_a_card_is_kept() -> None:
    odd = v2(extensions={"app/voice": {"pitch": [1, 2]}}, future_field={"a": 1}, creator_notes=None)
    odd["data"]["character_book"] = {"entries": [{"keys": ["a"], "content": "b", "extensions": {"x": 1}}]}
    assert json.loads(read(raw(odd)).document) == odd


def test_nulls_and_loose_types_of_other_editors_pass() -> None:
    entry = {"keys": None, "content": None, "enabled": 1, "insertion_order": "5", "position": 4, "id": "x"}
    card = read(raw(v2(tags=None, character_book={"entries": [entry], "scan_depth": 2.0, "name": None}))).card
    assert card.tags is None
    assert card.character_book is not None
    assert card.character_book.entries[0].insertion_order == 5
    assert opened(b"\xef\xbb\xbf" + raw(v2())).read.card.name == "Nell"


def test_of_the_two_chunks_of_a_picture_the_newer_one_counts() -> None:
    both = picture(chara=in_base64(v2(name="Old")), ccv3=in_base64(v3(name="New")))
    assert opened(both).read.card.name == "New"
    assert opened(picture(chara=in_base64(v2(name="Old")))).read.card.name == "Old"


def test_the_picture_is_kept_without_its_texts() -> None:
    found = opened(picture(chara=in_base64(v2()), Comment="made by somebody")).picture
    assert found is not None
    assert Image.open(io.BytesIO(found)).getpixel((3, 3)) == (90, 20, 20)
    assert b"somebody" not in found
    assert b"chara" not in found


@pytest.mark.parametrize("card", [v2(name="Zoë 🌊"), v3(name="Zoë 🌊")])
def test_an_exported_picture_is_read_again_here_and_by_another_library(card: dict[str, Any]) -> None:
    document = read(raw(card)).document
    made = as_png(document, picture(chara="stale"))
    again = opened(made)
    assert again.read.card.name == "Zoë 🌊"
    assert json.loads(again.read.document)["spec"] == card["spec"]
    with Image.open(io.BytesIO(made)) as image:
        image.load()
        texts: dict[str, str] = image.text  # pyright: ignore[reportAttributeAccessIssue]
    # Readers of V2 find one too.
    older = json.loads(base64.b64decode(texts["chara"]))
    assert (older["spec"], older["data"]["name"]) == ("chara_card_v2", "Zoë 🌊")
    assert ("ccv3" in texts) == is_v3(document)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "not a character card"),
        (b"[" * 100_000, "not a character card"),
        (b'{"data":' * 5000 + b"1" + b"}" * 5000, "not"),
        (raw({"spec": "chara_card_v2", "data": {}}), "missing required field `name`"),
        (raw(v2(name=" ")), "1 to 200 characters"),
        (raw(v2(name="x" * 201)), "1 to 200 characters"),
        (raw(v2(description=["no", "text"])), "`data.description`"),
        (raw(v2(character_book={"entries": [{"keys": "a, b"}]})), "`data.character_book.entries[0].keys`"),
        (raw({"spec": "lorebook_v3", "data": {"entries": []}}), "a lorebook without a character"),
        (raw(v2(character_book={"entries": [{}] * (MAX_ENTRIES + 1)})), f"at most {MAX_ENTRIES} entries"),
        (raw(v2(description="x" * MAX_DOCUMENT)), "longer than"),
        (b" " * (MAX_FILE + 1), "larger than"),
        (picture(), "no character in this picture"),
        (picture(chara=""), "no character in this picture"),
        (picture(chara="not base64 !"), "not base64"),
        (picture(chara=base64.b64encode(b"no json").decode()), "not JSON"),
        (picture(chara=in_base64(v2()))[:-20], "cut off"),
        (png.SIGNATURE, "cut off"),
        (png.SIGNATURE + struct.pack(">I", 2**31) + b"IHDR" + b"x" * 20, "cut off"),
        (png.SIGNATURE + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND")), "cut off"),
    ],
)
def test_what_is_no_card_is_refused_with_a_reason(data: bytes, why: str) -> None:
    with pytest.raises(BadCard) as refused:
        opened(data)
    assert why in str(refused.value)


def test_a_changed_picture_is_damaged() -> None:
    good = picture(chara=in_base64(v2()))
    at = good.index(b"chara\0") + 20
    with pytest.raises(BadCard, match="checksum"):
        opened(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])


def test_a_refusal_repeats_nothing_of_the_card() -> None:
    secret = "0f7d-the-secret"
    for odd in (v2(name=secret * 50), v2(tags=[{secret: 1}]), v2(character_book=secret), {secret: secret}):
        with pytest.raises(BadCard) as refused:
            read(raw(odd))
        assert secret not in str(refused.value)
        assert secret not in repr(refused.value)


def test_assets_inside_the_json_are_left_out_and_that_is_said() -> None:
    inside = {
        "type": "icon",
        "uri": "data:image/png;base64," + "A" * MAX_DOCUMENT,
        "name": "main",
        "ext": "png",
    }
    outside = {"type": "icon", "uri": "ccdefault:", "name": "main", "ext": "png"}
    found = read(raw(v3(assets=[inside, outside])))
    assert json.loads(found.document)["data"]["assets"] == [outside]
    assert len(found.notes) == 1
    assert read(raw(v3(assets=[outside]))).notes == ()


@pytest.mark.parametrize(("version", "notes"), [("3.1", 1), ("3.0", 0), (None, 0), ("new", 0), (4, 1)])
def test_a_card_of_a_newer_format_is_taken_and_that_is_said(version: Any, notes: int) -> None:
    assert len(read(raw({**v3(), "spec_version": version})).notes) == notes


def test_a_picture_that_is_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_file, "MAX_PICTURE", 50)
    found = opened(picture(chara=in_base64(v2())))
    assert found.picture is None
    assert "left out" in found.read.notes[0]


_GOOD = picture(chara=in_base64(v2()))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(_GOOD) - 1), st.integers(0, 255)), max_size=6),
    st.integers(0, len(_GOOD)),
)
def test_whatever_a_file_holds_it_is_a_card_or_refused(changes: list[tuple[int, int]], length: int) -> None:
    data = bytearray(_GOOD)
    for at, value in changes:
        data[at] = value
    for mangled in (bytes(data), bytes(data[:length])):
        with contextlib.suppress(BadCard):
            assert opened(mangled).read.card.name
