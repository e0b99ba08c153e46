"""A folder of Parakeet's form is loaded and heard: a tiny one with random weights, as a real one has 2.5 GB."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_asr
import pytest
from onnx import TensorProto, helper, numpy_helper

from audio_files import SPOKEN
from fondaco.engines.launch import Launch
from fondaco.engines.serving import LoadFailed
from fondaco.engines.transcription.model import Model, load
from fondaco.engines.transcription.parakeet import Parakeet
from fondaco.engines.transcription.recording import RATE, Recording
from fondaco.engines.transcription.speech import Stretch, stretches
from fondaco.engines.transcription.wire import Wish

TOKENS = ["▁the", "▁in", "vo", "ice", "▁of", ".", "▁days", "<blk>"]
DURATIONS = 5
STATE = 4
FEATURES = 128


def save(
    file: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[object]]],
    outputs: dict[str, tuple[int, list[object]]],
    constants: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]],
) -> None:
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(file))


def folder(at: Path, suffix: str = "") -> Path:
    """What an export of a Parakeet TDT holds. Its encoder looks at every eighth frame, its decoder has no memory."""
    at.mkdir()
    floats, longs, ints = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32
    node = helper.make_node
    save(
        at / f"encoder-model{suffix}.onnx",
        [
            node("Slice", ["audio_signal", "zero", "end", "two", "eight"], ["outputs"]),
            node("Add", ["length", "seven"], ["rounded"]),
            node("Div", ["rounded", "eight"], ["encoded_lengths"]),
        ],
        {"audio_signal": (floats, ["b", FEATURES, "t"]), "length": (longs, ["b"])},
        {"outputs": (floats, ["b", FEATURES, "e"]), "encoded_lengths": (longs, ["b"])},
        {
            "zero": np.array([0]),
            "end": np.array([2**31]),
            "two": np.array([2]),
            "seven": np.array([7]),
            "eight": np.array([8]),
        },
    )
    states: dict[str, tuple[int, list[object]]] = {
        f"input_states_{n}": (floats, [1, "b", STATE]) for n in (1, 2)
    }
    said = len(TOKENS) + DURATIONS
    save(
        at / f"decoder_joint-model{suffix}.onnx",
        [
            node("Transpose", ["encoder_outputs"], ["frame"], perm=[0, 2, 1]),
            node("MatMul", ["frame", "weights"], ["logits"]),
            node("Unsqueeze", ["logits", "two"], ["outputs"]),
            *(node("Identity", [f"input_states_{n}"], [f"output_states_{n}"]) for n in (1, 2)),
        ],
        {
            "encoder_outputs": (floats, ["b", FEATURES, "t"]),
            "targets": (ints, ["b", "u"]),
            "target_length": (ints, ["b"]),
            **states,
        },
        {
            "outputs": (floats, ["b", "t", "u", said]),
            **{name.replace("in", "out", 1): told for name, told in states.items()},
        },
        {
            "weights": np.random.default_rng(8).standard_normal((FEATURES, said)).astype(np.float32),
            "two": np.array([2]),
        },
    )
    (at / "vocab.txt").write_text("".join(f"{token} {n}\n" for n, token in enumerate(TOKENS)))
    (at / "config.json").write_text(
        json.dumps({"model_type": "nemo-conformer-tdt", "features_size": FEATURES, "subsampling_factor": 8})
    )
    return at


@pytest.fixture(scope="module")
def stretch() -> Stretch:
    recording = Recording(SPOKEN.read_bytes(), 60)
    [one] = stretches(recording.pieces(60), Parakeet.listening)
    assert len(one.spans) >= 3
    return one


def test_a_folder_is_heard_as_its_own_library_hears_it(tmp_path: Path, stretch: Stretch) -> None:
    at = folder(tmp_path / "parakeet")
    model: Model = load(Launch(model=str(at / "encoder-model.onnx"), threads=1))
    language, told = model.hear(stretch, Wish(words=True))
    segments = list(told)
    theirs = onnx_asr.load_model("nemo-conformer-tdt", at, providers=["CPUExecutionProvider"])
    assert language == ""
    assert len(segments) == len(stretch.spans)
    for segment, span in zip(segments, stretch.spans, strict=True):
        assert segment.text.strip() == theirs.recognize(stretch.samples[span.start : span.end]).strip()
        assert (segment.start, segment.end) == (round(span.start / RATE, 2), round(span.end / RATE, 2))
        assert segment.avg_logprob < 0
        assert isinstance(segment.words, list)
        assert "".join(word.word for word in segment.words) == segment.text.replace(" ", "")
        for word in segment.words:
            assert segment.start <= word.start <= word.end <= segment.end + 0.01


def test_files_may_stand_elsewhere_under_other_names(tmp_path: Path, stretch: Stretch) -> None:
    at = folder(tmp_path / "parakeet", ".int8")
    elsewhere: dict[str, str] = {}
    for name in ("decoder_joint-model.int8.onnx", "config.json", "vocab.txt"):
        elsewhere[name] = str((at / name).rename(tmp_path / f"sha-of-{name}"))
    main = "encoder-model.int8.onnx"
    model = (at / main).rename(tmp_path / "sha-of-it")
    launch = Launch(model=str(model), files=elsewhere, options={"main": main}, threads=1)
    segments = list(load(launch).hear(stretch, Wish())[1])
    assert segments
    assert not any(isinstance(segment.words, list) for segment in segments)


def test_a_folder_that_lacks_a_file_is_not_loaded(tmp_path: Path) -> None:
    at = folder(tmp_path / "parakeet")
    (at / "decoder_joint-model.onnx").unlink()
    with pytest.raises(LoadFailed):
        load(Launch(model=str(at / "encoder-model.onnx"), threads=1))


def test_a_whisper_folder_that_is_none_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"not a model at all")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(LoadFailed):
        load(Launch(model=str(tmp_path / "model.bin"), threads=1))
