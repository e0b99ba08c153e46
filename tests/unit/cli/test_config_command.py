"""`fondaco config`: every setting with its origin, secrets masked, faults named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fondaco.cli.config import app

CANARY = "canary-5e1d7a-secret"


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory and no setting of the machine's own."""
    for name in os.environ:
        if name.upper().startswith("FONDACO_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def show(*arguments: str) -> dict[str, dict[str, Any]]:
    done = CliRunner().invoke(app, ["show", "--json", *arguments])
    assert done.exit_code == 0, done.output
    assert CANARY not in done.output
    return {row["key"]: row for row in json.loads(done.stdout)}


def refusal(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["show", *arguments])
    assert done.exit_code == 2, done.output
    assert CANARY not in done.output
    return done.stderr


def test_a_setting_comes_from_the_strongest_of_its_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    assert show()["server.port"]["origin"] == {"kind": "default", "where": ""}
    Path("fondaco.toml").write_text("[server]\nport = 1\nhost = '::1'\ndrain_seconds = 3\n")
    monkeypatch.setenv("FONDACO_SERVER__PORT", "2")
    monkeypatch.setenv("fondaco_server__host", "0.0.0.0")
    told = show("--port", "3")
    assert (told["server.port"]["value"], told["server.port"]["origin"]) == (
        3,
        {"kind": "flag", "where": "--port"},
    )
    assert told["server.host"]["value"] == "0.0.0.0"
    assert told["server.host"]["origin"] == {"kind": "env", "where": "fondaco_server__host"}
    assert told["server.drain_seconds"]["origin"] == {"kind": "file", "where": "fondaco.toml"}


def test_a_whole_section_in_one_variable_is_the_origin_of_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FONDACO_LOG", '{"level": "debug"}')
    told = show()
    assert told["log.level"]["origin"] == {"kind": "env", "where": "FONDACO_LOG"}
    assert told["log.format"]["origin"]["kind"] == "default"


def test_every_setting_is_documented() -> None:
    undocumented = [key for key, row in show().items() if not row["doc"]]
    assert undocumented == []


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FONDACO_ADMIN_KEY", CANARY)
    monkeypatch.setenv("FONDACO_WEIGHTS__MIRROR", f"https://me:{CANARY}@mirror/weights?token={CANARY}")
    Path("own.toml").write_text(
        f"[models.bind.'qwen2.5']\nbase_url = 'http://h/v1'\nheaders = {{ x-key = '{CANARY}' }}\n"
    )
    told = show("--config", "own.toml")
    assert told["keys.admin_key"]["value"] == "********"
    assert told["keys.admin_key"]["origin"] == {"kind": "env", "where": "FONDACO_ADMIN_KEY"}
    assert told["weights.mirror"]["value"] == "https://********@mirror/weights?********"
    assert told['models.bind."qwen2.5".headers']["value"] == {"x-key": "********"}
    assert told['models.bind."qwen2.5".base_url']["origin"] == {"kind": "file", "where": "own.toml"}
    assert 'models.bind."qwen2.5".proxy' not in told


def test_the_plain_form_has_key_value_origin_and_meaning() -> None:
    done = CliRunner().invoke(app, ["show", "--host", "0.0.0.0"])
    assert 'server.host = "0.0.0.0"  (flag --host)\n    Address to listen on.' in done.stdout


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[server]\nport = 70000", "server.port = 70000: input should be less than or equal to 65535"),
        (
            "[log]\nlevel = 'loud'",
            "log.level = \"loud\": input should be 'debug', 'info', 'warning' or 'error'",
        ),
        ("[server]\nprot = 1", "server.prot: there is no such setting; did you mean server.port?"),
        ("[sever]\nport = 1", "sever: there is no such setting; did you mean server?"),
        (
            f"[models.bind.x]\nbase_url = 'http://h'\napi_key = '{CANARY}'",
            "api_key: there is no such setting",
        ),
        (
            f"[models.bind.x]\nbase_url = 'http://h'\nheaders = '{CANARY}'",
            "models.bind.x.headers: input should",
        ),
        ("[models.bind.x]\nbase_url = 'h'", 'models.bind.x.base_url = "h": string should match'),
        ("[server\n", "is not valid TOML"),
    ],
)
def test_a_bad_value_is_one_line_that_names_it(toml: str, said: str) -> None:
    Path("fondaco.toml").write_text(toml)
    told = refusal()
    assert said in told
    assert told.count("\n") == 1


def test_a_bad_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FONDACO_ADMIN_KEY", CANARY[:12])
    told = refusal()
    assert "keys.admin_key: string should have at least 16 characters" in told
    assert CANARY[:12] not in told


def test_a_variable_that_is_not_json_is_told_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FONDACO_MODELS__BIND", f'{{"x": {CANARY}')
    assert "models" in refusal()


def test_a_file_that_is_not_there_is_named() -> None:
    assert refusal("--config", "gone.toml") == "fondaco: there is no configuration file gone.toml\n"


def test_path_tells_the_file_that_is_read() -> None:
    assert CliRunner().invoke(app, ["path"]).exit_code == 1
    Path("fondaco.toml").touch()
    assert CliRunner().invoke(app, ["path"]).stdout.strip() == str(Path("fondaco.toml").absolute())
