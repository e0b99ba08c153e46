"""The chat slice in one process: real registry, plan, readers, stream and edge, over an engine that says given bytes.

For what must be tried in thousands of cuts; what needs sockets has `fake_engines` and `gateways`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fake_engines import cut
from fondaco.augment.documents import Documents
from fondaco.billing.line import Bill, total
from fondaco.billing.use import Use
from fondaco.chat import routes as chat_routes
from fondaco.chat.cast import Cast, Characters, NoCharacters
from fondaco.chat.enclosures import Enclosures
from fondaco.chat.prompt import PromptBuilder
from fondaco.chat.service import ChatService
from fondaco.chat.web import Web
from fondaco.clock import SystemClock
from fondaco.errors import AuthenticationFailed, InsufficientBalance
from fondaco.http.call import Call
from fondaco.http.edge import Edge
from fondaco.http.routing import Routes
from fondaco.keys.caller import Caller
from fondaco.limits.ticket import Ticket
from fondaco.models.catalogue import Catalogue
from fondaco.models.model import Model
from fondaco.models.registry import Registry
from fondaco.money import NanoUsd
from fondaco.net.fetching import Fetcher
from fondaco.net.guard import Guard
from fondaco.settings import Binding, ModelSettings
from fondaco.telemetry.logs import logger
from fondaco.upstream.seats import Seats
from fondaco.upstream.transport import Target, TransportError

PATH = "/api/v1/chat/completions"
KEY = "a-key-for-tests"
LOCAL = "qwen2.5-coder-0.5b-instruct"
"""A model of this machine whose engine is scripted too."""

USER = [{"role": "user", "content": "hi"}]


@dataclass
class Said:
    """What the engine answers: `fails` stands for the connection's end, `hangs` for silence until it is left."""

    pieces: Sequence[bytes] = ()
    status: int = 200
    content_type: str = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    fails: TransportError | None = None
    hangs: bool = False


def in_json(body: bytes | dict[str, Any], status: int = 200, **headers: str) -> Said:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Said([raw], status, "application/json", named)


def in_cuts(stream: bytes, size: int = 1) -> Said:
    return Said(cut(stream, size))


class Exchange:
    def __init__(self, said: Said) -> None:
        self._said = said
        self.status = said.status
        self.headers = {b"content-type": said.content_type.encode()}
        self.headers |= {name.encode(): value.encode() for name, value in said.headers.items()}
        self.closed = asyncio.Event()

    async def read(self, limit: int) -> bytes:
        body = b"".join([piece async for piece in self.chunks()])
        assert len(body) <= limit
        return body

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._said.pieces:
            yield piece
        if self._said.fails is not None:
            raise self._said.fails
        if self._said.hangs:
            await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.closed.set()


class Engine:
    """A transport behind which `answer` speaks. It keeps what it was asked."""

    def __init__(self, answer: Said | Callable[[dict[str, Any]], Said] | None = None) -> None:
        self.answer = answer if answer is not None else Said()
        self.refuses: TransportError | None = None
        self.asked: list[dict[str, Any]] = []
        self.exchanges: list[Exchange] = []

    @property
    def body(self) -> dict[str, Any]:
        """The body of the last request, without its messages."""
        return {key: value for key, value in self.asked[-1].items() if key != "messages"}

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.asked[-1]["messages"]

    async def send(
        self,
        target: Target,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: bytes = b"application/json",
    ) -> Exchange:
        assert (method, path, content_type) == ("POST", "/chat/completions", b"application/json")
        self.asked.append(json.loads(body))
        if self.refuses is not None:
            raise self.refuses
        said = self.answer(self.asked[-1]) if callable(self.answer) else self.answer
        self.exchanges.append(Exchange(said))
        return self.exchanges[-1]

    async def close(self) -> None: ...


class Lease:
    target = Target("127.0.0.1", 1)
    slot = 3
    cache_prompt = True

    def __init__(self) -> None:
        self.failed = 0
        self.released = False

    def fail(self) -> None:
        self.failed += 1


class LocalEngines:
    def __init__(self) -> None:
        self.leases: list[Lease] = []
        self.asked: list[tuple[str, str, int, int]] = []

    @asynccontextmanager
    async def lease(self, model_id: str, account: str, tokens: int, choices: int) -> AsyncIterator[Lease]:
        self.asked.append((model_id, account, tokens, choices))
        self.leases.append(Lease())
        try:
            yield self.leases[-1]
        finally:
            self.leases[-1].released = True

    def running(self, model_id: str) -> Target | None:
        return None


class Purse:
    """Money as a chat sees it: without a wall, or with so many nano-dollars behind one. Notes how charges end."""

    def __init__(self) -> None:
        self.money: int | None = None
        self.reserved: list[int] = []
        self.held: list[int] = []
        self.ends: list[tuple[str, Bill, Use]] = []

    async def admit(self, ticket: Ticket, model: Model, tokens: int = 0) -> Metered:
        self.reserved.append(tokens)
        return Metered(self)


