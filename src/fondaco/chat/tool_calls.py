"""Tool calls out of what engines answer.

Three readers, one for each way in which a call may come: `NativeCalls` puts right what servers leave out of calls
in the wire's own form, `ForcedCalls` turns the constrained JSON of `tool_prompt.call_schema` into calls as it
arrives, and `ProseCalls` finds calls in a model's free text.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Protocol

import msgspec

from fondaco.chat.marks import begun
from fondaco.content import Sealed
from fondaco.ids import tool_call_id
from fondaco.upstream.wire import EngineChoice, EngineFunction, EngineToolCall


class CallReader(Protocol):
    def settled(self) -> bool:
        """Whether plain text can pass unseen."""
        ...

    def rewrite(self, choice: EngineChoice) -> None:
        """Put the calls that `choice` completes into its delta, and take their text out of it."""
        ...


class NativeCalls:
    """Every call gets an index, an id and arguments; the finish_reason says that there are calls."""

    __slots__ = ("_choices",)

    def __init__(self) -> None:
        self._choices: dict[int, list[_Call]] = {}

    def settled(self) -> bool:
        return True

    def rewrite(self, choice: EngineChoice) -> None:
        delta = choice.delta
        if delta is None:
            return
        known = self._choices.get(choice.index)
        if known is None:
            if not delta.tool_calls:
                return
            known = self._choices[choice.index] = []
        for call in delta.tool_calls or ():
            _continue(call, known)
        if choice.finish_reason is None:
            return
        for index, call in enumerate(known):
            if not call.argued:
                call.argued = True
                _give(choice, _fragment(index, "{}"))
        _finish(choice, bool(known))

    def count(self, choice: int) -> int:
        """How many calls that choice has made."""
        return len(self._choices.get(choice, ()))


class _Call:
    """A call of which fragments came. `theirs` is the index that the engine gave it, if any."""

    __slots__ = ("argued", "id", "name", "theirs")

    def __init__(self, call: EngineToolCall) -> None:
        self.theirs = call.index
        self.id = call.id
        self.name = call.function.name if call.function is not None else None
        self.argued = False


def _continue(call: EngineToolCall, known: list[_Call]) -> None:
    """Say of a fragment which call it belongs to: by its index, else by its id, else it is the last one's.

    Some servers give no index at all, and some give the same to all calls of a turn: then a name with another id
    begins another call. Others repeat id and name with each fragment, which clients would add up.
    """
    name = call.function.name if call.function is not None else None
    fitting = [
        position
        for position, candidate in enumerate(known)
        if call.index is None or candidate.theirs is None or call.index == candidate.theirs
    ]
    at = next((position for position in fitting if call.id and call.id == known[position].id), None)
    if at is None and fitting:
        begins = bool(name) and bool(known[fitting[-1]].name) and bool(call.id or call.index is None)
        at = None if begins else fitting[-1]
    if at is None:
        at = len(known)
        known.append(_Call(call))
        call.id = call.id or tool_call_id()
    else:
        mine = known[at]
        call.id = None
        if call.function is not None and mine.name:
            call.function.name = None
        mine.name = mine.name or name
    call.index = at
    if call.function is not None and call.function.arguments_text():
        known[at].argued = True


class ForcedCalls:
    """Reads `[{"name":…,"arguments":{…}}, …]`, or one such object, and streams the arguments as they grow."""

    def __init__(self) -> None:
        self._readers: dict[int, _ForcedReader] = {}

    def settled(self) -> bool:
        return False

    def rewrite(self, choice: EngineChoice) -> None:
        delta = choice.delta
        if delta is None:
            return
        reader = self._readers.setdefault(choice.index, _ForcedReader())
        text, delta.content = delta.content or "", None
        choice.logprobs = msgspec.Raw()
        for call in reader.feed(text):
            _give(choice, call)
        if choice.finish_reason is not None:
            _finish(choice, reader.calls > 0)


_OPENING = re.compile(
    r'\{\s*"name"\s*:\s*(?P<name>"(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\{)', re.DOTALL
)


class _ForcedReader:
    def __init__(self) -> None:
        self.calls = 0
        self._held = ""
        self._body: _Depth | None = None

    def feed(self, text: str) -> list[EngineToolCall]:
        found: list[EngineToolCall] = []
        self._held += text
        while self._held:
            if self._body is None:
                opening = _OPENING.search(self._held)
                if opening is None:
                    break
                name = msgspec.json.decode(opening["name"], type=str)
                found.append(_opening(self.calls, name))
                self._held = self._held[opening.end() :]
                self._body = _Depth()
            end = self._body.end_in(self._held)
            fragment = self._held if end is None else self._held[:end]
            self._held = "" if end is None else self._held[end:]
            if fragment:
                found.append(_fragment(self.calls, fragment))
            if end is not None:
                self.calls += 1
                self._body = None
        return found


class _Depth:
    """Finds where a JSON object or array ends that may come in pieces."""

    __slots__ = ("_depth", "_escaped", "_quoted")

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def end_in(self, text: str) -> int | None:
        """The position just after the value's last bracket in this piece; None when it is still open."""
        for position, character in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                if character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._quoted = False
            elif character == '"':
                self._quoted = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return position + 1
        return None


