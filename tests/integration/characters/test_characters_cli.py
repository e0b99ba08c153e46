"""`fondaco characters` and `fondaco prompt show`, in this process over a real database."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from card_files import in_base64, picture, raw
from fondaco.cli.characters import app as characters_app
from fondaco.cli.prompt import app as prompt_app

Run = Callable[..., Result]

NELL: dict[str, Any] = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Nell of the Mill",
        "description": "{{char}} keeps the mill.",
        "first_mes": "Come in, {{user}}!",
        "post_history_instructions": "Stay {{char}}.",
        "tags": ["mill"],
        "extensions": {"app/voice": 7},
    },
}


@pytest.fixture
def characters(tmp_path: Path) -> Run:
    return lambda *words: CliRunner().invoke(
        characters_app, [*map(str, words), "--data-dir", str(tmp_path / "data")]
    )


@pytest.fixture
def prompt(tmp_path: Path) -> Run:
    config = tmp_path / "fondaco.toml"
    config.write_text(
        '[models]\ndefault = "m"\n[models.bind.m]\nbase_url = "http://127.0.0.1:9/v1"\n'
        '[prompt.by_model]\n"qwen*" = "For Qwen."\n[weights]\noffline = true\n'
        f'cache_dir = "{tmp_path / "weights"}"\n[models.bind.qwen3-4b]\nbase_url = "http://127.0.0.1:9/v1"\n'
    )
    options = ["--data-dir", str(tmp_path / "data"), "--config", str(config)]
    return lambda *words: CliRunner().invoke(prompt_app, ["show", *words, *options])


@pytest.fixture
def nell(tmp_path: Path) -> Path:
    file = tmp_path / "nell.png"
    file.write_bytes(picture(chara=in_base64(NELL)))
    return file


def rows(result: Result) -> dict[str, list[str]]:
    assert result.exit_code == 0, result.output
    lines = [line.split("  ") for line in result.stdout.splitlines()[1:]]
    return {cells[0]: [cell.strip() for cell in cells[1:] if cell.strip()] for cells in lines}


def told(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(result: Result) -> str:
    assert result.exit_code in (1, 2)
    assert "Traceback" not in result.output
    return result.stderr


def test_a_card_in_a_picture_is_imported_listed_and_exported_as_it_was(
    characters: Run, nell: Path, tmp_path: Path
) -> None:
    assert told(characters("import", nell)) == "nell-of-the-mill: Nell of the Mill\n"
    assert rows(characters("list"))["nell-of-the-mill"][:4] == ["Nell of the Mill", "enabled", "no", "no"]
    assert json.loads(told(characters("export", "nell-of-the-mill"))) == NELL
    out = tmp_path / "out.png"
    told(characters("export", "nell-of-the-mill", "--out", out))
    told(characters("import", out, "--slug", "again"))
    assert json.loads(told(characters("export", "again"))) == NELL
    file = tmp_path / "out.json"
    told(characters("export", "again", "--out", file))
    assert json.loads(file.read_text()) == NELL


def test_several_are_imported_and_a_bad_one_keeps_none_of_the_others_out(
    characters: Run, nell: Path, tmp_path: Path
) -> None:
    bad, plain = tmp_path / "bad.json", tmp_path / "plain.json"
    bad.write_text("{}")
    plain.write_bytes(raw({"name": "Plain", "tags": ["NSFW"]}))
    ran = characters("import", bad, tmp_path / "none.json", nell, plain)
    assert ran.exit_code == 1
    assert "bad.json: It is not a character card" in ran.stderr
    assert "none.json: No such file" in ran.stderr
    assert ran.stdout == "nell-of-the-mill: Nell of the Mill\nplain: Plain (adult)\n"
    assert rows(characters("list"))["plain"][2] == "yes"


def test_a_slug_is_taken_once_unless_it_is_to_be_replaced(
    characters: Run, nell: Path, tmp_path: Path
) -> None:
    told(characters("import", nell, "--featured", "--model", "m-1"))
    assert "--replace" in refused(characters("import", nell))
    other = tmp_path / "other.json"
    other.write_bytes(raw({"name": "Nell of the Mill", "description": "Other."}))
    told(characters("import", other, "--replace"))
    assert json.loads(told(characters("export", "nell-of-the-mill")))["data"]["description"] == "Other."
    # What was said of it before still holds.
    assert rows(characters("list"))["nell-of-the-mill"][3:5] == ["yes", "m-1"]
    assert "--replace" in refused(characters("import", nell, "--slug", "ada"))
    assert "small letters" in refused(characters("import", nell, "--slug", "No Slug"))
    assert "single file" in refused(characters("import", nell, other, "--slug", "x"))


def test_ours_can_be_changed_hidden_and_had_back(characters: Run) -> None:
    assert rows(characters("list"))["ada"][1:4] == ["enabled, ours", "no", "yes"]
    told(characters("disable", "ada"))
    told(characters("edit", "ada", "--no-featured", "--adult", "--web", "--model", "m"))
    assert rows(characters("list"))["ada"][1:5] == ["disabled, ours", "yes", "no", "m"]
    told(characters("enable", "ada"))
    told(characters("edit", "ada", "--model", ""))
    assert rows(characters("list"))["ada"][1:5] == ["enabled, ours", "yes", "no", "-"]
    told(characters("remove", "ada"))
    assert rows(characters("list"))["ada"][1:4] == ["enabled, ours", "no", "yes"]
    assert "comes with the program" in refused(characters("remove", "ada"))


def test_a_card_is_edited_in_the_editor(
    characters: Run, nell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/keeps the mill/left the mill/' \"$1\"\n")
    editor.chmod(0o700)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)
    told(characters("import", nell))
    assert "Changed" in characters("edit", "nell-of-the-mill").stderr
    data = json.loads(told(characters("export", "nell-of-the-mill")))["data"]
    assert data == {**NELL["data"], "description": "{{char}} left the mill."}
    assert "Nothing was changed" in characters("edit", "nell-of-the-mill").stderr
    editor.write_text("#!/bin/sh\necho '{}' > \"$1\"\ntouch -d '+1 min' \"$1\"\n")
    assert "not a character card" in refused(characters("edit", "nell-of-the-mill"))
    # One of ours that is edited is the operator's from then on.
    editor.write_text("#!/bin/sh\nsed -i 's/twenty-five years/thirty years/' \"$1\"\n")
    told(characters("edit", "ada"))
    assert rows(characters("list"))["ada"][1] == "enabled"
    assert "thirty years" in told(characters("export", "ada"))
    told(characters("remove", "ada"))
    assert "twenty-five years" in told(characters("export", "ada"))


@pytest.mark.parametrize(
    "words",
    [["export"], ["edit", "--adult"], ["enable"], ["disable"], ["remove"]],
    ids=lambda words: words[0],
)
def test_what_is_not_there_is_said_in_a_line(characters: Run, words: list[str]) -> None:
    assert "There is no character nobody" in refused(characters(*words, "nobody"))


def test_an_export_to_a_picture_needs_one(characters: Run, tmp_path: Path) -> None:
    out = tmp_path / "ada.png"
    assert "--picture" in refused(characters("export", "ada", "--out", out))
    image = tmp_path / "image.png"
    image.write_bytes(picture())
    told(characters("export", "ada", "--out", out, "--picture", image))
    told(characters("import", out, "--slug", "second-ada"))
    image.write_bytes(b"no picture")
    assert "not a PNG" in refused(characters("export", "ada", "--out", out, "--picture", image))
    assert "No such file" in refused(characters("export", "ada", "--out", tmp_path / "no" / "x.json"))


def test_the_database_is_the_owner_s_alone(characters: Run, nell: Path, tmp_path: Path) -> None:
    told(characters("import", nell))
    assert not any(file.stat().st_mode & 0o077 for file in (tmp_path / "data").iterdir())


def test_the_prompt_in_force_is_shown(prompt: Run, tmp_path: Path) -> None:
    shown = told(prompt())
    assert shown.startswith("You are the assistant of Fondaco")
    assert "Today is " in shown
    assert "[" not in shown
    assert told(prompt("--model", "qwen3-4b")).startswith("For Qwen.\nToday is")
    assert told(prompt("--model", "m:include_venice_system_prompt=false")) == ""
    assert "not found" in refused(prompt("--model", "nonesuch"))
    assert not (tmp_path / "data").exists()


def test_a_character_s_prompt_is_shown_with_its_greeting_and_last_word(
    prompt: Run, characters: Run, nell: Path
) -> None:
    shown = told(prompt("--character", "ada"))
    assert "you are Ada" in shown
    told(characters("import", nell))
    shown = told(prompt("--character", "nell-of-the-mill", "--user", "Tom"))
    parts = [
        "Today is",
        "Nell of the Mill keeps the mill.",
        "[greeting]\nCome in, Tom!",
        "[the conversation]",
    ]
    places = [shown.index(part) for part in (*parts, "[after the last message]\nStay Nell of the Mill.")]
    assert places == sorted(places)
    told(characters("disable", "nell-of-the-mill"))
    assert "There is no character" in refused(prompt("--character", "nell-of-the-mill"))
