"""Which language each part of a text is in, as far as its script tells."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_KANA = r"\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HAN = r"\u3001-\u303f\uff01-\uff0f\uff1a-\uff20\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
"""With the punctuation of East Asia."""

_SCRIPT = re.compile(
    rf"(?P<kana>[{_KANA}])|(?P<han>[{_HAN}])|(?P<hindi>[\u0900-\u0963\u0966-\u097f])|(?P<latin>[A-Za-z\u00c0-\u024f\u1e00-\u1eff])|(?P<other>[^\W\d_])"
)
_KEPT_SIGNS = frozenset("°©®™№℃℉")

_OWN = {"ja": ("kana", "han", "latin"), "zh": ("han",), "hi": ("hindi",)}
"""Scripts that a language's own module reads; `latin` for those not named."""


def cleaned(text: str) -> str:
    """`text` without what nobody says: control characters, pictures, and marks of how to draw."""
    return "".join(_said(character) for character in unicodedata.normalize("NFC", text))


def runs(text: str, language: str) -> Iterator[tuple[str, str]]:
    """The parts of `text` with the language of each, in order. What is in a script that nobody here reads is left out."""
    own = _OWN.get(language, ("latin",))
    han = "ja" if re.search(f"[{_KANA}]", text) else "zh"
    foreign = {"kana": "ja", "han": han, "hindi": "hi", "latin": "en-us", "other": ""}
    current, start = language, 0
    for match in _SCRIPT.finditer(text):
        script = match.lastgroup or ""
        meant = language if script in own else foreign[script]
        if meant != current:
            if current and match.start() > start:
                yield current, text[start : match.start()]
            current, start = meant, match.start()
    if current and start < len(text):
        yield current, text[start:]


def _said(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Zs" or category.startswith("Zl") or category == "Zp" or character in "\t\r\n":
        return " "
    if category in ("Cc", "Cf", "Cn", "Co", "Cs"):
        return ""
    if "\ufe00" <= character <= "\ufe0f" or character == "\u20e3":
        return ""
    pictures = category in ("So", "Sk", "Sm") and character > "\u2190"
    return " " if (category == "So" or pictures) and character not in _KEPT_SIGNS else character
