"""The command line's frame: a quick version, a help without imports, and faults told in a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fondaco import __version__
from fondaco.cli import COMMANDS


def python(
    code: str, *arguments: str, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path), "COLUMNS": "120", "NO_COLOR": "1", **env},
    )


RUN = "import sys; sys.argv[0] = 'fondaco'; from fondaco.__main__ import main; main()"


def test_the_version_is_told_before_anything_heavy_is_imported() -> None:
    heavy = "{'typer', 'rich', 'pydantic', 'msgspec', 'asyncio', 'fondaco.settings'}"
    done = python(f"{RUN}; print(*sorted({heavy} & set(sys.modules)), file=sys.stderr)", "--version")
    assert done.stdout == f"fondaco {__version__}\n"
    assert done.stderr.strip() == ""


def test_help_names_every_command_and_imports_none() -> None:
    watch = "import atexit, sys; atexit.register(lambda: print([m for m in sys.modules if m.startswith('fondaco.cli.')]))"
    done = python(f"{watch}; {RUN}", "--help")
    assert done.returncode == 0
    for name, entry in COMMANDS.items():
        assert name in done.stdout
        assert entry.help in done.stdout
    assert done.stdout.endswith("[]\n")


def test_a_mistyped_command_is_answered_with_the_one_meant() -> None:
    done = python(RUN, "docter")
    assert done.returncode == 2
    assert "Did you mean 'doctor'" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_is_there(name: str) -> None:
    done = python(RUN, name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"fondaco {name}" in done.stdout


def test_a_bad_setting_ends_any_command_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(
        "from fondaco import settings\n\ndef late() -> None:\n    settings.load()\n"
    )
    table = "import fondaco.cli as cli; cli.COMMANDS['late'] = cli.Entry('late:late', 'x')"
    done = python(f"{table}; {RUN}", "late", cwd=tmp_path, FONDACO_SERVER__PORT="99999", PYTHONSAFEPATH="")
    assert done.returncode == 2
    assert done.stderr == 'fondaco: server.port = "99999": input should be less than or equal to 65535\n'


def test_an_error_of_ours_is_told_by_its_message(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(
        "from fondaco.errors import KeyNotFound\n\ndef late() -> None:\n    raise KeyNotFound\n"
    )
    table = "import fondaco.cli as cli; cli.COMMANDS['late'] = cli.Entry('late:late', 'x')"
    done = python(f"{table}; {RUN}", "late", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "fondaco: API key not found\n")
