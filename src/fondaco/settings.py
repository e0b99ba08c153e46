"""Every setting, in one frozen tree: `fondaco.toml` < `FONDACO_<SECTION>__<KEY>` < flags.

Each field's docstring is its documentation; `fondaco config show` and `docs/settings.md` are made from it.
"""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

CONFIG_NAME = "fondaco.toml"

# A name or an address, perhaps with a port; an IPv6 address with a port stands in brackets.
_HOST = re.compile(
    r"(?:[^\s:/@?#%*\[\]\\]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?|[0-9A-Fa-f.]*(?::[0-9A-Fa-f.]*){2,}"
)

# The file that `load` is reading: pydantic-settings builds its sources without a way to hand them one.
_reading: ContextVar[Path | None] = ContextVar("_reading", default=None)


def default_data_dir() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "fondaco"


def default_cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fondaco"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ServerSettings(Section):
    host: str = "127.0.0.1"
    """Address to listen on. `0.0.0.0` opens the server to the network."""
    port: int = Field(default=8199, ge=0, le=65535)
    """Port to listen on; 0 takes any free one."""
    data_dir: Path = Field(default_factory=default_data_dir)
    """Where the database, its secret and the engines' sockets live. Made with mode 0700."""
    drain_seconds: float = Field(default=30, ge=0)
    """After SIGTERM, how long running requests may take to end."""
    max_body_bytes: int = Field(default=35 * 1024 * 1024, ge=1024)
    """Largest JSON body accepted; a larger one is a 413."""
    cors_origins: tuple[str, ...] = ()
    """Origins that browsers may call from (`["*"]` for any). Empty: none."""
    docs: bool = True
    """Serve the rendered API page at `/docs`."""


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe line that is written."""
    format: Literal["auto", "text", "json"] = "auto"
    """`auto` is text on a terminal and JSON lines elsewhere."""
    access: bool = True
    """One line a request: method, path without query, status, duration. Never content."""


class ModelSettings(Section):
    default: str | None = None
    """Model behind `default`. Unset: the best local model whose weights are there."""
    stand_ins: bool = True
    """Names of models that are not bound here are answered by a local model, whose true id the answer names."""
    gguf: dict[str, GgufModel] = Field(default_factory=dict)
    """Your own GGUF files, by the id they are to have in `/models`."""
    transcription: dict[str, TranscriptionModel] = Field(default_factory=dict)
    """Your own transcription models, by the id they are to have in `/models`."""
    embedding: dict[str, EmbeddingModel] = Field(default_factory=dict)
    """Your own embedding models, by the id they are to have in `/models`."""
    bind: dict[str, Binding] = Field(default_factory=dict)
    """Models served by another OpenAI-speaking server, by the id they are to have in `/models`."""


class ModelFacts(Section):
    """What `/models` says of a model that the catalogue does not know, or says otherwise."""

    name: str | None = None
    """Display name."""
    context_tokens: int | None = Field(default=None, ge=256)
    """Context in tokens."""
    max_completion_tokens: int | None = Field(default=None, ge=1)
    """Largest completion in tokens."""
    vision: bool | None = None
    """Takes images."""
    multiple_images: bool | None = None
    """Takes several images in one conversation."""
    functions: bool | None = None
    """Takes `tools`."""
    response_schema: bool | None = None
    """Takes `response_format`."""
    reasoning: bool | None = None
    """Thinks before it answers."""
    logprobs: bool | None = None
    """Gives log probabilities."""
    think_tags: bool | None = None
    """Its thinking stays in `content` between `<think>` and `</think>` instead of `reasoning_content`."""
    tier: Literal["XS", "S", "M", "L"] | None = None
    """Its row in the table of rate limits. Unset: the catalogue's for an id that it knows, else `L`."""
    input_usd: str | None = None
    """Price of a million prompt tokens (of characters for a speech model) in dollars, as decimal text."""
    output_usd: str | None = None
    """Price of a million completion tokens in dollars, as decimal text."""
    cache_input_usd: str | None = None
    """Price of a million cached prompt tokens in dollars, as decimal text."""


