"""One result of a search, and what makes a list of them fit to be read: clean, dated, each thing once."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl, urlencode, urlsplit

from fondaco.augment.words import content_words
from fondaco.content import Sealed

MAX_CONTENT = 1200
MAX_TITLE = 300
MAX_URL = 2000
_READ = 20_000
"""Characters of a provider's text that are looked at: the rest would be cut."""

_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff\s]+")
_ISO_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})(?:$|[T ])")
_TRACKING = re.compile(r"utm_\w+|gclid|fbclid|msclkid|mc_[ce]id|igshid|ref_src")
_SAME = 0.9
_TOO_SHORT_TO_COMPARE = 8


class Result(Sealed):
    """Plain text, but for `url`. `date` is `YYYY-MM-DD`, or empty."""

    title: str
    url: str
    content: str
    date: str = ""


def result(title: object, url: object, content: object, date: object = None) -> Result | None:
    """A provider's row as a result; None where it leads nowhere on the web."""
    if not isinstance(url, str) or len(url) > MAX_URL or not url.lower().startswith(("http://", "https://")):
        return None
    if _UNSEEN.search(url):
        return None
    said = plain(content)
    return Result(shortened(plain(title), MAX_TITLE) or url, url, shortened(said, MAX_CONTENT), day(date))


def plain(text: object) -> str:
    """Without markup, entities, line breaks and what cannot be seen."""
    if not isinstance(text, str):
        return ""
    # Twice: entities may hide tags.
    return _UNSEEN.sub(" ", _TAG.sub(" ", html.unescape(_TAG.sub(" ", text[:_READ])))).strip()


def shortened(text: str, most: int) -> str:
    """Cut between words, with an ellipsis, if it is longer than `most` characters."""
    if len(text) <= most:
        return text
    kept = text[: most - 1]
    return (kept.rpartition(" ")[0] or kept).rstrip(" ,;:") + "…"


def day(date: object) -> str:
    """`YYYY-MM-DD` out of what a provider says of a date; empty where that is no date."""
    if not isinstance(date, str):
        return ""
    if found := _ISO_DAY.match(date.strip()):
        try:
            return datetime.fromisoformat(found[1]).date().isoformat()
        except ValueError:
            return ""
    try:
        return parsedate_to_datetime(date).date().isoformat()
    except (ValueError, TypeError, OverflowError):
        return ""


def distinct(results: Iterable[Result]) -> list[Result]:
    """Each page once, and each text: the first stays, with the date of a later one if it has none."""
    kept: dict[str, Result] = {}
    texts: list[set[str]] = []
    short: set[tuple[str, str]] = set()
    for each in results:
        same = kept.get(address := _address(each.url))
        if same is not None:
            same.date = same.date or each.date
            continue
        words = set(content_words(each.content))
        if len(words) >= _TOO_SHORT_TO_COMPARE:
            if any(len(words & seen) >= _SAME * len(words | seen) for seen in texts):
                continue
            texts.append(words)
        elif words:
            # So few words are the same by chance, but hardly under the same title.
            if (each.title, each.content) in short:
                continue
            short.add((each.title, each.content))
        kept[address] = each
    return list(kept.values())


def fitting(results: Sequence[Result], characters: int) -> list[Result]:
    """As many as fit into so many characters, the last one shortened if that leaves something of it."""
    kept: list[Result] = []
    for each in results:
        characters -= len(each.title) + len(each.url) + len(each.date)
        if characters < min(len(each.content), 80):
            break
        content = shortened(each.content, characters)
        kept.append(Result(each.title, each.url, content, each.date))
        characters -= len(content)
    return kept


def _address(url: str) -> str:
    """What two spellings of a page's URL have in common."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").removeprefix("www.").removesuffix(".")
        port = parts.port
    except ValueError:
        return url
    if port not in (None, 80, 443):
        host = f"{host}:{port}"
    asked = [(name, value) for name, value in parse_qsl(parts.query, True) if not _TRACKING.fullmatch(name)]
    return f"{host}{parts.path.rstrip('/')}?{urlencode(sorted(asked))}"