class Metered:
    currency = "USD"

    def __init__(self, purse: Purse) -> None:
        self._purse = purse
        self.walled = purse.money is not None
        self.held = 0

    async def hold(self, ceiling: NanoUsd, least: NanoUsd | None = None) -> NanoUsd:
        assert self._purse.money is not None
        self._purse.money += self.held
        self.held = 0
        taken = min(ceiling, self._purse.money)
        if taken < ceiling and (least is None or taken < least):
            raise InsufficientBalance
        self._take(taken)
        return NanoUsd(taken)

    async def grow(self, more: NanoUsd) -> bool:
        assert self._purse.money is not None
        if more > self._purse.money:
            return False
        self._take(more)
        return True

    async def settle(self, bill: Bill, use: Use, tokens: int = 0) -> NanoUsd:
        self._purse.ends.append(("settled", bill, use))
        return min(total(bill), NanoUsd(self.held)) if self.walled else total(bill)

    def settle_soon(self, bill: Bill, use: Use, tokens: int = 0) -> None:
        self._purse.ends.append(("left", bill, use))

    def void(self) -> None:
        self._purse.ends.append(("void", (), Use()))

    def _take(self, amount: int) -> None:
        assert self._purse.money is not None
        self._purse.money -= amount
        self.held += amount
        self._purse.held.append(amount)


TICKET = Ticket(Caller("key", "account", "INFERENCE"), "a-request")


