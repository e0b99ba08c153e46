"""From texts to rows of token ids that the model reads at once.

A text that is longer than the model's window is cut into several rows, each with the model's own marks around it.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from fondaco.content import Sealed
from fondaco.engines.serving import LoadFailed

MAX_CHARACTERS_PER_TOKEN = 64
"""What has more characters than this for each token allowed is too long; nobody counts it."""


class TooLong(Exception):
    """A text has more tokens than are allowed."""


class UnknownToken(Exception):
    """A token id that the model does not have."""


class Text(Sealed):
    """A text as the model reads it: at least one row, none longer than the window."""

    rows: list[list[int]]
    tokens: int
    """Its tokens, with the marks that stand around it."""


class Tokens:
    """The model's tokenizer. May be used by several threads."""

    def __init__(self, file: str, window: int, most: int, prefix: str = "") -> None:
        """`file` is a `tokenizer.json`. `window`: tokens in a row; `most`: in a text; marks are counted in both.

        `prefix` is put before each text. Raises ImportError without `tokenizers`, and LoadFailed.
        """
        tokenizers: Any = importlib.import_module("tokenizers")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(file)
        except Exception as error:  # the runtime raises nothing narrower
            raise LoadFailed from error
        # The file's own settings may cut each text short and fill it up to one length.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        marked = self._tokenizer.encode("a")
        inner = [place for place, mark in enumerate(marked.special_tokens_mask) if not mark] or [0]
        self._before: list[int] = marked.ids[: inner[0]]
        self._after: list[int] = marked.ids[inner[-1] + 1 :]
        self._marks = len(self._before) + len(self._after)
        if window <= self._marks:
            raise LoadFailed
        self._room = window - self._marks
        self._most = most
        self._prefix = prefix
        self.vocabulary: int = self._tokenizer.get_vocab_size()
        self.pad = _pad_id(self._tokenizer)

    def read(self, text: str) -> Text:
        """Raises TooLong."""
        return self.read_all([text])[0]

    def read_all(self, texts: Sequence[str]) -> list[Text]:
        """Raises TooLong, whose only argument is the index of the text at fault."""
        for index, text in enumerate(texts):
            if len(text) > self._most * MAX_CHARACTERS_PER_TOKEN:
                raise TooLong(index)
        if self._prefix:
            texts = [self._prefix + text for text in texts]
        read: list[Text] = []
        for index, found in enumerate(self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)):
            ids = found.ids
            if len(ids) + self._marks > self._most:
                raise TooLong(index)
            read.append(self._rows(ids))
        return read

    def take(self, ids: list[int]) -> Text:
        """A text given as tokens, with the model's marks around it or without. Raises TooLong, UnknownToken."""
        if min(ids) < 0 or max(ids) >= self.vocabulary:
            raise UnknownToken
        before, after = self._before, self._after
        if len(ids) > self._marks and ids[: len(before)] == before and ids[len(ids) - len(after) :] == after:
            ids = ids[len(before) : len(ids) - len(after)]
        if len(ids) + self._marks > self._most:
            raise TooLong
        return self._rows(ids)

    def _rows(self, ids: list[int]) -> Text:
        before, after, room = self._before, self._after, self._room
        starts = range(0, len(ids), room) or (0,)
        return Text([before + ids[at : at + room] + after for at in starts], len(ids) + self._marks)


def _pad_id(tokenizer: Any) -> int:
    """What fills up a row beside longer ones; some models tell by it where a row ends."""
    if tokenizer.padding is not None:
        return tokenizer.padding["pad_id"]
    found = (tokenizer.token_to_id(token) for token in ("[PAD]", "<pad>", "<|endoftext|>"))
    return next((token for token in found if token is not None), 0)
