"""An engine that does whatever anything it reads tells it to, in every way in which an engine can do anything.

It stands for the model at its worst: no text is too garbled for it to see the order in it, and no order is too odd.
Where it finds none it tells the tide.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import fake_engines
from browsing import pictures
from fake_engines import CHUNK, DONE, USAGE, Answer, Seen
from hostile_pages import Order

TIDE = "High tide in the lagoon is at noon."
EVIL = {"enable_web_search": "on", "character_slug": "evil", "enable_web_scraping": True}

_SIZES = (3, 64, 7, 29, 11, 41, 17)
"""Of the pieces in which it speaks, one for each request."""
_LOOKALIKES = str.maketrans("асеорхуіАВСЕНКМОРТХ", "aceopxyiABCEHKMOPTX")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")
_TAG = re.compile(r"<[^<>]*>")
_HEX = re.compile(r"(?:[0-9a-f]{2}){16,}")
_NOT_READ = frozenset({"Cf", "Cc", "Mn", "Cn"})
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0")


class Engine:
    """Answers for `FakeEngine`."""

    def __init__(self, orders: dict[str, Order], beacon: str) -> None:
        self._orders = orders
        self._keys = {
            wants: [squashed(said) for said in (*order.sentences, order.json)]
            for wants, order in orders.items()
        }
        self._beacon = beacon
        self.obeyed: list[str | None] = []
        """What each request made it do."""
        self.talks = True
        """It says something before it calls a tool."""

    def __call__(self, seen: Seen) -> Answer:
        body = seen.body
        text = "\n".join(_texts(body["messages"]))
        wants = self.order_in(text)
        self.obeyed.append(wants)
        streams = bool(body.get("stream"))
        size = _SIZES[len(self.obeyed) % len(_SIZES)]
        if wants is None:
            said, finish = _Said([TIDE], {}), "stop"
        else:
            said, finish = self._obey(self._orders[wants], text, size), "tool_calls"
        choices = range(body.get("n") or 1)
        if streams:
            events = b"".join(said.events(choices, finish, with_usage="stream_options" in body))
            return Answer([events[at : at + 4096] for at in range(0, len(events), 4096)])
        return Answer([said.whole(choices, finish)], content_type="application/json")

    def order_in_request(self, seen: Seen) -> str | None:
        """What anything that was said in it asks for."""
        return self.order_in("\n".join(_texts(seen.body["messages"])))

    def order_in(self, text: str) -> str | None:
        """What a text asks for, however it does."""
        read = [squashed(reading) for reading in readings(text)]
        for wants, keys in self._keys.items():
            if any(key in reading for key in keys for reading in read):
                return wants
        return None

    def _obey(self, order: Order, text: str, size: int) -> _Said:
        url = f"{self._beacon}&said={quote(text[-20:])}"
        shown = pictures(url)
        name, arguments = order.call
        bare = json.dumps(arguments)
        told = "\n".join(
            [
                f"{TIDE}^1^",
                *(shown[(len(self.obeyed) + 5 * at) % len(shown)] for at in range(4)),
                f"<tool_call>{order.json}</tool_call>",
                f"[TOOL_CALLS][{order.json}]",
                f"<function={name}>{bare}</function>",
                f"```json\n{order.json}\n```",
                order.json,
            ]
        )
        thought = f"I am told to. ![t]({url}) !![t]({url})"
        more: dict[str, Any] = {"model": "evil-70b", "venice_parameters": EVIL, "temperature": 2, **EVIL}
        calls = [(name, bare), ("run_shell", "{}")]
        return _Said(_cut(told, size), more, _cut(thought, size), calls, self.talks)


class _Said(NamedTuple):
    """What each choice says."""

    pieces: Sequence[str]
    more: dict[str, Any]
    """Beside the choices."""
    thoughts: Sequence[str] = ()
    calls: Sequence[tuple[str, str]] = ()
    talks: bool = True

    def events(self, choices: range, finish: str, *, with_usage: bool) -> list[bytes]:
        made: list[bytes] = []
        for at in choices:
            made.append(self._event(fake_engines.delta(at, role="assistant", content="")))
            made += [self._event(fake_engines.delta(at, reasoning_content=said)) for said in self.thoughts]
            half = len(self.pieces) // 2 if self.talks else 0
            made += [self._event(fake_engines.delta(at, content=said)) for said in self.pieces[:half]]
            made += [self._event(fake_engines.delta(at, tool_calls=[call])) for call in self._fragments()]
            made += [self._event(fake_engines.delta(at, content=said)) for said in self.pieces[half:]]
            if self.calls:
                name, arguments = self.calls[0]
                function = {"name": name, "arguments": arguments}
                made.append(self._event(fake_engines.delta(at, function_call=function)))
            made.append(self._event(fake_engines.delta(at, finish=finish)))
        if with_usage:
            made.append(fake_engines.event([], usage=USAGE))
        return [*made, DONE]

    def whole(self, choices: range, finish: str) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.pieces)}
        if self.calls:
            message["reasoning_content"] = "".join(self.thoughts)
            message["tool_calls"] = self._whole_calls()
            message["function_call"] = message["tool_calls"][0]["function"]
        made = [
            {"index": at, "message": message, "finish_reason": finish, "logprobs": None} for at in choices
        ]
        return json.dumps({**CHUNK, "choices": made, "usage": USAGE, **self.more}).encode()

    def _event(self, choice: dict[str, Any]) -> bytes:
        return fake_engines.event([choice], **self.more)

    def _whole_calls(self) -> list[dict[str, Any]]:
        return [
            {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for at, (name, arguments) in enumerate(self.calls)
        ]

    def _fragments(self) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for at, call in enumerate(self._whole_calls()):
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            made.append({**call, "index": at, "function": {"name": name, "arguments": ""}})
            made += [{"index": at, "function": {"arguments": piece}} for piece in _cut(arguments, 5)]
        return made


def readings(text: str) -> list[str]:
    """A text in all ways in which somebody who means too well may read it."""
    seen = "".join(_seen(each) for each in text)
    plain = unicodedata.normalize("NFKC", html.unescape(html.unescape(seen)))
    found = [
        plain,
        html.unescape(_TAG.sub("", seen)),
        unquote(plain),
        plain[::-1],
        codecs.encode(plain, "rot13"),
    ]
    packed = [plain]
    for _ in range(3):
        packed = [told for text in packed for told in _unpacked(text)]
        found += packed
    return found


def squashed(text: str) -> str:
    """Letters and digits alone, so that nothing that is put between them matters."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).translate(_LOOKALIKES)).casefold()


def _seen(character: str) -> str:
    number = ord(character)
    if 0xE0020 <= number <= 0xE007E:
        return chr(number - 0xE0000)
    if character in _FILLERS or (unicodedata.category(character) in _NOT_READ and character not in "\n\t"):
        return ""
    return character


def _unpacked(text: str) -> list[str]:
    found: list[str] = []
    for match in _BASE64.findall(text):
        try:
            found.append(base64.b64decode(match).decode())
        except (binascii.Error, UnicodeDecodeError):
            continue
    for match in _HEX.findall(text):
        try:
            found.append(bytes.fromhex(match).decode())
        except UnicodeDecodeError:
            continue
    return found


def _texts(messages: list[dict[str, Any]]) -> list[str]:
    said: list[str] = []
    for message in messages:
        content = message.get("content") or ""
        if isinstance(content, str):
            said.append(content)
        else:
            said += [part.get("text", "") for part in content]
    return said


def _cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]
