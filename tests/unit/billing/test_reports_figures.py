"""Figures and dates in reports: exact, and refused where they make no sense."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fondaco import money
from fondaco.billing.prices import images, services, tokens
from fondaco.billing.reports import dates, units
from fondaco.errors import InvalidRequest
from fondaco.models.catalogue import Catalogue


@given(st.integers(0, 10**15), st.sampled_from([1, 1000, 1_000_000]))
def test_units_are_the_whole_quotient(count: int, per: int) -> None:
    told = money.to_json(units.published(count, per)).decode()
    assert re.fullmatch(r"\d+(\.\d*[1-9])?", told)
    assert Decimal(told) * per == count


def test_a_quotient_without_end_is_rounded_half_even_at_nine_digits() -> None:
    assert money.to_json(units.published(1, 3)) == b"0.333333333"
    assert money.to_json(units.published(2, 3)) == b"0.666666667"
    assert [units.published(count, 2_000_000_000) for count in (1, 3, 5)] == [0, 2, 2]


@pytest.mark.parametrize(
    ("sku", "kind", "part"),
    [
        ("qwen3-4b-llm-input-mtoken", "tokens", "Input"),
        ("qwen3-4b-llm-output-mtoken", "tokens", "Output"),
        ("qwen3-4b-llm-cache-input-mtoken", "tokens", "Cache Read"),
        ("qwen3-4b-1k-image-unit", "images", "1K Image"),
        ("qwen3-4b-asr-second", "seconds", "Asr"),
        ("qwen3-4b-tts-mcharacter", "chars", "Tts"),
        (services.SEARCH_IN_CHAT.sku, "requests", "Search Augmentation"),
        (services.AUGMENT_SCRAPE.sku, "requests", "Augment Scrape"),
    ],
)
def test_a_sku_tells_what_it_counts_and_for_which_part_of_the_work(sku: str, kind: str, part: str) -> None:
    assert (units.kind_of(sku), units.part_of(sku, "qwen3-4b")) == (kind, part)


def test_the_skus_of_bills_count_what_their_models_are_counted_in() -> None:
    known = Catalogue()
    for kind in ("text", "image", "embedding"):
        for model in known.of_type(kind).values():
            if kind == "text":
                bill = tokens.chat_bill(model, tokens.TokenUse(9, 3, 4))
            elif kind == "embedding":
                bill = tokens.embedding_bill(model, 5)
            else:
                bill = images.image_bill(model)
            assert bill
            assert {units.kind_of(line.sku) for line in bill} == {units.unit_of(model, [])}


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-02", 86_400_000),
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T00:00:01.5Z", 1500),
        ("1970-01-01T00:00:00.001999Z", 1),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1970-01-01T00:01", 60_000),
        ("2024-02-29T23:59:59Z", 1_709_251_199_000),
        ("0001-01-01T00:00:00+14:00", -62_135_647_200_000),
    ],
)
def test_a_day_or_a_time_is_read_to_the_millisecond(text: str, ms: int) -> None:
    assert dates.start_of(text, "startDate") == ms


def test_an_end_is_included_be_it_a_day_or_a_time() -> None:
    assert dates.end_of("1970-01-01", "endDate") == 86_400_000
    assert dates.end_of("1970-01-01T00:00:01Z", "endDate") == 1001
    assert dates.end_of("9999-12-31T23:59:59.999Z", "endDate") == 253_402_300_800_000


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "today", "2025-02-29", "2025-13-01", "2025-00-10", "0000-01-01", "2025-1-1", "20250101"),
        *(
            "2025-W01-1",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:60:00Z",
            "2025-01-01T00:00:60Z",
            "2025-01-01Z",
        ),
        *("2025-01-01 00:00:00Z", "2025-01-01T00:00:00+25:00", "٢٠٢٥-٠١-٠١", "2025-01-01\n", "1" * 100_000),
    ],
)
def test_dates_that_make_no_sense_are_refused_at_their_field(text: str) -> None:
    for read in (dates.start_of, dates.end_of, dates.utc, dates.day_of):
        with pytest.raises(InvalidRequest) as refused:
            read(text, "startDate")
        assert [issue.path for issue in refused.value.issues] == [("startDate",)]


def test_the_history_takes_times_in_utc_alone() -> None:
    assert dates.utc("2026-06-01T00:00:00Z", "startTimestamp") == 1_780_272_000_000
    for text in ("2026-06-01", "2026-06-01T00:00:00", "2026-06-01T00:00:00+00:00"):
        with pytest.raises(InvalidRequest):
            dates.utc(text, "startTimestamp")
