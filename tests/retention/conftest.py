"""Servers that log all they can, in folders where all that they keep can be found."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import saying_engine
from canaries import LARGEST, Flock, Leak, Place, files_under, process_places

from fake_engines import FakeEngine, binding
from fondaco.settings import default_cache_dir
from gateways import ADMIN_KEY, Gateway, running

MAX_BODY = 300_000


class House:
    """A running server, the engine that it asks, and the canaries that were planted in what both were told."""

    def __init__(self, gateway: Gateway, folder: Path, flock: Flock, site: str) -> None:
        self.gateway = gateway
        self.folder = folder
        self.flock = flock
        self.site = site
        """Where pages are that may be fetched."""
        self.key = self._new_key()
        self.address = urlsplit(gateway.root)
        flock.guard("the admin key", ADMIN_KEY)
        flock.guard("an inference key", self.key)

    def ask(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of one exchange, with a good key if `headers` has no other."""
        sent = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(self.address.hostname or "", self.address.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, target, body, sent)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def chat(self, model: str, content: str, **more: Any) -> tuple[int, bytes]:
        body = {"model": model, "messages": [{"role": "user", "content": content}], **more}
        return self.ask("POST", "/api/v1/chat/completions", json.dumps(body).encode())

    def connect(self) -> socket.socket:
        return socket.create_connection((self.address.hostname or "", self.address.port or 0), timeout=30)

    def begin(self, body: Mapping[str, Any], until: bytes) -> socket.socket:
        """A streamed chat whose answer was read as far as `until`."""
        text = json.dumps({**body, "stream": True}).encode()
        head = f"POST /api/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        connection = self.connect()
        connection.sendall(head.encode() + text)
        seen = b""
        while until not in seen:
            piece = connection.recv(65536)
            assert piece, seen
            seen += piece
        return connection

    def settle(self) -> None:
        """Wait until what was asked so far stands in the access log."""
        before = self._lines()
        self.ask("GET", "/healthz")
        deadline = time.monotonic() + 10
        while self._lines() <= before:
            assert time.monotonic() < deadline, self.gateway.output[-2000:]
            time.sleep(0.05)

    def leaks(self) -> list[Leak]:
        return self.flock.seen_in(self.places())

    def places(self) -> Iterator[Place]:
        yield "what it printed", self.gateway.output.encode()
        yield from files_under(self.folder)
        yield from files_under(default_cache_dir(), LARGEST)
        yield from files_under(Path("/dev/shm"), LARGEST)
        for folder in Path("/tmp").glob("fondaco-*"):
            yield from files_under(folder)
        if self.gateway.process.poll() is None:
            yield from process_places(self.gateway.process.pid)

    def _lines(self) -> int:
        return sum("/healthz" in line for line in self.gateway.output.splitlines())

    def _new_key(self) -> str:
        command = [
            sys.executable,
            "-m",
            "fondaco",
            "keys",
            "create",
            "--data-dir",
            str(self.gateway.data_dir),
        ]
        made = subprocess.run(command, capture_output=True, text=True, check=True, cwd=self.folder)
        return made.stdout.strip()


@contextlib.contextmanager
def housed(
    folder: Path, log_format: str, *options: str, env: Mapping[str, str] | None = None
) -> Iterator[House]:
    """A server at level debug in `folder`, which also holds its home and its temporary files."""
    flock = Flock()
    for name in ("home", "tmp"):
        (folder / name).mkdir(parents=True)
    environment = {
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "FONDACO_WEIGHTS__CACHE_DIR": str(default_cache_dir()),
        "FONDACO_WEIGHTS__OFFLINE": "true",
        "FONDACO_LOG__LEVEL": "debug",
        "FONDACO_LOG__FORMAT": log_format,
        "FONDACO_SERVER__MAX_BODY_BYTES": str(MAX_BODY),
        # Thousands of requests that fail, one after the other: the limits stand, and are not reached.
        "FONDACO_LIMITS__ABUSE_FAILURES": "1000000",
        "FONDACO_LIMITS__SCALE": "10000",
        "FONDACO_KEYS__WEB3": "true",
        "KEY_FOR_THE_ENGINE": flock.plant("the engine's key"),
        **(env or {}),
    }
    engine = FakeEngine(saying_engine.answering(flock.plant))
    site = engine.base_url.removesuffix("/v1")
    environment |= {
        "FONDACO_SEARCH__PROVIDERS": '["searxng"]',
        "FONDACO_SEARCH__SEARXNG_URL": site,
        "FONDACO_NET__ALLOW_HOSTS": json.dumps([urlsplit(site).netloc]),
    }
    able = {"vision": True, "functions": True, "response_schema": True, "reasoning": True, "logprobs": True}
    able |= {"context_tokens": 32768, "api_key_env": "KEY_FOR_THE_ENGINE", "multiple_images": True}
    able |= {"input_usd": "0.05", "output_usd": "0.15"}
    config = "".join(binding(name, engine, **able) for name in saying_engine.NAMES)
    priced = {
        "tts": {"input_usd": "3.5"},
        "asr": {"second_usd": "0.0001"},
        "embedding": {"input_usd": "0.15"},
    }
    others: dict[str, Any] = {
        kind: {"type": kind, "api_key_env": "KEY_FOR_THE_ENGINE", **price} for kind, price in priced.items()
    }
    for name, kind in (("embeds", "embedding"), ("speaks", "tts"), ("hears", "asr")):
        config += binding(name, engine, **others[kind])
    for kind in saying_engine.KINDS:
        for name in saying_engine.NAMES:
            config += binding(f"{kind}-{name}", engine, upstream_model=name, **others[kind])
    gone = binding("gone", engine, **able).replace(engine.base_url, f"http://127.0.0.1:{_closed_port()}/v1")
    try:
        with running(folder, *options, config=config + gone, env=environment) as gateway:
            yield House(gateway, folder, flock, site)
    finally:
        engine.close()


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="session", params=["json", pytest.param("text", marks=pytest.mark.long)])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp(f"house-{request.param}")
    assert os.environ.get("FONDACO_LOG__LEVEL") is None
    with housed(folder, request.param, "--model", "says") as made:
        yield made
