"""The detector itself: a canary is found in whichever coat it was kept, and only where it is."""

from __future__ import annotations

import base64
import json
import secrets
import sqlite3
from pathlib import Path
from urllib.parse import quote

import pytest
from canaries import Flock, base64_pieces, files_under

COATS = {
    "raw": lambda text: text.encode(),
    "JSON": lambda text: json.dumps({"messages": [{"content": f'he said "{text}"\n'}]}).encode(),
    "JSON in JSON": lambda text: json.dumps(json.dumps({"a": text})).encode(),
    "JSON with all escaped": lambda text: "".join(f"\\u{ord(letter):04X}" for letter in text).encode(),
    "hex": lambda text: text.encode().hex().encode(),
    "HEX in lines": lambda text: text.encode().hex(" ", 2).upper().replace(" ", "\n").encode(),
    "percent-encoded": lambda text: "".join(f"%{ord(letter):02X}" for letter in text).encode(),
    "a query string": lambda text: quote(f"?q={text} &").encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "a data URL in base64": lambda text: base64.b64encode(
        b"data:image/png;base64," + base64.b64encode(b"\x89PNG" + text.encode())
    ),
    "repr of bytes": lambda text: repr(b"\xff\x00" + text.encode()).encode(),
}


@pytest.mark.parametrize("coat", COATS)
def test_a_canary_is_found_in_every_coat(tmp_path: Path, coat: str) -> None:
    flock = Flock()
    token = flock.plant("messages")
    (tmp_path / "kept").write_bytes(
        secrets.token_bytes(5000) + COATS[coat](token) + secrets.token_bytes(5000)
    )
    leaks = flock.seen_in(files_under(tmp_path))
    assert leaks
    assert {leak.place for leak in leaks} == {str(tmp_path / "kept")}


@pytest.mark.parametrize("before", range(7))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])
def test_base64_is_found_at_every_alignment(tmp_path: Path, before: int, encode: object) -> None:
    flock = Flock()
    kept = secrets.token_bytes(before) + flock.plant("image").encode() + secrets.token_bytes(9 - before)
    assert callable(encode)
    (tmp_path / "blob").write_bytes(encode(kept))
    assert [leak.coat for leak in flock.seen_in(files_under(tmp_path))] == ["base64"]


@pytest.mark.parametrize("length", range(8, 40))
def test_a_piece_of_base64_stands_in_whatever_covers_the_text(length: int) -> None:
    text = secrets.token_urlsafe(length)[:length].encode()
    pieces = list(base64_pieces(text))
    for shift in range(6):
        covering = base64.b64encode(secrets.token_bytes(shift) + text + secrets.token_bytes(4))
        assert any(piece in covering for piece in pieces), shift


def test_the_leak_is_named_by_the_field_it_was_planted_in(tmp_path: Path) -> None:
    flock = Flock()
    flock.plant("user")
    (tmp_path / "log").write_text(f"GET /?q={flock.plant('query string')} 200\n")
    (leak,) = flock.seen_in(files_under(tmp_path))
    assert leak == (str(tmp_path / "log"), "query string", "raw")


def test_it_is_found_in_a_file_name_a_link_and_a_database_with_its_wal(tmp_path: Path) -> None:
    flock = Flock()
    (tmp_path / flock.plant("file name")).mkdir()
    (tmp_path / "link").symlink_to(flock.plant("link"))
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE t (x)")
        database.execute("INSERT INTO t VALUES (?)", (flock.plant("row"),))
        database.commit()
        leaks = flock.seen_in(files_under(tmp_path))
    database.close()
    assert {leak.what for leak in leaks} == {"file name", "link", "row"}
    assert str(tmp_path / "a.db-wal") in {leak.place for leak in leaks}


def test_a_guarded_secret_is_found_by_its_name(tmp_path: Path) -> None:
    flock = Flock()
    flock.guard("the admin key", key := secrets.token_urlsafe(32))
    (tmp_path / "log").write_bytes(b"Basic " + base64.b64encode(b"x:" + key.encode()))
    assert [leak.what for leak in flock.seen_in(files_under(tmp_path))] == ["the admin key"]


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    flock = Flock()
    flock.plant("messages")
    (tmp_path / "noise").write_bytes(secrets.token_bytes(200_000))
    (tmp_path / "other").write_text(Flock().plant("of another flock"))
    assert flock.seen_in(files_under(tmp_path)) == []
