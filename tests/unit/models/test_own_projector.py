"""A projector from a hub, which is kept under the hash that the settings tell."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from fondaco.engines.weights import WeightStore, weight_of
from fondaco.local_models import LocalModels
from fondaco.settings import GgufModel, ModelSettings, WeightSettings

NAME = "hf:owner/repo/mmproj.gguf"
DATA = b"a projector"


async def fetched(store: WeightStore, sha256: str) -> None:
    await store.fetch(weight_of(NAME, sha256))
    await store.close()


def test_a_projector_that_was_fetched_by_its_hash_is_there(tmp_path: Path) -> None:
    sha256 = hashlib.sha256(DATA).hexdigest()
    settings = WeightSettings(cache_dir=tmp_path, offline=True)
    models = ModelSettings(gguf={"seeing": GgufModel(path="/m.gguf", mmproj=NAME, mmproj_sha256=sha256)})
    local = LocalModels(models, WeightStore(settings))
    assert not local.has_weight(NAME)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / sha256).write_bytes(DATA)
    asyncio.run(fetched(WeightStore(settings), sha256))  # put there by hand, and now checked
    assert local.has_weight(NAME)
