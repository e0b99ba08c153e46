"""Bodies and answers of /api_keys/generate_web3_key."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fondaco.keys import times
from fondaco.keys.tokens import Kind
from fondaco.keys.wallet import Claim
from fondaco.keys.wire import Description, KeyTerms

DESCRIPTION = "Web3 API Key"


class CreateWalletKey(KeyTerms, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /api_keys/generate_web3_key. A null stands for a field that is not there."""

    api_key_type: Kind = msgspec.field(name="apiKeyType")
    address: Annotated[
        str,
        Meta(
            pattern="^0x[0-9a-fA-F]{40}$", max_length=42, description="must be 0x and 40 hexadecimal digits"
        ),
    ]
    signature: Annotated[
        str, Meta(pattern="^(0x)?[0-9a-fA-F]{130}$", description="must be 0x and 130 hexadecimal digits")
    ]
    token: Annotated[str, Meta(max_length=1024)]
    description: Description | None = None

    def claim(self) -> Claim:
        """Raises InvalidRequest."""
        return Claim(
            address=self.address,
            signature=self.signature,
            token=self.token,
            kind=self.api_key_type,
            description=DESCRIPTION if self.description is None else self.description,
            expires_at=times.read(self.expires_at or ""),
            limits=self.limits(),
            model_privacy=self.model_privacy or "ALL",
        )


class TokenData(msgspec.Struct, frozen=True):
    token: str


class WalletToken(msgspec.Struct, frozen=True):
    data: TokenData
    success: Literal[True] = True

    @staticmethod
    def of(token: str) -> WalletToken:
        return WalletToken(TokenData(token))
