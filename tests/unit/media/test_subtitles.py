"""Subtitles in both forms."""

from __future__ import annotations

import re
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from fondaco.media.subtitles import srt, vtt


class Said(NamedTuple):
    start: float
    end: float
    text: str


LINES = [Said(0, 3.84, " The invoice."), Said(59.9996, 3723.5, "Tom & Jerry\n\n<b>say</b> --> go")]


def test_srt_is_numbered_and_has_commas() -> None:
    assert srt(LINES) == (
        "1\n00:00:00,000 --> 00:00:03,840\nThe invoice.\n\n"
        "2\n00:01:00,000 --> 01:02:03,500\nTom & Jerry <b>say</b> → go\n\n"
    )


def test_vtt_has_a_head_and_points_and_no_marks_of_its_own() -> None:
    assert vtt(LINES) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:03.840\nThe invoice.\n\n"
        "00:01:00.000 --> 01:02:03.500\nTom &amp; Jerry &lt;b&gt;say&lt;/b&gt; --&gt; go\n\n"
    )


def test_nothing_said_is_nothing_written() -> None:
    assert srt([]) == ""
    assert vtt([]) == "WEBVTT\n\n"


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e5), st.text(max_size=40))))
def test_no_text_breaks_out_of_its_subtitle(said: list[tuple[float, float, str]]) -> None:
    lines = [Said(*each) for each in said]
    times = r"\d{2,}:[0-5]\d:[0-5]\d[.,]\d{3}"
    for text, first in ((srt(lines), r"\d+\n"), (vtt(lines).removeprefix("WEBVTT\n\n"), "")):
        found = re.findall(rf"^{first}{times} --> {times}\n([^\n]*)\n\n", text, re.M)
        assert len(found) == len(lines)
        assert text.count("-->") == len(lines)
        assert len(text.splitlines()) == len(lines) * (4 if first else 3)
