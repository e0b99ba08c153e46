"""`fondaco doctor`: each thing missing is named with its remedy, and the exit code says whether `serve` could work."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from fondaco.cli import engine_findings, findings
from fondaco.cli.doctor import doctor
from fondaco.cli.findings import Finding
from fondaco.engines.kinds import KINDS, EngineKind, Kind
from fondaco.engines.speech.g2p import languages
from fondaco.engines.weights import pinned
from fondaco.engines.weights.shelf import Seen
from fondaco.models.catalogue import Catalogue
from fondaco.settings import Settings, load

app = typer.Typer()
app.command()(doctor)


@pytest.fixture(autouse=True)
def well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine where nothing is wrong but what a test breaks: a text runtime that imports, a free port."""
    for name in os.environ:
        if name.upper().startswith("FONDACO_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine_findings, "KINDS", dict.fromkeys(KINDS, Kind("", ("no_such_runtime",))))
    run_on(monkeypatch, "text", "msgspec")  # some installed module that imports
    monkeypatch.setenv("FONDACO_SERVER__PORT", "0")
    monkeypatch.setenv("FONDACO_SERVER__DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FONDACO_WEIGHTS__CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def run_on(monkeypatch: pytest.MonkeyPatch, kind: EngineKind, module: str) -> None:
    """Give an engine a runtime."""
    monkeypatch.setitem(engine_findings.KINDS, kind, Kind("", (module,)))  # pyright: ignore[reportArgumentType]


def examine(*arguments: str) -> tuple[int, list[Finding]]:
    done = CliRunner().invoke(app, ["--json", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return done.exit_code, [Finding(**row) for row in json.loads(done.stdout)]


def problems(found: list[Finding]) -> list[str]:
    return [finding.what for finding in found if finding.level == "problem"]


def test_a_well_machine_is_ready() -> None:
    status, found = examine()
    assert (status, problems(found)) == (0, [])
    assert "Ready to serve" in CliRunner().invoke(app, []).stdout


def test_looking_changes_nothing(well: Path) -> None:
    examine()
    assert list(well.iterdir()) == []


def test_a_data_directory_that_cannot_be_made_is_a_problem(well: Path) -> None:
    (well / "file").touch()
    status, found = examine("--data-dir", str(well / "file" / "data"))
    assert status == 1
    assert problems(found) == [f"data directory {well}/file/data cannot be made in {well}/file"]
    assert all(finding.remedy for finding in found if finding.level != "ok")


def test_a_data_directory_that_is_a_file_is_a_problem(well: Path) -> None:
    (well / "data").touch()
    status, found = examine()
    assert status == 1
    assert "not a directory that can be written to" in problems(found)[0]


def test_a_data_directory_that_others_may_read_is_a_warning(well: Path) -> None:
    (well / "data").mkdir(mode=0o755)
    status, found = examine()
    assert status == 0
    assert any(finding.remedy == f"chmod 700 {well / 'data'}" for finding in found)


def test_a_taken_port_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        monkeypatch.setenv("FONDACO_SERVER__PORT", str(number))
        status, found = examine()
    assert (status, problems(found)) == (1, [f"port {number} is taken on 127.0.0.1"])


def test_a_bad_configuration_is_a_problem_and_the_rest_is_still_looked_at(
    well: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FONDACO_LOG__LEVEL", "loud")
    status, found = examine()
    assert status == 1
    assert any(what.startswith("log.level") for what in problems(found))
    assert any(finding.what == "Unix sockets work" for finding in found)


def test_a_runtime_that_is_not_there_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    run_on(monkeypatch, "text", "no_such_runtime")
    status, found = examine()
    assert status == 1
    assert "not installed" in problems(found)[0]


def test_another_engine_s_runtime_is_told_and_where_not_there_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_on(monkeypatch, "embeddings", "msgspec")
    status, found = examine()
    assert (status, problems(found)) == (0, [])
    assert any(finding.what.startswith("embeddings engine: msgspec ") for finding in found)
    told = next(
        finding for finding in found if finding.what == "speech engine: no_such_runtime not installed"
    )
    assert told.level == "warning"
    assert "fondaco[local]" in told.remedy
    assert not any("tts-kokoro" in finding.what for finding in found), "nobody could use its weights"


def test_what_cannot_be_read_or_searched_without_its_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = examine()
    assert "web pages and documents can be read" in [finding.what for finding in found]
    absent = {"pypdf", "markdownify", "ddgs"}
    monkeypatch.setattr(findings, "find_spec", lambda name: None if name in absent else object())
    status, found = examine()
    assert status == 0, "chats go on without"
    [told] = [finding for finding in found if finding.what.startswith("web: ")]
    assert told.level == "warning"
    assert told.what == "web: web pages, PDF, DOCX, EPUB cannot be read; the provider ddgs cannot search"
    assert "fondaco[web]" in told.remedy
    monkeypatch.setenv("FONDACO_SEARCH__PROVIDERS", "[]")
    _, found = examine()
    assert not any("ddgs" in finding.what for finding in found), "nobody wants it"


def test_the_languages_that_can_be_spoken_are_told_and_what_others_want(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_on(monkeypatch, "speech", "msgspec")
    monkeypatch.setattr(languages, "loadable", lambda: {"ja": None})
    told = next(finding for finding in examine()[1] if finding.what.startswith("speech in "))
    assert told.what == "speech in en, ja; not in zh, es, fr, hi, it, pt-br"
    assert told.remedy == "for these: `pip install 'fondaco[local]' 'fondaco[speech-espeak]'`"


def test_without_the_runtime_a_bound_model_still_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    run_on(monkeypatch, "text", "no_such_runtime")
    Path("fondaco.toml").write_text("[models.bind.x]\nbase_url = 'http://127.0.0.1:1/v1'\n")
    status, found = examine()
    assert (status, problems(found)) == (0, [])


def test_a_runtime_that_crashes_takes_only_its_own_process(
    well: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (well / "crashing.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    monkeypatch.syspath_prepend(str(well))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(well), os.environ.get("PYTHONPATH", "")]))
    run_on(monkeypatch, "text", "crashing")
    status, found = examine()
    assert status == 1
    assert "crashes on this CPU (SIGILL)" in problems(found)[0]


def test_no_weights_and_no_network_allowed_is_a_problem() -> None:
    status, found = examine("--offline")
    assert status == 1
    assert "forbids fetching" in problems(found)[0]


def test_weights_to_be_fetched_are_told_with_size_and_source() -> None:
    _, found = examine()
    told = next(finding.what for finding in found if "not here yet" in finding.what)
    assert "491 MB" in told
    assert "hf:" in told
    assert "pip packages" in told


def test_weights_of_every_type_are_told_with_how_to_fetch_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in KINDS:
        run_on(monkeypatch, kind, "msgspec")
    _, found = examine()
    remedies = [finding.remedy for finding in found if "not here yet" in finding.what]
    assert sorted(remedies) == [
        f"to fetch them now: `fondaco models pull {model_id}`"
        for model_id in ("all-minilm-l6-v2", "qwen2.5-coder-0.5b-instruct", "tts-kokoro", "whisper-base")
    ]


def test_a_client_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in KINDS:
        run_on(monkeypatch, kind, "msgspec")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(engine_findings.importlib.util, "find_spec", lambda _: None)
    assert [finding.what.split()[0] for finding in examine()[1] if "is missing" in finding.what] == [
        "npm",
        "pip",
    ]


def test_weights_that_are_here_are_told_as_such(well: Path) -> None:
    folder = well / "cache" / "weights"
    folder.mkdir(parents=True)
    for name in next(local for local in Catalogue().local if local.model.id == "whisper-base").weights:
        file = folder / (pinned()[name].sha256 or "")
        file.write_bytes(b"stands for it")
        stat = file.stat()
        seen = Seen(name, file.name, stat.st_size, stat.st_mtime_ns)
        (folder / f"{file.name}.seen").write_bytes(msgspec.json.encode(seen))
    _, found = examine()
    assert any(finding.what == "weights of whisper-base are here (148 MB)" for finding in found)


def test_a_full_disk_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100_000_000})())
    status, found = examine()
    assert status == 1
    assert "100 MB free for weights" in problems(found)[0]


def test_a_disk_that_holds_the_text_model_only_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 700_000_000})())
    for kind in KINDS:
        run_on(monkeypatch, kind, "msgspec")
    status, found = examine()
    assert status == 0
    assert any("700 MB free for weights" in finding.what and finding.level == "warning" for finding in found)


def test_a_path_too_long_for_sockets_is_a_warning(well: Path) -> None:
    far: Settings = load(flags={"server": {"data_dir": well / ("x" * 120)}})
    assert [finding.level for finding in findings.unix_sockets(far)] == ["warning"]
