"""`fondaco engine`: what `--model` leads to, what is refused, and an engine that runs until it is told to end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from fondaco.cli.engine import engine
from fondaco.cli.engine_model import model_for
from fondaco.cli.own_model import NoSuchModel
from fondaco.engines import kinds
from fondaco.engines.kinds import KINDS, EngineKind
from fondaco.settings import EmbeddingModel, ModelSettings, TranscriptionModel

app = typer.Typer()
app.command()(engine)

SHIPPED: list[tuple[EngineKind, str]] = [
    ("speech", "tts-kokoro"),
    ("transcription", "whisper-base"),
    ("embeddings", "all-minilm-l6-v2"),
]

ECHO = """
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from fondaco.engines.serving import LoadFailed, engine_app

def create(launch):
    if b"broken" in open(launch.model, "rb").read():
        raise LoadFailed
    async def say(request):
        return PlainTextResponse(await request.body())
    told = {"files": sorted(launch.files), "options": launch.options, "threads": launch.threads}
    return engine_app(launch, [Route("/v1/say", say, methods=["POST"])], told)
"""

RUN = """
import sys
sys.argv[0] = "fondaco"
from fondaco.engines import kinds
kinds.KINDS = {**kinds.KINDS, "embeddings": kinds.Kind("echo_engine", ("uvicorn",), slots=4)}
from fondaco.__main__ import main
main()
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's embedding model in a folder, which is all that there is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FONDACO_WEIGHTS__CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("FONDACO_ENGINE_KEY", raising=False)
    for name in ("My Model.onnx", "My Model.onnx_data", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    return tmp_path / "My Model.onnx"


def refusal(kind: EngineKind, model: str, settings: ModelSettings | None = None) -> str:
    with pytest.raises(NoSuchModel) as refused:
        model_for(kind, model, settings or ModelSettings())
    return refused.value.message


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize(("kind", "model_id"), SHIPPED)
def test_each_engine_has_a_model_of_its_own_that_is_known_by_its_id(kind: EngineKind, model_id: str) -> None:
    model = model_for(kind, None, ModelSettings())
    assert (model.id, model.engine) == (model_id, kind)
    assert all(weight.sha256 for weight in model.weights)
    assert model_for(kind, model_id.upper(), ModelSettings()) == model


def test_the_settings_own_models_are_known_by_their_ids() -> None:
    settings = ModelSettings(
        embedding={
            "bge-m3": EmbeddingModel(
                path="hf:BAAI/bge-m3/onnx/model.onnx",
                tokenizer="hf:BAAI/bge-m3/tokenizer.json",
                dimensions=1024,
                pooling="cls",
            )
        },
        transcription={"whisper-large": TranscriptionModel(path="hf:Systran/faster-whisper-large-v3")},
    )
    assert dict(model_for("embeddings", "bge-m3", settings).options)["pooling"] == "cls"
    assert "config.json" in model_for("transcription", "whisper-large", settings).files
    assert "no transcription model bge-m3" in refusal("transcription", "bge-m3", settings)


def test_a_file_of_the_user_s_comes_with_what_lies_beside_it(own: Path) -> None:
    model = model_for("embeddings", str(own), ModelSettings())
    assert model.id == "my-model"
    assert {role: weight.own_path for role, weight in model.files.items()} == {
        "model": str(own),
        "tokenizer": str(own.with_name("tokenizer.json")),
        "data:My Model.onnx_data": str(own.with_name("My Model.onnx_data")),
    }
    own.with_name("tokenizer.json").unlink()
    assert "no tokenizer.json beside" in refusal("embeddings", str(own))


def test_a_folder_of_the_user_s_is_a_transcription_model(tmp_path: Path) -> None:
    folder = tmp_path / "whisper-v3.5"
    folder.mkdir()
    assert "neither model.bin nor" in refusal("transcription", str(folder))
    (folder / "model.bin").touch()
    model = model_for("transcription", str(folder), ModelSettings())
    assert (model.id, model.weight.own_path) == ("whisper-v3.5", str(folder / "model.bin"))


def test_another_export_of_the_speech_model_speaks_with_the_voices_that_are_there(own: Path) -> None:
    model = model_for("speech", str(own), ModelSettings())
    assert model.weight.own_path == str(own)
    assert dict(model.parts) == dict(model_for("speech", None, ModelSettings()).parts)


@pytest.mark.parametrize(("kind", "model_id"), SHIPPED)
def test_a_model_that_is_not_there_is_refused_with_those_that_are(kind: EngineKind, model_id: str) -> None:
    told = f"there is no {kind} model nothing and no such file; give {model_id}, or a path"
    assert told in refusal(kind, "nothing")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "engines.example"])
def test_without_a_key_only_this_machine_may_ask(host: str) -> None:
    refused = run("speech", "--host", host)
    assert refused.exit_code == 1
    assert "FONDACO_ENGINE_KEY is not set" in refused.stderr


@pytest.mark.usefixtures("own")
def test_a_runtime_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "KINDS", {**KINDS, "speech": kinds.Kind("", ("no_such_runtime",))})
    refused = run("speech")
    assert refused.exit_code == 1
    assert refused.stderr == "fondaco: no_such_runtime not installed: pip install 'fondaco[local]'\n"


@pytest.mark.usefixtures("own")
def test_weights_that_may_not_be_fetched_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "KINDS", dict.fromkeys(KINDS, kinds.Kind("", ("msgspec",))))
    refused = run("embeddings", "--offline")
    assert refused.exit_code == 1
    assert "all-minilm-l6-v2-int8.onnx is not here and weights.offline forbids" in refused.stderr


def started(own: Path, **environment: str) -> subprocess.Popen[str]:
    package = own.parent / "echo_engine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "app.py").write_text(ECHO)
    return subprocess.Popen(
        [sys.executable, "-c", RUN, "engine", "embeddings", "--model", str(own)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(own.parent), *sys.path]), **environment},
    )


@pytest.mark.long
def test_an_engine_alone_answers_whoever_has_its_key_and_ends_when_told(own: Path) -> None:
    with started(own, FONDACO_ENGINE_KEY="k3y", FONDACO_ENGINES__THREADS="3") as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(
                r"my-model listens on (http://127\.0\.0\.1:\d+/v1) and asks for the key in FONDACO_ENGINE_KEY\n",
                line,
            )
            assert found, line + (process.stderr.read() if process.stderr else "")
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(f"{found[1]}/models", timeout=10).close()
            keyed = {"Authorization": "Bearer k3y"}
            with urllib.request.urlopen(
                urllib.request.Request(f"{found[1]}/models", headers=keyed), timeout=10
            ) as answer:
                (row,) = json.load(answer)["data"]
            with urllib.request.urlopen(
                urllib.request.Request(f"{found[1]}/say", b"hello", keyed), timeout=10
            ) as answer:
                assert answer.read() == b"hello"
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""
        finally:
            process.kill()
    assert (row["id"], row["threads"], row["files"]) == (
        "my-model",
        3,
        ["data:My Model.onnx_data", "tokenizer"],
    )
    assert row["options"]["pooling"] == "mean"


def test_files_that_are_not_a_model_are_told_in_a_line(own: Path) -> None:
    own.write_bytes(b"broken")
    with started(own) as process:
        try:
            told, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, told) == (1, "")
    assert said.startswith("fondaco: the files of my-model are damaged")
    assert len(said.splitlines()) == 1
