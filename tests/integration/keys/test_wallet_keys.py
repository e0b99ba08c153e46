"""Keys for whoever signs with a wallet: real signatures, a real database, a node of our own on loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount

from fondaco.keys import wallet_tokens
from fondaco.keys.stake import NodeStake
from fondaco.keys.wallet_tokens import WalletTokens
from fondaco.settings import KeySettings
from key_desk import Answer, Desk, HandClock, open_desk

pytestmark = pytest.mark.anyio

PATH = "/api_keys/generate_web3_key"
CONTRACT = "0x" + "ab" * 20


@pytest.fixture(scope="module")
def wallet() -> LocalAccount:
    return Account.from_key("0x" + "42" * 32)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, web3=True) as desk:
        yield desk


async def token_of(desk: Desk) -> str:
    answer = await desk.ask("GET", PATH, key="")
    assert answer.status == 200, answer.body
    assert set(answer.json()) == {"success", "data"}
    token: str = answer.json()["data"]["token"]
    return token


def signed(wallet: LocalAccount, token: str) -> str:
    return "0x" + wallet.sign_message(encode_defunct(text=token)).signature.hex().removeprefix("0x")


def claim(wallet: LocalAccount, token: str, **fields: Any) -> dict[str, Any]:
    return {
        "apiKeyType": "INFERENCE",
        "address": wallet.address,
        "signature": signed(wallet, token),
        "token": token,
        **fields,
    }


async def asked(desk: Desk, wallet: LocalAccount, **fields: Any) -> Answer:
    return await desk.ask("POST", PATH, claim(wallet, await token_of(desk), **fields), key="")


async def test_a_wallet_that_signs_gets_a_key_of_its_own_account(desk: Desk, wallet: LocalAccount) -> None:
    limits = {"usd": 5, "diem": 2, "vcu": 1}
    terms = {"consumptionLimit": limits, "expiresAt": "2026-04-01", "limitPeriod": "MONTH"}
    answer = await asked(desk, wallet, **terms, modelPrivacy="PRIVATE_ONLY")
    assert answer.status == 200, answer.body
    data = answer.json()["data"]
    caller = await desk.keys.authenticate(data.pop("apiKey").encode())
    assert data == {
        "id": caller.key_id,
        "apiKeyType": "INFERENCE",
        "description": "Web3 API Key",
        "expiresAt": "2026-04-01T00:00:00.000Z",
        "consumptionLimit": limits,
        "limitPeriod": "MONTH",
        "modelPrivacy": "PRIVATE_ONLY",
    }
    account = await desk.accounts.get(caller.account_id)
    assert account.name == wallet.address.lower()
    again = await asked(desk, wallet, apiKeyType="ADMIN", description="mine", address=wallet.address.lower())
    assert again.status == 200
    rows = (await desk.ask("GET", "/api_keys", key=again.json()["data"]["apiKey"])).json()["data"]
    assert {row["description"] for row in rows} == {"Web3 API Key", "mine"}, "one account, its keys alone"


async def test_a_token_is_a_jwt_of_15_minutes_that_works_once(desk: Desk, wallet: LocalAccount) -> None:
    token = await token_of(desk)
    head, payload, _ = token.split(".")
    read = wallet_tokens._bytes  # pyright: ignore[reportPrivateUsage]
    assert json.loads(read(head.encode())) == {"alg": "HS256", "typ": "JWT"}
    said = json.loads(read(payload.encode()))
    assert said["exp"] - said["iat"] == 900
    desk.clock.passed = 899
    assert (await desk.ask("POST", PATH, claim(wallet, token), key="")).status == 200
    answer = await desk.ask("POST", PATH, claim(wallet, token), key="")
    assert (answer.status, answer.json()["code"]) == (401, "AUTHENTICATION_FAILED")
    late = await token_of(desk)
    desk.clock.passed = 899 + 900
    answer = await desk.ask("POST", PATH, claim(wallet, late), key="")
    assert (answer.status, "expired" in answer.json()["error"]) == (401, True)


async def test_a_signature_that_does_not_hold_gets_nothing(desk: Desk, wallet: LocalAccount) -> None:
    token = await token_of(desk)
    other = Account.from_key("0x" + "43" * 32)
    good = signed(wallet, token)
    wrong = [
        {"signature": signed(other, token)},
        {"address": other.address},
        {"signature": signed(wallet, token + " ")},
        {"signature": "0x" + "00" * 65},
        {"signature": "0x" + "ff" * 65},
        {"signature": good[:-2] + "05"},
        {"signature": "0x" + wallet.unsafe_sign_hash(b"1" * 32).signature.hex().removeprefix("0x")},
    ]
    for fields in wrong:
        answer = await desk.ask("POST", PATH, {**claim(wallet, token), **fields}, key="")
        assert answer.status == 401, fields
    assert await desk.accounts.find(wallet.address.lower()) is None
    assert await desk.accounts.find(other.address.lower()) is None
    assert (await desk.ask("POST", PATH, claim(wallet, token), key="")).status == 200, (
        "the token is not used up"
    )


async def test_a_token_that_is_not_ours_gets_nothing(
    desk: Desk, wallet: LocalAccount, tmp_path: Path
) -> None:
    token = await token_of(desk)
    head, payload, signature = token.split(".")
    none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"
    stranger = WalletTokens(b"another server's secret", HandClock()).issue()
    for forged in (
        stranger,
        f"{none}.{payload}.",
        f"{none}.{payload}.{signature}",
        f"{head}.{payload[:-2]}AA.{signature}",
        f"{head}.{payload}.{signature}=",
        f"{head}.{payload}.{signature[:-1]}é",
        token + "\n",
        "",
        "..",
        "\ud7ff" * 100,
    ):
        answer = await desk.ask("POST", PATH, claim(wallet, forged), key="")
        assert answer.status == 401, forged
    assert await desk.accounts.find(wallet.address.lower()) is None


async def test_what_is_not_even_an_address_is_named(desk: Desk, wallet: LocalAccount) -> None:
    token = await token_of(desk)
    for wrong, path in (
        ({"address": "0x123"}, "address"),
        ({"address": wallet.address + "\n"}, "address"),
        ({"signature": "0xzz"}, "signature"),
        ({"signature": None}, "signature"),
        ({"token": "x" * 1025}, "token"),
        ({"expiresAt": "2020-01-01"}, "expiresAt"),
        ({"description": "x" * 65}, "description"),
    ):
        answer = await desk.ask("POST", PATH, {**claim(wallet, token), **wrong}, key="")
        assert list(answer.faults()) == [(path,)], wrong
    assert (await desk.ask("POST", PATH, {**claim(wallet, token), "extra": 1}, key="")).status == 400


async def test_a_suspended_wallet_gets_no_further_key(desk: Desk, wallet: LocalAccount) -> None:
    account = await desk.accounts.ensure(wallet.address.lower())
    await desk.accounts.suspend(account.id)
    answer = await asked(desk, wallet)
    assert (answer.status, answer.json()["code"]) == (403, "API_ACCESS_DISABLED")


async def test_it_is_off_unless_it_was_turned_on(tmp_path: Path, wallet: LocalAccount) -> None:
    assert KeySettings().web3 is False
    async with open_desk(tmp_path) as desk:
        for method, body in (("GET", None), ("POST", claim(wallet, "x"))):
            answer = await desk.ask(method, PATH, body, key="")
            assert answer.status == 403
            assert "keys.web3" in answer.json()["error"]


async def test_without_its_extra_it_says_which(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fondaco.keys.wallet.importlib.util.find_spec", lambda name: None)
    answer = await desk.ask("GET", PATH, key="")
    assert answer.status == 403
    assert "fondaco[web3]" in answer.json()["error"]


async def test_used_tokens_are_remembered_in_a_bounded_place(monkeypatch: pytest.MonkeyPatch) -> None:
    from fondaco.errors import AuthenticationFailed, RateLimitExceeded

    monkeypatch.setattr(wallet_tokens, "MOST_USED", 3)
    clock = HandClock()
    tokens = WalletTokens(b"secret", clock)
    texts = [tokens.issue() for _ in range(4)]
    for text in texts[:3]:
        tokens.use(tokens.check(text))
    with pytest.raises(RateLimitExceeded):
        tokens.use(tokens.check(texts[3]))
    with pytest.raises(AuthenticationFailed):
        tokens.check(texts[0])
    clock.passed = 900
    tokens.use(tokens.check(tokens.issue()))


@asynccontextmanager
async def a_node(answer: Callable[[dict[str, Any]], web.Response]) -> AsyncIterator[str]:
    """A chain's node, as far as it is asked here."""

    async def said(request: web.Request) -> web.Response:
        return answer(await request.json())

    app = web.Application()
    app.router.add_post("/rpc", said)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/rpc"
    finally:
        await runner.cleanup()


