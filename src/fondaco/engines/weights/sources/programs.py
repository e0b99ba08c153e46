"""Running a registry's own client, or another child, with what it needs of the user's environment and no more."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fondaco.engines.weights.sources.attempt import SourceFailed

_KEPT = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TERM", "NETRC", "PYTHONPATH", "LD_LIBRARY_PATH"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    }
)
_KEPT_PREFIXES = ("LC_", "XDG_", "PIP_", "NPM_", "HF_")


def client_environment() -> dict[str, str]:
    """The user's proxies, certificates and settings of the clients; none of our own keys or settings."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _KEPT or name.upper().startswith(_KEPT_PREFIXES)
    }


async def start(
    arguments: Sequence[str], folder: Path, environment: dict[str, str]
) -> asyncio.subprocess.Process:
    """Start a silent program in `folder`, in a process group of its own. `end` it. Raises SourceFailed."""
    try:
        return await _start(arguments, folder, environment)
    except OSError:
        raise SourceFailed("its client program cannot be started") from None


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill it with all that it started, and wait until it is gone."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def _start(
    arguments: Sequence[str], folder: Path, environment: dict[str, str]
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )
