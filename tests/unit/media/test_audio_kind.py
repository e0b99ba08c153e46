"""What a file is, by its bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_files import FORMS, SPOKEN, encoded, silent_film, tone
from fondaco.media.audio_kind import AUDIO_KINDS, audio_kind


@pytest.mark.parametrize("ending", FORMS)
def test_real_files_of_every_kind_are_told(ending: str) -> None:
    assert audio_kind(encoded(ending, tone(0.5))) == FORMS[ending][0]


def test_an_mp3_file_is_told_with_a_tag_and_without() -> None:
    tagged = encoded("mp3", tone(0.5))
    assert tagged.startswith(b"ID3")
    bare = tagged[10 + tagged[9] + (tagged[8] << 7) :]
    assert bare[0] == 0xFF
    assert audio_kind(bare) == "mp3"
    picture = b"ID3\x04\0\0\0\0\x01\0" + b"p" * 128
    assert audio_kind(picture + bare) == "mp3"
    assert audio_kind(picture + b"\0" * 100 + bare) == "mp3"
    assert audio_kind(picture) is None
    assert audio_kind(picture + b"just text, and more than a bit of it") is None


def test_what_is_told_does_not_depend_on_how_it_is_held() -> None:
    data = SPOKEN.read_bytes()
    assert audio_kind(memoryview(data)) == audio_kind(data) == "ogg"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        b"hello, this is a text file called speech.mp3\n" * 20,
        b"PK\x03\x04" + bytes(400),
        b"\x89PNG\r\n\x1a\n" + bytes(400),
        b"RIFF\0\0\0\0AVI LIST" + bytes(400),
        b"%PDF-1.7\n" + bytes(400),
        b"#EXTM3U\n#EXT-X-TARGETDURATION:10\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"\xff\xd8\xff\xe0" + bytes(400),
        b"\xff" * 400,
        bytes(400),
    ],
)
def test_anything_else_is_none_of_them(data: bytes) -> None:
    assert audio_kind(data) is None


def test_a_film_is_of_a_kind_that_may_hold_sound() -> None:
    assert audio_kind(silent_film()) == "mp4"


@given(st.binary(max_size=64))
def test_no_bytes_bring_it_down(data: bytes) -> None:
    assert audio_kind(data) in (None, *AUDIO_KINDS)
