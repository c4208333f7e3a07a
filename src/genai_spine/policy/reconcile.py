"""A provider's account of what was used beside our own: the gap of each day and model, and what may be behind it.

A gap is what the provider says beyond what we say; it is negative where we have more. How far apart both are is judged
by all gaps added up without their signs, so that no two of them make up for each other. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal

import msgspec

from genai_spine.model.response import TokenUsage
from genai_spine.policy.exports import Export, Measure
from genai_spine.policy.model_names import same_model

ALL_MODELS = ""
_ZERO = Decimal(0)
_ONE_NANO = Decimal("0.000000001")
_LIKE = Decimal("0.1")
"""By how much two gaps may differ that are said to be the same calls."""

Key = tuple[date, str]


class Ours(msgspec.Struct, kw_only=True):
    """What the ledger has of one model on one day (UTC, of the beginning)."""

    name: str = ""
    sums: dict[Measure, Decimal] = {}
    unpriced: int = 0
    """Attempts that are counted, and whose cost is not known."""
    uncounted: int = 0
    """Attempts that may be charged, and of which nobody knows all that they used: interrupted, left, broken off."""
    at_most_usd: Decimal | None = _ZERO
    """What all those may have cost at most."""
    estimated: int = 0


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A gap beyond the tolerance."""

    day: date
    model: str
    """Empty where the provider names none: all of them."""
    measure: Measure
    there: Decimal
    here: Decimal
    gap: Decimal
    why: tuple[str, ...] = ()


class Total(msgspec.Struct, frozen=True, kw_only=True):
    measure: Measure
    there: Decimal
    here: Decimal
    gap: Decimal
    off: Decimal
    """All gaps without their signs, less what the provider's own rounding explains."""
    share: Decimal | None
    """`off`, of what the provider says; None where it says nothing and we do."""
    is_within: bool


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    provider: str
    since: date
    until: date
    tolerance: Decimal
    totals: tuple[Total, ...]
    gaps: tuple[Line, ...]
    agreeing: int
    """Figures of a day and a model that are within the tolerance."""
    notes: tuple[str, ...] = ()

    @property
    def is_within(self) -> bool:
        return all(total.is_within for total in self.totals)


class _Pair(msgspec.Struct, kw_only=True):
    """One model on one day, from both sides."""

    name: str = ""
    is_there: bool = False
    there: dict[Measure, Decimal]
    rounding_usd: Decimal = _ZERO
    batch_tokens: Decimal = _ZERO
    ours: Ours | None = None

    def told(self, measure: Measure) -> Decimal:
        return self.there.get(measure, _ZERO)

    def here(self, measure: Measure) -> Decimal:
        return self.ours.sums.get(measure, _ZERO) if self.ours is not None else _ZERO

    def gap(self, measure: Measure) -> Decimal:
        return self.told(measure) - self.here(measure)

    def off(self, measure: Measure) -> Decimal:
        rounding = self.rounding_usd if measure == "usd" else _ZERO
        return max(_ZERO, abs(self.gap(measure)) - rounding)


def count(
    into: dict[Key, Ours],
    day: date,
    model: str,
    usage: TokenUsage | None,
    cost: int | None,
    most: int | None,
    *,
    is_whole: bool = True,
) -> None:
    """Add an attempt: what it used, and its cost and bound in nano-dollars, None where they are not known."""
    ours = into.setdefault((day, model), Ours(name=model, sums={}))
    sums = ours.sums
    if usage is not None:
        for measure, number in (
            ("input", usage.input_tokens), ("cache_read", usage.cache_read_tokens),
            ("cache_write", usage.cache_write_tokens), ("output", usage.output_tokens), ("requests", 1),
        ):  # fmt: skip
            sums[measure] = sums.get(measure, _ZERO) + (number or 0)
        ours.estimated += usage.estimated
    if cost is not None:
        sums["usd"] = sums.get("usd", _ZERO) + cost * _ONE_NANO
        return
    is_counted = usage is not None and is_whole
    ours.unpriced += is_counted
    ours.uncounted += not is_counted
    known = ours.at_most_usd
    ours.at_most_usd = None if known is None or most is None else known + most * _ONE_NANO


def reconcile(export: Export, ours: Mapping[Key, Ours], tolerance: Decimal) -> Reconciled:
    """`ours` is of the days that the export tells of; `tolerance` is a share, such as 0.005."""
    measures = [measure for measure in export.measures if measure != "requests"]
    pairs = _paired(export, ours)
    lines = [
        Line(
            day=day,
            model=pair.name,
            measure=measure,
            there=pair.told(measure),
            here=pair.here(measure),
            gap=pair.gap(measure),
            why=tuple(_causes(pairs, (day, model), measure, export)),
        )
        for (day, model), pair in sorted(pairs.items())
        for measure in measures
        if pair.off(measure) > tolerance * pair.told(measure)
    ]
    return Reconciled(
        name=export.name,
        provider=export.provider,
        since=export.since,
        until=export.until,
        tolerance=tolerance,
        totals=tuple(_total(pairs.values(), measure, tolerance) for measure in measures),
        gaps=tuple(lines),
        agreeing=len(pairs) * len(measures) - len(lines),
        notes=tuple(export.notes),
    )


