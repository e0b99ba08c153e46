"""Content cannot be printed, formatted or pickled, and whatever carries it is of a type that refuses too."""

from __future__ import annotations

import copy
import importlib
import io
import json
import logging
import pickle
import pkgutil
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from rich.console import Console
from rich.pretty import Pretty

import fondaco.chat
import fondaco.embeddings
import fondaco.engines.embeddings
import fondaco.engines.speech
import fondaco.engines.transcription
import fondaco.media
import fondaco.speech
import fondaco.transcription
import fondaco.upstream
from fondaco.content import PLACEHOLDER, Content, ContentLeak, Sealed
from fondaco.upstream.chat_stream import Run
from fondaco.upstream.seats import Seat
from fondaco.upstream.transport import Target

SAID = "canary and what else was said"

REFUSED: dict[str, Callable[[Any], object]] = {
    "str": str,
    "print": lambda held: print(held, file=io.StringIO()),
    "format": format,
    "format with a spec": lambda held: format(held, ">80"),
    "f-string": lambda held: f"{held}",
    "str.format": lambda held: f"{held:}",
    "%s": lambda held: "%s" % (held,),  # noqa: UP031
    "join": lambda held: "".join([str(held)]),
    "pickle": pickle.dumps,
    **{
        f"pickle {protocol}": lambda held, protocol=protocol: pickle.dumps(held, protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "pickle inside a list": lambda held: pickle.dumps([held]),
    "deepcopy": copy.deepcopy,
}

TOLD: dict[str, Callable[[Any], str]] = {
    "repr": repr,
    "ascii": ascii,
    "f-string with !r": lambda held: f"{held!r}",
    "%r": lambda held: "%r" % (held,),  # noqa: UP031
    "inside a container": lambda held: str([{"it": (held,)}]),
    "rich": lambda held: rich(held),
    "rich, inside a container": lambda held: rich({"it": [held]}),
    "a traceback with locals": lambda held: locals_of(held),
    "an exception's argument": lambda held: str(ValueError("wrong", held)),
}
"""These may say that something is there."""


class Wired(Sealed, kw_only=True):
    """A struct as the wire's are, with all that a subclass may ask of msgspec."""

    text: str
    more: list[str] = msgspec.field(default_factory=list[str])


class Odd(Wired, frozen=True, repr_omit_defaults=True, tag=True, weakref=True):
    pass


def rich(held: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(Pretty(held))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def locals_of(held: object) -> str:
    try:
        in_a_frame(held)
    except ZeroDivisionError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    raise AssertionError


def in_a_frame(held: object) -> object:
    return 1 / 0 if held else held


HOLDERS = {
    "Content of text": lambda: Content(SAID),
    "Content of bytes": lambda: Content(SAID.encode()),
    "Sealed": lambda: Wired(text=SAID, more=[SAID]),
    "Sealed with every option": lambda: Odd(text=SAID),
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("way", REFUSED)
def test_content_refuses(holder: str, way: str) -> None:
    with pytest.raises(ContentLeak) as refused:
        REFUSED[way](HOLDERS[holder]())
    assert SAID not in str(refused.value)


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("way", TOLD)
def test_content_tells_only_that_it_is_there(holder: str, way: str) -> None:
    told = TOLD[way](HOLDERS[holder]())
    assert SAID not in told
    assert PLACEHOLDER in told or f"{type(HOLDERS[holder]()).__name__}()" in told


@pytest.mark.parametrize("holder", HOLDERS)
def test_json_of_the_standard_library_refuses(holder: str) -> None:
    with pytest.raises(TypeError) as refused:
        json.dumps({"it": HOLDERS[holder]()})
    assert SAID not in str(refused.value)
    with pytest.raises(ContentLeak):
        json.dumps({"it": HOLDERS[holder]()}, default=str)


def test_a_careless_log_line_fails_instead_of_leaking() -> None:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "got %s", (Content(SAID),), None)
    with pytest.raises(ContentLeak):
        record.getMessage()


def test_content_gives_itself_to_who_asks_for_it() -> None:
    assert Content(SAID).reveal() == SAID
    assert msgspec.json.decode(msgspec.json.encode(Wired(text=SAID)), type=Wired).text == SAID


CARRIERS = (
    fondaco.chat,
    fondaco.embeddings,
    fondaco.engines.embeddings,
    fondaco.engines.speech,
    fondaco.engines.transcription,
    fondaco.media,
    fondaco.speech,
    fondaco.transcription,
    fondaco.upstream,
)


def modules() -> Iterator[str]:
    for package in CARRIERS:
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            # Importing these runs them.
            if not found.name.endswith(("__main__", "espeak_process")):
                yield found.name


def classes(module: str) -> list[type]:
    """Those that it defines."""
    values = vars(importlib.import_module(module)).values()
    return [value for value in values if isinstance(value, type) and value.__module__ == module]


def structs() -> list[type[Any]]:
    """Every struct and named tuple that they define, private ones too."""
    found: list[type[Any]] = []
    for name in modules():
        found += [kind for kind in classes(name) if issubclass(kind, (msgspec.Struct, tuple))]
    return found


OPEN = {
    # What the server itself says, and numbers. A struct that carries a caller's or an engine's words is not for this list.
    "fondaco.upstream.transport.Target",
    "fondaco.upstream.transport.Timeouts",
    "fondaco.upstream.seats.Seat",
    "fondaco.upstream.wire.EngineUsage",
    "fondaco.upstream.wire.EnginePromptDetails",
    "fondaco.upstream.wire.EngineCompletionDetails",
    "fondaco.upstream.chat_stream.Envelope",
    "fondaco.upstream.embeddings._Usage",
    "fondaco.upstream.transcription._Usage",
    "fondaco.upstream.transcription.Begun",
    "fondaco.embeddings.wire.EmbeddingUsage",
    "fondaco.speech.wire.SpeechUsage",
    "fondaco.speech.wire.AudioDone",
    "fondaco.media.images.ImageFacts",
    "fondaco.engines.embeddings.wire._Usage",
    "fondaco.chat.fetches.Kind",
    "fondaco.engines.speech.encoding.Format",
    "fondaco.engines.speech.wire.Usage",
    "fondaco.engines.speech.wire.AudioDone",
    "fondaco.engines.speech.wire.Fault",
    "fondaco.engines.speech.wire.SpeechFailed",
    "fondaco.engines.transcription.speech.Listening",
    "fondaco.engines.transcription.speech.Span",
    "fondaco.engines.transcription.wire.Begun",
    "fondaco.engines.transcription.wire.DurationUsage",
}


def full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def test_every_struct_that_can_hold_content_is_sealed() -> None:
    found = structs()
    assert len(found) > 50
    bare = {full_name(kind) for kind in found if not issubclass(kind, Sealed)}
    assert bare - OPEN == set()
    assert OPEN - bare == set(), "sealed by now: take them off the list"


@pytest.mark.parametrize("kind", [kind for kind in structs() if issubclass(kind, Sealed)], ids=full_name)
def test_no_sealed_struct_takes_its_refusals_back(kind: type[msgspec.Struct]) -> None:
    for name in ("__repr__", "__str__", "__format__", "__reduce_ex__", "__rich_repr__"):
        assert getattr(kind, name) is getattr(Sealed, name), name


def slotted() -> list[type]:
    """Other classes of theirs that carry values from one place to the next."""
    found: list[type] = []
    for name in modules():
        found += [kind for kind in classes(name) if "__slots__" in vars(kind)]
    others = [kind for kind in found if not issubclass(kind, (BaseException, msgspec.Struct, tuple))]
    return [kind for kind in others if not getattr(kind, "_is_protocol", False)]


@pytest.mark.parametrize("kind", slotted(), ids=full_name)
def test_what_carries_content_without_being_a_struct_shows_none_of_it(kind: type) -> None:
    held = object.__new__(kind)
    for name in vars(kind)["__slots__"]:
        if not name.startswith("__"):
            object.__setattr__(held, name, 3 if name == "count" else SAID)
    assert SAID not in repr(held)
    assert SAID not in str(held)


def test_a_run_of_an_engines_chunks_refuses_too() -> None:
    run = object.__new__(Run)
    for name in Run.__slots__:
        object.__setattr__(run, name, SAID)
    with pytest.raises(ContentLeak):
        pickle.dumps(run)


def test_a_target_does_not_show_the_engines_credential() -> None:
    target = Target(host="127.0.0.1", port=1, headers=((b"authorization", SAID.encode()),))
    assert SAID not in repr(target)
    assert SAID not in rich(target)
    assert SAID not in repr(Seat(target))
