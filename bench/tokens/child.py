"""`python -m bench.tokens.child WEIGHTS PORT`: llama.cpp's own server on loopback, as the gateway runs it.

The key that it asks for comes in the environment variable BENCH_CHILD_KEY; an argument would show it to everybody.
"""

from __future__ import annotations

import os
import signal
import sys


def main(weights: str, port: int) -> None:
    # Threads that wait must not spin: gateway, client and model share the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import xllamacpp

    threads = len(os.sched_getaffinity(0))
    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.hostnames, params.port = ["127.0.0.1"], port
    params.api_keys = [os.environ["BENCH_CHILD_KEY"]]
    params.n_ctx, params.n_parallel, params.kv_unified = 16384, 4, True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.use_jinja = True
    params.endpoint_slots = params.ui = False
    params.ctx_shift = False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
