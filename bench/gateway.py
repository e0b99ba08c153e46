"""Starts `fondaco serve` as a user would, with its defaults, on a data directory of its own."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import subprocess
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.process import free_port, pinned, running, wait_until_ready

SOURCE = Path(__file__).parent.parent / "src"


@dataclass(frozen=True)
class FondacoCommand:
    """How fondaco is started: by an interpreter, from this checkout, or by a command of the user's."""

    words: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, python: str, override: str | None) -> FondacoCommand:
        if override:
            return cls(tuple(shlex.split(override)))
        paths = [str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])]
        return cls((python, "-m", "fondaco"), (("PYTHONPATH", os.pathsep.join(paths)),))


@dataclass(frozen=True)
class Gateway:
    process: subprocess.Popen[bytes]
    port: int
    key: str
    log: Path


def bound_models(bindings: dict[str, str], default: str, **facts: bool | int | str) -> str:
    """A fondaco.toml that binds model ids to base URLs, each with the same facts, and fetches nothing.

    Rates are counted as always, and so high that no load reaches them.
    """
    lines = ["[models]", f"default = {json.dumps(default)}", "", "[weights]", "offline = true", ""]
    lines += ["[limits]", "scale = 1_000_000", ""]
    for model, base_url in bindings.items():
        lines += [
            f"[models.bind.{json.dumps(model)}]",
            f"base_url = {json.dumps(base_url)}",
            'privacy = "private"',
        ]
        lines += [f"{name} = {json.dumps(value)}" for name, value in facts.items()]
        lines.append("")
    return "\n".join(lines)


@contextlib.contextmanager
def serve(
    command: FondacoCommand,
    folder: Path,
    config: str,
    *,
    core: int | None = None,
    env: dict[str, str] | None = None,
    pause: float = 0.05,
) -> Generator[Gateway]:
    """`fondaco serve` on a free port with a new data directory and key; yields when /healthz answers.

    Raises NotReadyError when it does not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, key, log = free_port(), "bench-" + secrets.token_hex(16), folder / "output.log"
    file = folder / "fondaco.toml"
    file.write_text(config)
    words: Sequence[str] = [
        *command.words,
        *("serve", "--host", "127.0.0.1", "--port", str(port)),
        *("--data-dir", str(folder / "data"), "--config", str(file)),
    ]
    if core is not None:
        words = pinned(core, words)
    all_env = {**dict(command.env), "FONDACO_ADMIN_KEY": key, **(env or {})}
    with running(words, log, all_env) as process:
        wait_until_ready(process, f"http://127.0.0.1:{port}/healthz", log, pause=pause)
        yield Gateway(process, port, key, log)
