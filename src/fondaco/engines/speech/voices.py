"""The voices of Kokoro 1.0: their names, the names that clients use for them, and the language each grew up with."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

VOICES = (
    "af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_kore", "af_nicole", "af_nova", "af_river",
    "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_michael", "am_onyx",
    "am_puck", "am_santa", "bf_alice", "bf_emma", "bf_isabella", "bf_lily", "bm_daniel", "bm_fable", "bm_george",
    "bm_lewis", "ef_dora", "em_alex", "em_santa", "ff_siwis", "hf_alpha", "hf_beta", "hm_omega", "hm_psi",
    "if_sara", "im_nicola", "jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo", "pf_dora",
    "pm_alex", "pm_santa", "zf_xiaobei", "zf_xiaoni", "zf_xiaoxiao", "zf_xiaoyi", "zm_yunjian", "zm_yunxi",
    "zm_yunxia", "zm_yunyang",
)  # fmt: skip
"""In the order in which their styles lie in the file."""

ALIASES: Mapping[str, str] = {
    # OpenAI's
    "alloy": "af_alloy",
    "ash": "am_adam",
    "ballad": "bm_george",
    "cedar": "am_fenrir",
    "coral": "af_heart",
    "echo": "am_echo",
    "fable": "bm_fable",
    "marin": "af_kore",
    "nova": "af_nova",
    "onyx": "am_onyx",
    "sage": "af_sarah",
    "shimmer": "af_bella",
    "verse": "am_michael",
    # Listed by the vendor, and not among the voices that were published.
    "af_jadzia": "af_jessica",
}

DEFAULT_VOICE = "af_sky"

LANGUAGES: Mapping[str, str] = {
    "a": "en-us",
    "b": "en-gb",
    "e": "es",
    "f": "fr",
    "h": "hi",
    "i": "it",
    "j": "ja",
    "p": "pt-br",
    "z": "zh",
}
"""By the first letter of a voice's name."""


def voice_named(name: str) -> str | None:
    """The voice that a client means by `name`, whatever its case."""
    wanted = name.strip().lower()
    wanted = ALIASES.get(wanted, wanted)
    return wanted if wanted in VOICES else None


def voices_like(name: str) -> list[str]:
    """Up to three voices whose names look like `name`."""
    return get_close_matches(name.strip().lower(), [*VOICES, *ALIASES], n=3)


def language_of(voice: str) -> str:
    return LANGUAGES[voice[0]]


def language_named(tag: str, voice: str) -> str | None:
    """The language that a tag such as `fr`, `pt-BR` or `en_GB` means. `en` alone is the English of the voice."""
    tag = tag.strip().lower().replace("_", "-")
    own = language_of(voice)
    if tag in LANGUAGES.values():
        return tag
    primary = tag.partition("-")[0]
    if primary == "en":
        return own if own.startswith("en") else "en-us"
    primary = {"cmn": "zh", "pt": "pt-br"}.get(primary, primary)
    return primary if primary in LANGUAGES.values() else None
