"""An ONNX encoder: rows of token ids in, a unit vector for each out."""

from __future__ import annotations

import importlib
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from fondaco.engines.serving import LoadFailed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

Pooling = Literal["mean", "cls", "last"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

_WHOLE = ("sentence_embedding", "dense_vecs", "text_embeds", "embeddings")
"""Names that graphs give to one vector a row, where they pool by themselves."""
_BY_TOKEN = ("last_hidden_state", "token_embeddings")
_INPUTS = {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
_TYPES = {"tensor(int64)": "int64", "tensor(int32)": "int32"}
_LEAST_NORM = 1e-12


class Encoder:
    """One model in memory. Its session may be used by several threads."""

    def __init__(
        self,
        model: str,
        *,
        threads: int,
        pooling: Pooling = "mean",
        pad: int = 0,
        output: str | None = None,
        data: Mapping[str, str] | None = None,
    ) -> None:
        """`output` names the graph's output to use; by default one that is known, else its first.

        An output with a vector for each token is pooled; one with a vector for each row is taken as it is. `data` are
        the files with weights outside the graph: name in the graph, to path; without them it looks beside itself.
        Raises ImportError without onnxruntime or numpy, and LoadFailed.
        """
        runtime: Any = importlib.import_module("onnxruntime")
        self._numpy: Any = importlib.import_module("numpy")
        self._pooling: Pooling = pooling
        self._pad = pad
        try:
            self._session = _session(runtime, model, threads, data or {})
            self._inputs = {given.name: _TYPES[given.type] for given in self._session.get_inputs()}
            outputs: list[str] = [given.name for given in self._session.get_outputs()]
            known = (name for name in (*_WHOLE, *_BY_TOKEN, *outputs) if name in outputs)
            self._output = output or next(known)
            if not self._inputs.keys() <= _INPUTS:
                raise LoadFailed
            self.dimensions: int = self.encode([[pad, pad]]).shape[1]
            self.at_once = 1
        except LoadFailed:
            raise
        except Exception as error:  # the runtime raises its own kinds
            raise LoadFailed from error

    def encode(self, rows: Sequence[Sequence[int]]) -> Vectors:
        """(rows, dimensions), each of length 1. Rows that are shorter than the longest are filled up to it."""
        numpy = self._numpy
        lengths = numpy.array([len(row) for row in rows])
        longest = int(lengths.max())
        mask = numpy.arange(longest) < lengths[:, None]
        ids = numpy.full(mask.shape, self._pad, numpy.int64)
        ids[mask] = [token for row in rows for token in row]
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        if "token_type_ids" in self._inputs:
            given["token_type_ids"] = numpy.zeros_like(ids)
        if "position_ids" in self._inputs:
            given["position_ids"] = numpy.broadcast_to(numpy.arange(longest), ids.shape)
        feed = {name: given[name].astype(kind, copy=False) for name, kind in self._inputs.items()}
        [told] = self._session.run([self._output], feed)
        vectors = told.astype(numpy.float32, copy=False)
        if vectors.ndim == 3:
            vectors = self._pooled(vectors, mask, lengths)
        return unit(vectors)

    def _pooled(self, vectors: Any, mask: Any, lengths: Any) -> Any:
        match self._pooling:
            case "cls":
                return vectors[:, 0]
            case "last":
                return vectors[self._numpy.arange(len(vectors)), lengths - 1]
            case "mean":
                return (vectors * mask[:, :, None]).sum(1) / lengths[:, None].astype(vectors.dtype)


def unit(vectors: Any) -> Any:
    """The same (n, dimensions) directions with length 1."""
    lengths = (vectors * vectors).sum(1, keepdims=True) ** 0.5
    return vectors / lengths.clip(_LEAST_NORM)


def _session(runtime: Any, model: str, threads: int, data: Mapping[str, str]) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    weights: list[mmap.mmap] = []
    for path in data.values():
        with Path(path).open("rb") as file:
            weights.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if weights:
        # They are copied while the session is made.
        sizes = [len(each) for each in weights]
        options.add_external_initializers_from_files_in_memory(list(data), weights, sizes)
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
