"""What makes results fit to be read: clean, dated, each thing once, the relevant first, no more than fits."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fondaco.augment.ranking import fused, ranked
from fondaco.augment.results import (
    MAX_CONTENT,
    Result,
    day,
    distinct,
    fitting,
    plain,
    result,
    shortened,
)
from fondaco.augment.words import content_words, overlap
from fondaco.content import ContentLeak

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("2024-05-06", "2024-05-06"),
        ("2024-05-06T23:59:59", "2024-05-06"),
        ("2024-05-06 10:00:00+0000", "2024-05-06"),
        ("Mon, 06 May 2024 10:00:00 GMT", "2024-05-06"),
        ("2024-13-45", ""),
        ("3 days ago", ""),
        ("Mon, 06 May 2024 10:00:00 +99999999999999999999", ""),
        ("6 May 99999999999 10:00:00 +0000", ""),
        ("", ""),
        (None, ""),
        (20240506, ""),
    ],
)
def test_dates_become_days(given: object, meant: str) -> None:
    assert day(given) == meant


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("High <strong>water</strong>\n at  noon", "High water at noon"),
        ("a &amp; b &lt;script&gt;x&lt;/script&gt;", "a & b x"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("zero\u200bwidth \u202eturned\u202c", "zero width turned"),
        (None, ""),
    ],
)
def test_texts_become_plain(given: object, meant: str) -> None:
    assert plain(given) == meant


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "ftp://a.test/",
        "",
        None,
        "https://a.test/ b",
        "/relative",
        "https://a.test/" + "a" * 2000,
    ],
)
def test_what_leads_nowhere_on_the_web_is_no_result(url: object) -> None:
    assert result("t", url, "c") is None


def test_a_result_is_bounded_and_always_has_a_title() -> None:
    found = result("", "https://a.test/", "word " * 1000)
    assert found is not None
    assert found.title == "https://a.test/"
    assert len(found.content) <= MAX_CONTENT
    assert found.content.endswith("word…")
    assert shortened("short", 5) == "short"


def test_of_a_providers_text_no_more_is_looked_at_than_is_kept() -> None:
    assert len(plain("word " * 1_000_000)) < 20 * MAX_CONTENT


def test_a_result_is_content() -> None:
    found = Result("canary", "https://a.test/", "canary")
    assert "canary" not in repr(found)
    with pytest.raises(ContentLeak):
        str(found)


def _at(url: str, content: str = "", date: str = "", title: str = "t") -> Result:
    return Result(title, url, content, date)


def test_one_page_in_several_spellings_comes_once() -> None:
    found = distinct(
        [
            _at("https://www.a.test/x/?utm_source=y&b=1&a=2"),
            _at("http://a.test/x?a=2&b=1#top", date="2024-01-01"),
            _at("https://a.test:443/x?b=1&a=2&gclid=z"),
            _at("https://a.test/x?b=1"),
            _at("https://a.test:8443/x?b=1"),
            _at("https://a.test/X?b=1"),
        ]
    )
    assert [each.url for each in found] == [
        "https://www.a.test/x/?utm_source=y&b=1&a=2",
        "https://a.test/x?b=1",
        "https://a.test:8443/x?b=1",
        "https://a.test/X?b=1",
    ]
    assert found[0].date == "2024-01-01"


def test_one_text_on_several_pages_comes_once() -> None:
    text = "The lagoon is fed by three inlets, and each of them has a gate that closes at high water, when the wind blows from the south and the moon is new."
    found = distinct(
        [_at("https://a.test/", text), _at("https://b.test/", text + " Ok."), _at("https://c.test/", "Ok.")]
    )
    assert [each.url for each in found] == ["https://a.test/", "https://c.test/"]


def test_a_short_text_comes_once_under_one_title_and_from_each_page_under_others() -> None:
    text = "Hulls are painted blue each April."
    found = distinct(
        [
            _at("https://a.test/", text, title="Boats"),
            _at("https://b.test/", text, title="Boats"),
            _at("https://c.test/", text, title="Paint"),
            _at("https://d.test/", title="Boats"),
            _at("https://e.test/", title="Boats"),
        ]
    )
    assert [each.url[8] for each in found] == ["a", "c", "d", "e"]


def test_as_many_come_as_fit() -> None:
    found = [_at(f"https://{at}.test/", "word " * 100) for at in range(5)]
    kept = fitting(found, 1300)
    assert len(kept) == 3
    assert sum(len(each.title + each.url + each.content) for each in kept) <= 1300
    assert kept[2].content.endswith("…")
    assert [each.url for each in fitting(found, 100_000)] == [each.url for each in found]
    assert fitting(found, 10) == []


def test_words_that_carry_what_a_text_is_about() -> None:
    assert content_words("What are the TIDES of the Café's lagoons?") == ["tide", "cafe", "lagoon"]
    assert content_words("what is it") == ["what", "is", "it"]
    assert content_words("glass bus cities") == ["glass", "bus", "city"]
    assert overlap({"a", "b"}, {"b", "c"}) == 0.5
    assert overlap(set(), {"b"}) == 0.0


def test_orders_are_fused_by_rank() -> None:
    assert fused([[0, 1, 2], [2, 1, 0]], 3)[0] in (0, 2)
    assert fused([[0, 1, 2], [1, 0, 2], [1, 2, 0]], 3) == [1, 0, 2]
    assert fused([[0, 1], [1]], 3) == [1, 0, 2]


WEB = [
    _at("https://a.test/", "Cheap flights and hotels for your holidays", title="Travel deals"),
    _at("https://b.test/", "A page about many things, also tides", title="Things"),
    _at(
        "https://c.test/",
        "High water stands at the quay at noon; the tide tables say when",
        title="Tide tables",
    ),
]


async def test_what_holds_the_words_of_the_query_comes_first() -> None:
    found = await ranked("tide tables for the quay", WEB, None)
    assert found[0].title == "Tide tables"
    assert found[-1].title == "Travel deals"


class Meanings:
    """Vectors by hand: the query means what the second result says."""

    model = "by hand"

    def __init__(self, vectors: Sequence[Sequence[float]] | None) -> None:
        self.vectors = vectors
        self.asked: Sequence[str] = ()

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]] | None:
        self.asked = texts
        return self.vectors


async def test_meaning_has_a_voice_of_its_own() -> None:
    alike = [_at(f"https://{at}.test/", f"text number {at}") for at in range(3)]
    meanings = Meanings([[0, 2], [0.1, 0.2], [1, 0], [0, 5]])
    found = await ranked("query", alike, meanings)
    assert meanings.asked[0] == "query"
    # Words say nothing here, so what its provider had last comes before what means something else.
    assert [each.url for each in found] == ["https://0.test/", "https://2.test/", "https://1.test/"]


async def test_without_vectors_words_decide() -> None:
    for meanings in (Meanings(None), Meanings([[1.0]])):
        assert (await ranked("tide tables for the quay", WEB, meanings))[0].title == "Tide tables"
