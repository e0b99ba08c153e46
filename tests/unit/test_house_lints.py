"""The project's own lints see what they are for, and let through what is fine."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house_lints", ROOT / "scripts" / "lints.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LINTS = script()


def faults(path: str, text: str) -> list[str]:
    return [message for _, message in LINTS.faults_of(Path(path), text.encode())]


@pytest.mark.parametrize(
    "call",
    [
        "log.info(f'engine.{x}')",
        "log.info('engine.started', model=f'{x}')",
        "log.info('engine.started', model=str(x))",
        "log.info('engine.started', model=x.format(y))",
        "self._log.error('engine.failed', reason='because ' + x)",
        "log.warning('engine.failed: %s', x)",
        "log.warning('Engine failed')",
        "log.warning(x)",
        "log.bind(model=repr(x))",
        "import logging",
        "from structlog.stdlib import get_logger",
        "print(x)",
    ],
)
def test_a_leaky_line_is_found(call: str) -> None:
    assert faults("src/fondaco/chat/service.py", f"{call}\n")


@pytest.mark.parametrize(
    "call",
    [
        "log.info('engine.started', model=model.id, seconds=round(now - began, 2))",
        "self._log.error('engine.failed', exc_info=error)",
        "catalogue.info(f'{x}')",
        "from fondaco.telemetry.logs import logger",
    ],
)
def test_a_clean_line_passes(call: str) -> None:
    assert faults("src/fondaco/chat/service.py", f"{call}\n") == []


def test_print_is_for_the_command_line() -> None:
    assert faults("src/fondaco/cli/keys.py", "print('x')\n") == []


@pytest.mark.parametrize(
    "line", ["x = 0.5", "x: float = 1", "x = a / b", "x /= 2", "x = float(a)", "def f(x: float | None): ..."]
)
def test_money_knows_no_float(line: str) -> None:
    assert faults("src/fondaco/money.py", f"{line}\n")
    assert faults("src/fondaco/billing/line.py", f"{line}\n")
    assert faults("src/fondaco/billing/prices/tokens.py", f"{line}\n")
    assert faults("src/fondaco/clock.py", f"{line}\n") == []


def test_a_long_module_and_a_name_that_says_nothing_are_found() -> None:
    assert faults("src/fondaco/chat/wire.py", "x = 1\n" * 601)
    assert faults("src/fondaco/chat/wire.py", "x = 1\n" * 600) == []
    assert faults("src/fondaco/chat/utils.py", "x = 1\n")
    assert faults("src/fondaco/common/wire.py", "x = 1\n")


@pytest.mark.parametrize(
    "text",
    [
        "see https://" + "pypi" + ".org/x",
        '"resolved": "https://registry.npmjs' + '.org/x"',
        "cd /wo" + "rk/main",
    ],
)
def test_hosts_and_paths_of_machines_are_found_in_any_file(text: str) -> None:
    assert faults("docs/x.md", f"{text}\n")


def test_paths_that_are_nobodys_pass() -> None:
    assert faults("docs/x.md", "~/.cache/fondaco and /api/v1/root/x and docs/work/x\n") == []
