"""`fondaco serve`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from fondaco.app import App
    from fondaco.cli.progress import FetchProgress
    from fondaco.http.server import Server
    from fondaco.keys.service import FirstKeys
    from fondaco.settings import Settings

    Say = Callable[[str], None]

BACKLOG = 2048


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes any free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where database and sockets live.")] = None,
    config: Annotated[Path | None, typer.Option(help="Read this file instead of ./fondaco.toml.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Default model: an id, a GGUF file's path, or hf:owner/repo/file.gguf."),
    ] = None,
    offline: Annotated[
        bool | None, typer.Option("--offline", help="Fetch nothing; use the weights that are there.")
    ] = None,
) -> None:
    """Start the server on local models."""
    from fondaco.cli.own_model import with_default_model
    from fondaco.engines.weights import WeightError
    from fondaco.keys.secret import SecretDamaged
    from fondaco.models.registry import ModelSettingsError
    from fondaco.settings import load
    from fondaco.store.errors import StoreError
    from fondaco.telemetry import logs

    flags = {
        "server": {"host": host, "port": port, "data_dir": data_dir},
        "weights": {"offline": offline},
    }
    settings = with_default_model(load(config, flags), model)
    logs.configure(settings.log)
    bound = listen(settings.server.host, settings.server.port)
    try:
        _run(settings, bound)
    except (ModelSettingsError, WeightError, StoreError, SecretDamaged, OSError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        pass


def listen(host: str, port: int) -> socket.socket:
    """The listening socket, taken before anything else is begun. Ends the program if it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        # Connections wait in the backlog until the server accepts them.
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno in (98, 48):
            _fail(f"port {port} on {host} is taken: stop what listens there, or choose another with --port")
        _fail(f"cannot listen on {host}:{port}: {error.strerror}")
    bound.setblocking(False)
    return bound


def _fail(line: str) -> Any:
    sys.stderr.write(f"fondaco: {line}\n")
    raise typer.Exit(1)


def _run(settings: Settings, bound: socket.socket) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(settings, bound))
    else:
        uvloop.run(_serve(settings, bound))


async def _serve(settings: Settings, bound: socket.socket) -> None:
    from fondaco.app import App
    from fondaco.cli.progress import FetchProgress
    from fondaco.http.server import Limits, Server
    from fondaco.telemetry.logs import install_loop_handler

    install_loop_handler(asyncio.get_running_loop())
    app = App(settings)
    host, port = bound.getsockname()[:2]
    with FetchProgress(app.weights) as progress:
        say = _speaker(progress)
        _announce(app, say)
        server = Server(app.handle, Limits(body=settings.server.max_body_bytes))
        try:
            first = await app.start()
            await server.start(bound)
            _greet(app, host, port, first, say)
            _settle_memory()
            with _signals() as signalled:
                await signalled.get()
                await _drain(server, settings.server.drain_seconds, signalled)
        finally:
            await server.close()
            await app.close()


async def _drain(server: Server, seconds: float, signalled: asyncio.Queue[int]) -> None:
    """Let running requests end; a second signal cuts it short."""
    waits = {asyncio.create_task(server.drain(seconds)), asyncio.create_task(signalled.get())}
    _, left = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()


@contextlib.contextmanager
def _signals() -> Generator[asyncio.Queue[int]]:
    """SIGTERM and SIGINT as they come."""
    loop = asyncio.get_running_loop()
    came: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, came.put_nowait, number)
    try:
        yield came
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _settle_memory() -> None:
    """What stands now stays: the collector need not walk it again, nor run as often as it does by default."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _speaker(progress: FetchProgress) -> Say:
    """Says lines beside the bars. Nobody reading them is no reason to stop serving."""

    def say(line: str) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):
            progress.say(line)

    return say


def _announce(app: App, say: Say) -> None:
    """What will be fetched, how much and where to, before anything is."""
    from fondaco.cli.progress import megabytes
    from fondaco.models.serving import LocalServing

    default = app.default()
    if default is None:
        if "text" not in app.runtimes:
            say(
                "No local engine is installed (pip install 'fondaco[local]') and no model is bound in fondaco.toml."
            )
        elif app.settings.weights.offline:
            say(
                f"Offline, and no text model's weights are in {app.weights.folder}: start once without --offline."
            )
        return
    if not isinstance(default.serving, LocalServing):
        return
    wanted = [
        weight
        for weight in app.local.note(default.model.id, default.serving).weights
        if not app.weights.find(weight)
    ]
    for weight in wanted:
        size = megabytes(weight.size) if weight.size else "size unknown"
        if app.settings.weights.offline:
            say(f"Offline, and the weights of {default.model.id} are not there: {weight.name} ({size}).")
        else:
            say(f"Fetching {weight.name} ({size}, {weight.licence}) to {app.weights.folder}")


def _greet(app: App, host: str, port: int, first: FirstKeys | None, say: Say) -> None:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    base = f"http://{shown}:{port}/api/v1"
    default = app.default()
    say(f"Fondaco listens on {base}")
    if app.settings.server.docs:
        say(f"API page: http://{shown}:{port}/docs")
    if default is not None:
        say(f"Default model: {default.model.id}")
        if default.model.id == "qwen2.5-coder-0.5b-instruct" and not app.settings.weights.offline:
            say("A better one (1.1 GB): fondaco models pull qwen2.5-coder-1.5b-instruct")
    if first is None:
        return
    if not sys.stdout.isatty():
        say("First keys were made but are not shown here. To make one: fondaco keys create")
        return
    say(
        f"\nYour keys, shown this once:\n  admin      {first.admin.token}\n  inference  {first.inference.token}\n\n"
        "Try it:\n"
        f"  curl {base}/chat/completions \\\n"
        f'    -H "Authorization: Bearer {first.inference.token}" -H "Content-Type: application/json" \\\n'
        '    -d \'{"model":"default","messages":[{"role":"user","content":"Hello"}]}\'\n\n'
        "  from openai import OpenAI\n"
        f'  client = OpenAI(base_url="{base}", api_key="{first.inference.token}")\n'
        '  answer = client.chat.completions.create(model="default", messages=[{"role": "user", "content": "Hello"}])\n'
        "  print(answer.choices[0].message.content)\n"
    )
