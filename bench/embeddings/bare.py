"""The model as anybody would call it, one text at a time: tokenizer, onnxruntime, mean, norm.

As a program: MODEL TOKENIZER THREADS SECONDS; calls it for so long with QUERIES in turn and prints the rate and the CPU
time of each call as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

WINDOW = 256


class Bare:
    def __init__(self, model: str, tokenizer: str, threads: int) -> None:
        self._tokenizer = Tokenizer.from_file(tokenizer)
        # Without the file's own filling, as the engine reads texts: every one would have 128 tokens.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(WINDOW)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, text: str) -> Any:
        """A vector of length 1."""
        ids = np.array([self._tokenizer.encode(text).ids])
        mask = np.ones_like(ids)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self._session.run(None, given)[0]
        vector = (hidden * mask[..., None]).sum(1)[0] / mask.sum()
        return vector / np.linalg.norm(vector)

    def all(self, texts: Sequence[str]) -> Any:
        return np.stack([self(text) for text in texts])


def main() -> None:
    from bench.embeddings.texts import QUERIES

    model, tokenizer, threads, seconds = sys.argv[1:]
    bare = Bare(model, tokenizer, int(threads))
    for text in QUERIES:
        bare(text)
    count, began, used = 0, time.perf_counter(), time.process_time()
    while (took := time.perf_counter() - began) < float(seconds):
        bare(QUERIES[count % len(QUERIES)])
        count += 1
    print(json.dumps({"rate": count / took, "cpu_ms": 1000 * (time.process_time() - used) / count}))


if __name__ == "__main__":
    main()
