"""A model that hears: what all of them can be asked, and how one is loaded from its files."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from fondaco.engines.launch import Launch
from fondaco.engines.transcription.speech import Listening, Stretch
from fondaco.engines.transcription.wire import Segment, Wish


class Model(Protocol):
    """Not for threads: it hears one stretch at a time."""

    languages: frozenset[str]
    """ISO-639-1 codes that it can be asked for; empty where it always finds out itself."""
    listening: Listening

    def hear(self, stretch: Stretch, wish: Wish) -> tuple[str, Iterator[Segment]]:
        """The language spoken (its code, or empty), and what is said, as it is understood.

        Times are those of the recording, `id` is not set.
        """
        ...


def load(launch: Launch) -> Model:
    """The model that the files are of. Raises ImportError where its runtime is missing, and LoadFailed.

    Option `main`: what its main file is called, where the weight store has it under another name.
    """
    own = Path(launch.model)
    main = launch.options.get("main") or (own.name if own.suffix == ".onnx" else "model.bin")
    with _folder(launch, main) as folder:
        if main.endswith(".onnx"):
            from fondaco.engines.transcription.parakeet import load_parakeet

            return load_parakeet(folder, main, launch.threads)
        from fondaco.engines.transcription.whisper import load_whisper

        return load_whisper(folder, launch.options, launch.threads)


@contextmanager
def _folder(launch: Launch, main: str) -> Generator[Path]:
    """The model's files in one folder, under the names by which runtimes look for them.

    A weight store keeps them elsewhere under other names. Links to them last only as long as the model is loaded.
    """
    model = Path(launch.model).absolute()
    if not launch.files:
        yield model if model.is_dir() else model.parent
        return
    with tempfile.TemporaryDirectory(prefix="fondaco-model-") as made:
        folder = Path(made)
        for name, file in {main: str(model), **launch.files}.items():
            (folder / name).symlink_to(Path(file).absolute())
        yield folder
