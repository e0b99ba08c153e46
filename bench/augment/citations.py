"""`python -m bench.augment.citations`: do the marks in answers point to the passages that the answers are from?

A SearXNG-speaking server on loopback finds five passages for each of 100 questions: the one that answers it, the two
that are nearest to it in subject, and two others, in an order of chance that is the same each time. A chat model behind
`fondaco serve` answers with citations. Passages are invented, so that no model knows them, and each is known by its URL.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import sys
import tempfile
import threading
import tomllib
import urllib.request
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench import machine
from bench.gateway import FondacoCommand, Gateway, serve
from bench.process import NotReadyError, free_port
from bench.report import facts_text, save, table, verdict

PASSAGES = Path(__file__).with_name("citations.toml")
OTHERS = 2
SEED = 7

ANSWERS_MARKED, MARKS_RIGHT = 0.80, 0.95

_MARK = re.compile(r"\^(\d+(?:,\d+)*)\^")


@dataclass(frozen=True)
class Passage:
    id: str
    title: str
    text: str

    @property
    def url(self) -> str:
        return f"https://{self.id}.example/"


@dataclass(frozen=True)
class Question:
    text: str
    right: Passage
    found: tuple[Passage, ...]


@dataclass
class Judged:
    question: str
    right: str
    answer: str
    marks: list[str | None] = field(default_factory=list[str | None])
    """The id of the passage that each number in a mark points to; None for nowhere."""


def questions() -> Iterator[Question]:
    groups = tomllib.loads(PASSAGES.read_text())["group"]
    chance = random.Random(SEED)
    known = [[Passage(row["id"], row["title"], row["text"]) for row in group["passage"]] for group in groups]
    for group, near in zip(groups, known, strict=True):
        far = [passage for others in known if others is not near for passage in others]
        for row, right in zip(group["passage"], near, strict=True):
            for text in row["questions"]:
                found = [*near, *chance.sample(far, OTHERS)]
                chance.shuffle(found)
                yield Question(text, right, tuple(found))


class Searxng(ThreadingHTTPServer):
    """Finds `rows`, whatever it is asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", free_port()), _Search)
        self.rows: Sequence[Passage] = ()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Search(BaseHTTPRequestHandler):
    server: Searxng

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if asked.path != "/search" or parse_qs(asked.query).get("format") != ["json"]:
            self.send_error(403)
            return
        rows = [{"url": row.url, "title": row.title, "content": row.text} for row in self.server.rows]
        body = json.dumps({"query": "", "results": rows, "unresponsive_engines": []}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextlib.contextmanager
def searxng() -> Generator[Searxng]:
    with Searxng() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    bystanders = machine.Bystanders.watch()
    asked = list(questions())[:: options.every]
    try:
        with tempfile.TemporaryDirectory(prefix="bench-citations-") as folder, searxng() as search:
            config = (
                f"[limits]\nscale = 1_000_000\n[weights]\noffline = true\n"
                f'[search]\nproviders = ["searxng"]\nsearxng_url = "{search.url}"\n'
            )
            command = FondacoCommand.of(options.python, options.fondaco)
            with serve(command, Path(folder) / "gateway", config) as gateway:
                _get_ready(gateway)
                answers: list[Judged] = []
                for number, question in enumerate(asked, 1):
                    search.rows = question.found
                    answers.append(judged(question, _answer(gateway, options, question.text)))
                    print(f"{number} of {len(asked)}", file=sys.stderr)
    except NotReadyError as error:
        print(f"bench.augment.citations: {error}", file=sys.stderr)
        return 1
    facts = machine.facts() | {
        "model": options.model,
        "used by others meanwhile": f"{bystanders.share():.0%} of the machine",
    }
    print(facts_text(facts), end="\n\n")
    marks = [(each.right, mark) for each in answers for mark in each.marks]
    marked = sum(each.right in each.marks for each in answers)
    right = sum(mark == meant for meant, mark in marks)
    nowhere = sum(mark is None for _, mark in marks)
    rows = [
        ["answers", str(len(answers))],
        ["with a mark on the right passage", str(marked)],
        ["with no mark", str(sum(not each.marks for each in answers))],
        ["marks", str(len(marks))],
        ["on the right passage", str(right)],
        ["on another one", str(len(marks) - right - nowhere)],
        ["nowhere", str(nowhere)],
    ]
    print(table(["", ""], rows), end="\n\n")
    of_answers, of_marks = marked / len(answers), right / max(1, len(marks))
    verdicts = [
        verdict(
            "answers with a mark on the right passage", of_answers >= ANSWERS_MARKED, f"{of_answers:.1%}"
        ),
        verdict("marks on the right passage", of_marks >= MARKS_RIGHT, f"{of_marks:.1%}"),
        verdict("no mark points nowhere", nowhere == 0, str(nowhere)),
    ]
    print("\n".join(verdicts))
    told = [vars(each) for each in answers]
    path = save("citations", {"facts": facts, "figures": dict(rows), "verdicts": verdicts, "answers": told})
    print(f"\nall figures: {path}")
    return 0


def _get_ready(gateway: Gateway) -> None:
    """The embedding model, which searches do not wait for."""
    _post(gateway, "embeddings", {"model": "all-minilm-l6-v2", "input": "ready"})


def _answer(gateway: Gateway, options: argparse.Namespace, question: str) -> dict[str, Any]:
    return _post(
        gateway,
        "chat/completions",
        {
            "model": options.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": options.tokens,
            "venice_parameters": {"enable_web_search": "on", "enable_web_citations": True},
        },
    )


def judged(question: Question, answer: dict[str, Any]) -> Judged:
    """Raises NotReadyError where the answer has other sources than were found."""
    sources = [source["url"] for source in answer["venice_parameters"]["web_search_citations"]]
    ids = {passage.url: passage.id for passage in question.found}
    if sorted(sources) != sorted(ids):
        raise NotReadyError(f"the chat had other sources than were found: {len(sources)} of {len(ids)}")
    told = Judged(question.text, question.right.id, answer["choices"][0]["message"]["content"])
    for mark in _MARK.findall(told.answer):
        for number in map(int, mark.split(",")):
            told.marks.append(ids[sources[number - 1]] if 1 <= number <= len(sources) else None)
    return told


def _post(gateway: Gateway, path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {gateway.key}", "content-type": "application/json"}
    url = f"http://127.0.0.1:{gateway.port}/api/v1/{path}"
    with urllib.request.urlopen(
        urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=600
    ) as said:
        return json.load(said)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.augment.citations", description=__doc__)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct", help="that answers")
    parser.add_argument("--tokens", type=int, default=200, help="that an answer may have")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="ask only each Nth question")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that is measured")
    parser.add_argument("--fondaco", help="a command that stands in for `python -m fondaco`")
    return parser


if __name__ == "__main__":
    sys.exit(main())
