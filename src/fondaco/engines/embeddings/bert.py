"""A BERT encoder whose weights come in an ONNX file, run by CTranslate2.

Its layers are whole kernels where the graph has some sixty small steps, which tells on short texts. It computes in 32
bits as the graph does, so the vectors are the graph's: in 16 they are a quarter quicker and depend on their batch, in 8
twice as quick and no longer near enough.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fondaco.engines.embeddings.encoder import unit
from fondaco.engines.serving import LoadFailed

if TYPE_CHECKING:
    from fondaco.engines.embeddings.encoder import Vectors

_FIRST_NORM = "embeddings.LayerNorm.weight"

_MATRICES = 6
"""Of a layer, in the graph's order: query, key, value, output, and the two of its feed-forward part."""


class Bert:
    """One model in memory, whose text vectors are the mean of its tokens'. May be used by several threads."""

    def __init__(self, model: str, *, threads: int, heads: int) -> None:
        """`model` is an ONNX file that names its parts as Hugging Face's BERT does; weights may be quantised by a
        scale. Raises ImportError without ctranslate2, onnx or numpy, and LoadFailed.
        """
        runtime: Any = importlib.import_module("ctranslate2")
        self._numpy: Any = importlib.import_module("numpy")
        graph = _Graph(importlib.import_module("onnx"), self._numpy, model)
        try:
            files = _files(_specification(self._numpy, graph, heads))
            self._encoder: Any = runtime.Encoder(
                "bert", files=files, compute_type="float32", inter_threads=threads, intra_threads=1
            )
        except (KeyError, IndexError, AttributeError, ValueError, RuntimeError) as error:
            raise LoadFailed from error
        self.at_once = threads
        """Batches side by side: threads that share one wait for each other at every step of it."""
        self.dimensions: int = self.encode([[0]]).shape[1]

    def encode(self, rows: Sequence[Sequence[int]]) -> Vectors:
        """(rows, dimensions), each of length 1."""
        numpy = self._numpy
        told = numpy.array(self._encoder.forward_batch([list(row) for row in rows]).last_hidden_state)
        lengths = numpy.array([len(row) for row in rows])
        mask = numpy.arange(told.shape[1]) < lengths[:, None]
        return unit((told * mask[:, :, None]).sum(1) / lengths[:, None].astype(told.dtype))


class _Graph:
    """The constants of an ONNX graph."""

    def __init__(self, onnx: Any, numpy: Any, file: str) -> None:
        """Raises LoadFailed."""
        try:
            graph = onnx.load(file).graph
        except Exception as error:  # protobuf raises its own kinds
            raise LoadFailed from error
        self._numpy = numpy
        self._to_array: Any = onnx.numpy_helper.to_array
        self._nodes: list[Any] = list(graph.node)
        self._given: Mapping[str, Any] = {given.name: given for given in graph.initializer}
        self._made: Mapping[str, Any] = {name: node for node in self._nodes for name in node.output}
        norm = next((name for name in self._given if name.endswith(_FIRST_NORM)), _FIRST_NORM)
        self._prefix = norm.removesuffix(_FIRST_NORM)

    def named(self, name: str) -> Any:
        """A part by the name that Hugging Face's BERT gives it. Raises KeyError."""
        return self._array(self._prefix + name)

    @property
    def layers(self) -> int:
        return sum(name.endswith(".attention.output.LayerNorm.weight") for name in self._given)

    def matrices(self) -> list[Any]:
        """What the graph multiplies with, (in, out), in its order."""
        multiplied = (self.value(node.input[1]) for node in self._nodes if node.op_type == "MatMul")
        return [matrix for matrix in multiplied if matrix is not None]

    def tables(self) -> list[Any]:
        """What the graph looks rows up in."""
        looked = (self.value(node.input[0]) for node in self._nodes if node.op_type == "Gather")
        return [table for table in looked if table is not None and table.ndim == 2]

    def value(self, name: str) -> Any:
        """A constant in 32 bits, quantised ones scaled; None for what depends on the input."""
        if name in self._given:
            return self._array(name)
        node = self._made.get(name)
        if node is None or node.op_type not in ("Cast", "Mul", "Transpose"):
            return None
        values = [self.value(each) for each in node.input]
        if any(value is None for value in values):
            return None
        match node.op_type:
            case "Cast":
                return values[0].astype(self._numpy.float32)
            case "Mul":
                return values[0] * values[1]
            case _:
                return values[0].transpose()

    def _array(self, name: str) -> Any:
        # A copy: what the file's own bytes give cannot be written to.
        return self._numpy.array(self._to_array(self._given[name]))


