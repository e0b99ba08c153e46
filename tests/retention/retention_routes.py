"""Every route of the API and what may be told to it: the table that the search for canaries goes through.

A new route gets a row here, or `test_every_route_has_a_row` fails; a new field of a request gets a canary in one of
the row's `bodies`, or `test_every_field_has_a_canary` does. What can be wrong with any request, whatever its route
(keys, headers, query, path, bad JSON, too large), is added to all rows by `test_requests_leave_nothing`.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from PIL import Image, PngImagePlugin

Plant = Callable[[str], str]
"""A new canary for a field of that name."""

Body = dict[str, Any]


class Part(NamedTuple):
    """Of a form: a field, or a file if it has a file name."""

    name: str
    data: str | bytes
    file_name: str | None = None
    content_type: str | None = None


Parts = list[Part]


class Row(NamedTuple):
    route: str
    """Method and path, as in the API's document."""
    path: Callable[[Plant], str] | None = None
    """The path with its parameters filled in."""
    bodies: Callable[[Plant], Sequence[Body]] | None = None
    """JSON bodies that together have a canary in every field; each on its own is accepted."""
    refused: Callable[[Plant], Sequence[Body]] | None = None
    """JSON bodies with canaries in what an accepted body cannot have, or what is kept of one by contract (the
    description of a key); each is refused, and stays so whichever of its values is another canary."""
    forms: Callable[[Plant], Sequence[Parts]] | None = None
    """The same as `bodies`, of a route that takes forms."""
    refused_forms: Callable[[Plant], Sequence[Parts]] | None = None
    queries: Sequence[str] = ()
    based: bool = True
    admin: bool = False
    """Asked with an ADMIN key."""
    engine: bool = False
    """An engine answers, with canaries of its own."""
    statuses: frozenset[int] = frozenset({400, 404})
    """Of refusals."""

    @property
    def method(self) -> str:
        return self.route.partition(" ")[0]

    def target(self, plant: Plant) -> str:
        if self.path is not None:
            return self.path(plant)
        return ("/api/v1" if self.based else "") + self.route.partition(" ")[2]

    def told(self, plant: Plant) -> Sequence[Body]:
        """Bodies that are accepted, else some that are not; empty where the route takes none."""
        return self.bodies(plant) if self.bodies else self.refused(plant) if self.refused else ()

    def written(self, plant: Plant) -> list[Body]:
        """All bodies that it has, of forms as if they were JSON."""
        found: list[Body] = []
        for bodies in (self.bodies, self.refused):
            found += bodies(plant) if bodies else ()
        for forms in (self.forms, self.refused_forms):
            found += [{part.name: part.data for part in parts} for parts in (forms(plant) if forms else ())]
        return found


