"""`--model` of `fondaco engine`: the id of a model that such an engine serves, or a file of the user's."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import msgspec

from fondaco.cli.own_model import NoSuchModel, id_of
from fondaco.engines.kinds import EngineKind
from fondaco.local_models import local_model
from fondaco.models.catalogue import Catalogue
from fondaco.models.serving import (
    LocalServing,
    OwnFile,
    Serving,
    serve_embedding,
    serve_local,
    serve_transcription,
)
from fondaco.settings import EmbeddingModel, ModelSettings, TranscriptionModel

if TYPE_CHECKING:
    from fondaco.engines.lease import LocalModel


def model_for(kind: EngineKind, model: str | None, settings: ModelSettings) -> LocalModel:
    """What an engine of this kind is to serve; the one that comes with Fondaco by default.

    Raises NoSuchModel, FactsError for bad settings of it, and WeightError for a hub name that is none.
    """
    known = _known(kind, settings)
    if model is None:
        model = next(iter(known))
    if (serving := known.get(model.lower())) is not None:
        return local_model(model.lower(), serving)
    if model.startswith("hf:") or Path(model).exists():
        name = PurePath(model).name if Path(model).is_dir() else PurePath(model).stem
        serving = _own(kind, model, next(iter(known.values())))
        assert isinstance(serving, LocalServing)
        return local_model(id_of(name), serving)
    ids = " or ".join(known)
    raise NoSuchModel(f"--model: there is no {kind} model {model} and no such file; give {ids}, or a path")


def _known(kind: EngineKind, settings: ModelSettings) -> dict[str, LocalServing]:
    """Models that such an engine serves, by id: those that come with Fondaco first, the preferred before all."""
    catalogue = Catalogue()
    servings: list[tuple[str, Serving]] = [
        (local.model.id, serve_local(local).serving) for local in catalogue.local
    ]
    servings += [
        (name, serve_transcription(name, own, catalogue).serving)
        for name, own in settings.transcription.items()
    ]
    servings += [
        (name, serve_embedding(name, own, catalogue).serving) for name, own in settings.embedding.items()
    ]
    return {
        name.lower(): serving
        for name, serving in servings
        if isinstance(serving, LocalServing) and serving.engine == kind
    }


def _own(kind: EngineKind, path: str, like: LocalServing) -> Serving:
    """A file of the user's, with what belongs to it beside it; `like` is what comes with Fondaco."""
    match kind:
        case "embeddings":
            # How many dimensions it has concerns a gateway only.
            own = EmbeddingModel(path=path, tokenizer=_tokenizer(path), data=_data(path), dimensions=1)
            return serve_embedding("own", own, Catalogue()).serving
        case "transcription" if path.startswith("hf:"):
            return serve_transcription("own", TranscriptionModel(path=path), Catalogue()).serving
        case "transcription":
            return LocalServing(OwnFile(_heard(Path(path))), (), kind)  # the engine looks about in its folder
        case _:
            return msgspec.structs.replace(like, weight=OwnFile(path))


def _tokenizer(path: str) -> str:
    if path.startswith("hf:"):
        raise NoSuchModel(
            f"--model: say in [models.embedding] of fondaco.toml what {path} is, and give its id"
        )
    if not (tokenizer := Path(path).with_name("tokenizer.json")).is_file():
        raise NoSuchModel(f"--model: there is no tokenizer.json beside {path}")
    return str(tokenizer)


def _data(path: str) -> tuple[str, ...]:
    """Files beside an ONNX file that are named as its weights are."""
    return (data,) if Path(data := f"{path}_data").is_file() else ()


def _heard(path: Path) -> str:
    """The main file of a transcription model that is given as a folder, or as that file."""
    if path.is_file():
        return str(path)
    for file in (path / "model.bin", *sorted(path.glob("encoder-model*.onnx"))):
        if file.is_file():
            return str(file)
    raise NoSuchModel(f"--model: {path} holds neither model.bin nor encoder-model.onnx")