class _Keys:
    caller = TICKET.caller

    def recall(self, token: bytes) -> Caller | None:
        return self.caller if token == KEY.encode() else None

    async def authenticate(self, token: bytes) -> Caller:
        raise AuthenticationFailed


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    pieces: list[bytes]

    @property
    def content(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The stream's events. Checks what holds of every stream of ours."""
        assert self.status == 200, self.content
        assert self.headers["content-type"].startswith("text/event-stream")
        return chunks_of(self.content)


def chunks_of(stream: bytes) -> list[dict[str, Any]]:
    events = stream.split(b"\n\n")
    assert events.pop() == b""
    assert events.pop() == b"data: [DONE]"
    assert all(event.startswith(b"data: {") and b"\n" not in event for event in events)
    return [json.loads(event[6:]) for event in events]


def fetcher(*allow_hosts: str) -> Fetcher:
    """One that knows no host by its name."""
    return Fetcher(Guard(allow_hosts, resolve=_nobody), max_bytes=25 * 1024 * 1024, seconds=5)


async def _nobody(host: str, port: int) -> list[str]:
    return []


class Gateway:
    """`bind` says more of the bound model `m` (fields of a binding); other models by name in `others`."""

    def __init__(
        self,
        answer: Said | Callable[[dict[str, Any]], Said] | None = None,
        *,
        system: str | None = "",
        max_body: int = 35_000_000,
        others: Mapping[str, Mapping[str, Any]] | None = None,
        characters: Characters | None = None,
        web: Web | None = None,
        enclosures: Enclosures | None = None,
        **bind: Any,
    ) -> None:
        self.engine = Engine(answer)
        self.local = LocalEngines()
        far = {"base_url": "http://127.0.0.1:9/v1", "upstream_model": "theirs", "max_completion_tokens": 4096}
        bindings = {"m": Binding(**{**far, "logprobs": True, **bind})}
        bindings |= {name: Binding(**{**far, **facts}) for name, facts in (others or {}).items()}
        settings = ModelSettings(bind=bindings, default="m")
        self.registry = Registry(settings, Catalogue(), lambda _: True, False, {"text"})
        prompt = PromptBuilder(SystemClock(), system)
        self.purse = Purse()
        seats, clock = Seats(self.local), SystemClock()
        cast = Cast(characters or NoCharacters(), prompt)
        opened = enclosures or Enclosures(fetcher(), Documents())
        self.chats = ChatService(
            self.registry, prompt, seats, self.engine, self.purse, clock, opened, cast, web
        )
        self.edge = Edge(Routes(chat_routes.routes(self.chats)), _Keys(), logger("tests"))
        self.max_body = max_body

    async def request(
        self,
        body: bytes | Mapping[str, Any] = b"",
        *,
        method: str = "POST",
        path: str = PATH,
        headers: Mapping[str, str] | None = None,
        leaves: asyncio.Event | None = None,
        heard: asyncio.Event | None = None,
    ) -> Response:
        """`leaves` says when the client goes, `heard` is set when it has got anything of the answer's body."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"authorization": f"Bearer {KEY}", "content-type": "application/json", **(headers or {})}
        given = {name.encode(): value.encode() for name, value in sent.items() if value}
        client = _Client(heard)
        call = Call(client, method, path, b"", given)
        call.take(raw, self.max_body)
        call.finish()
        task = asyncio.create_task(self.edge.handle(call))
        if leaves is not None:
            goes = asyncio.create_task(leaves.wait())
            await asyncio.wait((task, goes), return_when=asyncio.FIRST_COMPLETED)
            if goes.done():
                # As the server does when a connection ends.
                call.gone = True
                task.cancel()
            goes.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return client.response

    async def ask(self, **fields: Any) -> Response:
        return await self.request({"model": "m", "messages": USER, **fields})

    async def whole(self, **fields: Any) -> dict[str, Any]:
        response = await self.ask(**fields)
        assert response.status == 200, response.content
        return response.json

    async def streamed(self, **fields: Any) -> list[dict[str, Any]]:
        return (await self.ask(stream=True, **fields)).chunks

    async def both(self, **fields: Any) -> Folded:
        """Asked streamed and whole: they must come to the same. Returns what it is."""
        whole = folded_whole(await self.whole(**fields))
        streamed = folded(await self.streamed(**fields))
        assert streamed == whole
        return whole


class _Client:
    """The client's end: keeps what it is sent."""

    def __init__(self, heard: asyncio.Event | None) -> None:
        self.response = Response(0, {}, [])
        self._heard = heard

    def answer(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        self.begin(status, headers)
        self.piece(body)

    def begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.response.status = status
        self.response.headers = {name.decode(): value.decode() for name, value in headers}

    def piece(self, data: bytes) -> None:
        if data:
            self.response.pieces.append(data)
            if self._heard is not None:
                self._heard.set()

    def end(self) -> None:
        pass

    def clogged(self) -> None:
        return None

    def continue_body(self) -> None:
        pass


@dataclass
class Folded:
    """What an answer comes to."""

    texts: list[str]
    thoughts: list[str]
    calls: list[list[tuple[str, str]]]
    finish: list[str]
    logprobs: list[Any]
    usage: Any
    cost: Any
    venice_parameters: Any
    stop_reason: list[str | None]

    @property
    def text(self) -> str:
        return self.texts[0]

    @property
    def thought(self) -> str:
        return self.thoughts[0]


def folded_whole(answer: dict[str, Any]) -> Folded:
    choices = answer["choices"]
    assert [choice["index"] for choice in choices] == list(range(len(choices)))
    messages = [choice["message"] for choice in choices]
    return Folded(
        [message["content"] or "" for message in messages],
        [message["reasoning_content"] or "" for message in messages],
        [[(c["function"]["name"], c["function"]["arguments"]) for c in m["tool_calls"]] for m in messages],
        [choice["finish_reason"] for choice in choices],
        [choice["logprobs"] for choice in choices],
        answer["usage"],
        answer["cost"],
        answer["venice_parameters"],
        [choice["stop_reason"] for choice in choices],
    )


def folded(chunks: list[dict[str, Any]]) -> Folded:
    """A client's own folding of a stream, which checks the stream's order while it goes."""
    first, *_ = chunks
    mine = {key: first[key] for key in ("id", "object", "created", "model")}
    assert mine["object"] == "chat.completion.chunk"
    texts: dict[int, list[str]] = {}
    thoughts: dict[int, list[str]] = {}
    calls: dict[int, dict[int, list[str]]] = {}
    finish: dict[int, str] = {}
    stops: dict[int, str | None] = {}
    logprobs: dict[int, list[Any]] = {}
    usage = cost = None
    for number, chunk in enumerate(chunks):
        assert mine == {key: chunk[key] for key in mine}
        assert ("venice_parameters" in chunk) == (number == 0)
        assert usage is None, "nothing comes after the chunk with the usage"
        assert len(chunk["choices"]) == 1
        usage, cost = chunk.get("usage"), chunk.get("cost")
        for choice in chunk["choices"]:
            at, delta = choice["index"], choice["delta"]
            assert at not in finish
            if at not in texts:
                assert delta["role"] == "assistant"
            texts.setdefault(at, []).append(delta.get("content") or "")
            thoughts.setdefault(at, []).append(delta.get("reasoning_content") or "")
            if (said := choice.get("logprobs")) is not None:
                logprobs.setdefault(at, []).extend(said["content"])
            for call in delta.get("tool_calls", ()):
                known = calls.setdefault(at, {})
                if call["index"] not in known:
                    assert call["id"]
                    assert call["type"] == "function"
                    assert call["index"] == len(known)
                    known[call["index"]] = [call["function"]["name"], call["function"]["arguments"]]
                else:
                    assert "id" not in call
                    assert "name" not in call["function"]
                    known[call["index"]][1] += call["function"]["arguments"]
            if choice["finish_reason"] is not None:
                finish[at] = choice["finish_reason"]
                stops[at] = choice.get("stop_reason")
    indices = sorted(texts)
    return Folded(
        ["".join(texts[at]) for at in indices],
        ["".join(thoughts[at]) for at in indices],
        [[(name, arguments) for name, arguments in calls.get(at, {}).values()] for at in indices],
        [finish[at] for at in indices],
        [{"content": logprobs[at]} if at in logprobs else None for at in indices],
        usage,
        cost,
        first["venice_parameters"],
        [stops[at] for at in indices],
    )
