"""Long texts cut to what a model is given of them: the start, and what a question is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import log

from fondaco.augment.index.passages import passages
from fondaco.augment.results import Result, shortened
from fondaco.augment.words import content_words

LEAST = 240
"""Characters of a text below which it is no use to give any of it."""

_MOST_READ = 500_000
"""Characters of a text that are looked through: a book, and no more than a second's work."""


def excerpts(sources: Sequence[Result], question: str, characters: int) -> list[Result]:
    """The sources within so many characters together, in their order, each cut to a fair share.

    What short ones leave of theirs, longer ones get. Those that come last fall away where shares would be too small.
    """
    sources = sources[: max(0, characters // LEAST)]
    sizes = [_size(source) for source in sources]
    shares = _shares(sizes, characters)
    kept: list[Result] = []
    for source, size, share in zip(sources, sizes, shares, strict=True):
        content = source.content
        if size > share:
            content = excerpt(content, question, share - (size - len(content)))
        kept.append(Result(source.title, source.url, content, source.date))
    return kept


def excerpt(text: str, question: str, characters: int) -> str:
    """At most so many characters of a text: how it begins, and the passages with the question's words, in order."""
    if len(text) <= characters:
        return text
    if characters < LEAST:
        return shortened(text, max(characters, 1))
    pieces = [passage.text for passage in passages(text[:_MOST_READ])]
    if not pieces:
        return shortened(text, characters)
    chosen: dict[int, str] = {}
    left = characters
    # The first says what the text is.
    for at in (0, *_relevant(pieces, question)):
        if at in chosen:
            continue
        if len(pieces[at]) + 3 > left:
            if left >= LEAST:
                chosen[at] = shortened(pieces[at], left)
            break
        chosen[at] = pieces[at]
        left -= len(pieces[at]) + 3
    said: list[str] = []
    before = -1
    for at in sorted(chosen):
        said.append(chosen[at] if at == before + 1 else f"…\n{chosen[at]}")
        before = at
    return "\n".join(said)


def _relevant(pieces: Sequence[str], question: str) -> list[int]:
    """All pieces, those with rare words of the question first, else as they come."""
    wanted = set(content_words(question))
    counts = [Counter(word for word in content_words(piece) if word in wanted) for piece in pieces]
    holders = Counter(word for count in counts for word in count)
    weights = {word: log(1 + len(pieces) / (1 + n)) for word, n in holders.items()}
    scores = [sum(weights[word] * n / (n + 1) for word, n in count.items()) for count in counts]
    return sorted(range(len(pieces)), key=lambda at: -scores[at])


def _shares(sizes: Sequence[int], characters: int) -> list[int]:
    shares = [0] * len(sizes)
    left = characters
    # The shortest first: what they leave is shared by the others.
    for rank, at in enumerate(sorted(range(len(sizes)), key=lambda at: sizes[at])):
        shares[at] = min(sizes[at], left // (len(sizes) - rank))
        left -= shares[at]
    return shares


def _size(source: Result) -> int:
    return len(source.title) + len(source.url) + len(source.date) + len(source.content)