def chat_bodies(plant: Plant) -> list[Body]:
    call = {"id": plant("tool call id"), "type": "function"}
    call["function"] = {"name": plant("called name"), "arguments": json.dumps({"a": plant("arguments")})}
    old_call = {"name": plant("function_call name"), "arguments": plant("function_call arguments")}
    cached = {"cache_control": {"type": "ephemeral", "ttl": plant("ttl")}}

    def schema(of: str) -> Body:
        return {
            "type": "object",
            "title": plant(f"{of} title"),
            "properties": {plant(f"{of} property"): {"type": "string", "enum": [plant(f"{of} enum")]}},
            "description": plant(f"{of} description"),
        }

    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    def document(file_data: str) -> Body:
        return {
            "type": "file",
            "file": {"file_data": file_data, "filename": f"{plant('file name')}.txt"},
            **cached,
        }

    messages: list[Body] = [
        {"role": "system", "content": plant("system"), "name": plant("system name")},
        {
            "role": "developer",
            "content": [{"type": "text", "text": plant("developer part")}],
            "name": plant("dev"),
        },
        {
            "role": "user",
            "name": plant("user name"),
            plant("unknown key of a message"): plant("its value"),
            "content": [
                {
                    "type": "text",
                    "text": plant("text part"),
                    **cached,
                    plant("key of a part"): plant("value"),
                },
                {"type": "input_text", "text": plant("input_text part"), **cached},
                {
                    "type": "image_url",
                    "image_url": {"url": picture(plant), "detail": plant("detail")},
                    **cached,
                },
                document("data:text/plain;base64," + encoded(plant("text of a file"))),
                document(plant("file data that is no base64!")),
                document(f"http://127.0.0.1:9/{plant('path of a file')}"),
            ],
        },
        {
            "role": "assistant",
            "name": plant("assistant name"),
            "content": [
                {"type": "text", "text": plant("assistant text")},
                {"type": "output_text", "text": plant("output_text"), **cached},
                {"type": "refusal", "refusal": plant("refusal"), **cached},
            ],
            "tool_calls": [call],
            "reasoning_content": plant("reasoning_content"),
            "reasoning_details": [{"text": plant("reasoning_details")}],
            "thought_signature": plant("thought_signature"),
        },
        {
            "role": "tool",
            "content": plant("tool result"),
            "tool_call_id": call["id"],
            "name": plant("tool name"),
        },
        {"role": "assistant", "content": None, "function_call": old_call},
        {"role": "function", "content": plant("function result"), "name": plant("function name")},
        {
            "role": "tool",
            "content": [{"type": "text", "text": plant("tool part")}],
            "tool_call_id": call["id"],
        },
        {"role": "user", "content": plant("question")},
    ]
    named = plant("tool function name")
    nested: Body = {"name": named, "description": plant("tool description"), "strict": True}
    nested["parameters"] = schema("parameters")
    tools: list[Body] = [
        {"type": "function", "function": nested, "id": plant("tool id")},
        {
            "type": "function",
            "name": plant("flat tool"),
            "description": plant("flat"),
            "parameters": schema("flat"),
            "strict": False,
        },
        {"name": plant("tool of the third kind"), "input_schema": schema("input_schema")},
    ]
    everything: Body = {
        "messages": messages,
        "temperature": 0.5,
        "top_p": 0.5,
        "top_k": 5,
        "min_p": 0.1,
        "min_temp": 0.1,
        "max_temp": 0.9,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.1,
        "repetition_penalty": 1.1,
        "seed": 7,
        "logit_bias": {plant("logit_bias"): 1},
        "max_completion_tokens": 50,
        "max_tokens": 60,
        "n": 1,
        "stop": [plant("stop")],
        "stop_token_ids": [7],
        "logprobs": True,
        "top_logprobs": 2,
        "stream_options": {"include_usage": True},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": plant("schema name"), "schema": schema("schema")},
        },
        "reasoning_effort": "low",
        "reasoning": {"effort": "low", "summary": "auto", "enabled": True},
        "verbosity": "low",
        "text": {"verbosity": "low"},
        "prompt_cache_key": plant("prompt_cache_key"),
        "prompt_cache_retention": "default",
        "fallbacks": [{"model": plant("fallback")}],
        "anon_user_id": plant("anon_user_id"),
        "user": plant("user"),
        "store": False,
        "metadata": {plant("metadata key"): plant("metadata")},
        "include": [plant("include")],
        "service_tier": plant("service_tier"),
        "safety_identifier": plant("safety_identifier"),
        "prediction": {"content": plant("prediction")},
        "modalities": [plant("modality")],
        "audio": {"voice": plant("audio")},
        "web_search_options": {"city": plant("web_search_options")},
        "venice_parameters": {
            "strip_thinking_response": False,
            "disable_thinking": False,
            "enable_web_search": "off",
            "enable_web_scraping": False,
            "enable_web_citations": False,
            "include_venice_system_prompt": True,
            "include_search_results_in_stream": False,
            "return_search_results_as_documents": False,
            "enable_x_search": False,
            "enable_e2ee": False,
            plant("unknown venice parameter"): plant("its value"),
        },
    }
    with_tools: Body = {
        "messages": [{"role": "user", "content": plant("content")}],
        "tools": tools,
        "tool_choice": {"type": "function", "function": {"name": named}},
        "parallel_tool_calls": True,
        "stop": plant("a single stop"),
        "response_format": {"type": "text"},
    }
    flat_choice: Body = {**with_tools, "tool_choice": {"type": "function", "name": named}}
    old: Body = {
        "messages": [{"role": "user", "content": plant("content")}],
        "functions": [
            {**nested, "parameters": schema("functions")},
        ],
        "function_call": {"name": named},
        "response_format": {"type": "json_object"},
    }
    in_character: Body = {
        "messages": [{"role": "user", "content": plant("content"), "name": plant("user of a character")}],
        "venice_parameters": {"character_slug": "juno"},
    }
    searched: Body = {
        "messages": [{"role": "user", "content": plant("content")}],
        "tools": [{"name": "f"}],
        "venice_parameters": {
            "enable_web_search": "on",
            "enable_web_citations": True,
            "include_search_results_in_stream": True,
            "return_search_results_as_documents": True,
        },
    }
    in_vain: Body = {
        "messages": [
            {"role": "user", "content": f"https://127.0.0.1/{plant('url')} gone {plant('content')}"}
        ],
        "venice_parameters": {"enable_web_search": "auto", "enable_web_scraping": True},
    }
    made = [everything, with_tools, flat_choice, old, in_character, searched, in_vain]
    return [{"model": "says", **body, "stream": stream} for body in made for stream in (False, True)]


