"""What a message shows that may tell whether it needs the web: its words, what they are about, how it is put.

Only the asking is looked at, not what was given with it: code, quotations, and the text that is to be translated.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import combinations, pairwise

LOOKED_AT = 2000
"""Characters of a message, half of them from its end where it is longer: what is asked stands at either."""
MOST_WORDS = 120
LONGEST_CUE = 5
"""Words; characters in Japanese and Chinese have no such bound but `_LONGEST_RUN`."""
_LONGEST_RUN = 8
_SHORTEST_STEM = 3

_CJK = "\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff66-\uff9d"
_TOKEN = re.compile(rf"[{_CJK}]+|[^\W_{_CJK}]+")
_MARKS = re.compile(r"[\u0300-\u036f]")
_URL = re.compile(r"https?://[^\s<>\"]{1,2000}|\bwww\.[^\s<>\"]{1,2000}")
_FENCE = "```"
_QUOTES = {"'": "'", '"': '"', "“": "”", "„": "“", "«": "»", "「": "」", "『": "』", "`": "`", "‘": "’"}
_QUOTE = re.compile("[\"“„«「『`‘]|(?:(?<=[\\s:(])|^)'")
_CLOSING = re.compile(r"'(?!\w)")
_MOST_QUOTES = 16
_LONG_QUOTE = 3
"""Words from which a quotation is a text and no title."""
_CODE = re.compile(
    r"[{};]\s*$|^\s*(?:def|class|import|from|return|const|let|var|func|fn|public|#include|SELECT)\b|=>|==|\(\)"
)
_SUM = re.compile(r"\d\s?[-+*/×÷^=]\s?\d")
_YEAR = re.compile(r"(?<![\d.,-])(?:1\d|20)\d\d(?![\d.,-])")
_NUMBERED = re.compile(r"(?<!\d)v?\d{1,3}\.\d{1,3}")
_LIKE_CUES = ("f:year", "f:given", "f:code", "f:quoted", "f:unknown", "f:sum", "f:url")
"""Signs of form that change what cues beside them mean."""
_GERMAN = frozenset(
    [
        "der",
        "die",
        "das",
        "den",
        "dem",
        "ein",
        "eine",
        "einen",
        "ist",
        "sind",
        "und",
        "ich",
        "mir",
        "mich",
        "wie",
        "wer",
        "wann",
        "nicht",
        "fur",
        "im",
        "zu",
    ]
)
"""Words of a language that writes any noun with a capital."""
_CURRENCY = re.compile(r"[$€£¥₿]|円|块钱|万元")
_ACRONYM = re.compile(r"\b[A-Z]{2,5}\b")
_CAPITAL = re.compile(r"(?<=[\w,;] )[A-ZÀ-ÖØ-Þ][\w.&'-]*")
_SENTENCE_END = re.compile(r"[.!?。！？\n]")

_POLITE = frozenset(
    [
        "please",
        "pls",
        "hey",
        "hi",
        "hello",
        "could",
        "can",
        "you",
        "would",
        "kindly",
        "tell",
        "me",
        "i",
        "want",
        "to",
        "need",
        "know",
        "do",
        "quick",
        "question",
        "so",
        "ok",
        "okay",
        "bitte",
        "kannst",
        "konntest",
        "mir",
        "sag",
        "mal",
        "s'il",
        "te",
        "plait",
        "vous",
        "peux",
        "pourriez",
        "dis",
        "moi",
        "por",
        "favor",
        "puedes",
        "podrias",
        "dime",
        "per",
        "favore",
        "puoi",
        "potresti",
        "dimmi",
        "pode",
        "poderia",
        "me",
        "diga",
        "alsjeblieft",
        "kun",
        "je",
        "hallo",
        "hola",
        "ciao",
        "ola",
        "bonjour",
        "salut",
    ]
)
"""What may stand before the verb that says what is to be done."""
_THANKS = frozenset(
    [
        "please",
        "pls",
        "thanks",
        "thank",
        "you",
        "thx",
        "ty",
        "cheers",
        "ok",
        "okay",
        "great",
        "hi",
        "hey",
        "hello",
        "so",
        "well",
        "bitte",
        "danke",
        "hallo",
        "merci",
        "bonjour",
        "salut",
        "svp",
        "stp",
        "gracias",
        "hola",
        "grazie",
        "ciao",
        "obrigado",
        "obrigada",
        "ola",
        "oi",
        "bedankt",
        "dank",
        "je",
        "alsjeblieft",
        "hoi",
    ]
)
"""What may be left out at either end."""
_GIVEN_TEXT = frozenset({"translate", "rework", "summarise"})


class Asked:
    """What a message asks, apart from what it gives."""

    def __init__(self, said: str) -> None:
        text = said
        if len(said) > LOOKED_AT:
            text = said[: LOOKED_AT // 2] + "\n" + said[-(LOOKED_AT // 2) :]
        self.long = len(said) > 600
        self.quoted = False
        bare = without_urls(text)
        self.url = bare != text
        text = without_code(bare)
        self.code = text != bare
        text = self._without_quotes(text)
        self.text = text
        given = self._given()
        self.given = given is not None
        if given is not None:
            self.text = text[:given]
        self.words = _without_thanks(tokens(self.text))

    def _without_quotes(self, text: str) -> str:
        kept: list[str] = []
        at = 0
        while len(kept) < _MOST_QUOTES and (opened := _QUOTE.search(text, at)) is not None:
            start = opened.start()
            end = _closing(text, start)
            if end < 0:
                break
            inner = text[start + 1 : end]
            is_text = len(tokens(inner)) > _LONG_QUOTE
            self.quoted = self.quoted or is_text
            kept.append(text[at:start] + (" " if is_text else inner))
            at = end + 1
        return "".join((*kept, text[at:]))

    def _given(self) -> int | None:
        """Where a text begins that something is to be done with; None where there is none."""
        for mark in (": ", ":\n", "：", "\n\n", "\n"):
            at = self.text.find(mark)
            if 0 < at < LOOKED_AT // 4:
                head = cues(tokens(self.text[:at])[:MOST_WORDS])
                if _GIVEN_TEXT & head and len(self.text) - at > len(mark) + 3:
                    return at
        return None


def signs(said: str, year: int) -> frozenset[str]:
    """Names of all that a message shows. `year` is the present one. Work is bounded, whatever the message."""
    asked = Asked(said)
    words = asked.words
    if len(words) > MOST_WORDS:
        words = words[: MOST_WORDS // 2] + words[-(MOST_WORDS // 2) :]
    found: set[str] = set()
    found.update(f"w:{word}" for word in words)
    found.update(f"b:{one} {other}" for one, other in pairwise(words))
    head = _head(words)
    found.update(f"h:{' '.join(head[:count])}" for count in (1, 2) if len(head) >= count)
    form = set(_form(asked, len(words), year))
    about = cues(words) | {sign for sign in form if sign.startswith(_LIKE_CUES)}
    first = cues(head[:5])
    found.update(f"c:{cue}" for cue in about)
    found.update(f"hc:{cue}" for cue in first)
    found.update(f"c:{one}+{other}" for one, other in combinations(sorted(about), 2))
    found.update(f"hc:{one}>{other}" for one in first for other in about if one != other)
    found.add(f"n:cues={min(len(about), 5)}")
    found.update(form)
    return frozenset(found)


def cues(words: Sequence[str]) -> set[str]:
    """Which of `need.toml` are among the words (see `tokens`)."""
    whole, stems, longest = _cues()
    found: set[str] = set()
    for at, word in enumerate(words):
        for count in range(1, LONGEST_CUE + 1):
            if at + count > len(words):
                break
            found.update(whole.get(" ".join(words[at : at + count]), ()))
        for length in range(_SHORTEST_STEM, min(len(word), longest) + 1):
            found.update(stems.get(word[:length], ()))
    for run in _runs(words):
        for at in range(len(run)):
            for count in range(1, _LONGEST_RUN + 1):
                if at + count > len(run):
                    break
                found.update(whole.get(run[at : at + count], ()))
    return found


def tokens(text: str) -> list[str]:
    """Words without case and accents; Japanese and Chinese as pairs of characters, since they part no words."""
    found: list[str] = []
    for match in _TOKEN.finditer(folded(text)):
        word = match[0]
        if is_cjk(word):
            found.extend(word[at : at + 2] for at in range(max(1, len(word) - 1)))
            found.append("")  # so that runs can be told apart
        else:
            found.append(word)
    return found


def without_urls(text: str) -> str:
    return _URL.sub(" ", text)


def without_code(text: str) -> str:
    """Without fenced blocks, and lines that look like code, unless there is nothing else."""
    bare = " ".join(text.split(_FENCE)[::2])
    kept = [line for line in bare.split("\n") if not _CODE.search(line)]
    return "\n".join(kept) or bare or text


def folded(text: str) -> str:
    """Without case and accents, and the same for all forms of a character."""
    text = unicodedata.normalize("NFKD", text.replace("’", "'").casefold())[
        : 2 * LOOKED_AT
    ]  # it may have grown
    return unicodedata.normalize("NFKC", _MARKS.sub("", text))


def is_cjk(word: str) -> bool:
    return bool(word) and (
        word[0] == "\u3005"
        or "\u3040" <= word[0] <= "\u30ff"
        or "\u3400" <= word[0] <= "\u9fff"
        or "\uff66" <= word[0] <= "\uff9d"
    )


def _runs(words: Iterable[str]) -> list[str]:
    """Japanese and Chinese put together again."""
    runs: list[str] = []
    run = ""
    for word in (*words, ""):
        if is_cjk(word):
            run = run + word[1:] if run else word
        elif run:
            runs.append(run)
            run = ""
    return runs


def _head(words: Sequence[str]) -> Sequence[str]:
    """From the first word on that is no mere politeness."""
    for at, word in enumerate(words):
        if word not in _POLITE:
            return words[at : at + 8]
    return words[:8]


def _form(asked: Asked, count: int, year: int) -> Iterable[str]:
    text = asked.text.strip()
    if text.endswith(("?", "？")):
        yield "f:question"
    elif "?" in text or "？" in text:
        yield "f:question inside"
    for name in ("long", "url", "code", "quoted", "given"):
        if getattr(asked, name):
            yield f"f:{name}"
    yield f"f:words={next((most for most in (2, 4, 7, 12, 20, 40) if count <= most), 99)}"
    yield f"f:sentences={min(len(_SENTENCE_END.split(text)), 5)}"
    capitals = len(_CAPITAL.findall(text))
    yield f"f:capitals={min(capitals, 3)}"
    if not _GERMAN & set(asked.words) and (strange := _strange_names(text)):
        yield f"f:unknown names={min(strange, 3)}"
    if _ACRONYM.search(text):
        yield "f:acronym"
    if capitals and count <= 4:
        yield "f:a name and little else"
    if _SUM.search(text):
        yield "f:sum"
    if _NUMBERED.search(text):
        yield "f:numbered"
    if _CURRENCY.search(text):
        yield "f:currency"
    for match in _YEAR.finditer(text):
        past = year - int(match[0])
        yield "f:year=" + (
            "coming" if past < 0 else str(past) if past <= 3 else "past" if past > 10 else "some"
        )


def _strange_names(text: str) -> int:
    """How many words stand with a capital within a sentence, and are in no cue: few know of what they name."""
    known = _cues()[0]
    names = (match[0] for match in _CAPITAL.finditer(text))
    parts = [tokens(name) for name in names]
    return sum(1 for words in parts if words and not any(word in known for word in words))


def _without_thanks(words: list[str]) -> list[str]:
    """All of them where there is nothing else."""
    start, end = 0, len(words)
    while start < end and words[start] in _THANKS:
        start += 1
    while end > start and words[end - 1] in _THANKS:
        end -= 1
    return words[start:end] or words


def _closing(text: str, start: int) -> int:
    """Where the quotation that begins there ends; -1 where it does not."""
    if text[start] != "'":
        return text.find(_QUOTES[text[start]], start + 1)
    found = _CLOSING.search(text, start + 1)  # not the apostrophe of a word
    return found.start() if found else -1


@cache
def _cues() -> tuple[Mapping[str, tuple[str, ...]], Mapping[str, tuple[str, ...]], int]:
    """Cues by phrase, by the stem that a word begins with, and the length of the longest stem."""
    text = resources.files("fondaco.augment").joinpath("need.toml").read_text("utf-8")
    whole: dict[str, tuple[str, ...]] = {}
    stems: dict[str, tuple[str, ...]] = {}
    for name, listed in tomllib.loads(text)["cues"].items():
        for phrase in listed.split(","):
            match = _TOKEN.findall(folded(phrase))
            key = " ".join(match)
            table = stems if phrase.rstrip().endswith("*") else whole
            if name not in table.get(key, ()):
                table[key] = (*table.get(key, ()), name)
    return whole, stems, max(map(len, stems))
