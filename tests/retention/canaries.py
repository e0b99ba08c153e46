"""Planted tokens, and the search for what became of them.

All canaries of one flock share a stem, so that one search finds any of them in whichever coat it was kept. A canary
is letters and digits alone: JSON leaves such a text as it is, but for an encoder that escapes everything.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from fondaco.settings import default_cache_dir

Place = tuple[str, bytes]
"""Where, and what was found there."""

LARGEST = 1 << 20
"""Bytes of a file in the weights' folder that is still looked into: the others are weights, named by their hash."""


class Leak(NamedTuple):
    place: str
    what: str
    """The field it was planted in, or the name of the secret."""
    coat: str


class Flock:
    """Canaries of one test run. `plant` each in a field; `seen_in` tells which got out."""

    def __init__(self) -> None:
        self.stem = "canary" + secrets.token_hex(6)
        self._labels: dict[str, str] = {}
        self._secrets: dict[str, str] = {}

    def plant(self, label: str) -> str:
        """A token that nobody else has: `canary` and 24 hex digits."""
        token = self.stem + secrets.token_hex(6)
        self._labels[token] = label
        return token

    def guard(self, label: str, secret: str) -> None:
        """Look for this text too, a key for instance."""
        self._secrets[label] = secret

    def seen_in(self, places: Iterable[Place]) -> list[Leak]:
        """Every place that holds one, in any coat."""
        wanted = [("", self.stem), *self._secrets.items()]
        needles = [(label, coat, needle) for label, text in wanted for coat, needle in coats(text.encode())]
        leaks: list[Leak] = []
        # A log is seen as what was printed, as a file and through its open handle: it is searched once.
        searched: dict[bytes, set[tuple[str, str]]] = {}
        for place, data in places:
            if data not in searched:
                searched[data] = set(self._found_in(data, needles))
            leaks += (Leak(place, what, coat) for what, coat in searched[data])
        return sorted(set(leaks))

    def _found_in(self, data: bytes, needles: list[tuple[str, str, bytes]]) -> Iterator[tuple[str, str]]:
        # Base64 and hex are often broken into lines; percent-encoding and hex come in both cases.
        for haystack in {data, re.sub(rb"\s+", b"", data)}:
            lowered = haystack.lower()
            for label, coat, needle in needles:
                within = lowered if coat in _CASELESS else haystack
                at = within.find(needle)
                while at >= 0:
                    yield label or self._who(haystack, at), coat
                    at = within.find(needle, at + len(needle))

    def _who(self, haystack: bytes, at: int) -> str:
        token = haystack[at : at + len(self.stem) + 12].decode("latin-1")
        return self._labels.get(token, "a canary")


_CASELESS = frozenset({"hex", "percent-encoded", "JSON-escaped"})


def coats(text: bytes) -> list[tuple[str, bytes]]:
    """The ways in which `text` may have been written down, each as bytes that must then occur."""
    made = [
        ("raw", text),
        ("hex", text.hex().encode()),
        ("percent-encoded", "".join(f"%{byte:02x}" for byte in text).encode()),
        ("JSON-escaped", "".join(f"\\u{byte:04x}" for byte in text).encode()),
        ("UTF-16", text.decode().encode("utf-16-le")),
        ("UTF-16 BE", text.decode().encode("utf-16-be")),
        ("UTF-32", text.decode().encode("utf-32-le")),
        ("reversed", text[::-1]),
        *(("base64", piece) for piece in base64_pieces(text)),
    ]
    # A data: URL in a body that was itself kept in base64.
    twice = [("base64 of base64", piece) for once in base64_pieces(text) for piece in base64_pieces(once)]
    twice += [("base64 of hex", piece) for piece in base64_pieces(text.hex().encode())]
    return list(dict.fromkeys(made + twice))


def base64_pieces(text: bytes) -> Iterator[bytes]:
    """What of `text` stands in any base64 that covers it, at each of the three alignments, in both alphabets."""
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + text)
        # The first and the last group also hold bits of what stands beside it.
        first = (0, 2, 3)[shift]
        last = len(encoded) - (0, 4, 4)[(shift + len(text)) % 3]
        yield encoded[first:last]
        yield encoded[first:last].replace(b"+", b"-").replace(b"/", b"_")


def files_under(folder: Path, largest: int | None = None) -> Iterator[Place]:
    """Every name and every file's bytes below `folder`. Sockets and pipes have names only."""
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent, name)
            yield f"the name of {path}", os.fsencode(name)
            if path.is_symlink():
                yield f"the target of {path}", os.fsencode(path.readlink())
                continue
            with contextlib.suppress(FileNotFoundError):  # engines' sockets and SQLite's files come and go
                found = path.stat()
                if stat.S_ISREG(found.st_mode) and (largest is None or found.st_size <= largest):
                    yield str(path), path.read_bytes()


def process_places(pid: int) -> Iterator[Place]:
    """What anybody may read of the children of `pid` in /proc, and the files that they and it write to."""
    gateway = psutil.Process(pid)
    yield "the gateway's command line", "\0".join(gateway.cmdline()).encode()
    yield from _written_files(gateway)
    for child in gateway.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            yield f"the command line of child {child.pid}", "\0".join(child.cmdline()).encode()
            told = "\0".join(f"{name}={value}" for name, value in child.environ().items())
            yield f"the environment of child {child.pid}", told.encode()
            yield from _written_files(child)


def _written_files(process: psutil.Process) -> Iterator[Place]:
    """Open files, also those that have no name any more."""
    folder = Path("/proc") / str(process.pid) / "fd"
    for handle in list(folder.iterdir()) if folder.is_dir() else []:
        with contextlib.suppress(OSError):
            if handle.readlink().is_relative_to(default_cache_dir()):
                continue  # a weight
            if stat.S_ISREG(handle.stat().st_mode) and handle.stat().st_size <= 64 * LARGEST:
                yield f"{handle.readlink()}, open in {process.pid}", handle.read_bytes()
