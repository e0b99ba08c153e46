"""The servers that are compared: each stands in front of the same mock upstream, alone on its core."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from bench import gateway, machine
from bench.overhead.body import MODEL, PACED_MODEL
from bench.process import Cores, free_port, pinned, running, wait_until_ready

ENGINE, NGINX, VLLM_ROUTER, FONDACO = NAMES = ("engine", "nginx", "vllm-router", "fondaco")


class AbsentError(RuntimeError):
    """This server is not installed here; the run goes on without it."""


@dataclass(frozen=True)
class Contender:
    """A running server: where it is asked, and the process tree whose CPU time counts."""

    name: str
    version: str
    port: int
    path: str
    key: str
    pid: int
    gateway: bool
    """It answers in its own name, so that id, model and usage are checked for that too."""


@dataclass(frozen=True)
class Setup:
    """What starting a server takes."""

    folder: Path
    cores: Cores
    upstream_port: int
    upstream_pid: int
    fondaco: gateway.FondacoCommand
    vllm_router_python: str | None


Starter = Callable[[Setup], contextlib.AbstractContextManager[Contender]]


@contextlib.contextmanager
def mock_upstream(
    program: Path, folder: Path, core: int, paced_tokens: int, interval_ms: int, burst_tokens: int
) -> Generator[tuple[int, int]]:
    """The mock on `core`; yields its port and pid."""
    port, log = free_port(), folder / "mock.log"
    arguments = [str(value) for value in (port, paced_tokens, interval_ms, burst_tokens)]
    with running(pinned(core, [str(program), *arguments]), log) as process:
        wait_until_ready(process, f"http://127.0.0.1:{port}/health", log)
        yield port, process.pid


@contextlib.contextmanager
def bare_engine(setup: Setup) -> Generator[Contender]:
    yield Contender(
        ENGINE, "mock", setup.upstream_port, "/v1/chat/completions", "none", setup.upstream_pid, gateway=False
    )


@contextlib.contextmanager
def nginx(setup: Setup) -> Generator[Contender]:
    """One process, no access log: the least that a proxy can cost."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise AbsentError("the command `nginx` is not installed")
    folder, port = setup.folder / "nginx", free_port()
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(_NGINX_CONFIG.format(folder=folder, port=port, upstream=setup.upstream_port))
    words = [program, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(config)]
    with running(pinned(setup.cores.server, words), folder / "output.log") as process:
        wait_until_ready(process, f"http://127.0.0.1:{port}/health", folder / "output.log")
        version = _version_of([program, "-v"])
        yield Contender(NGINX, version, port, "/v1/chat/completions", "none", process.pid, gateway=False)


@contextlib.contextmanager
def vllm_router(setup: Setup) -> Generator[Contender]:
    """The cheapest way it runs: one worker, round robin, no metrics, and no line of log for each request."""
    python = _python_with_vllm_router(setup.vllm_router_python)
    folder, port = setup.folder / "vllm-router", free_port()
    folder.mkdir()
    words = [
        *(python, "-c", _VLLM_ROUTER_LAUNCH, "--host", "127.0.0.1", "--port", str(port)),
        *("--worker-urls", f"http://127.0.0.1:{setup.upstream_port}"),
        *("--policy", "round_robin", "--log-level", "warning"),
    ]
    log = folder / "output.log"
    with running(pinned(setup.cores.server, words), log) as process:
        wait_until_ready(process, f"http://127.0.0.1:{port}/health", log, seconds=60)
        asked = [python, "-c", "from importlib.metadata import version; print(version('vllm-router'))"]
        yield Contender(
            VLLM_ROUTER, _version_of(asked), port, "/v1/chat/completions", "none", process.pid, gateway=False
        )


@contextlib.contextmanager
def fondaco(setup: Setup) -> Generator[Contender]:
    """`fondaco serve` with its defaults: keys checked, access log on, usage recorded."""
    base_url = f"http://127.0.0.1:{setup.upstream_port}/v1"
    config = gateway.bound_models(
        {MODEL: base_url, PACED_MODEL: base_url},
        default=MODEL,
        context_tokens=32768,
        max_completion_tokens=4096,
        functions=True,
        input_usd="0.05",
        output_usd="0.15",
    )
    with gateway.serve(setup.fondaco, setup.folder / "fondaco", config, core=setup.cores.server) as server:
        version = _version_of([*setup.fondaco.words, "--version"], dict(setup.fondaco.env))
        yield Contender(
            FONDACO,
            version,
            server.port,
            "/api/v1/chat/completions",
            server.key,
            server.process.pid,
            gateway=True,
        )


STARTERS: dict[str, Starter] = {
    ENGINE: bare_engine,
    NGINX: nginx,
    VLLM_ROUTER: vllm_router,
    FONDACO: fondaco,
}


def _python_with_vllm_router(given: str | None) -> str:
    if given:
        return given
    if importlib.util.find_spec("vllm_router"):
        return sys.executable
    if command := shutil.which("vllm-router"):
        # The command's first line names the interpreter that has the package.
        first = Path(command).read_text(errors="replace").partition("\n")[0]
        if first.startswith("#!") and Path(first[2:].strip()).exists():
            return first[2:].strip()
    raise AbsentError("the package vllm-router is not installed; see --vllm-router-python")


def _version_of(command: list[str], env: dict[str, str] | None = None) -> str:
    variables = [f"{name}={value}" for name, value in (env or {}).items()]
    return machine.first_line(["env", *variables, *command]) or "unknown"


# The package's own launcher always opens a metrics port; its `RouterArgs` can go without.
_VLLM_ROUTER_LAUNCH = """
import sys
from vllm_router.launch_router import launch_router, parse_router_args
args = parse_router_args(sys.argv[1:])
args.prometheus_port = args.prometheus_host = None
launch_router(args)
"""

_NGINX_CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    upstream engine {{
        server 127.0.0.1:{upstream};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://engine;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_buffer_size 32k;
            proxy_buffers 8 32k;
        }}
    }}
}}
"""
