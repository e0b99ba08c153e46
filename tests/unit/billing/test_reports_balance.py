"""What `/billing/balance` says."""

from __future__ import annotations

import msgspec
import pytest

from fondaco.billing.reports.balance import BalanceReport
from fondaco.money import NanoUsd, from_decimal

pytestmark = pytest.mark.anyio


class Has(msgspec.Struct):
    usd: NanoUsd = NanoUsd(0)
    diem: NanoUsd = NanoUsd(0)
    bundled: NanoUsd = NanoUsd(0)
    diem_allocation: NanoUsd = NanoUsd(0)


async def said(has: Has, *, prepaid: bool = True, minimum: str = "0") -> str:
    async def balances(account_id: str) -> Has:
        assert account_id == "mine"
        return has

    report = BalanceReport(balances, prepaid=prepaid, minimum_balance=from_decimal(minimum))
    return msgspec.json.encode(await report.of("mine")).decode()


async def test_diem_goes_first_then_bundled_credits_then_dollars() -> None:
    one, tenth = from_decimal("1"), from_decimal("0.1")
    assert await said(Has(usd=one, diem=tenth, bundled=one, diem_allocation=one)) == (
        '{"canConsume":true,"consumptionCurrency":"DIEM","balances":{"diem":0.1,"usd":1},"diemEpochAllocation":1}'
    )
    assert await said(Has(usd=one, bundled=one, diem_allocation=one)) == (
        '{"canConsume":true,"consumptionCurrency":"BUNDLED_CREDITS","balances":{"diem":0,"usd":1},"diemEpochAllocation":1}'
    )
    assert await said(Has(usd=NanoUsd(1))) == (
        '{"canConsume":true,"consumptionCurrency":"USD","balances":{"diem":null,"usd":0.000000001},"diemEpochAllocation":0}'
    )


async def test_an_empty_account_cannot_consume_and_neither_can_one_at_the_minimum() -> None:
    empty = '{"canConsume":false,"consumptionCurrency":null,"balances":{"diem":null,"usd":%s},"diemEpochAllocation":0}'
    assert await said(Has()) == empty % "0"
    assert await said(Has(usd=from_decimal("0.5")), minimum="0.5") == empty % "0.5"
    assert "true" in await said(Has(usd=from_decimal("0.500000001")), minimum="0.5")


async def test_metered_accounts_can_always_consume_and_have_no_balance() -> None:
    assert await said(Has(usd=from_decimal("3")), prepaid=False) == (
        '{"canConsume":true,"consumptionCurrency":null,"balances":{"diem":null,"usd":null},"diemEpochAllocation":0}'
    )
