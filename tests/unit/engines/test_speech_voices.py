"""Names of voices and languages."""

from __future__ import annotations

import pytest

from fondaco.engines.speech.voices import (
    ALIASES,
    VOICES,
    language_named,
    language_of,
    voice_named,
    voices_like,
)
from fondaco.models.catalogue import Catalogue

OPENAI = (
    "alloy",
    "ash",
    "ballad",
    "coral",
    "echo",
    "fable",
    "onyx",
    "nova",
    "sage",
    "shimmer",
    "verse",
    "marin",
    "cedar",
)


def test_there_are_fifty_four_in_the_order_of_their_file() -> None:
    assert len(set(VOICES)) == 54
    assert list(VOICES) == sorted(VOICES)


def test_every_voice_that_the_catalogue_lists_can_be_asked_for() -> None:
    model = Catalogue().find("tts-kokoro")
    assert model is not None
    assert len(model.voices) == 54
    assert all(voice_named(voice) for voice in model.voices)


@pytest.mark.parametrize("name", OPENAI)
def test_openais_names_are_voices_of_english(name: str) -> None:
    voice = voice_named(name)
    assert voice in VOICES
    assert language_of(voice).startswith("en")


def test_no_two_of_openais_names_are_the_same_voice() -> None:
    assert len({ALIASES[name] for name in OPENAI}) == len(OPENAI)


@pytest.mark.parametrize("name", ["AF_SKY", "Af_Sky", " af_sky "])
def test_case_does_not_matter(name: str) -> None:
    assert voice_named(name) == "af_sky"


@pytest.mark.parametrize("name", ["", "sky", "af_", "af_sky2", "../af_sky"])
def test_another_name_is_no_voice(name: str) -> None:
    assert voice_named(name) is None


def test_a_name_that_is_nearly_right_brings_the_right_one_to_mind() -> None:
    assert "af_bella" in voices_like("af_bela")
    assert voices_like("qqqqqqqq") == []


@pytest.mark.parametrize(
    ("tag", "voice", "language"),
    [
        ("fr", "af_sky", "fr"),
        ("fr-CA", "af_sky", "fr"),
        ("pt", "af_sky", "pt-br"),
        ("pt_BR", "af_sky", "pt-br"),
        ("zh-Hans", "af_sky", "zh"),
        ("cmn", "af_sky", "zh"),
        ("en", "bf_emma", "en-gb"),
        ("en", "af_sky", "en-us"),
        ("en", "jf_alpha", "en-us"),
        ("EN-gb", "af_sky", "en-gb"),
        ("xx", "af_sky", None),
        ("", "af_sky", None),
    ],
)
def test_a_language_is_known_by_its_tag(tag: str, voice: str, language: str | None) -> None:
    assert language_named(tag, voice) == language
