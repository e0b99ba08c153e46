"""Texts as the rows that a model reads at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedding_models import CLS, PAD, SEP, WORDS, tiny_tokenizer
from fondaco.engines.embeddings.tokens import MAX_CHARACTERS_PER_TOKEN, Text, Tokens, TooLong, UnknownToken
from fondaco.engines.serving import LoadFailed


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_tokenizer(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture
def tokens(file: str) -> Tokens:
    return Tokens(file, window=10, most=50)


def words(first: int, count: int) -> str:
    return " ".join(f"w{n}" for n in range(first, first + count))


def test_a_short_text_is_one_row_with_the_models_marks(tokens: Tokens) -> None:
    assert tokens.read("w5 w6") == Text([[CLS, 5, 6, SEP]], 4)


def test_the_files_own_cutting_and_filling_is_not_obeyed(tokens: Tokens) -> None:
    assert tokens.read(words(10, 8)).rows == [[CLS, *range(10, 18), SEP]]
    assert tokens.read("w5").rows == [[CLS, 5, SEP]]


def test_a_text_longer_than_the_window_becomes_several_rows(tokens: Tokens) -> None:
    text = tokens.read(words(10, 20))
    assert text.rows == [
        [CLS, *range(10, 18), SEP],
        [CLS, *range(18, 26), SEP],
        [CLS, *range(26, 30), SEP],
    ]
    assert text.tokens == 22


def test_a_text_without_a_word_still_has_its_marks(tokens: Tokens) -> None:
    assert tokens.read("  \n ") == Text([[CLS, SEP]], 2)


def test_the_cap_counts_the_marks(tokens: Tokens) -> None:
    assert tokens.read(words(10, 48)).tokens == 50
    with pytest.raises(TooLong):
        tokens.read(words(10, 49))


def test_which_text_is_too_long_is_told(tokens: Tokens) -> None:
    with pytest.raises(TooLong) as fault:
        tokens.read_all(["w5", "w6", words(10, 60), "w7"])
    assert fault.value.args == (2,)


def test_a_monstrous_text_is_refused_uncounted(tokens: Tokens) -> None:
    assert tokens.read(" " * 50 * MAX_CHARACTERS_PER_TOKEN).tokens == 2
    with pytest.raises(TooLong):
        tokens.read(" " * (50 * MAX_CHARACTERS_PER_TOKEN + 1))


def test_a_prefix_stands_before_each_text(file: str) -> None:
    prefixed = Tokens(file, window=10, most=50, prefix="w100 ")
    assert prefixed.read_all(["w5", "w6"]) == [
        Text([[CLS, 100, 5, SEP]], 4),
        Text([[CLS, 100, 6, SEP]], 4),
    ]


def test_tokens_are_taken_with_the_models_marks_or_without(tokens: Tokens) -> None:
    assert tokens.take([5, 6]) == tokens.take([CLS, 5, 6, SEP]) == tokens.read("w5 w6")
    assert tokens.take([*range(10, 30)]) == tokens.read(words(10, 20))


@pytest.mark.parametrize("ids", [[-1], [5, WORDS], [10**30]])
def test_a_token_that_the_model_does_not_have_is_refused(tokens: Tokens, ids: list[int]) -> None:
    with pytest.raises(UnknownToken):
        tokens.take(ids)


def test_too_many_tokens_are_refused(tokens: Tokens) -> None:
    assert tokens.take([5] * 48).tokens == 50
    with pytest.raises(TooLong):
        tokens.take([5] * 49)


def test_filling_is_the_tokenizers_own(tokens: Tokens) -> None:
    assert tokens.pad == PAD


def test_what_is_no_tokenizer_is_not_loaded(tmp_path: Path) -> None:
    bad = tmp_path / "tokenizer.json"
    bad.write_text('{"model": 1}')
    for file in (bad, tmp_path / "none.json"):
        with pytest.raises(LoadFailed):
            Tokens(str(file), window=10, most=50)


def test_a_window_without_room_for_a_token_is_not_loaded(file: str) -> None:
    with pytest.raises(LoadFailed):
        Tokens(file, window=2, most=50)
