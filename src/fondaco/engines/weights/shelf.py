"""The weights that are whole: where they stand, and that they were checked.

A file is hashed once; `<name>.seen` beside it then remembers its size and time of change, so that a look is a `stat`.
A file put there by hand under its sha256 is as good as a fetched one, once it was hashed.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import msgspec

from fondaco.engines.weights.partial import Partial, sync_folder
from fondaco.engines.weights.weight import Weight

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Seen(msgspec.Struct):
    """What a file was like when its hash was `sha256`."""

    name: str
    sha256: str
    size: int
    mtime_ns: int


class Shelf:
    """The folder `weights`. All of it blocks; only `find` is fit for the event loop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[Path, Seen] = {}

    def find(self, weight: Weight) -> Path | None:
        """The weight's file if it is there and was checked since it last changed."""
        path = self.path(weight)
        if path is None:
            return None
        try:
            stat = path.stat()
        except OSError:
            self._seen.pop(path, None)
            return None
        if weight.own_path is not None and weight.sha256 is None:
            return path  # nothing to check it against
        seen = self._seen.get(path) or self._read_seen(path)
        if seen is None or (seen.size, seen.mtime_ns) != (stat.st_size, stat.st_mtime_ns):
            return None
        if weight.sha256 not in (None, seen.sha256):
            return None
        self._seen[path] = seen
        return path

    def path(self, weight: Weight) -> Path | None:
        """Where the file is or would be; None for a hub file without a hash that never was fetched."""
        if (own := weight.own_path) is not None:
            return Path(own)
        if weight.sha256 is not None:
            return self.folder / weight.sha256
        try:
            sha256 = self._reference(weight).read_text("ascii")
        except (OSError, UnicodeDecodeError):
            return None
        return self.folder / sha256 if _SHA256.fullmatch(sha256) else None

    def partial(self, weight: Weight) -> Partial:
        return Partial(self.folder / f"{weight.key}.partial", weight.size)

    def check(self, weight: Weight) -> Path | None:
        """Hash a file that `find` does not vouch for, and vouch for it from now on; None if it is another file."""
        path = self.path(weight)
        if path is None or not path.is_file():
            return None
        stat = path.stat()
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        expected = weight.sha256 or (None if weight.own_path else path.name)
        if expected not in (None, sha256):
            return None
        self._remember(path, Seen(weight.name, sha256, stat.st_size, stat.st_mtime_ns))
        return path

    def put(self, weight: Weight, partial: Partial, sha256: str) -> Path:
        """Make a partial that hashes to `sha256` a whole weight."""
        path = self.folder / sha256
        partial.commit(path)
        stat = path.stat()
        self._remember(path, Seen(weight.name, sha256, stat.st_size, stat.st_mtime_ns))
        if weight.sha256 is None:
            _write_whole(self._reference(weight), sha256.encode())
        return path

    def sweep(self, weight: Weight) -> int:
        """Delete the working folders that a killed process left; bytes freed."""
        freed = 0
        for folder in self.folder.glob(f"{weight.key}.work-*"):
            freed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            shutil.rmtree(folder, ignore_errors=True)
        return freed

    def remove(self, weight: Weight) -> int:
        """Delete the file and every part of it; bytes freed. A user's own file stays."""
        if weight.own_path is not None:
            return 0
        freed = self.sweep(weight) + self.partial(weight).drop()
        if (path := self.path(weight)) is not None and path.is_file():
            freed += path.stat().st_size
            path.unlink()
            self._seen.pop(path, None)
            self._seen_path(path).unlink(missing_ok=True)
            sync_folder(self.folder)
        self._reference(weight).unlink(missing_ok=True)
        return freed

    def _remember(self, path: Path, seen: Seen) -> None:
        _write_whole(self._seen_path(path), msgspec.json.encode(seen))
        self._seen[path] = seen

    def _read_seen(self, path: Path) -> Seen | None:
        try:
            return msgspec.json.decode(self._seen_path(path).read_bytes(), type=Seen)
        except (OSError, msgspec.MsgspecError):
            return None

    def _seen_path(self, path: Path) -> Path:
        """In our folder also for a user's own file, whose folder is not ours to write in."""
        if path.parent == self.folder:
            return self.folder / f"{path.name}.seen"
        return self.folder / f"path-{hashlib.sha256(str(path).encode()).hexdigest()}.seen"

    def _reference(self, weight: Weight) -> Path:
        return self.folder / f"{weight.key}.is"


def _write_whole(path: Path, data: bytes) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(data)
    fresh.replace(path)
