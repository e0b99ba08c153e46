"""Memory for engines: read, estimated, promised."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import pytest

from fondaco import errors
from fondaco.engines import machine
from fondaco.engines.memory import MIB, footprint
from fondaco.engines.room import Room


def gguf(*pairs: tuple[str, int, bytes]) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs))
    for name, kind, value in pairs:
        head += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind) + value
    return head


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def number(value: int) -> bytes:
    return struct.pack("<I", value)


LAYERS = (
    ("general.architecture", 8, text("qwen2")),
    ("qwen2.block_count", 4, number(24)),
    ("qwen2.embedding_length", 4, number(896)),
    ("qwen2.attention.head_count", 4, number(14)),
)
TOKENIZER = ("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 10**12))


def test_the_context_counts_towards_what_an_engine_will_hold(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(gguf(*LAYERS, ("qwen2.attention.head_count_kv", 4, number(2)), TOKENIZER))
    grown = footprint(file, None, 32768) - footprint(file, None, 0)
    assert grown == 32768 * 24 * 2 * 64 * 2 * 2


def test_heads_listed_layer_by_layer_are_added_up(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    heads = struct.pack("<IQ", 4, 3) + number(2) + number(0) + number(4)
    file.write_bytes(gguf(*LAYERS, ("qwen2.attention.head_count_kv", 9, heads)))
    assert footprint(file, None, 100) - footprint(file, None, 0) == 100 * 6 * 128 * 2


@pytest.mark.parametrize(
    "content", [b"", b"GGUF", b"no such thing", gguf(("x", 99, b"")), gguf(("x", 8, b"\xff" * 8))]
)
def test_a_file_that_tells_nothing_is_judged_by_its_size(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(content.ljust(4 * MIB, b"\0"))
    assert footprint(file, file, 32768) >= 8 * MIB + 4 * MIB


def test_a_containers_limits_count(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 50000\nactive_file 25000\n")
    assert machine.cores(tmp_path) == 1
    assert machine.available_memory(tmp_path) == 175000


def test_a_machine_without_limits_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.cores(tmp_path) >= 1
    assert machine.available_memory(tmp_path) > MIB


@pytest.mark.anyio
async def test_idle_engines_go_until_there_is_room() -> None:
    free, idle = [100 * MIB], [200 * MIB, 300 * MIB, 400 * MIB]

    async def evict() -> bool:
        if idle:
            free[0] += idle.pop(0)
        return bool(idle)

    room = Room(50, lambda: free[0], evict)
    async with room.promise(500 * MIB, "m"):
        assert idle == [400 * MIB], "two were enough"


@pytest.mark.anyio
async def test_a_refusal_names_what_is_needed_and_what_is_free() -> None:
    async def nothing_idle() -> bool:
        return False

    room = Room(512, lambda: 600 * MIB, nothing_idle)
    with pytest.raises(errors.ModelAtCapacity) as refused:
        async with room.promise(491 * MIB, "m"):
            pytest.fail("there was no room")
    assert "491 MiB" in refused.value.message
    assert "512 MiB" in refused.value.message
    assert "600 MiB are free" in refused.value.message
    assert refused.value.retry_after


@pytest.mark.anyio
async def test_two_that_load_at_once_do_not_count_on_the_same_memory() -> None:
    async def nothing_idle() -> bool:
        return False

    room = Room(0, lambda: 100 * MIB, nothing_idle)
    async with room.promise(60 * MIB, "a"):
        with pytest.raises(errors.ModelAtCapacity):
            async with room.promise(60 * MIB, "b"):
                pytest.fail("it was promised to another")
    async with asyncio.timeout(1), room.promise(60 * MIB, "b"):
        pass