async def test_a_stake_is_asked_of_the_node(tmp_path: Path, wallet: LocalAccount) -> None:
    """The node is ours, on loopback: no real chain is asked."""
    held = 0
    calls: list[dict[str, Any]] = []

    def answer(call: dict[str, Any]) -> web.Response:
        calls.append(call)
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": f"0x{held:064x}"})

    async with (
        a_node(answer) as url,
        open_desk(tmp_path, web3=True, stake=NodeStake(url, CONTRACT, "1.5")) as desk,
    ):
        held = 15 * 10**17 - 1
        refused = await asked(desk, wallet)
        assert refused.status == 400
        assert "stake of 1.5" in refused.json()["error"]
        assert await desk.accounts.find(wallet.address.lower()) is None
        held += 1
        assert (await asked(desk, wallet)).status == 200
        held = 2**255
        assert (await asked(desk, wallet)).status == 200
    padded = "0" * 24 + wallet.address[2:].lower()
    assert calls[0] == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "eth_call",
        "params": [{"to": CONTRACT, "data": "0x70a08231" + padded}, "latest"],
    }


async def test_a_node_that_cannot_say_gives_nobody_a_key(tmp_path: Path, wallet: LocalAccount) -> None:
    said: list[web.Response] = []
    word = "0x" + "f" * 64
    answers = [
        web.json_response({"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "no"}}),
        web.json_response({"result": "0x"}),
        web.json_response({"result": "0x" + "f" * 65}),
        web.json_response({"result": "0x" + "g" * 64}),
        web.json_response({"result": 10**30}),
        web.json_response({"result": word}, status=500),
        web.Response(status=302, headers={"location": "/rpc"}),
        web.Response(text="not json"),
        web.Response(body=b" " * 100_000 + json.dumps({"result": word}).encode()),
    ]
    async with (
        a_node(lambda call: said[-1]) as url,
        open_desk(tmp_path, web3=True, stake=NodeStake(url, CONTRACT, "1")) as desk,
    ):
        for answer in answers:
            said.append(answer)
            refused = await asked(desk, wallet)
            assert (refused.status, refused.json()["code"]) == (502, "UPSTREAM_FAILED"), answer.body
        said.append(web.json_response({"result": word}))
        assert (await asked(desk, wallet)).status == 200
    async with open_desk(
        tmp_path / "other", web3=True, stake=NodeStake("http://127.0.0.1:1/", CONTRACT, "1")
    ) as desk:
        assert (await asked(desk, wallet)).status == 502


@pytest.mark.parametrize("given", [{"web3_stake": "1"}, {"web3_stake": "0.1", "web3_stake_rpc": "http://x"}])
def test_a_stake_without_a_node_to_ask_is_no_setting(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="web3_stake needs"):
        KeySettings.model_validate(given)