def refused_chat_bodies(plant: Plant) -> list[Body]:
    def asking(content: Any, **more: Any) -> Body:
        return {"model": "says", "messages": [{"role": "user", "content": content}], **more}

    def part(kind: str, told: Any) -> Body:
        return asking([{"type": kind, kind: told}, {"type": "text", "text": plant("text beside it")}])

    made = [
        part("input_audio", {"data": plant("audio data"), "format": "wav"}),
        part("video_url", {"url": plant("video url")}),
        part("image_url", {"url": picture(plant)[:160]}),
        asking(plant("content"), venice_parameters={"character_slug": plant("character_slug")}),
        asking(plant("content"), model=plant("model")),
        asking(plant("content"), model=f"says:character_slug={plant('suffix')}"),
        asking(plant("content"), model=f"{plant('model')}:{plant('suffix key')}={plant('suffix value')}"),
        asking(plant("content"), tools=[{"type": plant("type of a tool"), "name": "f"}]),
        asking(
            plant("content"),
            tools=[{"name": "f"}],
            tool_choice={"type": plant("type"), "name": plant("name")},
        ),
        asking(plant("content"), model=f"hf:{plant('owner')}/{plant('repo')}/x.gguf"),
        asking(plant("content"), model=plant("model"), fallbacks=[{"model": plant("fallback")}]),
    ]
    schemes = ("http://127.0.0.1:9/", "https://localhost:9/?q=", "file:///", "data:image/png;base64,", "x")
    made += [part("image_url", {"url": scheme + plant(f"url {scheme}")}) for scheme in schemes]
    return [{**body, "stream": stream} for body in made for stream in (False, True)]


def picture(plant: Plant) -> str:
    """A data: URL of a real image with canaries in its text chunk and after its end."""
    told = PngImagePlugin.PngInfo()
    told.add_text("Comment", plant("image comment"))
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG", pnginfo=told)
    body = file.getvalue() + plant("image bytes").encode()
    return "data:image/png;base64," + base64.b64encode(body).decode()


def refused_keys(plant: Plant) -> list[Body]:
    plain: Body = {"apiKeyType": "INFERENCE", "description": plant("description")}
    everything: Body = {
        **plain,
        "expiresAt": "2199-12-31",
        "consumptionLimit": {"usd": 1, "diem": 2.5, "vcu": None},
        "limitPeriod": plant("limitPeriod"),
        "modelPrivacy": "PRIVATE_TEXT",
    }
    amounts = {name: plant(name) for name in ("usd", "diem", "vcu")}
    return [
        everything,
        {**everything, "description": plant("long description") * 3},
        {**everything, "apiKeyType": plant("apiKeyType")},
        {**everything, "modelPrivacy": plant("modelPrivacy")},
        {**everything, "expiresAt": plant("expiresAt")},
        {**everything, "consumptionLimit": amounts},
        {**plain, plant("unknown field"): plant("its value")},
    ]


