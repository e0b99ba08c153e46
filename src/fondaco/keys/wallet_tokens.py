"""Tokens for wallets to sign: JSON Web Tokens of ours that hold for 15 minutes and are good for one key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

import msgspec

from fondaco.clock import Clock
from fondaco.errors import AuthenticationFailed, RateLimitExceeded

SECONDS = 900
MOST_USED = 100_000
"""Used tokens that are remembered until they expire; when there are so many, no further one is taken."""

_HEADER = b'{"alg":"HS256","typ":"JWT"}'
_ISSUER = "fondaco/wallet-key"


class Token(msgspec.Struct, frozen=True):
    """What a token says."""

    iss: str
    iat: int
    exp: int
    jti: str


class WalletTokens:
    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._key = hmac.digest(secret, b"fondaco: tokens for wallets to sign", hashlib.sha256)
        self._clock = clock
        self._used: dict[str, int] = {}
        """Ids of used tokens, each with the second it expires in."""

    def issue(self) -> str:
        now = self._clock.unix()
        payload = Token(_ISSUER, now, now + SECONDS, secrets.token_urlsafe(16))
        said = _text(_HEADER) + b"." + _text(msgspec.json.encode(payload))
        return (said + b"." + _text(self._sign(said))).decode()

    def check(self, text: str) -> Token:
        """Raises AuthenticationFailed for a token that is not ours, has expired or was used."""
        said, _, signature = text.encode(errors="replace").rpartition(b".")
        # Compared as text: there is more than one text that decodes to the same bytes.
        if not hmac.compare_digest(signature, _text(self._sign(said))):
            raise AuthenticationFailed("The token is not one of this server's")
        # Nothing but `issue` signs under this key, so what is signed is well formed.
        token = msgspec.json.decode(_bytes(said.partition(b".")[2]), type=Token)
        if self._clock.unix() >= token.exp:
            raise AuthenticationFailed("The token has expired: ask for a new one")
        if token.jti in self._used:
            raise AuthenticationFailed("The token was used already: ask for a new one")
        return token

    def use(self, token: Token) -> None:
        """From now on it was used.

        Raises AuthenticationFailed if it was already, and RateLimitExceeded while no more can be remembered.
        """
        if token.jti in self._used:
            raise AuthenticationFailed("The token was used already: ask for a new one")
        if len(self._used) >= MOST_USED:
            now = self._clock.unix()
            self._used = {jti: end for jti, end in self._used.items() if end > now}
            if len(self._used) >= MOST_USED:
                raise RateLimitExceeded(retry_after=60)
        self._used[token.jti] = token.exp

    def _sign(self, said: bytes) -> bytes:
        return hmac.digest(self._key, said, hashlib.sha256)


def _text(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _bytes(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
