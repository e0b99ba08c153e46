"""Runtimes that would report on their use to their makers are kept from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedding_models import tiny_graph

ENGINES = ("embeddings", "speech", "transcription")


@pytest.mark.parametrize("engine", [None, *(pytest.param(each, marks=pytest.mark.long) for each in ENGINES)])
def test_onnxruntime_keeps_no_identifier_and_no_reports(tmp_path: Path, engine: str | None) -> None:
    """It would write both into the home and the folder for temporary files as soon as a model is loaded."""
    graph = tiny_graph(tmp_path / "model.onnx")
    home = tmp_path / "home"
    home.mkdir()
    load = f"import onnxruntime\nonnxruntime.InferenceSession({str(graph)!r})"
    first = f"import fondaco.engines.{engine}.app\n" if engine else "import fondaco.engines.launch\n"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "TMPDIR": str(home)}
    subprocess.run([sys.executable, "-c", first + load], env=environment, check=True, timeout=60)
    assert list(home.iterdir()) == []
