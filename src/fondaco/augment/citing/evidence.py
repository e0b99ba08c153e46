"""How far each of the sources holds what a sentence says.

By words: a source must have all of the sentence's numbers, and one of its passages most of the words; those that few
sources have count more, names and numbers most, the source's subject little. By meaning: an embedding model compares
the sentence with those of the passage that has the most of its words, where words alone leave a doubt.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from math import log

from fondaco.augment.citing.terms import Terms, terms
from fondaco.augment.meaning import Embedder, Vector, product, unit
from fondaco.content import Sealed

EMBED_SECONDS = 1.0

_READ = 200_000
"""Characters of all sources together that are looked at."""
_AT_ONCE = 20_000
"""Characters that are read without leaving the event loop to others."""
_STEP = 300
"""Characters of half a passage, and of the longest sentence in it."""
_COMPARED = 6
"""Sources, those with the most of a sentence's words, that are compared with it for meaning."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")

_PRONOUN = re.compile(r"\W*(?:its?|they|their|these|this|those|he|his|she|her)\b", re.IGNORECASE)

_TELLING = 2.0
"""Times a word's weight: of numbers, names and subjects."""
_SUBJECT = 0.3
"""Times a word's weight: of those in a source's title, which all that is said about the same subject has."""
_CAPITALS = 0.4
"""Where more of the sources' words than this have capitals, as German nouns have, capitals do not tell names."""
_NOTHING = 0.2
"""So little of a sentence's words that meaning is not asked for."""
_SURE, _AHEAD = 0.8, 0.3
"""So much of them, and so much more than the next source has, that it is not asked for either."""


class Source(Sealed):
    title: str
    text: str


class Held(Sealed):
    """How far one source holds a sentence."""

    number: int
    """Of the source, from 1."""
    words: float
    """Which part of the sentence's words, by weight, one of its passages has."""
    meaning: float | None
    """The cosine between the sentence and the nearest one of that passage; None where nobody was asked."""
    complete: bool
    """It has every name. Numbers it has all, or it would not be here."""
    terms: int
    """How many words and numbers the sentence was judged by."""


class Evidence:
    """One a request, shared by the choices of its answer."""

    def __init__(self, sources: Sequence[Source], embedder: Embedder | None) -> None:
        self._sources = sources
        self._embedder = embedder
        self._library: _Library | None = None
        self._reading = asyncio.Lock()
        self._vectors: dict[int, list[float]] = {}
        """Of the sources' sentences that were compared already."""

    @property
    def count(self) -> int:
        return len(self._sources)

    async def held(self, sentence: str, about: str = "") -> list[Held]:
        """The sources that may hold the sentence, the likeliest first; those that lack one of its numbers are left
        out, and those that lack a name or a subject which another source has. `about` is an earlier sentence:
        where this one `continues`, it is about the same.

        The embedder is asked at most once, and never again once it failed or took longer than a second.
        """
        library = await self._read()
        found = library.compared(sentence, about)
        if found and self._embedder is not None and _doubtful(found):
            await self._compare(sentence, library, found)
        return sorted((each.held() for each in found), key=strength, reverse=True)

    async def held_by_words(self, clause: str, about: str = "") -> list[Held]:
        """The same of a part of a sentence, without asking the embedder."""
        return [each.held() for each in (await self._read()).compared(clause, about)]

    async def _read(self) -> _Library:
        async with self._reading:
            if self._library is None:
                long = sum(len(source.text) for source in self._sources) > _AT_ONCE
                self._library = (
                    await asyncio.to_thread(_Library, self._sources) if long else _Library(self._sources)
                )
        return self._library

    async def _compare(self, sentence: str, library: _Library, found: Sequence[_Found]) -> None:
        compared = found[:_COMPARED]
        new = [at for each in compared for at in each.passage.sentences if at not in self._vectors]
        made = await self._embed([sentence, *(library.sentences[at] for at in dict.fromkeys(new))])
        if made is None:
            return
        asked, *vectors = map(unit, made)
        self._vectors |= zip(dict.fromkeys(new), vectors, strict=True)
        for each in compared:
            each.meaning = max(
                (product(asked, self._vectors[at]) for at in each.passage.sentences), default=0.0
            )

    async def _embed(self, texts: Sequence[str]) -> Sequence[Vector] | None:
        assert self._embedder is not None
        made = None
        try:
            async with asyncio.timeout(EMBED_SECONDS):
                made = await self._embedder.embed(texts)
        except TimeoutError:
            pass
        if made is None or len(made) != len(texts):
            self._embedder = made = None
        return made


def continues(sentence: str) -> bool:
    """Whether it begins with a pronoun, which stands for what a sentence before it is about. In English."""
    return _PRONOUN.match(sentence) is not None


