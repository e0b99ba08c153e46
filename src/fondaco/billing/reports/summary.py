"""Usage of some days summed up: by day, by model, by key. Whole numbers throughout; who shows them writes them out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import Connection

from fondaco.billing.reports import store, units
from fondaco.billing.reports.store import DaySum, KeySum, ModelSum
from fondaco.models.model import Model

TOP = 8
"""So many models and keys get a line of their own in a chart."""

FindModel = Callable[[str], Model | None]


class Spend(msgspec.Struct):
    """Nano-dollars. Bundled credits are dollars."""

    usd: int = 0
    diem: int = 0

    @property
    def total(self) -> int:
        """Of both: a DIEM is worth a dollar."""
        return self.usd + self.diem

    def add(self, currency: str, amount: int) -> None:
        if currency == "DIEM":
            self.diem += amount
        else:
            self.usd += amount


class Part(msgspec.Struct):
    """A part of what a model did, such as `Input`. `units` in billionths, as everywhere here."""

    name: str
    spend: Spend
    units: int = 0


class ModelUse(msgspec.Struct):
    model_id: str
    name: str
    unit: str
    type: str | None
    spend: Spend
    units: int
    parts: list[Part]
    """Dearest first."""


class KeyUse(msgspec.Struct):
    key_id: str | None
    description: str
    label: str
    """The description, made distinct where several keys share it."""
    spend: Spend
    units: int = 0


class Chart(msgspec.Struct, frozen=True):
    """What was spent each day on each of a few names, in both currencies together."""

    names: list[str]
    days: Mapping[int, Mapping[str, int]]


class Summary(msgspec.Struct, frozen=True):
    first: int
    last: int
    """Days since 1970, both included."""
    days: Mapping[int, Spend]
    """Every day, also those without use; oldest first."""
    models: list[ModelUse]
    keys: list[KeyUse]
    """Dearest first, as the models are."""
    model_chart: Chart
    key_chart: Chart


def summarise(
    connection: Connection, account_id: str, first: int, last: int, find_model: FindModel
) -> Summary:
    """One unit of work of the store: an account's use from the day `first` to `last`."""
    days = {day: Spend() for day in range(first, last + 1)}
    for each in store.by_day(connection, account_id, first, last):
        days[each.day].add(each.of, each.amount)
    models = _models(store.by_model(connection, account_id, first, last), find_model)
    keys = _keys(store.by_key(connection, account_id, first, last))
    top_models = {use.model_id: use.name for use in models[:TOP]}
    top_keys = {use.key_id or "": use.label for use in keys[:TOP]}
    return Summary(
        first=first,
        last=last,
        days=days,
        models=models,
        keys=keys,
        model_chart=_chart(
            top_models, days, store.by_model_and_day(connection, account_id, first, last, top_models)
        ),
        key_chart=_chart(top_keys, days, store.by_key_and_day(connection, account_id, first, last, top_keys)),
    )


def _models(sums: Iterable[ModelSum], find_model: FindModel) -> list[ModelUse]:
    grouped: defaultdict[str, list[ModelSum]] = defaultdict(list)
    for each in sums:
        grouped[each.model_id].append(each)
    uses = [_model(model_id, found, find_model(model_id)) for model_id, found in grouped.items()]
    uses.sort(key=lambda use: (-use.spend.total, use.model_id))
    names = _distinct([(use.name, use.model_id) for use in uses])
    for use, name in zip(uses, names, strict=True):
        use.name = name
    return uses


def _model(model_id: str, sums: list[ModelSum], model: Model | None) -> ModelUse:
    unit = units.unit_of(model, [each.sku for each in sums])
    spend, count = Spend(), 0
    parts: dict[str, Part] = {}
    for each in sums:
        amount = units.counted(each.units, each.per, each.sku)
        name = units.part_of(each.sku, model_id)
        part = parts.setdefault(name, Part(name, Spend()))
        part.spend.add(each.currency, each.amount)
        part.units += amount
        spend.add(each.currency, each.amount)
        if units.kind_of(each.sku) == unit:
            count += amount
    return ModelUse(
        model_id=model_id,
        name=model_id if model is None else model.name,
        unit=unit,
        type=units.type_of(model),
        spend=spend,
        units=count,
        parts=sorted(parts.values(), key=lambda part: (-part.spend.total, part.name)),
    )


def _keys(sums: Iterable[KeySum]) -> list[KeyUse]:
    uses: dict[str, KeyUse] = {}
    last6: dict[str, str] = {}
    for each in sums:
        use = uses.get(each.key_id)
        if use is None:
            told = each.description if each.description is not None else "Removed key"
            if not each.key_id:
                told = "Web App"
            use = uses[each.key_id] = KeyUse(each.key_id or None, told, told, Spend())
            last6[each.key_id] = each.last6 or each.key_id[:8]
        use.spend.add(each.currency, each.amount)
        use.units += units.counted(each.units, each.per, each.sku)
    ranked = sorted(uses.values(), key=lambda use: (-use.spend.total, use.key_id or ""))
    labels = _distinct([(use.description, last6[use.key_id or ""]) for use in ranked])
    for use, label in zip(ranked, labels, strict=True):
        use.label = label
    return ranked


def _distinct(named: Sequence[tuple[str, str]]) -> list[str]:
    """The names, each followed by what tells it apart where another has it too: they become keys of one object."""
    seen: defaultdict[str, int] = defaultdict(int)
    for name, _ in named:
        seen[name] += 1
    taken = {"date", *(name for name, number in seen.items() if number == 1)}
    made: list[str] = []
    for name, tail in named:
        label = name
        if seen[name] > 1 or name == "date":
            label = f"{name} ({tail})"
            while label in taken:
                label += "′"
            taken.add(label)
        made.append(label)
    return made


def _chart(names: Mapping[str, str], days: Iterable[int], sums: Iterable[DaySum]) -> Chart:
    """`names` by id. Every name has a figure for every day."""
    chart = {day: dict.fromkeys(names.values(), 0) for day in days}
    for each in sums:
        chart[each.day][names[each.of]] += each.amount
    return Chart(list(names.values()), chart)
