"""Telling what a model thinks from what it says.

Some engines give thoughts in a field of their own, some leave them in the text between `<think>` and `</think>`.
Out of both this makes what the caller asked for: the field, the tags, or nothing of it. Tags may be cut anywhere
between two chunks.
"""

from __future__ import annotations

from typing import Literal

from fondaco.chat.marks import begun
from fondaco.upstream.wire import EngineChoice, EngineDelta

OPEN, CLOSE = "<think>", "</think>"

Show = Literal["field", "tags", "nothing"]
"""Where thoughts go: `reasoning_content`, the text itself, or nowhere."""

_Place = Literal["start", "inside", "outside"]


class Thinking:
    """One answer's filter. Feed it the choices in order; it rewrites each in place."""

    __slots__ = ("_minds", "_prefilled", "_show")

    def __init__(self, show: Show, *, prefilled: bool = False) -> None:
        """`prefilled`: the prompt's template has opened the tag, so that the text begins inside it."""
        self._show: Show = show
        self._prefilled = prefilled
        self._minds: dict[int, _Mind] = {}

    def settled(self) -> bool:
        """Whether plain text of the first choice can pass unseen."""
        mind = self._minds.get(0)
        return self._show != "nothing" and mind is not None and mind.settled()

    def rewrite(self, choice: EngineChoice) -> None:
        delta = choice.delta
        if delta is None:
            return
        mind = self._minds.get(choice.index)
        if mind is None and self._show == "field" and not self._prefilled and _plainly_said(delta):
            if choice.finish_reason is None:
                self._minds[choice.index] = _Mind(False, anywhere=False, outside=True)
            return
        if mind is None:
            mind = self._minds[choice.index] = _Mind(self._prefilled, anywhere=self._show == "nothing")
        thought, text = mind.feed(delta.content or "", done=choice.finish_reason is not None)
        thought = (delta.thought() or "") + thought
        delta.reasoning = delta.reasoning_content = None
        if self._show == "tags":
            delta.content = mind.tagged(thought, text, done=choice.finish_reason is not None) or None
            return
        if self._show == "field":
            delta.reasoning_content = thought or None
        _put_text(delta, text)


def _plainly_said(delta: EngineDelta) -> bool:
    """A first word that is no thought and cannot be the beginning of one."""
    text = delta.content
    return (
        text is not None
        and text != ""
        and not (text.startswith(("<", " ", "\n", "\t", "\r")) or delta.thought())
    )


def _put_text(delta: EngineDelta, text: str) -> None:
    # An engine's empty string stays one: it may be the whole of a first or last chunk.
    delta.content = text or ("" if delta.content == "" else None)


class _Mind:
    """Where in its thoughts one choice is. `held` is text whose place is not known yet."""

    __slots__ = ("_anywhere", "_fresh", "_held", "_open", "_place", "_trim")

    def __init__(self, prefilled: bool, anywhere: bool, *, outside: bool = False) -> None:
        self._place: _Place = "inside" if prefilled else "outside" if outside else "start"
        self._anywhere = anywhere
        """Look for thoughts in the middle of an answer too, not only at its beginning."""
        self._held = ""
        self._fresh = prefilled
        """Inside, and nothing thought yet: the line break after the tag is no thought."""
        self._trim = False
        """The next text follows a thought: the blank lines between them belong to neither."""
        self._open = False

    def settled(self) -> bool:
        return self._place == "outside" and not (self._held or self._trim or self._open)

    def feed(self, piece: str, *, done: bool) -> tuple[str, str]:
        """Returns (thought, text) known so far; `done` gives out what was held back."""
        text = self._held + piece
        self._held = ""
        thoughts: list[str] = []
        said: list[str] = []
        while text:
            if self._place == "start":
                bare = text.lstrip()
                if bare.startswith(OPEN):
                    self._place, self._fresh, text = "inside", True, bare[len(OPEN) :]
                elif not done and OPEN.startswith(bare):
                    self._held = text
                    break
                else:
                    self._place = "outside"
            elif self._place == "inside":
                if self._fresh:
                    text = text.lstrip("\n")
                    if not text:
                        break
                    self._fresh = False
                before, closed, after = text.partition(CLOSE)
                if closed:
                    thoughts.append(before)
                    self._place, self._trim, text = "outside", True, after
                else:
                    text = self._hold_back(text, CLOSE, thoughts, done)
            else:
                if self._trim:
                    text = text.lstrip()
                    if not text:
                        break
                    self._trim = False
                before, opened, after = text.partition(OPEN) if self._anywhere else (text, "", "")
                if opened:
                    said.append(before)
                    self._place, self._fresh, text = "inside", True, after
                elif self._anywhere:
                    text = self._hold_back(text, OPEN, said, done)
                else:
                    said.append(text)
                    break
        return "".join(thoughts), "".join(said)

    def _hold_back(self, text: str, tag: str, out: list[str], done: bool) -> str:
        """All of `text` goes out but an end that may be the beginning of `tag`."""
        keep = 0 if done else begun(text, tag)
        cut = len(text) - keep
        out.append(text[:cut])
        self._held = text[cut:]
        return ""

    def tagged(self, thought: str, text: str, *, done: bool) -> str:
        """Both as one text with tags around the thoughts."""
        parts: list[str] = []
        if thought:
            if not self._open:
                parts.append(OPEN + "\n")
                self._open = True
            parts.append(thought)
        if self._open and (text or done):
            parts.append(CLOSE + "\n\n")
            self._open = False
        parts.append(text)
        return "".join(parts)