class ProseCalls:
    """Finds `<tool_call>` blocks, fenced JSON and bare JSON whose name is that of a function on offer."""

    def __init__(self, names: Collection[str], *, parallel: bool) -> None:
        self._names = frozenset(names)
        self._parallel = parallel
        self._native = NativeCalls()
        """A runtime that knows the model's form may have read the calls already."""
        self._readers: dict[int, _ProseReader] = {}

    def settled(self) -> bool:
        return False

    def rewrite(self, choice: EngineChoice) -> None:
        delta = choice.delta
        if delta is None:
            return
        reader = self._readers.setdefault(choice.index, _ProseReader(self._names))
        done = choice.finish_reason is not None
        self._native.rewrite(choice)
        reader.calls = max(reader.calls, self._native.count(choice.index))
        text, calls = reader.feed(delta.content or "", done=done)
        delta.content = text or ("" if delta.content == "" else None)
        for call in calls:
            if self._parallel or call.index == 0:
                _give(choice, call)
        if done:
            _finish(choice, reader.calls > 0)


_TAG, _TAG_END, _FENCE = "<tool_call>", "</tool_call>", "```"
_FIRST_KEY = re.compile(r'\s*[\[{][\s\[{]*(?:"(?P<key>[^"]*)(?P<closed>")?)?')
_CALL_KEYS = ("name", "arguments", "parameters", "function", "type")
_FENCE_LINE = re.compile(r"```[ \t]*(?P<kind>[\w-]*)[ \t]*(?P<whole>\n)?")
_FENCE_KINDS = ("", "json", "tool_call", "xml")
_LONGEST = 256 * 1024