class GgufModel(ModelFacts):
    path: str
    """A file's path, or `hf:owner/repo/file.gguf` on a model hub."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Expected hash. Checked after a fetch when given."""
    mmproj: str | None = None
    """Path or hub name of the projector file of a model that sees."""
    mmproj_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Expected hash of the projector."""


class TranscriptionModel(Section):
    path: str
    """A folder with a Whisper model in CTranslate2's form or an ONNX model such as Parakeet, or `hf:owner/repo` on a model hub."""
    main: str = "model.bin"
    """Its main file there; `encoder-model.onnx` for a model such as Parakeet."""
    files: tuple[str, ...] = ("config.json", "tokenizer.json", "vocabulary.json", "preprocessor_config.json")
    """What is in the folder beside it. Older models have `vocabulary.txt` and no `preprocessor_config.json`."""
    name: str | None = None
    """Display name."""
    second_usd: str | None = None
    """Price of a second of audio in dollars, as decimal text. Unset: the catalogue's for an id that it knows, else 0.0001."""


class EmbeddingModel(Section):
    path: str
    """An ONNX file's path, or `hf:owner/repo/dir/model.onnx` on a model hub."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Expected hash. Checked after a fetch when given."""
    tokenizer: str
    """Path or hub name of its `tokenizer.json`."""
    data: tuple[str, ...] = ()
    """Paths or hub names of the files that hold its weights, where the ONNX file has them outside (`model.onnx_data`)."""
    dimensions: int = Field(ge=1)
    """Numbers in a vector."""
    custom_dimensions: bool = False
    """Its vectors may be cut to fewer dimensions."""
    max_tokens: int = Field(default=512, ge=8)
    """Tokens that it reads at once."""
    pooling: Literal["mean", "cls", "last"] = "mean"
    """How tokens become one vector: their mean, the first one, or the last."""
    prefix: str = ""
    """Put before every text, for models that were taught so."""
    name: str | None = None
    """Display name."""
    input_usd: str | None = None
    """Price of a million tokens in dollars, as decimal text. Unset: the catalogue's for an id that it knows, else 0.15."""


class Binding(ModelFacts):
    type: Literal["text", "tts", "asr", "embedding"] | None = None
    """What kind of model it is. Unset: the catalogue's for an id that it knows, else `text`."""
    voices: tuple[str, ...] = ()
    """Voices of a speech model."""
    dimensions: int | None = Field(default=None, ge=1)
    """Numbers in a vector of an embedding model."""
    second_usd: str | None = None
    """Price in dollars of a second of audio for a transcription model, as decimal text."""
    base_url: str = Field(pattern="^https?://")
    """Where the server's OpenAI paths begin, such as `http://10.0.0.5:8000/v1`."""
    upstream_model: str | None = None
    """The model's name there. Unset: the id here."""
    api_key_env: str | None = None
    """Environment variable that holds the key for that server."""
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    """Further headers for that server."""
    privacy: Literal["private", "anonymized"] = "anonymized"
    """`private` only for a server that you run and that keeps nothing."""
    thinking_switch: Literal["none", "chat_template_kwargs", "reasoning_effort"] = "none"
    """How thinking is turned off there: vLLM and llama.cpp take `chat_template_kwargs`."""
    think_prefilled: bool = False
    """The chat template opens `<think>` itself, so that answers begin inside it."""
    connect_timeout: float = Field(default=5, gt=0)
    """Seconds for a connection to come about."""
    first_byte_timeout: float = Field(default=300, gt=0)
    """Seconds until the answer's first byte."""
    chunk_timeout: float = Field(default=120, gt=0)
    """Longest silence in seconds between two pieces of an answer."""
    proxy: str | None = None
    """HTTP proxy on the way there."""


class EngineSettings(Section):
    idle_seconds: float = Field(default=900, ge=1)
    """A local engine that served nobody for so long is unloaded."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of a local engine; 0 takes as many as there are cores."""
    slots: int = Field(default=4, ge=1, le=64)
    """Requests a local text engine works on at once."""
    context_tokens: int = Field(default=32768, ge=2048)
    """Tokens of context that a local text engine's slots share; a single request may take it all."""
    start_seconds: float = Field(default=120, gt=0)
    """How long a local engine may take to load."""
    memory_reserve_mib: int = Field(default=512, ge=0)
    """Memory to leave free: below it, idle engines are evicted and no other is started."""
    gpu_layers: int = Field(default=0, ge=0)
    """Layers put on an accelerator where the runtime was built for one."""


