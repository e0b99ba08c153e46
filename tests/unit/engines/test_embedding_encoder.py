"""ONNX graphs of every form that embedding models come in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from embedding_models import PAD, table, tiny_graph, unit
from fondaco.engines.embeddings.encoder import Encoder
from fondaco.engines.serving import LoadFailed

ROWS = [[0, 5, 6, 2], [0, 7, 2], [0, 8, 9, 10, 11, 2]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def encoder(file: Path, **given: object) -> Encoder:
    return Encoder(str(file), threads=1, pad=PAD, **given)  # type: ignore[arg-type]


def expected(pooling: str, dimensions: int = 16) -> np.ndarray:
    words = table(dimensions)
    pooled = {
        "mean": lambda row: words[row].mean(0),
        "cls": lambda row: words[row[0]],
        "last": lambda row: words[row[-1]],
    }
    return unit(np.stack([pooled[pooling](row) for row in ROWS]))


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_rows_of_any_length_are_pooled_without_their_filling(file: Path, pooling: str) -> None:
    vectors = encoder(tiny_graph(file), pooling=pooling).encode(ROWS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected(pooling), atol=1e-6)


@pytest.mark.parametrize(
    "inputs",
    [
        ("input_ids", "attention_mask"),
        ("input_ids", "attention_mask", "token_type_ids"),
        ("input_ids", "attention_mask", "position_ids"),
        ("input_ids",),
    ],
)
@pytest.mark.parametrize("integers", [TensorProto.INT64, TensorProto.INT32])
def test_a_graph_is_given_the_inputs_that_it_declares(
    file: Path, inputs: tuple[str, ...], integers: int
) -> None:
    vectors = encoder(tiny_graph(file, inputs=inputs, integers=integers)).encode(ROWS)
    np.testing.assert_allclose(vectors, expected("mean"), atol=1e-6)


def test_a_model_of_the_form_of_bge_m3_gives_its_dense_vectors(file: Path) -> None:
    """1,024 dimensions, weights in a file of their own, sparse and dense outputs beside each other."""
    tiny_graph(file, 1024, outputs=("sparse_vecs", "dense_vecs"), data="model.onnx_data")
    assert (file.parent / "model.onnx_data").stat().st_size > 1_000_000
    made = encoder(file)
    assert made.dimensions == 1024
    np.testing.assert_allclose(made.encode(ROWS), expected("cls", 1024), atol=1e-6)


def test_an_export_with_the_tokens_alone_is_pooled_as_the_options_say(file: Path) -> None:
    tiny_graph(file, 1024, outputs=("token_embeddings",), data="model.onnx_data")
    np.testing.assert_allclose(encoder(file, pooling="cls").encode(ROWS), expected("cls", 1024), atol=1e-6)


def test_weights_outside_the_graph_may_lie_anywhere(file: Path, tmp_path: Path) -> None:
    tiny_graph(file, data="model.onnx_data")
    elsewhere = tmp_path / "store" / "0123abcd"
    elsewhere.parent.mkdir()
    (tmp_path / "model.onnx_data").rename(elsewhere)
    vectors = encoder(file, data={"model.onnx_data": str(elsewhere)}).encode(ROWS)
    np.testing.assert_allclose(vectors, expected("mean"), atol=1e-6)


def test_an_output_can_be_chosen(file: Path) -> None:
    tiny_graph(file, outputs=("last_hidden_state", "sentence_embedding"))
    np.testing.assert_allclose(encoder(file).encode(ROWS), expected("cls"), atol=1e-6)
    chosen = encoder(file, output="last_hidden_state")
    np.testing.assert_allclose(chosen.encode(ROWS), expected("mean"), atol=1e-6)


def test_half_precision_comes_out_whole(file: Path) -> None:
    vectors = encoder(tiny_graph(file, half=True)).encode(ROWS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected("mean"), atol=1e-2)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_row_without_any_direction_is_no_fault(file: Path) -> None:
    vectors = encoder(tiny_graph(file, 1)).encode([[PAD]])
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x09" * 500])
def test_what_is_no_graph_is_not_loaded(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(LoadFailed):
        encoder(file)


def test_what_is_not_there_is_not_loaded(file: Path) -> None:
    with pytest.raises(LoadFailed):
        encoder(file)


def test_a_graph_that_wants_what_no_text_has_is_not_loaded(file: Path) -> None:
    with pytest.raises(LoadFailed):
        encoder(tiny_graph(file, inputs=("input_ids", "pixel_values")))


def test_an_output_that_is_not_there_is_not_loaded(file: Path) -> None:
    with pytest.raises(LoadFailed):
        encoder(tiny_graph(file), output="dense_vecs")
