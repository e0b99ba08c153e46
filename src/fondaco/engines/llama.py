"""The process of a local text engine: llama.cpp's own server, serving one model to one gateway.

Run as `python -m fondaco.engines.llama` by the supervisor, never by hand: its configuration is the first line of
stdin, and it ends when stdin does, which is how it goes when its gateway is killed. While a model loads the runtime
holds the interpreter's lock and nothing here can run; on Linux the kernel ends the process even then.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import msgspec

from fondaco.engines.launch import Launch, Said, encode

BATCH_TOKENS = 512
"""Prompt tokens worked on at once: how long other slots stand still, and how soon a cancelled one is free. Four
times as many were no faster on two cores."""

_PR_SET_PDEATHSIG = 1


def main() -> NoReturn:
    """Serve until the gateway is gone. Exit codes: 0 gateway gone, 3 no runtime, 4 the model did not load."""
    parent = os.getppid()
    _die_with_parent(parent)
    _harden()
    report = _own_stdout()
    line = sys.stdin.buffer.readline()
    if not line:
        os._exit(0)
    launch = msgspec.json.decode(line, type=Launch)
    threading.Thread(target=_watch_gateway, args=(sys.stdin.buffer,), daemon=True).start()

    # OpenMP's busy waiting makes shared cores several times slower; it is read when the runtime is loaded.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        runtime: Any = importlib.import_module("xllamacpp")
    except ImportError:
        _end(report, Said(event="no_runtime"), 3)
    try:
        server = runtime.Server(parameters(runtime, launch))
    except RuntimeError:
        _end(report, Said(event="load_failed"), 4)
    port = 0 if launch.socket else int(str(server.listening_address).rsplit(":", 1)[-1])
    report.write(encode(Said(event="listening", port=port)))
    report.flush()
    threading.Event().wait()
    os._exit(0)


def parameters(runtime: Any, launch: Launch) -> Any:
    """llama.cpp's parameters: one context shared by all slots, no door but the wire's, no memory across slots.

    `runtime` is the module `xllamacpp`, which ships no types.
    """
    p = runtime.CommonParams()
    p.model.path = launch.model
    if launch.mmproj:
        p.mmproj.path = launch.mmproj
    p.n_gpu_layers = launch.gpu_layers
    p.fit_params = False
    p.use_jinja = True
    p.warmup = True
    p.verbosity = 1

    p.n_ctx = launch.context_tokens
    p.n_parallel = launch.slots
    p.kv_unified = True  # slots share one context, of which a single request may take all
    p.cont_batching = True
    p.ctx_shift = False
    p.n_batch = BATCH_TOKENS
    p.n_ubatch = BATCH_TOKENS
    p.cpuparams.n_threads = launch.threads
    p.cpuparams_batch.n_threads = launch.threads

    # A prompt's cache belongs to the slot, and the gateway knows whose slot it is: reuse only where it asks.
    p.cache_prompt = False
    p.cache_ram_mib = 0
    p.cache_idle_slots = False
    p.slot_prompt_similarity = 0.0

    p.hostnames = [launch.socket or "127.0.0.1"]
    p.port = 0
    p.api_keys = [launch.key]
    p.cors_origins = ""
    p.cors_origins_explicit = True
    p.cors_credentials = False
    p.cors_methods = ""
    p.cors_headers = ""
    p.ui = False
    p.endpoint_slots = False
    p.endpoint_props = False
    p.endpoint_metrics = False
    return p


def _die_with_parent(parent: int) -> None:
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before we asked to be told
        os._exit(0)


def _harden() -> None:
    """Sockets for us alone; no core dump, which would hold prompts; and the first to go when memory runs out."""
    os.umask(0o077)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _own_stdout() -> BinaryIO:
    """A private handle on stdout; whatever else in the process prints there goes to stderr."""
    sys.stdout.flush()
    report = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return report


def _watch_gateway(stdin: BinaryIO) -> None:
    while stdin.read(4096):
        pass
    os._exit(0)


def _end(report: BinaryIO, said: Said, code: int) -> NoReturn:
    report.write(encode(said))
    report.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