class WeightSettings(Section):
    cache_dir: Path = Field(default_factory=default_cache_dir)
    """Where weights are kept, named by their sha256."""
    offline: bool = False
    """Fetch nothing; use what is there."""
    mirror: str | None = None
    """Base URL of a mirror that serves `<sha256>` files; tried first."""
    hub_endpoint: str | None = None
    """Another model hub than the usual one (`HF_ENDPOINT` is obeyed too)."""
    wait_seconds: float = Field(default=20, ge=0)
    """A request for a model on its way waits so long if that will do; else it gets a 503."""


class ContractSettings(Section):
    profile: Literal["seed", "live"] = "seed"
    """Which defaults hold where the vendor's documents and its live service disagree."""
    reset_headers: Literal["seconds", "milliseconds"] | None = None
    """Unit of `x-ratelimit-reset-*`: Unix seconds (tokens: seconds left) as documented, or Unix milliseconds as the
    live service sends. Unset: by the profile."""


class PromptSettings(Section):
    system: str | None = None
    """Replaces the built-in default system prompts. Empty text turns them off for all."""
    by_model: dict[str, str] = Field(default_factory=dict)
    """System prompts for some models, by id or pattern (`qwen*`); the first that fits goes before all others. Empty
    text turns it off for those."""


class BillingSettings(Section):
    mode: Literal["metered", "prepaid"] = "metered"
    """`metered` prices and records everything and refuses nothing; `prepaid` also enforces balances. Limits on keys hold
    in both."""
    free: bool = False
    """Charge nothing: every price is zero, and `/models` says so."""
    minimum_balance: str = Field(default="0", pattern=r"^\d{1,9}(\.\d{1,9})?$")
    """In `prepaid`, dollars that a balance must hold beyond a request's cost before it is admitted, as decimal text."""


class LimitSettings(Section):
    scale: float = Field(default=1, ge=0, le=1_000_000)
    """Multiplies every rate limit; 0 lifts them all."""
    abuse_failures: int = Field(default=20, ge=0, le=1_000_000)
    """A key with more failed requests than this in 30 s is refused for 30 s; 0 turns that off."""


