"""The surface of keys, limits and money as a whole: each path's spellings, and what the document says of each route."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fondaco.cli.accounts import app as accounts_app
from fondaco.cli.keys import app as keys_app
from gateways import ADMIN_KEY
from served_app import ServedApp, served_app


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ServedApp]:
    # Nothing listens there: no test here asks a model.
    async with served_app(tmp_path / "data", {"m": {"base_url": "http://127.0.0.1:9/v1"}}) as app:
        yield app


@pytest.mark.anyio
async def test_a_key_is_found_changed_and_ended_also_with_a_slash_at_the_end(served: ServedApp) -> None:
    key = await served.key()
    for path in ("", "/rate_limits", "/rate_limit_logs"):
        plain = await served.ask("GET", f"/api_keys/{key.id}{path}")
        slashed = await served.ask("GET", f"/api_keys/{key.id}{path}/")
        assert (slashed.status, slashed.body) == (200, plain.body)
    changed = await served.ask("PUT", f"/api_keys/{key.id}/", {"description": "renamed"})
    assert changed.json()["data"]["description"] == "renamed"
    assert (await served.ask("DELETE", f"/api_keys/{key.id}/")).json() == {"success": True}
    assert (await served.ask("GET", f"/api_keys/{key.id}")).status == 400


@pytest.mark.anyio
async def test_what_is_under_api_keys_by_name_is_never_a_keys_id(served: ServedApp) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for path in ("rate_limits", "rate_limits/log"):
            refused = await served.ask(method, f"/api_keys/{path}", {"description": "x"})
            assert (refused.status, dict(refused.headers)["allow"]) == (405, "GET")


def said_by(api: Any, method: str, path: str) -> dict[str, Any]:
    described: dict[str, Any] = api["paths"][path][method]
    return described


@pytest.mark.anyio
async def test_the_document_lists_every_route_of_keys_and_billing_under_one_heading_each(
    served: ServedApp,
) -> None:
    api = json.loads((await served.ask("GET", "/openapi.json")).body)
    headings = {tag["name"] for tag in api["tags"]}
    assert len({heading.casefold() for heading in headings}) == len(headings)
    for path, operations in api["paths"].items():
        heading = "API keys" if path.startswith("/api_keys") else "Billing"
        if path.startswith(("/api_keys", "/billing", "/quote")):
            assert all(operation["tags"] == [heading] for operation in operations.values())


@pytest.mark.anyio
async def test_the_document_says_how_a_key_may_be_refused_and_which_reports_come_as_csv(
    served: ServedApp,
) -> None:
    api = json.loads((await served.ask("GET", "/openapi.json")).body)
    for method, path in (
        ("get", "/billing/balance"),
        ("post", "/api_keys"),
        ("get", "/api_keys/rate_limits"),
    ):
        # An unknown key, a suspended account, too many failures.
        assert {"401", "403", "429"} <= set(said_by(api, method, path)["responses"])
    for path in ("/billing/usage", "/billing/usage-history"):
        told = said_by(api, "get", path)["responses"]["200"]["content"]
        assert set(told) == {"application/json", "text/csv"}
        exported = await served.ask("GET", path, None, ADMIN_KEY, "accept: text/csv")
        assert dict(exported.headers)["content-type"].startswith("text/csv")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--expires", "2020-01-01"), "must be in the future"),
        (("--description", "x" * 65), "A description has at most 64 characters"),
        (("--usd-limit", "a lot"), "2.50"),
    ],
)
def test_a_key_that_cannot_be_made_leaves_no_account_behind(
    tmp_path: Path, words: tuple[str, str], said: str
) -> None:
    def run(app: Any, *command: str) -> Result:
        return CliRunner().invoke(app, [*command, "--data-dir", str(tmp_path / "data")])

    assert run(keys_app, "create").exit_code == 0
    ended = run(keys_app, "create", "--account", "carol", *words)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert said in ended.stderr
    assert "carol" not in run(accounts_app, "list").stdout
