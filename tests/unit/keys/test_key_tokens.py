from __future__ import annotations

import hmac
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from fondaco.keys.service import NewKey
from fondaco.keys.tokens import Kind, digester, mint


@given(secret=st.binary(max_size=64), token=st.binary(max_size=300))
def test_a_digest_is_hmac_sha256(secret: bytes, token: bytes) -> None:
    digest = digester(secret)
    assert digest(token) == hmac.digest(secret, token, "sha256")
    assert digest(token) == digest(token)


def test_a_secret_over_a_block_is_refused_rather_than_cut() -> None:
    with pytest.raises(ValueError, match="longer than a block"):
        digester(b"x" * 65)


@pytest.mark.parametrize("kind", ["INFERENCE", "ADMIN"])
def test_a_key_has_the_prefix_clients_know_and_256_random_bits(kind: Kind) -> None:
    made = {mint(kind) for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(rf"VENICE_{kind}_KEY_[A-Za-z0-9_-]{{43}}", key) for key in made)


def test_a_new_key_is_not_shown_by_printing_it() -> None:
    key = NewKey(
        id="1",
        account_id="2",
        kind="ADMIN",
        description="",
        last6="secret",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        token="VENICE_ADMIN_KEY_secret",
    )
    assert "secret" not in f"{key} {key!r} {[key]} {pretty_repr(key)}"
