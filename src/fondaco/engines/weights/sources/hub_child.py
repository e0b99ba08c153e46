"""The child process of `hub.py`: fetches one file from a model hub into a given path, going on where it ends.

Run as a script; it imports nothing of ours. It reads one job from standard input, says what happens in JSON lines on
standard output, and exits as soon as standard input closes, because then its parent is gone.

`hf_hub_download` is not used: it starts again from nothing when stopped, and keeps a cache of its own.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK = 128 * 1024


def main() -> None:
    job: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        from huggingface_hub import constants, errors
        from huggingface_hub import file_download as hub
        from huggingface_hub.utils import build_hf_headers  # pyright: ignore[reportUnknownVariableType]
    except ImportError:
        _say("failed", reason="huggingface_hub is not installed")
        return
    # Blocks of its usual 10 MiB would look like silence on a slow line.
    constants.DOWNLOAD_CHUNK_SIZE = _BLOCK
    headers = build_hf_headers(library_name="fondaco")
    _say("ready")
    try:
        _fetch(hub, job, headers)
    except OSError as error:
        _say(*_told(errors, error))
    except Exception as error:
        _say("failed", reason=f"no connection ({type(error).__name__})")


def _fetch(hub: Any, job: dict[str, Any], headers: dict[str, str]) -> None:
    repo, file, endpoint = job["repo"], job["file"], job["endpoint"]
    url = hub.hf_hub_url(repo, file, revision=job["revision"], endpoint=endpoint)
    found = hub.get_hf_file_metadata(url, timeout=job["probe_seconds"], headers=headers, endpoint=endpoint)
    etag = found.etag or ""
    if job["wanted_sha256"] and _SHA256.fullmatch(etag) and etag != job["wanted_sha256"]:
        _say("other")
        return
    path = Path(job["path"])
    if job["etag"] is not None and job["etag"] != etag:
        path.unlink(missing_ok=True)
    _say("found", size=found.size, etag=etag)
    # The very version that was just looked at, should the branch move on meanwhile.
    exact = hub.hf_hub_url(repo, file, revision=found.commit_hash or job["revision"], endpoint=endpoint)
    with path.open("ab", buffering=0) as target:
        hub.http_get(exact, target, resume_size=target.tell(), headers=headers, expected_size=found.size)
    _say("done")


def _told(errors: Any, error: OSError) -> tuple[str, str]:
    """Kind and reason, by the error's type: its text holds URLs, signed ones among them."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "full", ""
    if isinstance(error, errors.GatedRepoError):
        return "failed", "the repository is gated; ask for access there and set HF_TOKEN"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "failed", "has no such repository, or HF_TOKEN is needed for it"
    if isinstance(error, errors.RevisionNotFoundError):
        return "failed", "has no such revision"
    if isinstance(error, errors.EntryNotFoundError):
        return "failed", "has no such file"
    if isinstance(error, errors.HfHubHTTPError):
        status = getattr(getattr(error, "response", None), "status_code", "unknown")
        return "failed", f"answered with status {status}"
    return "broken", "the connection broke off"


def _say(kind: str, reason: str = "", **more: object) -> None:
    print(json.dumps({"kind": kind, "reason": reason, **more}), flush=True)  # noqa: T201 (it is the protocol)


def _exit_with_parent() -> None:
    while sys.stdin.readline():
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