class _ProseReader:
    """One choice's text. What may turn out to be a call is held back until it is known."""

    def __init__(self, names: frozenset[str]) -> None:
        self.calls = 0
        self._names = names
        self._held = ""
        self._fresh = True
        """Nothing but calls and blanks so far: bare JSON here may be one."""
        self._depth = _Depth()
        self._looked_at = 0
        """How much of the bare JSON that is held `_depth` has seen."""

    def feed(self, piece: str, *, done: bool) -> tuple[str, list[EngineToolCall]]:
        """Returns the text to show and the calls found."""
        self._held += piece
        said: list[str] = []
        calls: list[EngineToolCall] = []
        while self._held:
            before = len(self._held)
            self._step(said, calls, done=done or before > _LONGEST)
            if len(self._held) == before:
                break
        if done and self._held:
            said.append(self._held)
            self._held = ""
        return "".join(said), calls

    def _step(self, said: list[str], calls: list[EngineToolCall], *, done: bool) -> None:
        """Deal with the beginning of what is held; leaves it as it is when more must come first."""
        held = self._held
        if self._fresh:
            bare = held.lstrip(" \t\r\n,;" if self.calls else None)
            if self.calls:
                # What stands between calls, and between them and more text, belongs to neither.
                self._held = held = bare
            if not bare:
                return
            if bare[0] in "{[":
                self._bare_json(held, bare, said, calls, done)
                return
        starts = [at for at in (held.find(_TAG), held.find(_FENCE)) if at >= 0]
        if not starts:
            keep = 0 if done else max(begun(held, _TAG), begun(held, _FENCE))
            self._say(said, len(held) - keep)
            return
        if min(starts):
            self._say(said, min(starts))
            return
        self._block(said, calls, done)

    def _say(self, said: list[str], length: int) -> None:
        text, self._held = self._held[:length], self._held[length:]
        if text.strip():
            self._fresh = False
        said.append(text)

    def _bare_json(
        self, held: str, bare: str, said: list[str], calls: list[EngineToolCall], done: bool
    ) -> None:
        end: int | None = None
        if _may_be_call(bare):
            # Each character is looked at once, however many pieces bring them.
            end = self._depth.end_in(bare[self._looked_at :])
            if end is not None:
                end += self._looked_at
            elif not done:
                self._looked_at = len(bare)
                return
        self._depth, self._looked_at = _Depth(), 0
        found = self._calls_in(bare[:end]) if end is not None else []
        if found and end is not None:
            self._take(found, calls, bare[end:])
            return
        self._fresh = False
        self._say(said, len(held) - len(bare) + (end or 1))

    def _block(self, said: list[str], calls: list[EngineToolCall], done: bool) -> None:
        """A `<tool_call>` or a fence stands at the very beginning."""
        held = self._held
        if held.startswith(_TAG):
            inner, closed, rest = held[len(_TAG) :].partition(_TAG_END)
            shown = len(_TAG)
        else:
            line = _FENCE_LINE.match(held)
            assert line is not None
            if not done and not line["whole"] and line.end() == len(held):
                return
            inside = held[line.end() :]
            if line["kind"] not in _FENCE_KINDS or (
                inside.strip() and not (_may_be_call(inside) or _may_be_tag(inside))
            ):
                # A block of something else: shown as it comes, up to the fence that closes it.
                self._say(said, line.end())
                return
            inner, closed, rest = inside.partition(_FENCE)
            inner = inner.replace(_TAG, "").replace(_TAG_END, "")
            shown = len(_FENCE)
        if not closed and not done:
            return
        found = self._calls_in(inner)
        if found:
            self._take(found, calls, rest)
        else:
            self._say(said, len(held) - len(rest) if closed else shown)

    def _take(self, found: list[tuple[str, str]], calls: list[EngineToolCall], rest: str) -> None:
        for name, arguments in found:
            call = _opening(self.calls, name)
            assert call.function is not None
            call.function.arguments = msgspec.Raw(msgspec.json.encode(arguments))
            calls.append(call)
            self.calls += 1
        self._held = rest
        self._fresh = True

    def _calls_in(self, text: str) -> list[tuple[str, str]]:
        """(name, arguments) of each call, when the text is nothing but calls of functions on offer."""
        values: list[Any] = []
        rest = text.strip()
        while rest:
            end = _Depth().end_in(rest) if rest[0] in "{[" else None
            if end is None:
                return []
            try:
                values += msgspec.json.decode(_listed(rest[:end]), type=list[Any])
            except (msgspec.DecodeError, RecursionError):
                return []
            rest = rest[end:].lstrip(" \t\r\n,;")
        found: list[tuple[str, str]] = []
        for value in values:
            call = self._call(value)
            if call is None:
                return []
            found.append(call)
        return found

    def _call(self, value: Any) -> tuple[str, str] | None:
        try:
            said = msgspec.convert(value, _Said)
            if isinstance(said.function, dict):
                said = msgspec.convert(said.function, _Said)
        except (msgspec.ValidationError, RecursionError):
            return None
        name = said.function if isinstance(said.function, str) else said.name
        if name is None or name not in self._names:
            return None
        arguments = said.parameters if said.arguments is None else said.arguments
        if isinstance(arguments, str):
            return name, arguments or "{}"
        return name, msgspec.json.encode(arguments or {}).decode()


class _Said(Sealed):
    """The ways in which models write a call."""

    name: str | None = None
    function: str | dict[str, Any] | None = None
    arguments: str | dict[str, Any] | None = None
    parameters: str | dict[str, Any] | None = None


def _listed(text: str) -> str:
    return text if text.startswith("[") else f"[{text}]"


def _may_be_call(text: str) -> bool:
    """Whether JSON that begins so can still turn out to be a call."""
    first = _FIRST_KEY.match(text)
    if first is None:
        return False
    key = first["key"]
    if key is None:
        return first.end() == len(text)
    return key in _CALL_KEYS if first["closed"] else any(known.startswith(key) for known in _CALL_KEYS)


def _may_be_tag(text: str) -> bool:
    bare = text.lstrip()
    return bare.startswith(_TAG) or _TAG.startswith(bare)


def _opening(index: int, name: str) -> EngineToolCall:
    return EngineToolCall(
        index=index,
        id=tool_call_id(),
        function=EngineFunction(name=name, arguments=msgspec.Raw(b'""')),
    )


def _fragment(index: int, arguments: str) -> EngineToolCall:
    return EngineToolCall(
        index=index, function=EngineFunction(arguments=msgspec.Raw(msgspec.json.encode(arguments)))
    )


def _give(choice: EngineChoice, call: EngineToolCall) -> None:
    """At most one entry a call in each chunk: some clients take a second one for another call."""
    assert choice.delta is not None
    given = choice.delta.tool_calls or []
    last = given[-1] if given else None
    if last is None or last.index != call.index or last.function is None or call.function is None:
        choice.delta.tool_calls = [*given, call]
        return
    text = (last.function.arguments_text() or "") + (call.function.arguments_text() or "")
    last.function.arguments = msgspec.Raw(msgspec.json.encode(text))


def _finish(choice: EngineChoice, called: bool) -> None:
    if called and choice.finish_reason in ("stop", "function_call"):
        choice.finish_reason = "tool_calls"
