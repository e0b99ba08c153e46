"""`fondaco models` as a user types it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fondaco.cli.models import app
from fondaco.engines.weights import pins
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
    assert listed[0].split() == ["NAME", "SIZE", "HERE", "LICENCE", "SOURCES"]
    assert [line.split()[3] for line in listed[1:3]] == ["yes", "no"]
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


@pytest.mark.usefixtures("folder")
def test_a_name_with_two_meanings_asks_which() -> None:
    refused = run("pull", "tiny-instruct")
    assert refused.exit_code == 2
    assert "tiny-instruct-q4_0.gguf or tiny-instruct-q8_0.gguf" in refused.stderr


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("arguments", [["pull"], ["pull", "--all", "x"], ["pull", "x"], ["remove", "hf:x"]])
def test_what_cannot_be_meant_is_refused_in_a_line(arguments: list[str]) -> None:
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stderr.startswith("fondaco: ")