def strength(held: Held) -> float:
    """From 0 to 1."""
    if held.meaning is None:
        return held.words
    return (held.words + max(0.0, held.meaning)) / 2


class _Passage(Sealed):
    source: int
    sentences: range
    words: frozenset[str]
    """Numbers too."""


class _Found(Sealed):
    words: float
    passage: _Passage
    complete: bool
    terms: int
    meaning: float | None = None

    def held(self) -> Held:
        return Held(self.passage.source + 1, self.words, self.meaning, self.complete, self.terms)


class _Known(Sealed):
    """Of one source."""

    title: frozenset[str]
    words: frozenset[str]
    numbers: frozenset[str]


class _Library:
    """The sources by passages and sentences."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sentences: list[str] = []
        self._passages: list[_Passage] = []
        self._sources: list[_Known] = []
        self._names: set[str] = set()
        self._words: set[str] = set()
        self._titles: set[str] = set()
        self._sources_with: Counter[str] = Counter()
        share = _READ // max(1, len(sources))
        for source in sources:
            self._add(len(self._sources), terms(source.title), source.text[:share])
        self._names_tell = len(self._names) <= _CAPITALS * len(self._words)

    def _add(self, source: int, title: Terms, text: str) -> None:
        subject = title.words | title.numbers | title.spelled
        everything, numbers = subject, title.numbers | title.spelled
        self._titles |= title.words
        for at in _passages(text, self.sentences):
            said = terms(" ".join(self.sentences[at.start : at.stop]))
            self._names |= said.names
            self._words |= said.words
            words = said.words | said.numbers | said.spelled | subject
            self._passages.append(_Passage(source, at, words))
            numbers |= said.numbers | said.spelled
            everything |= words
        self._sources.append(_Known(subject, everything, numbers))
        self._sources_with.update(everything)

    def compared(self, sentence: str, about: str) -> list[_Found]:
        """The sources that have something of it, the one with the most first. Those that lack a number are left out,
        and those that lack a name or a subject that another one has.
        """
        said = terms(sentence)
        names = frozenset[str]()
        if self._names_tell:
            # What a sentence begins with has a capital anyway.
            names = said.names | {word for word in said.first if word in self._names or word in self._titles}
        telling = names | self._subjects(said.words)
        if about and continues(sentence):
            telling |= self._subjects(terms(about).words)
        known = frozenset(word for word in telling if self._sources_with[word])
        weights = {word: self._weight(word) for word in said.words | said.spelled}
        weights |= {word: self._weight(word, least=1) * _TELLING for word in telling | said.numbers}
        found: dict[int, _Found] = {}
        for passage in self._passages:
            source = self._sources[passage.source]
            common = weights.keys() & passage.words
            if not common or not said.numbers <= source.numbers or not known <= source.words:
                continue
            subject = (1 - _SUBJECT) * sum(weights[word] for word in weights.keys() & source.title)
            part = (sum(weights[word] for word in common) - subject) / (sum(weights.values()) - subject)
            best = found.get(passage.source)
            if best is None or part > best.words:
                found[passage.source] = _Found(part, passage, names <= source.words, len(weights))
        return sorted(found.values(), key=lambda each: -each.words)

    def _subjects(self, words: frozenset[str]) -> frozenset[str]:
        """Of words, those by which one source's title differs from all other sources, if most of that title is there."""
        subjects: set[str] = set()
        for source in self._sources:
            named = words & source.title
            if 2 * len(named) >= len(source.title):
                subjects.update(word for word in named if self._sources_with[word] == 1)
        return frozenset(subjects)

    def _weight(self, word: str, least: int = 0) -> float:
        """More for a word that few of the sources have; one that none has may be another word for the same, which a
        name is not: `least` sources are taken to have it.
        """
        holders = max(least, self._sources_with[word])
        return 1 + log((len(self._sources) + 1) / (holders + 1)) if holders else 1.0


def _doubtful(found: Sequence[_Found]) -> bool:
    first = found[0].words
    second = found[1].words if len(found) > 1 else 0.0
    return first >= _NOTHING and not (first >= _SURE and first - second >= _AHEAD)


def _passages(text: str, sentences: list[str]) -> list[range]:
    """Adds the text's sentences to those that are there, and says which make a passage: a few each, every passage
    beginning in the middle of the one before.
    """
    edges = [len(sentences)]
    size = 0
    for sentence in _SENTENCE.split(text):
        for start in range(0, len(sentence), _STEP):
            piece = sentence[start : start + _STEP]
            if size and size + len(piece) > _STEP:
                edges.append(len(sentences))
                size = 0
            sentences.append(piece)
            size += len(piece)
    edges.append(len(sentences))
    if len(edges) == 2:
        return [range(*edges)]
    return [range(start, end) for start, end in zip(edges, edges[2:], strict=False)]
