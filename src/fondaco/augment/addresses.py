"""The web addresses that somebody has written into a text."""

from __future__ import annotations

import re

_ADDRESS = re.compile(
    r"(?:https?://|(?<![\w./@-])www\.)[^\s<>\"'`\\^{}|\u3000-\u3002\uff01-\uff0f]{1,2000}", re.IGNORECASE
)
_PAIRS = ((")", "("), ("]", "["))
_MOST_READ = 200_000


def addresses_in(text: str, most: int) -> list[str]:
    """The first `most` http(s) URLs, each once, without the punctuation of the sentence that they stand in."""
    found: dict[str, None] = {}
    for match in _ADDRESS.finditer(text[:_MOST_READ]):
        url = _bare(match[0])
        if "." not in url and "localhost" not in url.lower() and "[" not in url:
            continue
        found[url if "://" in url else f"https://{url}"] = None
        if len(found) == most:
            break
    return list(found)


def _bare(url: str) -> str:
    """Without what ends a sentence, and without a bracket that was opened before the URL."""
    over = {closing: url.count(closing) - url.count(opening) for closing, opening in _PAIRS}
    end = len(url)
    while end:
        last = url[end - 1]
        if last not in ".,;:!?*_~":
            if over.get(last, 0) <= 0:
                break
            over[last] -= 1
        end -= 1
    return url[:end]
