"""What is written down is what is there: settings, routes, errors, commands, examples and links."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from fondaco import errors
from fondaco.chat.wire import ChatRequest, VeniceParameters
from fondaco.cli import COMMANDS, app
from fondaco.errors import Conflict, FondacoError, KeySpendLimitExceeded
from fondaco.http.validation import decode
from fondaco.limits.tiers import rates
from fondaco.settings import Binding, GgufModel, Settings
from gateways import Gateway

# A fresh machine fetches weights within the first test that needs them.
pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])


def said(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> list[str]:
    """The fenced blocks in any of these languages."""
    return [
        body for kind, body in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S) if kind in languages
    ]


# Settings.


def test_the_page_of_settings_is_what_the_settings_say() -> None:
    script = [sys.executable, str(ROOT / "scripts/settings_doc"), "--check"]
    ran = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


def test_every_setting_is_on_its_page() -> None:
    page = said("settings.md")
    for name, section in Settings.model_fields.items():
        for key in section.annotation.model_fields:  # pyright: ignore[reportOptionalMemberAccess, reportUnknownMemberType, reportAttributeAccessIssue]
            assert f"`FONDACO_{name}__{key}`".upper() in page.upper(), f"{name}.{key}"
    for key in (*GgufModel.model_fields, *Binding.model_fields):
        assert f"| `{key}` |" in page, key


@pytest.mark.parametrize("page", ["models.md", "settings.md", "characters.md"])
def test_every_settings_file_that_is_shown_is_a_good_one(page: str) -> None:
    shown = blocks(said(page), "toml")
    assert shown
    for text in shown:
        Settings(**tomllib.loads(text))


# Routes.


def test_every_route_is_in_readme_or_docs(tiny_gateway: Gateway) -> None:
    with urllib.request.urlopen(f"{tiny_gateway.base_url}/openapi.json", timeout=10) as answer:
        paths: list[str] = list(json.load(answer)["paths"])
    assert "/chat/completions" in paths
    written = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [path for path in paths if not re.search(re.escape(path) + r"(?![\w/])", written)] == []


def test_every_field_of_a_chat_is_on_its_page() -> None:
    page = said("chat.md")
    fields = [field.encode_name for kind in (ChatRequest, VeniceParameters) for field in _fields(kind)]
    assert "messages" in fields
    assert [name for name in fields if name != "model" and f"`{name}`" not in page] == []


def test_every_request_that_is_shown_is_a_good_one() -> None:
    shown = blocks(said("chat.md"), "json")
    assert shown
    for text in shown:
        decode(text.encode(), ChatRequest)


# Errors.


def test_every_error_is_on_its_page_with_its_status() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \| (\d{3}) \|", said("errors.md"), re.M))
    told = {(error.code, str(error.status)) for error in _tree(FondacoError)}
    assert rows == told - {(Conflict.code, "409")} | _given_by_instance()


def _given_by_instance() -> set[tuple[str, str]]:
    """Codes that say more than their class does, each with its status."""
    walls = {(KeySpendLimitExceeded(currency).code, "402") for currency in ("USD", "DIEM")}
    source = (ROOT / "src/fondaco/idempotency/service.py").read_text(encoding="utf-8")
    conflicts = {(code, "409") for code in re.findall(r'\bcode="(\w+)"', source)}
    assert len(conflicts) == 3
    return walls | conflicts


def test_the_errors_that_are_drawn_are_those_that_are_there() -> None:
    drawn = set(re.findall(r"[├└]── (\w+) +(\d{3})", errors.__doc__ or ""))
    assert drawn == {(error.__name__, str(error.status)) for error in _tree(FondacoError)} - {
        ("FondacoError", "500")
    }


# Limits and money.


def test_every_rate_is_on_its_page() -> None:
    found: dict[str, tuple[str, str]] = {}
    for names, requests, tokens in re.findall(
        r"^\| (`[^|]+) \| (\d+) \| ([\d,]*) ?\|", said("limits.md"), re.M
    ):
        found |= dict.fromkeys(re.findall(r"`(\w+)`", names), (requests, tokens))
    assert found == {
        tier: (str(rate.requests), "" if rate.tokens is None else f"{rate.tokens:,}")
        for tier, rate in rates().items()
        if rate is not None
    }


def test_every_endpoint_with_a_price_and_every_one_that_runs_once_is_on_its_page(
    tiny_gateway: Gateway,
) -> None:
    page = said("money.md")
    asked = urllib.request.Request(
        f"{tiny_gateway.base_url}/quote",
        b'{"endpoint": "", "body": {}}',
        {"Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=10)
    with refused.value as answer:
        (issue,) = json.load(answer)["issues"]
    listed = issue["message"].partition(": ")[2].split(", ")
    assert "/chat/completions" in listed
    assert [path for path in listed if path != "/video/queue" and f"`{path}`" not in page] == []
    with urllib.request.urlopen(f"{tiny_gateway.base_url}/openapi.json", timeout=10) as answer:
        paths: dict[str, Any] = json.load(answer)["paths"]
    once = [
        f"{method.upper()} {path}"
        for path, operations in paths.items()
        for method, operation in operations.items()
        if isinstance(operation, dict) and "Idempotency-Key" in json.dumps(operation)
    ]
    assert once
    assert [route for route in once if f"`{route}`" not in page] == []


# Commands.


def test_every_command_that_is_shown_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    shown = [command for page in PAGES for command in _commands(page.read_text(encoding="utf-8"))]
    assert {words[0] for words, _ in shown} == set(COMMANDS)
    helps: dict[tuple[str, ...], str] = {}
    for words, options in shown:
        if words not in helps:
            ran = CliRunner().invoke(app, [*words, "--help"])
            assert ran.exit_code == 0, words
            helps[words] = ran.output
        for option in options:
            assert option in helps[words], f"{' '.join(words)} {option}"


# Links.


def test_every_link_leads_to_a_file() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def _fields(kind: Any) -> tuple[Any, ...]:
    return msgspec.structs.fields(kind)


def _tree(error: type[FondacoError]) -> Iterator[type[FondacoError]]:
    yield error
    for child in error.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child)


NOUNS = ("accounts", "keys", "models", "config", "index", "characters", "prompt")
"""Commands with verbs."""

_NOUN = re.compile(r"\bfondaco ([a-z]+)((?: [^`\n]*)?)")


def _commands(text: str) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Each command in code, as its words and the options beside it; `list\\|pull` is two of them."""
    code = [*re.findall(r"`([^`\n]+)`", text), *blocks(text, "sh", "bash", "console")]
    for line in (line for piece in code for line in piece.splitlines()):
        found = _NOUN.search(line.partition("#")[0])
        if found is None or found[1] not in COMMANDS:
            assert found is None, f"no such command: {line}"
            continue
        rest = found[2].split()
        options = re.findall(r"--[a-z][a-z-]*", found[2])
        verbs = rest[0].replace("\\", "").split("|") if rest and found[1] in NOUNS else []
        for verb in verbs:
            yield (found[1], verb), options
        if not verbs:
            yield (found[1],), options
