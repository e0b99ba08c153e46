"""From a name to a model that can really answer: ids, traits, other vendors' names, tolerant forms, stand-ins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from functools import partial

import msgspec

from fondaco.engines.kinds import EngineKind
from fondaco.errors import ModelNotFound, ModelOffline
from fondaco.models import suffix as suffixes
from fondaco.models.catalogue import Catalogue
from fondaco.models.model import Model
from fondaco.models.serving import (
    FactsError,
    File,
    LocalServing,
    OwnFile,
    Served,
    Serving,
    serve_bound,
    serve_embedding,
    serve_gguf,
    serve_local,
    serve_transcription,
    with_context,
    with_web_search,
)
from fondaco.settings import ModelSettings

_NEEDS: Mapping[str, str] = {"default_vision": "vision", "default_reasoning": "reasoning"}
"""Traits that promise an ability which a stand-in may lack."""

_MEMO_NAMES = 1024
_MEMO_NAME_LENGTH = 128
_HINT_NAME_LENGTH = 64
_NAME_LENGTH = 256


class ModelSettingsError(ValueError):
    """The `[models]` settings cannot be kept; the message is for whoever wrote them."""


class Resolved(msgspec.Struct, frozen=True):
    """Which model answers to the name that was asked."""

    served: Served
    asked: str
    stand_in: bool
    """The name is another model's, which is not here."""
    suffix: Mapping[str, str]
    """`venice_parameters` that the name carries; they override the body's. Booleans are `true` or `false`."""
    model: Model
    """The served model's facts."""


