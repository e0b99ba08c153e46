"""What becomes of an answer that was written with foreign text in sight: readers of its choices.

The engine may have done whatever a page told it. Tools were not offered to it, so it calls none; and no picture in the
answer makes a client fetch an address of the page's choosing, with the conversation in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from msgspec import Raw

from fondaco.augment.citing.citer import Citer, Evidence
from fondaco.chat.answer_wire import Citation
from fondaco.content import Sealed
from fondaco.upstream.chat_stream import Event, Run
from fondaco.upstream.wire import EngineChoice, EngineDelta, EngineFunction, EngineToolCall

DOCUMENTS = "venice_web_search_documents"
_CALL_ID = "web_search_call"

# A tag of which nothing is fetched; `style` and `script` are for what stands between theirs.
_ATTRIBUTE = r"(?:class|id|href|title|alt|lang|dir|name|type|value|for|role|align|width|height|colspan|rowspan|start|(?:data|aria)-[\w-]+)"
_PLAIN_TAG = (
    r"(?!(?:script|style|link|base|image|use|svg|math)\b)[a-z][a-z0-9-]*"
    rf"(?:\s+{_ATTRIBUTE}(?:=(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'=<>`]+))?)*\s*/?>"
)
_PICTURE = re.compile(rf"(?<!!)!+(?=\[)|<(?=[a-z])(?!{_PLAIN_TAG})", re.IGNORECASE | re.ASCII)
_BEGUN = re.compile(r"(?<!!)!+\Z|<(?:[a-z][^<>]{0,300})?\Z", re.IGNORECASE | re.ASCII)


class NoCalls:
    """Reader that drops calls of tools which nobody offered."""

    def settled(self) -> bool:
        return True

    def rewrite(self, choice: EngineChoice) -> None:
        if choice.delta is not None:
            choice.delta.tool_calls = None
        if choice.finish_reason in ("tool_calls", "function_call"):
            choice.finish_reason = "stop"


class NoPictures:
    """Reader that makes links of Markdown's pictures, and text of HTML by which anything is fetched."""

    def __init__(self) -> None:
        self._said: dict[int, _Pictureless] = {}
        self._thought: dict[int, _Pictureless] = {}

    def settled(self) -> bool:
        return False

    def rewrite(self, choice: EngineChoice) -> None:
        delta, done = choice.delta, choice.finish_reason is not None
        if delta is None:
            if not done:
                return
            delta = choice.delta = EngineDelta()
        said = self._said.setdefault(choice.index, _Pictureless())
        thought = self._thought.setdefault(choice.index, _Pictureless())
        # Many clients show thoughts as they show text.
        thinks = thought.feed(delta.thought() or "", done=done or bool(delta.content))
        delta.reasoning, delta.reasoning_content = None, thinks or None
        if text := said.feed(delta.content or "", done=done):
            delta.content = text
        elif delta.content:
            delta.content = ""


class _Pictureless:
    """One text that comes in pieces. What may turn out to be a picture is held back until it is known."""

    __slots__ = ("_apart", "_held")

    def __init__(self) -> None:
        self._held = ""
        self._apart = False
        """What was shown last must not be gone on with."""

    def feed(self, piece: str, *, done: bool) -> str:
        """What may be shown now."""
        text = self._held + piece
        if text and self._apart:
            text, self._apart = f" {text}", False
        begun = _BEGUN.search(text)
        if done and begun is not None:
            self._apart, begun = True, None
        cut = len(text) if begun is None else begun.start()
        text, self._held = text[:cut], text[cut:]
        return _PICTURE.sub(lambda found: "< " if found[0] == "<" else "", text)


class _Document(Sealed):
    id: str
    title: str
    url: str
    snippet: str
    published_at: str | None


class Documents:
    """Reader that lets each choice begin with a call whose arguments are what was found."""

    def __init__(self, citations: Sequence[Citation]) -> None:
        documents = [
            _Document(str(number), each.title, each.url, each.content, each.date or None)
            for number, each in enumerate(citations, 1)
        ]
        arguments = msgspec.json.encode({"documents": documents}).decode()
        self._call = Raw(msgspec.json.encode(arguments))
        self._told: set[int] = set()

    def settled(self) -> bool:
        return bool(self._told)

    def rewrite(self, choice: EngineChoice) -> None:
        if choice.index not in self._told:
            self._told.add(choice.index)
            if choice.delta is None:
                choice.delta = EngineDelta()
            function = EngineFunction(name=DOCUMENTS, arguments=self._call)
            choice.delta.tool_calls = [EngineToolCall(index=0, id=_CALL_ID, function=function)]
        if choice.finish_reason == "stop":
            choice.finish_reason = "tool_calls"


class Citations:
    """Has every sentence of an answer's choices checked against its sources before it goes out."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._citers: dict[int, Citer] = {}
        # A mark that is taken out joins what stood around it.
        self._pictures = NoPictures()

    async def checked(self, events: list[Event]) -> list[Event]:
        """The events with what may go out now; sentences that are not whole wait for the next ones."""
        told: list[Event] = []
        for event in events:
            for answer in event.answers() if type(event) is Run else (event,):
                for choice in answer.choices:
                    await self._check(choice)
                told.append(answer)
        return told

    async def _check(self, choice: EngineChoice) -> None:
        citer = self._citers.get(choice.index)
        if citer is None:
            citer = self._citers[choice.index] = Citer(self._evidence)
        said = choice.delta.content if choice.delta is not None else None
        text = await citer.feed(said) if said else ""
        if choice.finish_reason is not None:
            text += await citer.end()
        if choice.delta is None:
            choice.delta = EngineDelta()
        if text or said:
            choice.delta.content = text
        self._pictures.rewrite(choice)