class NetSettings(Section):
    """What holds for pages and media that callers name by a URL."""

    allow_hosts: tuple[str, ...] = ()
    """Hosts (`wiki.example`) or places (`10.0.0.7:8080`) that may be fetched from though their addresses are private."""
    ports: tuple[int, ...] = (80, 443)
    """Ports that may be fetched from."""
    max_bytes: int = Field(default=25 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    """Largest page or file, as it comes and as it is unpacked."""
    seconds: float = Field(default=20, gt=0, le=300)
    """How long one may take, redirects included."""

    @field_validator("allow_hosts")
    @classmethod
    def _are_hosts(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for text in given:
            if not _HOST.fullmatch(text):
                raise ValueError(f"{text!r} is no host, nor host:port (no scheme, path, wildcard or network)")
        return given

    @field_validator("ports")
    @classmethod
    def _are_ports(cls, given: tuple[int, ...]) -> tuple[int, ...]:
        for port in given:
            if not 1 <= port <= 65535:
                raise ValueError(f"{port} is no port (1 to 65535)")
        return given


class SearchSettings(Section):
    providers: tuple[Literal["searxng", "brave", "tavily", "ddgs"], ...] = ("ddgs",)
    """Who searches the web: `searxng`, `brave`, `tavily`, `ddgs`, asked in turn until one has results. Empty: nobody, and
    only the local index is searched."""
    searxng_url: str | None = Field(default=None, pattern="^https?://")
    """Where your SearXNG stands, such as `http://127.0.0.1:8888`. It must allow the format `json`."""
    brave_url: str = Field(default="https://api.search.brave.com/res/v1/web/search", pattern="^https?://")
    """Brave's web search API."""
    brave_key_env: str = "BRAVE_API_KEY"
    """Environment variable that holds the key for Brave."""
    tavily_url: str = Field(default="https://api.tavily.com/search", pattern="^https?://")
    """Tavily's search API."""
    tavily_key_env: str = "TAVILY_API_KEY"
    """Environment variable that holds the key for Tavily."""
    safe_search: Literal["off", "moderate", "strict"] = "moderate"
    """How much the providers leave out."""
    language: str | None = Field(default=None, pattern="^[a-z]{2}(-[A-Z]{2})?$")
    """Language, and country, of results, such as `de-CH`. Unset: the provider's own."""
    max_results: int = Field(default=10, ge=1, le=20)
    """Results of a search for which the caller names no limit."""
    max_characters: int = Field(default=12_000, ge=1_000, le=200_000)
    """How much of what was found a chat model is given: of results so many characters, of pages twice as many, of
    both a quarter for models of tier XS. Never more than its context has room for."""
    seconds: float = Field(default=10, gt=0, le=60)
    """How long a provider may take."""
    embedding: str = "all-minilm-l6-v2"
    """Embedding model that compares meanings, for the local index and for the order of results. Empty: words alone."""
    scraper: Literal["direct", "firecrawl"] = "direct"
    """Who reads pages: this server, or Firecrawl."""
    firecrawl_url: str = Field(default="https://api.firecrawl.dev", pattern="^https?://")
    """Where Firecrawl stands."""
    firecrawl_key_env: str = "FIRECRAWL_API_KEY"
    """Environment variable that holds the key for Firecrawl."""

    @model_validator(mode="after")
    def _searxng_is_somewhere(self) -> Self:
        if "searxng" in self.providers and self.searxng_url is None:
            raise ValueError("the provider searxng needs searxng_url")
        return self


class KeySettings(Section):
    admin_key: str | None = Field(default=None, min_length=16, repr=False)
    """The first admin key, when you want to choose it. Also read from `FONDACO_ADMIN_KEY`."""
    web3: bool = False
    """Give keys to whoever shows by a signature that a wallet is theirs. Needs the extra `web3`. Without a stake that
    is everybody: each wallet has an account of its own, so set `billing.mode` to `prepaid`."""
    web3_stake: str = Field(default="0", pattern=r"^[0-9]{1,18}(\.[0-9]{1,18})?$")
    """How much of a token a wallet must hold to be given a key, in whole tokens (of 18 decimals) as decimal text."""
    web3_stake_contract: str | None = Field(default=None, pattern="^0x[0-9a-fA-F]{40}$")
    """Address of that token's contract."""
    web3_stake_rpc: str | None = Field(default=None, pattern="^https?://", repr=False)
    """JSON-RPC address of the node that is asked for what a wallet holds."""

    @model_validator(mode="after")
    def _stake_is_whole(self) -> Self:
        asked = self.web3_stake.strip("0.") != ""
        if asked and (self.web3_stake_contract is None or self.web3_stake_rpc is None):
            raise ValueError("web3_stake needs web3_stake_contract and web3_stake_rpc")
        return self


class Settings(BaseSettings):
    """The whole tree. Make it with `load`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="FONDACO_",
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
    )

    server: ServerSettings = ServerSettings()
    log: LogSettings = LogSettings()
    models: ModelSettings = ModelSettings()
    engines: EngineSettings = EngineSettings()
    weights: WeightSettings = WeightSettings()
    contract: ContractSettings = ContractSettings()
    prompt: PromptSettings = PromptSettings()
    billing: BillingSettings = BillingSettings()
    limits: LimitSettings = LimitSettings()
    keys: KeySettings = KeySettings()
    net: NetSettings = NetSettings()
    search: SearchSettings = SearchSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        file = _reading.get()
        return sources if file is None else (*sources, TomlConfigSettingsSource(settings_cls, file))


ModelSettings.model_rebuild()
Settings.model_rebuild()


def config_file(given: Path | None) -> Path | None:
    """The file that `load` will read: the one given, `FONDACO_CONFIG`, or `fondaco.toml` here; None without one."""
    if given is not None:
        return given
    if named := os.environ.get("FONDACO_CONFIG"):
        return Path(named)
    here = Path(CONFIG_NAME)
    return here if here.is_file() else None


def load(config: Path | None = None, flags: dict[str, dict[str, Any]] | None = None) -> Settings:
    """Read file, environment and `flags` (section → key → value; None values are left out).

    Raises pydantic's ValidationError for a bad value and FileNotFoundError for a config file that is not there.
    """
    file = config_file(config)
    if file is not None and not file.is_file():
        raise FileNotFoundError(file)
    given: dict[str, Any] = {}
    for section, values in (flags or {}).items():
        if kept := {key: value for key, value in values.items() if value is not None}:
            given[section] = kept
    if (admin := os.environ.get("FONDACO_ADMIN_KEY")) and "admin_key" not in given.get("keys", {}):
        given.setdefault("keys", {})["admin_key"] = admin
    token = _reading.set(file)
    try:
        return Settings(**given)
    finally:
        _reading.reset(token)
