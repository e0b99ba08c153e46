"""The examples in README and docs for accounts, keys, limits and money are run, and come to what is shown.

A `sh` block runs where `<!-- runs -->` stands above it; with `<!-- runs: prepaid -->` it runs on a server of that
billing mode. A page's blocks share one shell, as they would on somebody's terminal. The block that follows at once,
if it is of another language, is what is printed: `json` is compared by its form, `http` by the names of headers,
`csv` and `text` by their headings.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fake_engines import Answer, FakeEngine, Seen, binding, stream, whole
from fondaco.settings import BillingSettings
from gateways import ADMIN_KEY, CODER, Gateway, running

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("curl") is None, reason="bash and curl run the examples"
)

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/accounts.md", "docs/limits.md", "docs/money.md")

_EXAMPLE = re.compile(
    r"^<!-- runs(?:: (?P<mode>\w+))? -->\n```sh\n(?P<script>.*?)^```\n"
    r"(?:\n```(?P<kind>json|http|csv|text)\n(?P<shown>.*?)^```\n)?",
    re.M | re.S,
)
_MARK = "== the next example =="

EXACT = frozenset(
    {"success", "object", "code", "error", "sku", "apiKeyType", "limitPeriod", "modelPrivacy", "type"}
)
"""Fields whose values are as shown, and not only their kind."""


class Example(NamedTuple):
    mode: str
    script: str
    kind: str
    shown: str


def examples(page: str) -> list[Example]:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = list(_EXAMPLE.finditer(text))
    assert text.count("<!-- runs") == len(found), f"a mark without a block: {page}"
    return [
        Example(one["mode"] or "metered", one["script"], one["kind"] or "", one["shown"] or "")
        for one in found
    ]


CASES = [(page, mode) for page in PAGES for mode in dict.fromkeys(example.mode for example in examples(page))]


class Terminal:
    """A server of one billing mode, and a shell that knows it."""

    def __init__(self, gateway: Gateway, folder: Path, mode: str) -> None:
        self.gateway = gateway
        self.folder = folder
        program = folder / "bin" / "fondaco"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fondaco "$@"\n')
        program.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FONDACO_")}
        made = self.ask("/api_keys", {"apiKeyType": "INFERENCE", "description": "For an example"})
        self.environment = kept | {
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            "BASE": gateway.base_url,
            "ADMIN_KEY": ADMIN_KEY,
            "KEY": made["data"]["apiKey"],
            "FONDACO_SERVER__DATA_DIR": str(gateway.data_dir),
            "FONDACO_BILLING__MODE": mode,
        }

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"}
        sent = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.gateway.base_url + path, sent, headers)
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer, parse_float=Decimal, parse_int=Decimal)

    def run(self, scripts: list[str]) -> list[str]:
        """What each of them prints, one after the other in one shell, which ends at the first that fails."""
        command = ["bash", "-eu", "-o", "pipefail", "-c", f"echo '{_MARK}'\n".join(scripts)]
        ran = subprocess.run(
            command,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        printed = ran.stdout.split(f"{_MARK}\n")
        assert ran.returncode == 0, f"example {len(printed)}:\n{scripts[len(printed) - 1]}\n{ran.stderr}"
        return printed


class Session(NamedTuple):
    terminal: Terminal
    run: list[Example]
    answers: list[str]


Sessions = dict[tuple[str, str], Future[Session]]
"""By page and billing mode."""


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    def answer(seen: Seen) -> Answer:
        if seen.body.get("stream"):
            return Answer([stream({"content": "Hello!"})])
        return Answer([whole({"role": "assistant", "content": "Hello!"})], content_type="application/json")

    made = FakeEngine(answer)
    yield made
    made.close()


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory, engine: FakeEngine) -> Iterator[Sessions]:
    """Every page, once in each mode that it speaks of: all at the same time, for most of it is waiting."""
    folders = {mode: tmp_path_factory.mktemp(mode) for mode in dict.fromkeys(mode for _, mode in CASES)}
    workers = len(folders) + len(CASES)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(workers) as pool:

        def started(mode: str) -> Terminal:
            folder = folders[mode]
            facts = {"context_tokens": 32768, "input_usd": "0.05", "output_usd": "0.15", "tier": "XS"}
            # No weights anywhere near: the model that users get is played by the scripted engine.
            environment = {
                "FONDACO_WEIGHTS__OFFLINE": "true",
                "FONDACO_WEIGHTS__CACHE_DIR": str(folder / "weights"),
                "FONDACO_BILLING__MODE": mode,
            }
            played = running(
                folder, "--model", CODER, config=binding(CODER, engine, **facts), env=environment
            )
            return Terminal(stack.enter_context(played), folder, mode)

        def typed(page: str, mode: str) -> Session:
            terminal, run = terminals[mode].result(), [one for one in examples(page) if one.mode == mode]
            return Session(terminal, run, terminal.run([example.script for example in run]))

        terminals = {mode: pool.submit(started, mode) for mode in folders}
        yield {case: pool.submit(typed, *case) for case in CASES}


@pytest.mark.parametrize(("page", "mode"), CASES)
def test_the_examples_of_a_page_come_to_what_is_shown(sessions: Sessions, page: str, mode: str) -> None:
    terminal, run, answers = sessions[page, mode].result()
    for example, printed in zip(run, answers, strict=True):
        match example.kind:
            case "json":
                shown, got = values(example.shown), values(printed)
                assert len(shown) == len(got), printed
                for one, other in zip(shown, got, strict=True):
                    assert differences(one, other) == [], printed
            case "http":
                names = [line.partition(":")[0] for line in example.shown.splitlines()]
                sent = {line.partition(":")[0] for line in printed.splitlines()}
                assert [name for name in names if name not in sent] == [], printed
            case "csv":
                shown, got = ([*csv.reader(text.splitlines())] for text in (example.shown, printed))
                assert shown[0] == got[0]
                assert {(row[1], row[5]) for row in shown} == {(row[1], row[5]) for row in got}
                # What came after it was free, so the whole file adds up to what is there.
                assert sums(got[1:]) == terminal.ask("/billing/balance")["balances"]
            case "text":
                headings = [line.split() for line in example.shown.splitlines() if line.isupper()]
                assert headings
                assert headings == [line.split() for line in printed.splitlines() if line.isupper()]
            case _:
                assert '"error"' not in printed, f"{example.script}\n{printed}"


def test_there_is_an_example_in_each_mode_that_a_page_speaks_of() -> None:
    modes = BillingSettings.model_fields["mode"].annotation
    assert modes is not None
    assert {mode for _, mode in CASES} == set(modes.__args__)
    assert [page for page in PAGES if page not in {page for page, _ in CASES}] == []


def test_a_difference_in_form_is_seen() -> None:
    shown = {"a": 1, "code": "X", "rows": [{"b": None}, {"b": "text"}]}
    assert differences(shown, {"a": 2, "code": "X", "rows": [{"b": "now known"}, {"b": "other"}]}) == []
    assert differences(shown, {"a": "1", "code": "Y", "rows": [{"c": 1}]}) == [".a", ".code", ".rows"]
    assert differences(shown, {"a": 1, "code": "X", "rows": [{"b": 1}, {"b": 1}]}) == [".rows[1].b"]


def sums(rows: list[list[str]]) -> dict[str, Decimal]:
    """The amounts of a ledger's rows, by currency."""
    found: dict[str, Decimal] = {"diem": Decimal(0), "usd": Decimal(0)}
    for row in rows:
        found[row[5].lower()] += Decimal(row[4])
    return found


def values(text: str) -> list[Any]:
    """The JSON values that stand in it one after the other."""
    found: list[Any] = []
    decoder = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal)
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


def differences(shown: Any, got: Any, path: str = "") -> list[str]:
    """Where `got` is of another form than what is shown. Anything may be in the place of a null."""
    if isinstance(shown, dict) and isinstance(got, dict):
        if shown.keys() != got.keys():
            return [path or "."]
        found: list[str] = []
        for name, value in shown.items():
            if name in EXACT and not isinstance(value, (dict, list)):
                found += [] if got[name] == value else [f"{path}.{name}"]
            else:
                found += differences(value, got[name], f"{path}.{name}")
        return found
    if isinstance(shown, list) and isinstance(got, list):
        if len(shown) != len(got):
            return [path]
        pairs = enumerate(zip(shown, got, strict=True))
        return [fault for at, (one, other) in pairs for fault in differences(one, other, f"{path}[{at}]")]
    return [] if shown is None or type(shown) is type(got) else [path]
