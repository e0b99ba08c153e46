"""Languages by their ISO-639-1 codes and English names, as Whisper's authors list them."""

from __future__ import annotations

from typing import Final

_LISTED: Final = """
af afrikaans, am amharic, ar arabic, as assamese, az azerbaijani, ba bashkir, be belarusian, bg bulgarian,
bn bengali, bo tibetan, br breton, bs bosnian, ca catalan, cs czech, cy welsh, da danish, de german, el greek,
en english, es spanish, et estonian, eu basque, fa persian, fi finnish, fo faroese, fr french, gl galician,
gu gujarati, ha hausa, haw hawaiian, he hebrew, hi hindi, hr croatian, ht haitian creole, hu hungarian,
hy armenian, id indonesian, is icelandic, it italian, ja japanese, jw javanese, ka georgian, kk kazakh, km khmer,
kn kannada, ko korean, la latin, lb luxembourgish, ln lingala, lo lao, lt lithuanian, lv latvian, mg malagasy,
mi maori, mk macedonian, ml malayalam, mn mongolian, mr marathi, ms malay, mt maltese, my myanmar, ne nepali,
nl dutch, nn nynorsk, no norwegian, oc occitan, pa punjabi, pl polish, ps pashto, pt portuguese, ro romanian,
ru russian, sa sanskrit, sd sindhi, si sinhala, sk slovak, sl slovenian, sn shona, so somali, sq albanian,
sr serbian, su sundanese, sv swedish, sw swahili, ta tamil, te telugu, tg tajik, th thai, tk turkmen, tl tagalog,
tr turkish, tt tatar, uk ukrainian, ur urdu, uz uzbek, vi vietnamese, yi yiddish, yo yoruba, yue cantonese,
zh chinese
"""

NAMES: Final = {
    code: name
    for code, _, name in (entry.strip().partition(" ") for entry in _LISTED.replace("\n", " ").split(","))
}
"""English name by code."""

_CODES: Final = {name: code for code, name in NAMES.items()} | {
    "burmese": "my",
    "castilian": "es",
    "farsi": "fa",
    "flemish": "nl",
    "jv": "jw",
    "mandarin": "zh",
    "moldavian": "ro",
    "nb": "no",
    "valencian": "ca",
}


def code_of(told: str) -> str | None:
    """The code of a language told by code (`en`), locale (`en-US`) or English name (`English`); None if unknown."""
    wanted = told.strip().lower()
    code = _CODES.get(wanted, wanted)
    if code in NAMES:
        return code
    code = code.replace("_", "-").partition("-")[0]
    return _CODES.get(code, code) if _CODES.get(code, code) in NAMES else None


def name_of(code: str) -> str:
    """The English name of a language; the code itself where it has none here."""
    return NAMES.get(code, code)
