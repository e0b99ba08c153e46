"""Keys for wallets: whoever signs a token of ours with a wallet's key gets an API key of that wallet's account.

The signature is an Ethereum personal message (EIP-191) over the token's text. Where a stake is asked for, a node of
the chain says whether the wallet has it. A stake lets a key be made; what the key may spend is its account's affair.
"""

from __future__ import annotations

import asyncio
import importlib.util
from datetime import datetime
from typing import Protocol

from fondaco.accounts.service import AccountService
from fondaco.clock import Clock
from fondaco.content import Sealed
from fondaco.errors import AccessDisabled, AuthenticationFailed, Forbidden
from fondaco.keys.caller import ModelPrivacy, SpendLimits
from fondaco.keys.service import KeyService, NewKey
from fondaco.keys.tokens import Kind
from fondaco.keys.wallet_tokens import WalletTokens


class Claim(Sealed, kw_only=True):
    """Whose wallet it is said to be, what shows it, and the key that is asked for."""

    address: str
    """`0x` and 40 hexadecimal digits, in any case."""
    signature: str
    """65 bytes in hexadecimal digits."""
    token: str
    kind: Kind
    description: str
    expires_at: datetime | None
    limits: SpendLimits
    model_privacy: ModelPrivacy


class Stake(Protocol):
    async def check(self, address: str) -> None:
        """Raises InvalidRequest for a wallet without the stake, UpstreamFailed where nobody could say."""
        ...


class WalletKeys:
    def __init__(
        self,
        keys: KeyService,
        accounts: AccountService,
        secret: bytes,
        clock: Clock,
        *,
        enabled: bool = False,
        stake: Stake | None = None,
    ) -> None:
        self._keys = keys
        self._accounts = accounts
        self._tokens = WalletTokens(secret, clock)
        self._enabled = enabled
        self._stake = stake

    def token(self) -> str:
        """A token to sign. Raises Forbidden where wallets get no keys."""
        self._check_open()
        return self._tokens.issue()

    async def create(self, claim: Claim) -> NewKey:
        """A key of the wallet's account, which is made if it is not there.

        Raises AuthenticationFailed for a token or a signature that does not hold, Forbidden where wallets get no
        keys or this one's account is suspended, what `Stake.check` raises, and InvalidRequest as KeyService.create does.
        """
        self._check_open()
        address = claim.address.lower()
        token = self._tokens.check(claim.token)
        # In a thread: it takes 10 ms, and the first time a second to import.
        signer = await asyncio.to_thread(_signer, claim.token, claim.signature)
        if signer != address:
            raise AuthenticationFailed("The signature is not this wallet's")
        self._tokens.use(token)
        if self._stake is not None:
            await self._stake.check(address)
        account = await self._accounts.ensure(address)
        if account.suspended:
            raise AccessDisabled
        return await self._keys.create(
            account.id,
            claim.kind,
            claim.description,
            claim.expires_at,
            limits=claim.limits,
            model_privacy=claim.model_privacy,
        )

    def _check_open(self) -> None:
        if not self._enabled:
            raise Forbidden("This server makes no keys for wallets: its setting keys.web3 is off")
        if importlib.util.find_spec("eth_account") is None:
            raise Forbidden("This server cannot check wallets: it needs the extra fondaco[web3]")


def _signer(text: str, signature: str) -> str | None:
    """The address, in small letters, of whoever signed `text`; None if nobody can have."""
    from eth_account import Account
    from eth_account.messages import encode_defunct
    from eth_keys.exceptions import BadSignature
    from eth_utils.exceptions import ValidationError

    try:
        found = Account.recover_message(
            encode_defunct(text=text), signature=bytes.fromhex(signature.removeprefix("0x"))
        )
    except (BadSignature, ValidationError, ValueError):
        return None
    return str(found).lower()