class Registry:
    """All models that can be asked here, and the names that lead to them.

    Not for threads: the gateway's event loop owns it. `refresh` after weights come or go, or an engine tells its
    true context.
    """

    def __init__(
        self,
        settings: ModelSettings,
        catalogue: Catalogue,
        has_weight: Callable[[str], bool],
        offline: bool,
        runtimes: Collection[EngineKind],
        *,
        context_tokens: int = 32_768,
        context_of: Callable[[str], int | None] | None = None,
        web_search: bool = False,
        adjust: Callable[[Model], Model] | None = None,
    ) -> None:
        """`has_weight` is asked with a weight's name, and with a path or `hf:` name of the user's files; `runtimes`
        are the kinds of engine that can run here.

        `context_tokens` is what a local engine is given; `context_of` tells by id what a loaded one really has
        (None: not known yet). `web_search`: whether this gateway can search for its models. `adjust` changes the facts
        of every model before it is listed.

        Raises ModelSettingsError for settings that cannot be kept.
        """
        self._settings = settings
        self._catalogue = catalogue
        self._has_weight = has_weight
        self._offline = offline
        self._runtimes = runtimes
        self._context_tokens = context_tokens
        self._context_of = context_of
        self._web_search = web_search
        self._adjust = adjust
        self._served: dict[str, Served] = {}
        self._default: Served | None = None
        self._stand_ins: dict[str, Served] = {}
        """By type, the model of this machine that answers for those that are not here."""
        self._memo: dict[tuple[str, str], Resolved] = {}
        self.version = 0
        """Counts refreshes, for whoever keeps something made from this."""
        self.refresh()
        self._check_default()

    def resolve(self, name: str, kind: str = "text") -> Resolved:
        """The model of type `kind` that answers to `name` (CONTRACT 3.5, DESIGN 7).

        Raises ModelNotFound, and InvalidRequest for a suffix that cannot be.
        """
        known = self._memo.get((kind, name))
        if known is not None:
            return known
        resolved = self._resolve(name, kind)
        if len(name) <= _MEMO_NAME_LENGTH:
            if len(self._memo) >= _MEMO_NAMES:
                self._memo.clear()
            self._memo[kind, name] = resolved
        return resolved

    def listed(self, kind: str | None = None) -> list[Served]:
        """Models that can be asked, of one type or all; the default text model comes first."""
        return [served for served in self._served.values() if kind is None or served.model.type == kind]

    def traits(self, kind: str = "text") -> dict[str, str]:
        """Trait to the id of the listed model that it leads to; without those whose promise none here keeps."""
        found = ((trait, self._by_trait(trait, kind)) for trait in self._catalogue.traits(kind))
        return {trait: hit[0].model.id for trait, hit in found if hit is not None}

    def mapping(self, kind: str = "text") -> dict[str, str]:
        """Other vendors' names, each to the id of the listed model that answers to it."""
        found = (
            (alias, self._target(target, kind))
            for alias, target in self._catalogue.aliases(kind).items()
            if alias not in self._served
        )
        return {alias: hit[0].model.id for alias, hit in found if hit is not None}

    def default_text(self) -> Served | None:
        """What `default` leads to: the setting, else the mission's default if bound, else the best local model."""
        return self._default

    def refresh(self) -> None:
        """Look again at which weights are there and how much context loaded engines have."""
        bound, files, shipped = map(self._adjusted, (self._bound(), self._files(), self._shipped()))
        self._served = {served.model.id: served for served in (*shipped, *files, *bound)}
        kinds = {served.model.type for served in (*shipped, *files)}
        best = ((kind, self._best_local(kind, shipped, files)) for kind in kinds)
        self._stand_ins = {kind: served for kind, served in best if served is not None}
        self._default = self._pick_default()
        first = [self._default] if self._default else []
        everything = (*first, *bound, *files, *shipped)
        self._served = {served.model.id: self._served[served.model.id] for served in everything}
        self._note_traits()
        self._memo.clear()
        self.version += 1

    # What is there.

    def _adjusted(self, found: list[Served]) -> list[Served]:
        if self._adjust is None:
            return found
        return [Served(self._adjust(served.model), served.serving) for served in found]

    def _bound(self) -> list[Served]:
        found: list[Served] = []
        for model_id, binding in self._settings.bind.items():
            if model_id in self._settings.gguf:
                raise ModelSettingsError(f"models.bind and models.gguf both have '{model_id}'; keep one")
            try:
                served = serve_bound(model_id, binding, self._catalogue)
            except FactsError as fault:
                raise ModelSettingsError(f"models.bind.'{model_id}': {fault}") from fault
            found.append(with_web_search(served, self._web_search))
        return found

    def _files(self) -> list[Served]:
        """The user's own models."""
        settings, catalogue = self._settings, self._catalogue
        own: list[tuple[str, str, Callable[[], Served]]] = [
            *(
                ("gguf", model_id, partial(serve_gguf, model_id, gguf, catalogue, self._context_tokens))
                for model_id, gguf in settings.gguf.items()
            ),
            *(
                ("transcription", model_id, partial(serve_transcription, model_id, model, catalogue))
                for model_id, model in settings.transcription.items()
            ),
            *(
                ("embedding", model_id, partial(serve_embedding, model_id, model, catalogue))
                for model_id, model in settings.embedding.items()
            ),
        ]
        found: list[Served] = []
        for section, model_id, serve in own:
            try:
                served = serve()
            except FactsError as fault:
                raise ModelSettingsError(f"models.{section}.'{model_id}': {fault}") from fault
            if self._can_run(served.serving):
                found.append(self._here(served))
        return found

    def _shipped(self) -> list[Served]:
        shipped = (serve_local(local) for local in self._catalogue.local)
        return [self._here(served) for served in shipped if self._can_run(served.serving)]

    def _can_run(self, serving: Serving) -> bool:
        """Its engine is installed here, and offline all that would have to be fetched is there."""
        assert isinstance(serving, LocalServing)
        return serving.engine in self._runtimes and not (
            self._offline
            and any(_to_fetch(file) and not self._has_weight(_name(file)) for file in serving.files)
        )

    def _here(self, served: Served) -> Served:
        """A local model as it is on this machine now."""
        if served.model.type != "text":
            return served
        true = self._context_of(served.model.id) if self._context_of else None
        context = true or min(served.model.context_tokens, self._context_tokens)
        return with_web_search(with_context(served, context), self._web_search)

    def _best_local(self, kind: str, shipped: list[Served], files: list[Served]) -> Served | None:
        """The best local model of a type: the setting if it is one, else the preferred of those whose weights are there."""
        of_kind = [served for served in (*shipped, *files) if served.model.type == kind]
        by_id = {served.model.id: served for served in of_kind}
        if self._settings.default in by_id and self._is_local(self._settings.default):
            return by_id[self._settings.default]
        shipped = [served for served in shipped if served.model.type == kind]
        unbound = [served for served in shipped if self._is_local(served.model.id)]
        to_fetch = None
        for local in self._catalogue.local:
            served = next((each for each in unbound if each.model.id == local.model.id), None)
            if served is None:
                continue
            if all(map(self._has_weight, local.weights)):
                return served
            # A lesser one that is there by chance does not keep the default from being fetched.
            if local.fetched_first:
                to_fetch = served
                break
        return to_fetch or next((served for served in files if served.model.type == kind), None)

    def _is_local(self, model_id: str) -> bool:
        return isinstance(self._served[model_id].serving, LocalServing)

    def _pick_default(self) -> Served | None:
        chosen = self._served.get(self._settings.default) if self._settings.default else None
        if chosen and chosen.model.type == "text":
            return chosen
        mission = self._served.get(self._catalogue.traits("text").get("default", ""))
        if mission:
            return mission
        bound = (served for served in self._served.values() if served.model.type == "text")
        return self._stand_ins.get("text") or next(bound, None)

    def _check_default(self) -> None:
        wanted = self._settings.default
        if wanted is None or (self._default is not None and self._default.model.id == wanted):
            return
        listed = ", ".join(served.model.id for served in self.listed("text")) or "none"
        reason = "is not a text model that can answer here"
        if any(local.model.id == wanted for local in self._catalogue.local) or wanted in self._settings.gguf:
            reason = (
                "has no weight here, and offline is set" if "text" in self._runtimes else "has no engine here"
            )
        raise ModelSettingsError(f"models.default: '{wanted}' {reason}. Those that can: {listed}")

    def _note_traits(self) -> None:
        """Rows of `/models` name the traits that lead to them, as the traits map does."""
        traits: dict[str, list[str]] = {}
        for kind in {served.model.type for served in self._served.values()}:
            for trait, model_id in self.traits(kind).items():
                traits.setdefault(model_id, []).append(trait)
        for model_id, named in traits.items():
            served = self._served[model_id]
            model = msgspec.structs.replace(served.model, traits=tuple(named))
            self._served[model_id] = Served(model, served.serving)
        if self._default:
            self._default = self._served[self._default.model.id]
        self._stand_ins = {kind: self._served[each.model.id] for kind, each in self._stand_ins.items()}

    # Names.

    def _resolve(self, name: str, kind: str) -> Resolved:
        base, suffix = self._split(name) if kind == "text" else (name, "")
        hit = self._find(base, kind)
        if hit is None and self._offline and base in self._names(kind) and self._could_run(kind):
            raise ModelOffline(
                "This server is offline and has the weights of no model that could answer. "
                "Its operator can fetch them with: fondaco models pull"
            )
        if hit is None:
            raise ModelNotFound(self._not_found(name, base, kind))
        served, stand_in = hit
        return Resolved(
            served=served,
            asked=name,
            stand_in=stand_in,
            suffix=suffixes.parse(suffix),
            model=served.model,
        )

    def _split(self, name: str) -> tuple[str, str]:
        """Name and suffix; an id that has a colon itself (`llama3.2:3b`) is not cut."""
        whole = [each for each in self._served if ":" in each and (name + ":").startswith(each + ":")]
        if not whole:
            return suffixes.split(name)
        longest = max(whole, key=len)
        return longest, name[len(longest) + 1 :]

    def _find(self, name: str, kind: str) -> tuple[Served, bool] | None:
        hit = self._exactly(name, kind)
        if hit is not None or len(name) > _NAME_LENGTH:
            return hit
        wanted = {_tolerant(name), _tolerant(f"venice-{name}"), _tolerant(name.removeprefix("venice-"))}
        for candidate in self._names(kind):
            if _tolerant(candidate) in wanted:
                return self._exactly(candidate, kind)
        return None

    def _exactly(self, name: str, kind: str) -> tuple[Served, bool] | None:
        served = self._served.get(name)
        if served is not None and served.model.type == kind:
            return served, False
        if name in self._catalogue.of_type(kind):
            target = self._target(self._catalogue.aliases(kind).get(name, ""), kind)
            return (target[0], True) if target else None
        if name in self._catalogue.traits(kind):
            return self._by_trait(name, kind) or self._in_its_stead(kind)
        if name in self._catalogue.aliases(kind):
            return self._target(self._catalogue.aliases(kind)[name], kind)
        return None

    def _target(self, model_id: str, kind: str) -> tuple[Served, bool] | None:
        """The model itself if it is here, else its stand-in."""
        served = self._served.get(model_id)
        if served is not None and served.model.type == kind:
            return served, False
        return self._in_its_stead(kind)

    def _in_its_stead(self, kind: str) -> tuple[Served, bool] | None:
        stand_in = self._stand_ins.get(kind) if self._settings.stand_ins else None
        return (stand_in, True) if stand_in is not None else None

    def _could_run(self, kind: str) -> bool:
        return any(
            local.model.type == kind and local.engine in self._runtimes for local in self._catalogue.local
        )

    def _by_trait(self, trait: str, kind: str) -> tuple[Served, bool] | None:
        """The model that a trait leads to, if there is one that keeps the trait's promise."""
        if kind == "text" and trait == "default":
            return (self._default, False) if self._default else None
        hit = self._target(self._catalogue.traits(kind).get(trait, ""), kind)
        ability = _NEEDS.get(trait)
        if hit is None or not hit[1] or ability is None:
            return hit
        for served in (hit[0], *self.listed(kind)):
            # Only a model of this machine steps in: what is asked of another must not leave it unasked.
            if isinstance(served.serving, LocalServing) and getattr(served.model.capabilities, ability):
                return served, True
        return None

    def _names(self, kind: str) -> Iterable[str]:
        """Every name of a type that could lead somewhere, in the order in which they are tried."""
        yield from (served.model.id for served in self.listed(kind))
        yield from self._catalogue.of_type(kind)
        yield from self._catalogue.traits(kind)
        yield from self._catalogue.aliases(kind)

    def _not_found(self, name: str, base: str, kind: str) -> str:
        message = f"Specified model not found: {name[:_NAME_LENGTH]}"
        if len(base) > _HINT_NAME_LENGTH:
            return message
        answering = [each for each in self._names(kind) if self._exactly(each, kind)]
        close = get_close_matches(base, answering, n=1, cutoff=0.7)
        return f"{message}. Did you mean '{close[0]}'?" if close else message


def _to_fetch(file: File) -> bool:
    return not isinstance(file, OwnFile) or file.path.startswith("hf:")


def _name(file: File) -> str:
    return file.path if isinstance(file, OwnFile) else file


def _tolerant(name: str) -> str:
    return name.replace(".", "-").replace("_", "-").replace(" ", "-")
