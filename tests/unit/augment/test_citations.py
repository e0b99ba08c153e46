"""Which marks an answer goes out with: each held by its source, none lost, none that points nowhere, no word changed."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Sequence

import pytest

from embedding_models import Bare, minilm
from fondaco.augment.citing import evidence
from fondaco.augment.citing.assertion import asserts
from fondaco.augment.citing.citer import Citer
from fondaco.augment.citing.evidence import Evidence, Source
from fondaco.augment.citing.terms import terms
from fondaco.augment.meaning import Embedder
from fondaco.content import ContentLeak

pytestmark = pytest.mark.anyio

SOURCES = [
    Source(
        "Marrow ferry",
        "The Marrow ferry opened on 12 March 1932. It was built by Ana Ruiz in Vell and carries 1,240 passengers. "
        "Its hull of larch wood is painted red every three years. Tickets cost two crowns.",
    ),
    Source(
        "Carlow bridge",
        "The Carlow bridge opened in 1940 after Piet Hols had designed it. It has 3 arches of yellow brick. "
        "Swallows nest beneath them. A flood in 1954 tore one arch away.",
    ),
    Source("Tides of Vell", "High water in Vell stands at 9:14 on most days of spring."),
]


class Meanings:
    """Embeds by letters, so that only texts of the same words mean the same; tells how often it was asked for what."""

    model = "letters"

    def __init__(self, *, delay: float = 0, answers: bool = True) -> None:
        self.asked: list[list[str]] = []
        self._delay, self._answers = delay, answers

    async def embed(self, texts: Sequence[str]) -> list[list[float]] | None:
        self.asked.append(list(texts))
        await asyncio.sleep(self._delay)
        return (
            [[float(text.lower().count(letter)) for letter in "abcdefghiklmnoprstuvwy"] for text in texts]
            if self._answers
            else None
        )


async def checked(
    text: str, *sizes: int, sources: Sequence[Source] = SOURCES, embedder: Embedder | None = None
) -> str:
    """An answer that comes in pieces of these sizes in turn; whole without sizes."""
    citer, at, turn, told = Citer(Evidence(sources, embedder)), 0, 0, ""
    while at < len(text):
        size = sizes[turn % len(sizes)] if sizes else len(text)
        told += await citer.feed(text[at : at + size])
        at, turn = at + size, turn + 1
    return told + await citer.end()


@pytest.mark.parametrize(
    ("said", "goes_out"),
    [
        # right, wrong, nowhere, missing
        ("The Marrow ferry opened in 1932.^1^", "The Marrow ferry opened in 1932.^1^"),
        ("The Marrow ferry opened in 1932.^2^", "The Marrow ferry opened in 1932.^1^"),
        ("The Marrow ferry opened in 1932 [7].", "The Marrow ferry opened in 1932.^1^"),
        ("The Marrow ferry opened in 1932^1,2,9^.", "The Marrow ferry opened in 1932.^1^"),
        ("The Marrow ferry opened in 1932.", "The Marrow ferry opened in 1932.^1^"),
        (
            "Arches of yellow brick make up the Carlow bridge!",
            "Arches of yellow brick make up the Carlow bridge!^2^",
        ),
        # what no source holds
        ("The Marrow ferry opened in 1933.^1^", "The Marrow ferry opened in 1933."),
        ("The Marrow ferry was built by Piet Hols.^1^", "The Marrow ferry was built by Piet Hols."),
        (
            "The Carlow bridge opened on 12 March 1932 and was built by Ana Ruiz in Vell, of larch wood painted red every three years, to carry 1,240 passengers; tickets cost two crowns.^1^",
            "The Carlow bridge opened on 12 March 1932 and was built by Ana Ruiz in Vell, of larch wood painted red every three years, to carry 1,240 passengers; tickets cost two crowns.",
        ),
        (
            "Ferries are much used by people who like the sea.^1^",
            "Ferries are much used by people who like the sea.",
        ),
        ("The Marrow ferry was sold to Norway.^1^", "The Marrow ferry was sold to Norway."),
        (
            "The Marrow ferry, built by Ana Ruiz in Vell, opened on 12 March 1933 for 1,240 passengers.^1^",
            "The Marrow ferry, built by Ana Ruiz in Vell, opened on 12 March 1933 for 1,240 passengers.",
        ),
        (
            "The Carlow bridge was built by Ana Ruiz in Vell, of larch wood, and painted red for 1,240 passengers.^1^",
            "The Carlow bridge was built by Ana Ruiz in Vell, of larch wood, and painted red for 1,240 passengers.",
        ),
        ("Its hull of larch wood was painted for Oswin.^1^", "Its hull of larch wood was painted for Oswin."),
        # how a number is written
        ("It carries 1240 passengers.", "It carries 1240 passengers.^1^"),
        ("The bridge has three brick arches.", "The bridge has three brick arches.^2^"),
        # who a pronoun stands for
        (
            "The Carlow bridge has 3 arches. It carries 1,240 passengers.^1^",
            "The Carlow bridge has 3 arches.^2^ It carries 1,240 passengers.",
        ),
        # several sentences, clauses and items
        (
            "The Marrow ferry opened in 1932, and the Carlow bridge opened in 1940.",
            "The Marrow ferry opened in 1932, and the Carlow bridge opened in 1940.^1,2^",
        ),
        (
            "- **Ferry**: built by Ana Ruiz, 1,240 passengers\n- **Bridge**: designed by Piet Hols\n",
            "- **Ferry**: built by Ana Ruiz, 1,240 passengers^1^\n- **Bridge**: designed by Piet Hols^2^\n",
        ),
        (
            "According to [1], the Marrow ferry opened in 1932.",
            "According to ^1^, the Marrow ferry opened in 1932.",
        ),
        # cells and headings
        (
            "| What | Opened |\n|---|---|\n| Marrow ferry | 1932 ^1^ |\n| Carlow bridge | 1932 ^1^ |\n| Ferry | 1932 ^8^ |\n",
            "| What | Opened |\n|---|---|\n| Marrow ferry | 1932 ^1^ |\n| Carlow bridge | 1932 |\n| Ferry | 1932 |\n",
        ),
        ("# The Marrow ferry ^4^\nSo.", "# The Marrow ferry\nSo."),
        # what is no prose
        (
            "```\nThe Marrow ferry opened in 1932. a[1]\n```\n",
            "```\nThe Marrow ferry opened in 1932. a[1]\n```\n",
        ),
    ],
)
async def test_a_mark_goes_out_only_where_its_source_holds_the_sentence(said: str, goes_out: str) -> None:
    for sizes in ((), (1,), (3, 7)):
        assert await checked(said, *sizes) == goes_out


@pytest.mark.parametrize(
    "nothing",
    [
        *(
            "Sure! ",
            "Hello, and welcome!",
            "Here is what I found:",
            "Here are the facts about the Marrow ferry:",
        ),
        *(
            "When did the Marrow ferry open in 1932?",
            "The sources do not say when the Marrow ferry opened.",
            "Yes.",
        ),
        *(
            "The provided text does not say it.",
            "This is not found in the sources.",
            "No details of the Marrow ferry.",
            "I could not find when the Marrow ferry opened in 1932.",
            "**The Marrow ferry**",
            "**Carlow bridge:**",
            "***",
        ),
        *(
            "The builder of the Carlow bridge is not mentioned.",
            "There is no information on the Carlow bridge.",
            "...",
        ),
        *(
            "Let me know if you need more on the Marrow ferry of 1932.",
            "https://marrow.example/ferry/1932",
            "👍",
        ),
    ],
)
async def test_a_sentence_that_says_nothing_of_its_own_has_no_mark(nothing: str) -> None:
    assert not asserts(nothing)
    assert await checked(f"{nothing} ^1^") == nothing.rstrip()


def test_a_number_is_the_same_however_it_is_written() -> None:
    for one, other in (
        ("1,240", "1240"),
        ("4.50", "4.5"),
        ("3,5", "3.5"),
        ("19th", "19"),
        ("1930s", "1930"),
        ("05", "5"),
    ):
        assert terms(f"In {one}.").numbers == terms(f"In {other}.").numbers != frozenset()
    assert terms("CO2 of 7bfc28, in B12 and web-0668232c").numbers == frozenset()
    assert terms("Twelve of them.").spelled == terms("12 of them.").numbers


async def test_capitals_tell_no_names_where_all_nouns_have_them() -> None:
    sources = [
        Source(
            "Fähre von Vell",
            "Die Fähre von Vell hat einen Rumpf aus Lärche. Sie trägt 240 Gäste und fährt bei Flut.",
        ),
        Source(
            "Brücke von Carl",
            "Die Brücke von Carl hat Bögen aus Ziegeln. Im Winter ist sie wegen Schnee geschlossen.",
        ),
    ]
    said = "Wegen Schnee ist die Brücke im Winter dem Verkehr geschlossen."
    assert await checked(said, sources=sources) == said + "^2^"


@pytest.mark.parametrize(
    "something",
    [
        "1932.",
        "Ana Ruiz.",
        "The ferry has no lift.",
        "The ferry is not found in Europe.",
        "The documents of Ana were not signed.",
        "It is not open in winter.",
        "桥于1932年开通。",
    ],
)
def test_a_short_answer_says_something(something: str) -> None:
    assert asserts(something)


async def test_a_pronoun_stands_for_what_the_last_name_did() -> None:
    said = "**The Carlow bridge**\nIt has 3 arches. It carries 1,240 passengers. The ferry carries 1,240 passengers."
    assert await checked(said) == (
        "**The Carlow bridge**\nIt has 3 arches.^2^ It carries 1,240 passengers. The ferry carries 1,240 passengers.^1^"
    )


async def test_a_second_source_is_named_only_where_it_holds_the_sentence_too() -> None:
    again = Source("Ferries", "The Marrow ferry opened on 12 March 1932, and Ana Ruiz was there.")
    said = "The Marrow ferry opened on 12 March 1932."
    assert await checked(said, sources=[*SOURCES, again]) == said + "^1,4^"
    assert await checked(said + "[4]", sources=[*SOURCES, again]) == said + "^4^"


async def test_a_short_answer_has_a_mark_only_where_one_source_holds_it() -> None:
    again = Source("Ferries", "Ana Ruiz was there in 1954.")
    assert await checked("Ana Ruiz.") == "Ana Ruiz.^1^"
    assert await checked("Ana Ruiz.", sources=[*SOURCES, again]) == "Ana Ruiz."
    assert await checked("Ana Ruiz.^4^", sources=[*SOURCES, again]) == "Ana Ruiz.^4^"


async def test_a_source_may_be_a_title_alone() -> None:
    sources = [Source("The Marrow ferry opened in 1932", ""), Source("", "")]
    assert await checked("The Marrow ferry opened in 1932.", sources=sources, embedder=Meanings()) == (
        "The Marrow ferry opened in 1932.^1^"
    )


async def test_without_sources_no_mark_is_left() -> None:
    assert await checked("It opened.^1^ | a ^1^\n| a ^1^ |\n", sources=[]) == "It opened. | a\n| a |\n"


async def test_a_long_sentence_does_not_wait_for_its_end() -> None:
    citer = Citer(Evidence(SOURCES, None))
    told = await citer.feed("The Marrow ferry opened in 1932 [2] " + "and so on " * 300)
    assert told.startswith("The Marrow ferry opened in 1932 and so on")
    assert "^" not in told + await citer.end()


SAID = [
    "The Marrow ferry opened in 1932",
    "It was built by Ana Ruiz",
    "the Carlow bridge has 3 arches",
    "So it is",
    "é",
]
AFTER = [
    ". ",
    "! ",
    "? ",
    ".\n",
    "\n",
    "\r\n",
    "\n\n- ",
    "\n1. ",
    "\n> ",
    ", and ",
    " 👩‍👩‍👧 ",
    "。\n",
    "… ",
    "; ",
    " Dr. ",
    " ",
]
MARKS = [
    "^1^",
    " ^2^",
    "^1,3^",
    " ^1, 3^",
    "[1]",
    " [2][9]",
    " (source 1)",
    "【3】",
    "^77^",
    "<sup>2</sup>",
    " [^1]",
]


@pytest.mark.parametrize("seed", range(30))
async def test_no_word_is_lost_doubled_or_moved_however_the_answer_is_cut(seed: int) -> None:
    chance = random.Random(seed)
    text = bare = ""
    for _ in range(chance.randint(1, 20)):
        said, after = chance.choice(SAID), chance.choice(AFTER)
        mark = chance.choice(MARKS) if chance.random() < 0.4 else ""
        marked, unmarked = (
            (said + after[:1] + mark + after[1:], said + after)
            if after in (". ", "。\n", "! ") and chance.random() < 0.5
            else (said + mark + after, said + after)
        )
        text, bare = text + marked, bare + unmarked
    whole = await checked(text)
    assert re.sub(r" ?\^\d+(?:,\d+)*\^", "", whole) == bare
    assert {int(number) for mark in re.findall(r"\^([\d,]+)\^", whole) for number in mark.split(",")} <= {
        1,
        2,
        3,
    }
    for sizes in ((1,), [chance.randint(1, 9) for _ in range(20)]):
        assert await checked(text, *sizes) == whole


async def test_the_embedder_is_asked_once_for_a_sentence_and_never_twice_for_a_source() -> None:
    meanings = Meanings()
    said = (
        "Larch boards are its body, coloured red again and again. Red too are boards of larch that cover it. "
    )
    await checked(said, embedder=meanings)
    assert len(meanings.asked) == 2
    first, second = meanings.asked
    assert first[0].startswith("Larch boards")
    assert len(first) > 2
    assert not set(first) & set(second)


async def test_what_words_leave_no_doubt_of_needs_no_embedder() -> None:
    meanings = Meanings()
    assert await checked("The Marrow ferry opened in 1932. Sure! It is so nice.", embedder=meanings)
    assert meanings.asked == []


@pytest.mark.parametrize("meanings", [Meanings(answers=False), Meanings(delay=60)])
async def test_an_embedder_that_fails_or_is_slow_is_left_aside(
    meanings: Meanings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "EMBED_SECONDS", 0.01)
    said = "Larch boards are its body, coloured red again. Red too are boards of larch. It was built by Ana Ruiz."
    assert await checked(said, embedder=meanings) == await checked(said)
    assert len(meanings.asked) == 1


async def test_choices_of_one_answer_share_what_was_embedded() -> None:
    meanings = Meanings()
    both = Evidence(SOURCES, meanings)
    said = "Larch boards are its body, coloured red again and again."
    citers = [Citer(both), Citer(both)]
    for citer in citers:
        await citer.feed(said)
        await citer.end()
    assert [len(texts) for texts in meanings.asked][1] == 1


async def test_long_sources_are_read_in_time() -> None:
    long = [
        Source(f"Page {page}", f"{page} of it. The town of Vell has many boats and {page} ferries. " * 4000)
        for page in range(5)
    ]
    began = time.process_time()
    assert (
        await checked("The Marrow ferry opened in 1932. ", sources=[*long, *SOURCES])
        == "The Marrow ferry opened in 1932.^6^ "
    )
    assert time.process_time() - began < 5


async def test_sources_and_what_is_found_in_them_cannot_be_printed() -> None:
    [held, *_] = await Evidence(SOURCES, None).held("The Marrow ferry opened in 1932.")
    for sealed in (SOURCES[0], held):
        with pytest.raises(ContentLeak):
            str(sealed)


class _MiniLM:
    """The real default model, called bare."""

    model = "all-minilm-l6-v2"

    def __init__(self, bare: Bare) -> None:
        self._bare = bare

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [vector.tolist() for vector in self._bare.all(texts)]


@pytest.mark.long
async def test_the_default_model_knows_a_sentence_in_other_words() -> None:
    embedder = _MiniLM(Bare(await minilm()))
    for said, mark in (
        ("Every third year its wooden hull gets new red paint.", "^1^"),
        ("One arch was destroyed in 1954 when a river burst its banks.", "^2^"),
        ("Swallows build their homes below the arches.", "^2^"),
        ("Many people love the arches for their beauty.", ""),
        ("The ferry is painted blue by volunteers from abroad.", ""),
    ):
        assert await checked(said, embedder=embedder) == said + mark
