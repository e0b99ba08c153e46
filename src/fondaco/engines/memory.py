"""How much memory an engine will take, told from the head of its weight before it is loaded."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

MIB = 1024 * 1024

_OVERHEAD = 160 * MIB
"""The interpreter, the runtime's libraries and its compute buffers."""

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
_MOST_TEXT = 1 << 20

_Value = int | float | bool | str | list[int] | None


def footprint(model: Path, mmproj: Path | None, context_tokens: int) -> int:
    """Bytes that a text engine of `model` with so much context will hold. A file it cannot read counts by its size."""
    weights = sum(file.stat().st_size for file in (model, mmproj) if file is not None)
    per_token = _cache_bytes_per_token(model)
    cache = context_tokens * per_token if per_token else weights // 2
    return weights + cache + _OVERHEAD


def _cache_bytes_per_token(model: Path) -> int:
    """Size of one token's keys and values in 16 bits, 0 when the head does not tell."""
    try:
        with model.open("rb") as file:
            head = _read_head(file)
    except (OSError, ValueError, struct.error):
        return 0
    kind = head.get("general.architecture")

    def number(name: str) -> int:
        value = head.get(f"{kind}.{name}")
        return value if isinstance(value, int) else 0

    layers, heads, width = number("block_count"), number("attention.head_count"), number("embedding_length")
    per_head = width // heads if heads else 0
    keys = number("attention.key_length") or per_head
    values = number("attention.value_length") or per_head
    kv_heads = head.get(f"{kind}.attention.head_count_kv")
    all_heads = (
        sum(kv_heads) if isinstance(kv_heads, list) else layers * (number("attention.head_count_kv") or heads)
    )
    return all_heads * (keys + values) * 2


def _read_head(file: BinaryIO) -> dict[str, _Value]:
    """The keys that stand before the tokenizer, which is long and always comes after them."""
    if file.read(4) != b"GGUF":
        raise ValueError("not a GGUF file")
    (version,) = _unpack(file, "I")
    if version < 2:
        raise ValueError("too old a GGUF file")
    _, pairs = _unpack(file, "QQ")
    head: dict[str, _Value] = {}
    for _ in range(min(int(pairs), 512)):
        name = _text(file)
        if name.startswith("tokenizer."):
            break
        (kind,) = _unpack(file, "I")
        head[name] = _value(file, int(kind))
    return head


def _value(file: BinaryIO, kind: int) -> _Value:
    if kind == _TEXT:
        return _text(file)
    if kind == _LIST:
        item, count = _unpack(file, "IQ")
        values = [_value(file, int(item)) for _ in range(min(int(count), 65536))]
        return [value for value in values if isinstance(value, int)]
    if kind not in _SCALARS:
        raise ValueError("unknown GGUF type")
    (value,) = _unpack(file, _SCALARS[kind])
    return value


def _text(file: BinaryIO) -> str:
    (length,) = _unpack(file, "Q")
    if length > _MOST_TEXT:
        raise ValueError("text too long")
    return file.read(int(length)).decode("utf-8", "replace")


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    layout = "<" + layout
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def in_mib(amount: int) -> int:
    return -(-amount // MIB)


__all__ = ["MIB", "footprint", "in_mib"]
