"""Whether a wallet holds a stake, asked of a node of the chain by `eth_call balanceOf` on a token's contract.

Tested against a node of our own on loopback; what a real chain answers has not been seen by these tests.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fondaco.errors import InvalidRequest, UpstreamFailed

DECIMALS = 18
"""Of the staked token, as nearly all contracts have it."""

_BALANCE_OF = "0x70a08231"  # the first four bytes of keccak-256("balanceOf(address)")
_SECONDS = 10.0
_LARGEST = 65_536
_WORD = 66  # `0x` and 32 bytes


class _Answer(msgspec.Struct):
    result: str


class NodeStake:
    def __init__(self, rpc_url: str, contract: str, minimum: str) -> None:
        """`minimum` in whole tokens, as decimal text with at most DECIMALS decimals."""
        self._rpc_url = rpc_url
        self._contract = contract
        self._minimum_text = minimum
        whole, _, part = minimum.partition(".")
        self._minimum = int(whole + part.ljust(DECIMALS, "0"))

    async def check(self, address: str) -> None:
        """Raises InvalidRequest for a wallet without the stake, UpstreamFailed where nobody could say."""
        if await self._balance(address) < self._minimum:
            raise InvalidRequest(
                message=f"Wallet {address} does not have the stake of {self._minimum_text} that a key asks for"
            )

    async def _balance(self, address: str) -> int:
        call = {"to": self._contract, "data": _BALANCE_OF + address.removeprefix("0x").rjust(64, "0")}
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [call, "latest"]}
        try:
            answer = msgspec.json.decode(await self._ask(msgspec.json.encode(body)), type=_Answer)
            if len(answer.result) != _WORD or not answer.result.startswith("0x"):
                raise ValueError
            return int(answer.result[2:], 16)
        except (ValueError, OSError, TimeoutError, msgspec.MsgspecError):
            # The last of them where the node tells of an error: that has no `result`.
            raise UpstreamFailed(
                "The chain could not be asked for the wallet's stake. Please try again."
            ) from None

    async def _ask(self, body: bytes) -> bytes:
        import aiohttp  # most gateways never need it

        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session,
                session.post(
                    self._rpc_url,
                    data=body,
                    headers={"content-type": "application/json"},
                    allow_redirects=False,
                ) as answer,
            ):
                if answer.status != 200:
                    raise ValueError
                said = await answer.content.read(_LARGEST)
                if not answer.content.at_eof() and await answer.content.read(1):
                    raise ValueError
                return said
        except aiohttp.ClientError:
            raise OSError from None