def refused_changes(plant: Plant) -> list[Body]:
    made = [
        {name: told for name, told in body.items() if name != "apiKeyType"} for body in refused_keys(plant)
    ]
    # The last is in order, but for the key that there is none of.
    return [{**body, "id": plant("id")} for body in (*made, {"description": plant("new description")})]


def refused_wallet_keys(plant: Plant) -> list[Body]:
    def hexed(field: str, digits: int) -> str:
        return "0x" + plant(field).encode().hex()[:digits].ljust(digits, "0")

    # Of the right form, and nobody's signature: 401.
    wallet = {"token": plant("token"), "signature": hexed("signature", 130), "address": hexed("address", 40)}
    shaped: Body = {"apiKeyType": "INFERENCE", "description": plant("description"), **wallet}
    odd = [{**wallet, **body} for body in refused_keys(plant)]
    return [shaped, *odd, *({**odd[0], name: plant(name)} for name in ("address", "signature"))]


def embedding_bodies(plant: Plant) -> list[Body]:
    told = {"model": "embeds", "encoding_format": "base64", "dimensions": 5}
    return [
        {**told, "input": plant("input"), "user": plant("user")},
        {**told, "input": [plant("one of several inputs"), plant("another input")]},
    ]


def refused_embedding_bodies(plant: Plant) -> list[Body]:
    return [
        {"model": plant("model"), "input": plant("input")},
        {"model": "says", "input": plant("input of a chat model")},
        {"model": "embeds", "input": [plant("input"), ""]},
        {"model": "embeds", "input": [plant("text beside tokens"), 7]},
        {"model": "embeds", "input": [[7, 8]], "user": plant("user with tokens")},
        {"model": "embeds", "input": plant("input"), "encoding_format": plant("encoding_format")},
        {"model": "embeds", "input": plant("input"), plant("unknown key"): plant("its value")},
    ]


def speech_bodies(plant: Plant) -> list[Body]:
    everything: Body = {
        "model": "speaks",
        "speed": 1.5,
        "language": plant("language")[:32],
        "prompt": plant("prompt"),
        "instructions": plant("instructions"),
        "temperature": 0.5,
        "top_p": 0.5,
    }
    return [
        {**everything, "input": plant("input"), "voice": plant("voice")},
        {**everything, "input": plant("input"), "voice": {"id": plant("id of a voice")}, "streaming": True},
        {"model": "speaks", "input": plant("input"), "response_format": "wav", "stream_format": "sse"},
    ]


def refused_speech_bodies(plant: Plant) -> list[Body]:
    return [
        {"model": plant("model"), "input": plant("input")},
        {"model": "says", "input": plant("input of a chat model")},
        {"model": "speaks", "input": f"{plant('long input')} " * 150},
        {"model": "speaks", "input": plant("input"), "voice": plant("long voice") * 20},
        {"model": "speaks", "input": plant("input"), "response_format": plant("response_format")},
        {"model": "speaks", "input": plant("input"), plant("unknown key"): plant("its value")},
    ]


def sound(plant: Plant) -> Part:
    """What passes for a WAV file, of a name and a type that are its own."""
    data = b"RIFF\0\0\0\0WAVE" + plant("bytes of a file").encode() + b"\0\xff" * 20
    return Part("file", data, f"{plant('file name')}.wav", f"audio/{plant('type of a file')}")


def transcription_forms(plant: Plant) -> list[Parts]:
    everything = [
        Part("model", "hears"),
        Part("timestamps", "true"),
        Part("timestamp_granularities[]", "word"),
        Part("timestamp_granularities[]", "segment"),
        Part("language", plant("language")),
        Part("prompt", plant("prompt")),
        Part("temperature", "0.5"),
        Part("user", plant("a field that is passed over")),
        Part(plant("name of a field"), plant("its value")),
        Part("chunking_strategy", plant("file of another name"), f"{plant('name of another file')}.bin"),
    ]
    forms = ("json", "verbose_json", "text", "srt", "vtt")
    return [[*everything, Part("response_format", form), sound(plant)] for form in forms]