def _paired(export: Export, ours: Mapping[Key, Ours]) -> dict[Key, _Pair]:
    by_model = export.names_models
    pairs: dict[Key, _Pair] = {}
    for (day, model), cell in export.cells.items():
        if not any(cell.sums.values()):
            continue
        pair = pairs.setdefault((day, same_model(model) if by_model else ALL_MODELS), _Pair(there={}))
        pair.name = pair.name or (model if by_model else "")
        pair.is_there = True
        pair.rounding_usd += cell.rounding_usd
        pair.batch_tokens += cell.batch_tokens
        for measure, number in cell.sums.items():
            pair.there[measure] = pair.told(measure) + number
    for (day, model), mine in ours.items():
        pair = pairs.setdefault((day, same_model(model) if by_model else ALL_MODELS), _Pair(there={}))
        pair.name = pair.name or (model if by_model else "")
        pair.ours = mine if pair.ours is None else _joined(pair.ours, mine)
    return pairs


def _joined(one: Ours, other: Ours) -> Ours:
    is_bound = one.at_most_usd is not None and other.at_most_usd is not None
    return Ours(
        name=one.name,
        sums={name: one.sums.get(name, _ZERO) + other.sums.get(name, _ZERO) for name in {**one.sums, **other.sums}},
        unpriced=one.unpriced + other.unpriced,
        uncounted=one.uncounted + other.uncounted,
        at_most_usd=(one.at_most_usd or _ZERO) + (other.at_most_usd or _ZERO) if is_bound else None,
        estimated=one.estimated + other.estimated,
    )


def _total(pairs: Iterable[_Pair], measure: Measure, tolerance: Decimal) -> Total:
    there = here = off = _ZERO
    for pair in pairs:
        there, here, off = there + pair.told(measure), here + pair.here(measure), off + pair.off(measure)
    share = off / there if there else (None if off else _ZERO)
    is_within = share is not None and share <= tolerance
    return Total(
        measure=measure, there=there, here=here, gap=there - here, off=off, share=share, is_within=is_within
    )  # fmt: skip


# ---------------------------------------------------------------- why


def _causes(pairs: Mapping[Key, _Pair], key: Key, measure: Measure, export: Export) -> Iterable[str]:
    pair = pairs[key]
    ours, gap = pair.ours, pair.gap(measure)
    if pair.batch_tokens and gap > 0:
        yield f"{pair.batch_tokens:f} tokens of batches, which do not pass through the gateway"
    if not pair.is_there:
        yield "only here: another account's key, or the export is not up to date"
    elif ours is None:
        is_model = any(letter.isdigit() for letter in pair.name) or not pair.name
        yield (
            "only there: calls without the gateway, or by another provider of the settings"
            if is_model
            else "a line of its own there; here it is part of what its model cost"
        )
    if ours is not None and gap > 0:
        yield from _unknown(ours, measure)
    if ours is not None and pair.is_there:
        yield from _of_both(pair, ours, measure, export)
    if (other := _moved(pairs, key, measure)) is not None:
        yield f"as much the other way on {other}: calls around midnight"


def _unknown(ours: Ours, measure: Measure) -> Iterable[str]:
    most = "" if ours.at_most_usd is None else f", together at most {ours.at_most_usd.normalize():f} USD"
    if ours.unpriced and measure == "usd":
        yield f"{ours.unpriced} attempts here whose price is not known{most}"
    if ours.uncounted:
        yield f"{ours.uncounted} attempts here that were broken off, of which not all is known{most}"


def _of_both(pair: _Pair, ours: Ours, measure: Measure, export: Export) -> Iterable[str]:
    if "requests" in export.measures and (requests := pair.gap("requests")):
        more = "more" if requests > 0 else "fewer"
        yield f"{abs(requests):f} requests {more} there"
    if ours.estimated and measure != "usd":
        yield f"{ours.estimated} attempts here are counted by an estimate"
    if measure == "usd" and not ours.unpriced and not ours.uncounted:
        yield "other prices than the ledger's, or calls without the gateway: the usage export tells which"


def _moved(pairs: Mapping[Key, _Pair], key: Key, measure: Measure) -> date | None:
    """The day beside this one that has the same gap the other way."""
    (day, model), gap = key, pairs[key].gap(measure)
    for other in (day - timedelta(1), day + timedelta(1)):
        pair = pairs.get((other, model))
        if pair is not None and pair.gap(measure) * gap < 0 and abs(pair.gap(measure) + gap) <= _LIKE * abs(gap):
            return other
    return None
