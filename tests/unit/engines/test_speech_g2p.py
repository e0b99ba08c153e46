"""Text into phonemes, with the real dictionaries."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fondaco.engines.speech.g2p.english import English, english
from fondaco.engines.speech.g2p.espeak import Espeak, EspeakLanguage, installed_library
from fondaco.engines.speech.g2p.languages import Languages
from fondaco.engines.speech.g2p.lexicon import dictionaries
from fondaco.engines.speech.g2p.scripts import cleaned, runs
from fondaco.engines.speech.kokoro import SPOKEN, TOKENS
from speech_engine import weight


@pytest.fixture(scope="module")
def languages() -> Languages:
    return Languages({"words": str(weight("words")), "letters": str(weight("letters"))})


@pytest.fixture(scope="module")
def american() -> English:
    return english(weight("words"), weight("letters"))[0]


@pytest.fixture(scope="module")
def british() -> English:
    return english(weight("words"), weight("letters"))[1]


@pytest.mark.parametrize(
    ("text", "like"),
    [
        ("It cost $1,234.56.", "It cost one thousand two hundred thirty four dollars and fifty six cents."),
        ("It is worth $3M or £1.2bn.", "It is worth three million dollars or one point two billion pounds."),
        ("On Jan. 5, 2024 at 3:45 PM.", "On January fifth twenty twenty four at three forty five P M."),
        ("Dr. Smith lives on Main St. in Rome.", "Doctor Smith lives on Main Street in Rome."),
        ("The '90s and the 1980s.", "The nineties and the nineteen eighties."),
        ("The 22nd of 50% is 3.5 km.", "The twenty second of fifty percent is three point five kilometers."),
        ("Ask me@foo.org, please.", "Ask me at foo dot org, please."),
        ("See https://example.com/a now.", "See example dot com slash a now."),
        ("He is 6'2\" tall.", "He is six foot two tall."),
        ("B2B & H2O.", "B two B and H two O."),
        ("It took 3-4 days.", "It took three to four days."),
    ],
)
def test_what_is_written_is_said_in_words(american: English, text: str, like: str) -> None:
    assert american.phonemes(text) == american.phonemes(like)


@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("the apple, the pear", "ði ˈæpᵊl, ðə pˈɛɹ"),
        ("to eat, to walk", "tʊ ˈit, tə wˈɔk"),
        ("a record; to record", "ɐ ɹˈɛkəɹd; tə ɹəkˈɔɹd"),
        ("I have read it.", "ˌI hæv ɹˈɛd ɪt."),
        ("They live here.", "ðˌA lˈɪv hˈɪɹ."),
        ("cats dogs buses", "kˈæts dˈɔɡz bˈʌsᵻz"),
    ],
)
def test_words_are_said_by_what_stands_beside_them(american: English, text: str, phonemes: str) -> None:
    assert american.phonemes(text) == phonemes


@pytest.mark.parametrize("mark", [",", ".", "!", "?", ";", ":", "…"])
def test_punctuation_stays(american: English, mark: str) -> None:
    assert mark in american.phonemes(f"Hello{mark} Venice")


def test_americans_and_britons_differ(american: English, british: English) -> None:
    assert american.phonemes("the car can't dance") == "ðə kˈɑɹ kˈænt dˈæns"
    assert british.phonemes("the car can't dance") == "ðə kˈɑː kˈɑːnt dˈɑːns"


def test_the_lexicon_inflects_what_it_knows() -> None:
    american, british = dictionaries(weight("words"))
    assert american.word("wug") is None
    assert (american.word("cats'"), american.word("Fondaco")) == ("kˈæts", None)
    assert american.word("googles") == american.word("google") + "z"  # pyright: ignore[reportOptionalOperand]
    assert american.letters("FBI") == "ˌɛfbˌiˈI"
    assert american.word("XQZ") == american.letters("XQZ")
    assert british.word("tomato") != american.word("tomato")


@pytest.mark.parametrize("word", ["Fondaco", "Blorptastic", "Kubernetes", "Wojciechowski", "xyzzy"])
def test_words_that_no_dictionary_has_are_said_all_the_same(
    american: English, british: English, word: str
) -> None:
    for speaker in (american, british):
        phonemes = speaker.phonemes(word)
        assert len(SPOKEN.intersection(phonemes)) >= 3
        assert set(phonemes) <= set(TOKENS)


def test_a_name_that_is_not_listed_sounds_as_it_is_spelled(american: English) -> None:
    assert american.phonemes("Fondaco").startswith("fˈɑnd")
    assert american.phonemes("Blorp") == "blˈɔɹp"


@pytest.mark.parametrize(
    ("language", "text", "phonemes"),
    [
        ("ja", "東京タワーへ行きましょう。", "toːkʲoːtaβaː e ikʲimaɕoː."),
        ("ja", "キャッチャー、新聞、さんか", "kʲaʔʨaː, ɕimbɯɴ, saɴ ka"),
        ("zh", "你好，世界！", "ni↗xau↓, ʂɨ↘ʨje↘!"),
        ("zh", "增长50%", "ʦə→ŋꭧa↓ŋ pai↓fə→n ꭧɨ→ u↓ʂɨ↗"),
    ],
)
def test_languages_of_east_asia(languages: Languages, language: str, text: str, phonemes: str) -> None:
    assert languages.phonemes(text, language).replace(" ", "") == phonemes.replace(" ", "")


@pytest.mark.parametrize(
    ("language", "text", "phonemes"),
    [
        ("es", "¿Qué tal, señor?", "kˈe tˈal, seɲˈoɾ?"),
        ("fr", "Bonjour le monde.", "bɔ̃ʒˈuʁ lə mˈɔ̃d."),
        ("it", "Gli gnocchi!", "ʎɪ ɲˈɔkːɪ!"),
        ("pt-br", "Obrigado.", "ˌobriɡˈadʊ."),
        ("hi", "नमस्ते।", "nəmˈʌsteː."),
    ],
)
def test_languages_of_espeak(languages: Languages, language: str, text: str, phonemes: str) -> None:
    if language not in languages.installed:
        pytest.skip("eSpeak NG is not installed")
    made = languages.phonemes(text, language)
    assert made[-1] == phonemes[-1]
    alike = len(set(phonemes) & set(made)) / len(set(phonemes))
    assert alike > 0.75, made


def test_espeak_is_never_in_this_process(languages: Languages) -> None:
    if "fr" not in languages.installed:
        pytest.skip("eSpeak NG is not installed")
    assert languages.phonemes("Bonjour", "fr")
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert "espeak" not in maps.read_text()


def test_espeak_is_started_again_when_it_dies() -> None:
    library = installed_library()
    if library is None:
        pytest.skip("eSpeak NG is not installed")
    espeak = Espeak(library)
    french = EspeakLanguage(espeak, "fr")
    before = french.phonemes("Bonjour")
    espeak.close()
    assert french.phonemes("Bonjour") == before
    espeak.close()


def test_foreign_scripts_are_spoken_where_they_can_be(languages: Languages) -> None:
    mixed = languages.phonemes("Hello 世界, Привет!", "en-us")
    assert mixed.startswith("həlˈO")
    assert languages.phonemes("世界", "zh") in mixed
    assert languages.phonemes("我用 iPhone", "zh").endswith(languages.phonemes("iPhone", "en-us"))


@pytest.mark.parametrize("text", ["😀👍🏽", "...!?", "\x00\x07\u200b", "Привет", "♥ → ★", " ", "—"])
def test_what_nobody_can_say_is_nothing(languages: Languages, text: str) -> None:
    assert languages.phonemes(text, "en-us") == ""


def test_control_characters_and_pictures_are_not_read() -> None:
    assert cleaned("a\x00b\u200d\ufe0f c\td\ne😀") == "ab c d e "
    assert cleaned("20°C ™") == "20°C ™"


def test_runs_tell_scripts_apart() -> None:
    assert list(runs("Hi 世界 und नमस्ते", "en-us")) == [
        ("en-us", "Hi "),
        ("zh", "世界 "),
        ("en-us", "und "),
        ("hi", "नमस्ते"),
    ]
    assert list(runs("これは世界 hi", "ja")) == [("ja", "これは世界 hi")]
    assert list(runs("これは世界", "en-us")) == [("ja", "これは世界")]


HOSTILE = ("$", "9", "a", "a.b@", "\u0301", "Dr. ")
SLOW = ('"1 ', "x^2 ", "1/2/")


@pytest.mark.parametrize(
    "text",
    [*HOSTILE, *(pytest.param(text, marks=pytest.mark.long) for text in SLOW)],
    ids=lambda text: text.encode("unicode_escape").decode(),
)
def test_hostile_text_is_read_in_bounded_time(american: English, text: str) -> None:
    started = time.process_time()
    american.phonemes((text * 1200)[:1200])  # as long as a sentence can be
    assert time.process_time() - started < 10