def refused_transcription_forms(plant: Plant) -> list[Parts]:
    hears = Part("model", "hears")
    return [
        [Part("model", plant("model")), sound(plant)],
        [Part("model", "says"), sound(plant)],
        [hears, Part("prompt", plant("prompt without a file"))],
        [hears, Part("file", plant("text that should be a file"))],
        [hears, Part("file", f"{plant('text named .mp3')} " * 9, f"{plant('name')}.mp3", "audio/mpeg")],
        [hears, Part("response_format", plant("response_format")), sound(plant)],
        [hears, Part("timestamps", plant("timestamps")), sound(plant)],
        [hears, Part("timestamp_granularities", plant("timestamp_granularities")), sound(plant)],
        [hears, Part("temperature", plant("temperature")), sound(plant)],
        [hears, Part("prompt", plant("long prompt") * 3000), sound(plant)],
    ]


def parsed_forms(plant: Plant) -> list[Parts]:
    document = Part("file", plant("text of a document"), f"{plant('file name')}.txt", plant("content type"))
    fields = [Part("user", plant("a field that is passed over")), document]
    return [[Part("response_format", form), *fields] for form in ("json", "text")]


def refused_parsed_forms(plant: Plant) -> list[Parts]:
    return [
        [Part("response_format", plant("response_format")), Part("file", plant("text"), "a.txt")],
        [Part("file", b"\0\1\2" + plant("binary").encode() + b"\0" * 99, f"{plant('file name')}.pdf")],
        [Part("file", b"PK\3\4" + plant("zipped").encode() * 9, f"{plant('file name')}.docx")],
    ]


def quoted_bodies(plant: Plant) -> list[Body]:
    chats = [{"endpoint": "/chat/completions", "body": body} for body in chat_bodies(plant)]
    speech = {"model": "tts-kokoro", "input": plant("input"), plant("unknown"): plant("value")}
    embedded = {"model": "text-embedding-bge-m3", "input": [plant("input"), plant("input")]}
    drawn = {"model": "venice-sd35", "prompt": plant("prompt"), "negative_prompt": plant("negative_prompt")}
    heard = {"file": {"seconds": 2.5, plant("unknown"): plant("value")}, "response_format": plant("format")}
    sought = {"query": plant("query")}
    others = {
        "/audio/speech": speech,
        "/v1/embeddings": embedded,
        "/image/generate": drawn,
        "/api/v1/audio/transcriptions": heard,
        "/augment/search": sought,
    }
    return [*chats, *({"endpoint": path, "body": body} for path, body in others.items())]


def refused_quotes(plant: Plant) -> list[Body]:
    chats = [{"endpoint": "/chat/completions", "body": body} for body in refused_chat_bodies(plant)]
    # What is wrong with a picture is not looked for, and what is not built yet has its price.
    chats = [body for body in chats if "image_url" not in str(body)]
    image = {"model": "venice-sd35", "prompt": plant("prompt")}
    others: list[tuple[str, Any]] = [
        (f"/{plant('endpoint')}", image),
        (f"/api/v1/{plant('endpoint')}", {plant("key"): plant("value")}),
        ("/image/generate", {**image, "model": plant("model")}),
        ("/image/generate", {**image, "variants": plant("variants")}),
        ("/image/upscale", {"scale": plant("scale")}),
        ("/audio/transcriptions", {"file": {"seconds": plant("seconds")}}),
        ("/audio/transcriptions", {"file": plant("file")}),
        ("/embeddings", {"model": "text-embedding-bge-m3", "input": {plant("key"): plant("value")}}),
        ("/chat/completions", plant("no body")),
        ("/chat/completions", [plant("a list")]),
    ]
    return [*chats, *({"endpoint": path, "body": body} for path, body in others)]


def searches(plant: Plant) -> list[Body]:
    return [{"query": plant("query")}, {"query": plant("query"), "limit": 5, "search_provider": "brave"}]


def refused_searches(plant: Plant) -> list[Body]:
    """The last is not answered by whoever searches."""
    return [
        {"query": plant("query"), "search_provider": plant("search_provider")},
        {"query": plant("query") * 20, plant("unknown key"): plant("its value")},
        {"query": f"gone {plant('query')}"},
    ]


