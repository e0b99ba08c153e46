"""`fondaco models` as a user types it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fondaco.cli.models import app
from fondaco.engines.weights import pinned, pins
from fondaco.engines.weights.weight import Weight

DATA = b"weights of a very small model"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, offline, and a pinned list of two."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FONDACO_WEIGHTS__CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("FONDACO_WEIGHTS__OFFLINE", "true")
    weights = [
        Weight("tiny-instruct-q4_0.gguf", SHA256, len(DATA), "MIT", ()),
        Weight("tiny-instruct-q8_0.gguf", "0" * 64, 200_000_000, "MIT", ()),
    ]
    monkeypatch.setattr(pins, "pinned", lambda: {weight.name: weight for weight in weights})
    monkeypatch.setattr("fondaco.engines.weights.pinned", pins.pinned)
    return tmp_path / "weights"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def put(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SHA256).write_bytes(DATA)


def test_pull_then_list_then_remove(folder: Path) -> None:
    put(folder)
    pulled = run("pull", "tiny-instruct-q4_0")
    assert pulled.exit_code == 0, pulled.output
    assert str(folder / SHA256) in pulled.stdout
    listed = run("list").stdout.splitlines()
    assert listed[0].split() == ["MODEL", "NAME", "SIZE", "HERE", "LICENCE", "SOURCES"]
    assert [line.split()[4] for line in listed[1:3]] == ["yes", "no"]
    assert str(folder) in listed[-1]
    assert "0 kB freed" in run("remove", "tiny-instruct-q4_0").stdout
    assert not (folder / SHA256).exists()
    assert "was not here" in run("remove", "tiny-instruct-q4_0").stdout


def test_pull_all_goes_on_past_a_weight_that_cannot_be_had(folder: Path) -> None:
    put(folder)
    (folder / SHA256).rename(folder / ("0" * 64))
    (folder / SHA256).write_bytes(DATA)
    pulled = run("pull", "--all")
    assert pulled.exit_code == 1
    assert "tiny-instruct-q4_0.gguf: here" in pulled.stdout
    assert "fondaco: tiny-instruct-q8_0.gguf is not here" in pulled.stderr


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, offline, and the real list."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FONDACO_WEIGHTS__CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("FONDACO_WEIGHTS__OFFLINE", "true")
    return tmp_path / "weights"


def asked_for(result: Result) -> list[str]:
    """The weights that could not be fetched, as nothing can offline."""
    return re.findall(r"fondaco: (\S+) is not here and weights\.offline forbids", result.stderr)


@pytest.mark.usefixtures("real")
def test_a_model_s_id_means_all_its_weights_each_once() -> None:
    pulled = run("pull", "Whisper-Base", "whisper-base-model.bin", "tts-kokoro")
    assert pulled.exit_code == 1
    assert asked_for(pulled) == [
        "whisper-base-model.bin",
        "whisper-base-config.json",
        "whisper-base-tokenizer.json",
        "whisper-base-vocabulary.txt",
        "kokoro-v1.0.int8.onnx",
        "kokoro-v1.0-voices.bin",
        "english-words.json",
        "english-letters.npz",
    ]


def test_removing_a_model_removes_all_its_weights(real: Path) -> None:
    real.mkdir()
    for name in ("all-minilm-l6-v2-int8.onnx", "all-minilm-l6-v2-tokenizer.json"):
        (real / f"{pinned()[name].sha256}").write_bytes(b"1" * 2000)
    removed = run("remove", "all-minilm-l6-v2")
    assert removed.stdout.splitlines() == [
        "all-minilm-l6-v2-int8.onnx: 2 kB freed",
        "all-minilm-l6-v2-tokenizer.json: 2 kB freed",
    ]
    assert list(real.iterdir()) == []


@pytest.mark.usefixtures("real")
def test_pull_alone_means_what_serve_would_fetch_of_each_type() -> None:
    pulled = run("pull")
    assert pulled.exit_code == 1
    assert set(asked_for(pulled)) == {
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        "kokoro-v1.0.int8.onnx",
        "kokoro-v1.0-voices.bin",
        "english-words.json",
        "english-letters.npz",
        "whisper-base-model.bin",
        "whisper-base-config.json",
        "whisper-base-tokenizer.json",
        "whisper-base-vocabulary.txt",
        "all-minilm-l6-v2-int8.onnx",
        "all-minilm-l6-v2-tokenizer.json",
    }


@pytest.mark.usefixtures("real")
def test_the_list_says_whose_each_weight_is() -> None:
    rows = [
        line.split()[:2] for line in run("list").stdout.splitlines()[1:] if line.startswith("whisper-base ")
    ]
    assert rows == [["whisper-base", name] for name in pinned() if name.startswith("whisper-base-")]
    assert len(rows) == 4


@pytest.mark.usefixtures("folder")
def test_a_name_with_two_meanings_asks_which() -> None:
    refused = run("pull", "tiny-instruct")
    assert refused.exit_code == 2
    assert "tiny-instruct-q4_0.gguf or tiny-instruct-q8_0.gguf" in refused.stderr


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("arguments", [["pull", "--all", "x"], ["pull", "x"], ["remove", "hf:x"]])
def test_what_cannot_be_meant_is_refused_in_a_line(arguments: list[str]) -> None:
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stderr.startswith("fondaco: ")