def _specification(numpy: Any, graph: _Graph, heads: int) -> Any:
    """What CTranslate2 calls a model that has not been written yet."""
    specs: Any = importlib.import_module("ctranslate2.specs")
    kinds: Any = importlib.import_module("ctranslate2.specs.common_spec")

    def whole(array: Any) -> Any:
        return numpy.array(array, numpy.float32, order="C")

    model = specs.TransformerEncoderModelSpec(
        specs.TransformerEncoderSpec(
            graph.layers,
            heads,
            pre_norm=False,
            activation=kinds.Activation.GELU,
            layernorm_embedding=True,
            num_source_embeddings=2,
            embeddings_merge=kinds.EmbeddingsMerge.ADD,
        )
    )
    encoder, matrices = model.encoder, graph.matrices()
    words, positions = sorted(graph.tables(), key=len, reverse=True)[:2]
    encoder.scale_embeddings = False
    encoder.embeddings[0].weight = whole(words)
    encoder.embeddings[1].weight = whole(graph.named("embeddings.token_type_embeddings.weight"))
    encoder.position_encodings.encodings = whole(positions)
    _normalise(encoder.layernorm_embedding, graph, "embeddings.LayerNorm")
    for number, layer in enumerate(encoder.layer):
        at = f"encoder.layer.{number}."
        query, key, value, output, wide, narrow = matrices[_MATRICES * number :][:_MATRICES]
        attention, forward = layer.self_attention, layer.ffn
        biases = [graph.named(f"{at}attention.self.{name}.bias") for name in ("query", "key", "value")]
        attention.linear[0].weight = whole(numpy.concatenate([query.T, key.T, value.T]))
        attention.linear[0].bias = whole(numpy.concatenate(biases))
        _linear(attention.linear[1], whole(output.T), graph, f"{at}attention.output.dense")
        _normalise(attention.layer_norm, graph, f"{at}attention.output.LayerNorm")
        _linear(forward.linear_0, whole(wide.T), graph, f"{at}intermediate.dense")
        _linear(forward.linear_1, whole(narrow.T), graph, f"{at}output.dense")
        _normalise(forward.layer_norm, graph, f"{at}output.LayerNorm")
    model.register_vocabulary(_vocabulary(len(words)))
    model.validate()
    model.optimize()
    return model


def _files(specification: Any) -> dict[str, bytes]:
    """What `save` would write, by file name. A folder would outlive an engine that is killed as it loads."""
    with tempfile.TemporaryFile() as model:
        # It opens what it is given and closes it. There is no other way to have it written without a name.
        specification._serialize(os.dup(model.fileno()))
        model.seek(0)
        weights = model.read()
    return {
        "model.bin": weights,
        "config.json": json.dumps(specification.config.to_dict()).encode(),
        "vocabulary.json": json.dumps(_vocabulary(specification.get_vocabulary_size())).encode(),
    }


def _vocabulary(size: int) -> list[str]:
    """A text is given as the numbers of its tokens: what they are called plays no part."""
    return [str(token) for token in range(size)]


def _linear(layer: Any, weight: Any, graph: _Graph, name: str) -> None:
    layer.weight, layer.bias = weight, graph.named(f"{name}.bias")


def _normalise(layer: Any, graph: _Graph, name: str) -> None:
    layer.gamma, layer.beta = graph.named(f"{name}.weight"), graph.named(f"{name}.bias")
