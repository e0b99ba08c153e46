"""Nothing of a request with an `Idempotency-Key` or of its answer is written anywhere."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from keyed_house import open_house
from retention.canaries import Flock, files_under

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("memory_bytes", [64 << 20, 0])
async def test_no_canary_is_in_the_data_directory_the_output_or_a_conflict(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], memory_bytes: int
) -> None:
    flock = Flock()
    key, said, streamed = flock.plant("key"), flock.plant("body"), flock.plant("stream")
    async with open_house(tmp_path / "data", memory_bytes=memory_bytes) as house:
        first = await house.ask({"say": said}, key)
        assert said.encode() in first.body, "the answer holds what was asked"
        conflicts = [await house.ask({"say": "other"}, key)]
        assert streamed.encode() in (await house.ask({"stream": 3, "say": streamed}, key + "s")).body
        await house.ask({"fail": "raise", "say": said}, key + "f")
        for _ in range(2):
            answer = await house.ask({"stream": 3, "cut": True, "say": streamed}, key + "c")
        conflicts.append(answer)
        if not memory_bytes:
            conflicts.append(await house.ask({"say": said}, key))
        assert {answer.status for answer in conflicts} == {409}
        places = [("a conflict", answer.body) for answer in conflicts]
        places += files_under(tmp_path)
    assert any(name.endswith("fondaco.db-wal") for name, _ in places)
    output = capfd.readouterr()
    places += [*files_under(tmp_path), ("stdout", output.out.encode()), ("stderr", output.err.encode())]
    assert flock.seen_in(places) == []


async def test_the_hashes_in_the_database_cannot_be_made_without_the_servers_secret(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data") as house:
        await house.ask(b'{"say":"guess"}', "guess")
    database = (tmp_path / "data" / "fondaco.db").read_bytes()
    for plain in (b"guess", b'{"say":"guess"}'):
        assert hashlib.sha256(plain).digest() not in database
        assert hmac.digest(house.secret, plain, "sha256") not in database
