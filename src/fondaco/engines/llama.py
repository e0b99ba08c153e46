"""The process of a local text engine: llama.cpp's own server, serving one model to one gateway.

Run as `python -m fondaco.engines.llama` by the supervisor, never by hand.
"""

from __future__ import annotations

import importlib
import os
import threading
from typing import Any, NoReturn

from fondaco.engines.launch import Launch
from fondaco.engines.process import Process

BATCH_TOKENS = 512
"""Prompt tokens worked on at once: how long other slots stand still, and how soon a cancelled one is free. Four
times as many were no faster on two cores."""


def main() -> NoReturn:
    """Serve until the gateway is gone. Exit codes: 0 gateway gone, 3 no runtime, 4 the model did not load."""
    process = Process.begin()
    launch = process.launch
    try:
        runtime: Any = importlib.import_module("xllamacpp")
    except ImportError:
        process.no_runtime()
    try:
        server = runtime.Server(parameters(runtime, launch))
    except RuntimeError:
        process.load_failed()
    process.listening(0 if launch.socket else int(str(server.listening_address).rsplit(":", 1)[-1]))
    threading.Event().wait()
    os._exit(0)


def parameters(runtime: Any, launch: Launch) -> Any:
    """llama.cpp's parameters: one context shared by all slots, no door but the wire's, no memory across slots.

    `runtime` is the module `xllamacpp`, which ships no types.
    """
    p = runtime.CommonParams()
    p.model.path = launch.model
    if mmproj := launch.files.get("mmproj"):
        p.mmproj.path = mmproj
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

    if window := launch.options.get("window_tokens"):
        # A model that embeds reads each text in one go, and several side by side where they fit.
        p.embedding = True
        p.n_ctx = p.n_batch = p.n_ubatch = int(window)

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


if __name__ == "__main__":
    main()
