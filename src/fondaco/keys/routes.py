"""The routes under /api_keys: an ADMIN key manages the keys of its own account (CONTRACT 10, both spellings).

To an account the keys of others, and its own that were revoked or have expired, are as if they had never been: each
route has one answer for all of these.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from fondaco.errors import InvalidRequest
from fondaco.http.call import Call
from fondaco.http.openapi import Operation, Query
from fondaco.http.reply import Reply, json_reply
from fondaco.http.routing import Route
from fondaco.http.validation import decode
from fondaco.keys import times
from fondaco.keys.caller import Period
from fondaco.keys.service import KeyRecord, KeyService
from fondaco.keys.spent import KeyUsage, NoBooks, Nothing
from fondaco.keys.wallet import WalletKeys
from fondaco.keys.wallet_wire import CreateWalletKey, WalletToken
from fondaco.keys.wire import (
    CreatedKey,
    CreateKey,
    Deleted,
    DeleteKey,
    KeyList,
    OneKey,
    UpdatedKey,
    UpdateKey,
    UsedKeyRow,
    created,
    row,
    used_row,
)

_NOTHING = Nothing()


def routes(keys: KeyService, wallets: WalletKeys, usage: KeyUsage | None = None) -> list[Route]:
    books = usage or NoBooks()

    async def list_keys(call: Call) -> Reply:
        """GET /api_keys."""
        return json_reply(KeyList(await _used_rows(books, await keys.list(call.identified.account_id))))

    async def create_key(call: Call) -> Reply:
        """POST /api_keys."""
        asked = decode((await call.json_body()).reveal(), CreateKey)
        made = await keys.create(
            call.identified.account_id,
            asked.api_key_type,
            asked.description,
            times.read(asked.expires_at or ""),
            limits=asked.limits(),
            model_privacy=asked.model_privacy or "ALL",
        )
        return json_reply(created(made))

    async def update_key(call: Call) -> Reply:
        """PATCH /api_keys; PATCH and PUT /api_keys/{id}."""
        asked = decode((await call.json_body()).reveal(), UpdateKey)
        key_id = call.path_params.get("id")
        if key_id is None:
            if asked.id is UNSET:
                raise InvalidRequest.at("id", code="invalid_type", message="Required")
            key_id = asked.id
        elif asked.id is not UNSET and asked.id != key_id:
            raise InvalidRequest.at("id", message="Not the id in the path")
        changed = await keys.change_own(call.identified.account_id, key_id, asked.change())
        return json_reply(UpdatedKey(row(changed)))

    async def delete_key(call: Call) -> Reply:
        """DELETE /api_keys, the id in the query or the body; DELETE /api_keys/{id}."""
        key_id = call.path_params.get("id") or call.query().get("id")
        if key_id is None:
            body = (await call.json_body()).reveal()
            if not body:
                raise InvalidRequest.at("id", code="invalid_type", message="Required")
            key_id = decode(body, DeleteKey).id
        await keys.revoke_own(call.identified.account_id, key_id)
        return json_reply(Deleted())

    async def get_key(call: Call) -> Reply:
        """GET /api_keys/{id}."""
        found = await keys.get_own(call.identified.account_id, call.path_params["id"])
        return json_reply(OneKey((await _used_rows(books, [found]))[0]))

    async def get_wallet_token(call: Call) -> Reply:
        """GET /api_keys/generate_web3_key."""
        return json_reply(WalletToken.of(wallets.token()))

    async def create_wallet_key(call: Call) -> Reply:
        """POST /api_keys/generate_web3_key."""
        asked = decode((await call.json_body()).reveal(), CreateWalletKey)
        return json_reply(created(await wallets.create(asked.claim())))

    return [
        Route(list_keys, _about("GET", "/api_keys", "Keys of this account", answer=KeyList)),
        Route(
            create_key,
            _about(
                "POST",
                "/api_keys",
                "Make a key",
                "The key itself is in this answer and never again. An account has at most 500 active keys.",
                request=CreateKey,
                answer=CreatedKey,
            ),
        ),
        *(
            Route(
                update_key,
                _about(method, path, "Change a key", _CHANGE, request=UpdateKey, answer=UpdatedKey),
            )
            for method, path in (
                ("PATCH", "/api_keys"),
                ("PATCH", "/api_keys/{id}"),
                ("PUT", "/api_keys/{id}"),
            )
        ),
        Route(
            delete_key,
            _about(
                "DELETE",
                "/api_keys",
                "Revoke a key",
                _REVOKE + " Its id stands in the query, or in a JSON body.",
                answer=Deleted,
                query=(Query("id", str, "The key to revoke"),),
            ),
        ),
        Route(delete_key, _about("DELETE", "/api_keys/{id}", "Revoke a key", _REVOKE, answer=Deleted)),
        Route(get_key, _about("GET", "/api_keys/{id}", "One key of this account", answer=OneKey)),
        Route(
            get_wallet_token,
            Operation(
                method="GET",
                path=_WALLET,
                summary="A token for a wallet to sign",
                tag=_TAG,
                access="open",
                answer=WalletToken,
                errors=(403,),
            ),
        ),
        Route(
            create_wallet_key,
            Operation(
                method="POST",
                path=_WALLET,
                summary="Make a key for a wallet",
                description="The wallet signs the token as a personal message (EIP-191).",
                tag=_TAG,
                access="open",
                request=CreateWalletKey,
                answer=CreatedKey,
                errors=(401, 403, 429, 502),
            ),
        ),
    ]


_TAG = "API keys"
_WALLET = "/api_keys/generate_web3_key"
_CHANGE = "What is not named stays as it is. The id stands in the path, or else in the body."
_REVOKE = (
    "No request gets in with it any more, here at once and through other servers within a tenth of a second. A key "
    "may revoke itself; without any admin key left, `fondaco keys create --admin` makes one."
)


def _about(
    method: str,
    path: str,
    summary: str,
    description: str = "",
    *,
    request: type | None = None,
    answer: type,
    query: tuple[Query, ...] = (),
) -> Operation:
    return Operation(
        method=method,
        path=path,
        summary=summary,
        description=description,
        tag=_TAG,
        access="admin",
        request=request,
        answer=answer,
        query=query,
        errors=() if method == "GET" and "{" not in path else (400,),
    )


async def _used_rows(books: KeyUsage, found: Sequence[KeyRecord]) -> list[UsedKeyRow]:
    weeks = await books.trailing([key.id for key in found])
    limited: dict[str, Period] = {
        key.id: key.limit_period for key in found if key.limit_usd is not None or key.limit_diem is not None
    }
    periods = await books.in_period(limited)
    return [
        used_row(
            key,
            weeks.get(key.id, _NOTHING),
            periods.get(key.id, _NOTHING) if key.id in limited else None,
        )
        for key in found
    ]
