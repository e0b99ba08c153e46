"""Fuzzed `Authorization` headers against the real server: 401, 400 or 431, and nothing else."""

from __future__ import annotations

import collections
import random
from pathlib import Path

import pytest

from fondaco.http.server import Limits
from key_desk import open_desk
from raw_http import Place, Wire, serving

pytestmark = pytest.mark.anyio

SCHEMES = [
    b"Bearer",
    b"bearer",
    b"BEARER",
    b"Basic",
    b"Digest",
    b"Token",
    b"Bearer:",
    b"",
    b"\xc3\x89",
    b"Bear er",
]
BLANKS = [b" ", b"  ", b"\t", b"", b"\xa0", b"\x0b", b"\x0c", b" \r\n ", b"\r\n\t"]
PLANTS = [
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b",",
    b";",
    b'"',
    b"\x7f",
    b"\xff",
    b"\xf0\x9f\x94\x91",
    b"%00",
    b"=",
    b": ",
    b"' OR 1=1 --",
]
TARGETS = [b"/api/v1/api_keys", b"/v1/api_keys/x", b"/api/v1/api_keys?id=x"]


def spoilt(key: bytes, dice: random.Random) -> bytes:
    """The key with something wrong about it."""
    match dice.randrange(9):
        case 0:
            return dice.randbytes(dice.choice([0, 1, 8, 43, 64, 300]))
        case 1:
            return key[: dice.randrange(len(key))]
        case 2:
            at = dice.randrange(len(key))
            return key[:at] + bytes([key[at] ^ (1 << dice.randrange(8))]) + key[at + 1 :]
        case 3:
            at = dice.randrange(len(key))
            return key[:at] + dice.choice(PLANTS) + key[at:]
        case 4:
            return key.swapcase()
        case 5:
            return key[::-1]
        case 6:
            return key + dice.choice([b"x", b"=", key, b" " + key, b"," + key, b"\xc2\xa0"])
        case 7:
            return dice.choice([b"x", b"\xc3\xa9", b"VENICE_ADMIN_KEY_"]) * dice.choice([1, 500, 9000])
        case _:
            return dice.choice(
                [b"null", b"undefined", b"''", b"{}", b"[object Object]", b"$VENICE_API_KEY", b"Bearer"]
            )


def header(key: bytes, dice: random.Random) -> bytes:
    name = dice.choice([b"authorization", b"Authorization", b"AUTHORIZATION"])
    value = dice.choice(SCHEMES) + dice.choice(BLANKS) + spoilt(key, dice)
    if dice.random() < 0.05:
        value += b"\r\n" + name + b": " + dice.choice(SCHEMES) + b" " + spoilt(key, dice)
    return name + dice.choice([b": ", b":", b":  ", b":\t"]) + value


async def ask(place: Place, wire: Wire | None, line: bytes, dice: random.Random) -> tuple[int, Wire | None]:
    """The status, and the connection if it may be used again."""
    wire = wire or await place.connect()
    target = dice.choice(TARGETS)
    answer = await wire.ask(b"GET %b HTTP/1.1\r\nhost: x\r\n%b\r\n\r\n" % (target, line))
    assert answer.json()["error"]
    if answer.headers.get("connection") != "close":
        return answer.status, wire
    await wire.rest()
    wire.writer.close()
    place.wires.remove(wire)
    return answer.status, None


@pytest.mark.parametrize("count", [400, pytest.param(50_000, marks=pytest.mark.long)])
async def test_a_fuzzed_header_is_refused_and_nothing_else(count: int, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32) if count > 400 else 1
    dice = random.Random(seed)
    seen: collections.Counter[int] = collections.Counter()
    async with open_desk(tmp_path) as desk, serving(desk.edge.handle, Limits(linger_seconds=0)) as place:
        key = desk.admin.encode()
        wire: Wire | None = None
        for n in range(count):
            line = header(key, dice)
            status, wire = await ask(place, wire, line, dice)
            seen[status] += 1
            assert status in (400, 401, 431), f"seed {seed}, number {n}: {status} for {line!r}"
        assert set(seen) == {400, 401, 431}
        assert seen[401] > count / 3
        # All this over, the key itself still opens.
        wire = await place.connect()
        answer = await wire.ask(
            b"GET /api/v1/api_keys HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n\r\n" % key
        )
        assert answer.status == 200
        await desk.keys.close()
