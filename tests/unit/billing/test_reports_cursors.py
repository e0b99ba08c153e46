"""Cursors of the usage history: read by the server and account they were made for, for a day, and by nobody else."""

from __future__ import annotations

import re

import pytest

from fondaco.billing.reports.cursors import LIFETIME_SECONDS, Cursors, InvalidCursor, Place

PLACE = Place(
    currency="BUNDLED_CREDITS", until=1_800_000_000_000, page_size=1000, at=1_790_000_000_000, id=2**53
)
SECRET = bytes(range(32))
NOW = 1_790_000_000


def test_a_cursor_leads_back_to_its_place_until_it_is_a_day_old() -> None:
    cursors = Cursors(SECRET)
    cursor = cursors.make("account", PLACE, NOW)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,512}", cursor)
    for later in (0, LIFETIME_SECONDS - 1):
        assert Cursors(SECRET).read("account", cursor, NOW + later) == PLACE
    for wrong in (LIFETIME_SECONDS, -1):
        with pytest.raises(InvalidCursor):
            cursors.read("account", cursor, NOW + wrong)


def test_another_account_or_another_servers_secret_cannot_read_it() -> None:
    cursor = Cursors(SECRET).make("account", PLACE, NOW)
    for account, secret in (("other", SECRET), ("account", bytes(32)), ("", SECRET)):
        with pytest.raises(InvalidCursor):
            Cursors(secret).read(account, cursor, NOW)


def test_no_character_of_it_can_be_changed() -> None:
    cursors = Cursors(SECRET)
    cursor = cursors.make("account", PLACE, NOW)
    for index, letter in enumerate(cursor):
        for other in "AQgw_":
            if other != letter:
                with pytest.raises(InvalidCursor):
                    cursors.read("account", cursor[:index] + other + cursor[index + 1 :], NOW)


@pytest.mark.parametrize(
    "text", ["", "A", "AAAA", "=", "é" * 8, "A" * 44, "A" * 513, "A" * 100_000, "a b", "\0"]
)
def test_what_is_no_cursor_is_refused_with_the_contracts_sentence(text: str) -> None:
    with pytest.raises(InvalidCursor) as refused:
        Cursors(SECRET).read("account", text, NOW)
    assert refused.value.message == "Invalid or expired cursor; restart from the first page"


def test_it_does_not_show_where_it_leads() -> None:
    """Row numbers would tell how much all accounts of the server do."""
    cursors = Cursors(SECRET)
    one, next_one = (
        cursors.make("account", Place(None, None, 10, 5, number), NOW) for number in (1000, 1001)
    )
    same = sum(left == right for left, right in zip(one, next_one, strict=True))
    assert same < len(one) / 4
