"""The small BERT run by CTranslate2, beside its own graph in onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from embedding_models import minilm, tiny_graph
from fondaco.engines.embeddings.bert import Bert
from fondaco.engines.serving import LoadFailed


def test_a_file_that_is_no_bert_is_refused(tmp_path: Path) -> None:
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(b"\x08\x07 not a graph")
    with pytest.raises(LoadFailed):
        Bert(str(torn), threads=1, heads=12)
    tiny_graph(tmp_path / "model.onnx", 16)
    with pytest.raises(LoadFailed):
        Bert(str(tmp_path / "model.onnx"), threads=1, heads=12)


@pytest.mark.anyio
async def test_its_vectors_are_those_of_its_graph() -> None:
    model = (await minilm()).model
    rows = [[101, 2000 + 7 * n, *range(3000, 3000 + n % 4), 102] for n in range(24)]
    rows.append([101, *range(2000, 2254), 102])
    bert = Bert(model, threads=1, heads=12)
    graph = ort.InferenceSession(model, providers=["CPUExecutionProvider"])

    def bare(row: list[int]) -> Any:
        ids = np.array([row], np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        told = graph.run(None, given)[0][0].mean(0)
        return told / np.linalg.norm(told)

    assert bert.dimensions == 384
    vectors = bert.encode(rows)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    near = [float(vector @ bare(row)) for vector, row in zip(vectors, rows, strict=True)]
    assert min(near) >= 0.9999
    alone = np.concatenate([bert.encode([row]) for row in rows[:6]])
    assert (alone * vectors[:6]).sum(1).min() >= 0.9999, "a batch changes nothing"
