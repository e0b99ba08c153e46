"""The table of rates."""

from __future__ import annotations

from typing import get_args

import pytest

from fondaco.limits.tiers import Rate, rates
from fondaco.models.model import Tier

MISSION = {
    "XS": (500, 1_000_000),
    "S": (75, 750_000),
    "M": (50, 750_000),
    "L": (20, 500_000),
    "image": (20, None),
    "audio": (60, None),
    "embedding": (500, 1_000_000),
    "video": (40, None),
    "video_retrieve": (120, None),
    "key_creation": (20, None),
    "augment_scrape": (20, None),
    "augment_search": (20, None),
}


def test_the_rates_are_those_of_the_mission() -> None:
    assert rates() == {tier: Rate(*amounts) for tier, amounts in MISSION.items()}


def test_every_tier_that_a_model_can_have_has_a_rate() -> None:
    assert set(get_args(Tier)) <= set(rates())


@pytest.mark.parametrize(
    ("scale", "requests", "tokens"),
    [(2, 40, 1_000_000), (0.5, 10, 250_000), (0.37, 7, 185_000), (1e-9, 1, 1)],
)
def test_the_scale_multiplies_every_rate_and_leaves_at_least_one(
    scale: float, requests: int, tokens: int
) -> None:
    assert rates(scale)["L"] == Rate(requests, tokens)
    assert all(rate is not None and rate.requests >= 1 for rate in rates(scale).values())


def test_a_scale_of_zero_lifts_every_rate() -> None:
    assert set(rates(0)) == set(MISSION)
    assert set(rates(0).values()) == {None}