def scrapes(plant: Plant) -> list[Body]:
    """None is fetched."""
    schemes = ("http://127.0.0.1/", "https://localhost/?q=", "file:///", "https://x.com/", "")
    return [{"url": scheme + plant(f"url {scheme}")} for scheme in schemes]


def of_key(below: str = "") -> Callable[[Plant], str]:
    return lambda plant: f"/api/v1/api_keys/{plant('id')}{below}"


def of_character(below: str = "") -> Callable[[Plant], str]:
    return lambda plant: f"/api/v1/characters/{plant('slug')}{below}"


_KEYS = "/api_keys/{id}"
_USAGE = ("currency", "startDate", "endDate", "limit", "page", "sortOrder")
_HISTORY = ("startTimestamp", "endTimestamp", "currency", "pageSize", "cursor")
_ANALYTICS = ("lookback", "startDate", "endDate")

_CHARACTERS = ("search", "categories", "tags", "modelId", "isAdult", "isPro", "isWebEnabled", "sortBy")
_CHARACTERS += ("sortOrder", "limit", "offset")

ROWS: list[Row] = [
    Row("POST /chat/completions", bodies=chat_bodies, refused=refused_chat_bodies, engine=True),
    Row("POST /embeddings", bodies=embedding_bodies, refused=refused_embedding_bodies, engine=True),
    Row("POST /audio/speech", bodies=speech_bodies, refused=refused_speech_bodies, engine=True),
    Row(
        "POST /audio/transcriptions",
        forms=transcription_forms,
        refused_forms=refused_transcription_forms,
        engine=True,
    ),
    Row("POST /augment/search", bodies=searches, refused=refused_searches, statuses=frozenset({400, 503})),
    Row("POST /augment/scrape", refused=scrapes),
    Row("POST /augment/text-parser", forms=parsed_forms, refused_forms=refused_parsed_forms),
    Row("POST /quote", bodies=quoted_bodies, refused=refused_quotes),
    Row("GET /models", queries=("type",)),
    Row("GET /models/traits", queries=("type",)),
    Row("GET /models/compatibility_mapping", queries=("type",)),
    Row("GET /models/{id}", path=lambda plant: f"/api/v1/models/{plant('id')}/{plant('rest of id')}"),
    Row("GET /characters", queries=_CHARACTERS),
    Row("GET /characters/{slug}", path=of_character()),
    Row("GET /characters/{slug}/reviews", path=of_character("/reviews"), queries=("page", "pageSize")),
    Row("GET /api_keys", admin=True),
    Row("POST /api_keys", refused=refused_keys, admin=True),
    Row("PATCH /api_keys", refused=refused_changes, admin=True),
    Row("DELETE /api_keys", refused=lambda plant: [{"id": plant("id")}], queries=("id",), admin=True),
    Row(f"GET {_KEYS}", path=of_key(), admin=True),
    Row(f"PUT {_KEYS}", path=of_key(), refused=refused_changes, admin=True),
    Row(f"PATCH {_KEYS}", path=of_key(), refused=refused_changes, admin=True),
    Row(f"DELETE {_KEYS}", path=of_key(), admin=True),
    Row("GET /api_keys/rate_limits"),
    Row("GET /api_keys/rate_limits/log", admin=True),
    Row(f"GET {_KEYS}/rate_limits", path=of_key("/rate_limits"), admin=True),
    Row(f"GET {_KEYS}/rate_limit_logs", path=of_key("/rate_limit_logs"), admin=True),
    Row("GET /api_keys/generate_web3_key"),
    Row("POST /api_keys/generate_web3_key", refused=refused_wallet_keys, statuses=frozenset({400, 401})),
    Row("GET /billing/usage", queries=_USAGE, admin=True),
    Row("GET /billing/usage-history", queries=_HISTORY, admin=True),
    Row("GET /billing/balance", admin=True),
    Row("GET /billing/usage-analytics", queries=_ANALYTICS, admin=True),
    Row("GET /openapi.json"),
    Row("GET /docs", based=False),
    Row("GET /healthz", based=False),
    Row("GET /readyz", based=False),
]
