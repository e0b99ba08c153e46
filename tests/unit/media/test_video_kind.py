"""Videos are known by what they are."""

from __future__ import annotations

import pytest

from fondaco.media.video_kind import MEDIA_TYPES, VideoKind, video_kind


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41", "mp4"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "mp4"),
        (b"\0\0\0\x14ftypqt  \0\0\x02\0qt  ", "mov"),
        (b"\0\0\x10\0moov\0\0\0\x6cmvhd", "mov"),
        (b"\0\0\x01\xba\x44\0\x04\0\x04\x01", "mpeg"),
        (b"\0\0\x01\xb3\x14\0\xf0\x13", "mpeg"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webmB\x87\x81\x04", "webm"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska", None),
        (b"\0\0\0\x18ftypheic\0\0\0\0", None),
        (b"\0\0\0\x18ftypavif\0\0\0\0", None),
        (b"\0\0\0\x18ftypM4A \0\0\0\0", None),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"<html>ftyp</html>", None),
        (b"", None),
        (b"ftyp", None),
    ],
)
def test_a_video_is_known_by_its_first_bytes(data: bytes, kind: VideoKind | None) -> None:
    assert video_kind(data) == kind
    assert kind is None or MEDIA_TYPES[kind].startswith("video/")
