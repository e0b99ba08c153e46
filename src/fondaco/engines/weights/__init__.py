"""The weight store: files named by their sha256, fetched from whichever source has them."""

from __future__ import annotations

from fondaco.engines.weights.errors import (
    BadReference,
    BeingFetched,
    DiskFull,
    HashMismatch,
    NoSource,
    Offline,
    Stopped,
    Unwritable,
    WeightError,
)
from fondaco.engines.weights.patience import Patience
from fondaco.engines.weights.pins import named, pinned, weight_of
from fondaco.engines.weights.progress import Progress
from fondaco.engines.weights.store import WeightStore
from fondaco.engines.weights.weight import HubSource, PackagePart, PackageSource, PathSource, Source, Weight

__all__ = [
    "BadReference",
    "BeingFetched",
    "DiskFull",
    "HashMismatch",
    "HubSource",
    "NoSource",
    "Offline",
    "PackagePart",
    "PackageSource",
    "PathSource",
    "Patience",
    "Progress",
    "Source",
    "Stopped",
    "Unwritable",
    "Weight",
    "WeightError",
    "WeightStore",
    "named",
    "pinned",
    "weight_of",
]
