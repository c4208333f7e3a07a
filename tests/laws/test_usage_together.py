"""What the parts of an answer used is, together, every counter of theirs added up, whichever counters there are."""

from __future__ import annotations

import typing
from decimal import Decimal
from functools import reduce
from types import NoneType
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from genai_spine.model.embedding import EmbeddingResponse
from genai_spine.model.response import TokenUsage, UsageDetails
from genai_spine.model.usage import together
from genai_spine.providers.embed_parts import _joined

COUNTS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(0, 10**9),
    float: st.integers(0, 10**6).map(lambda quarters: quarters / 4),  # those add up without rest
    Decimal: st.integers(0, 10**9).map(lambda nano: Decimal(nano) / 10**9),
    str: st.sampled_from(["batch", "priority"]),
    bool: st.booleans(),
    tuple[str, ...]: st.lists(st.sampled_from("abc"), max_size=2).map(tuple),
}


def structs(kind: type[Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Values with any of the fields that the struct has, those included that it will have one day."""
    fields = {}
    for name, hint in typing.get_type_hints(kind).items():
        inner = next((each for each in typing.get_args(hint) if each is not NoneType), hint)
        if hint in COUNTS:
            fields[name] = COUNTS[hint]
        elif inner in COUNTS:
            fields[name] = st.none() | COUNTS[inner]
        elif isinstance(inner, type) and issubclass(inner, msgspec.Struct) and depth < 2:
            fields[name] = st.none() | structs(inner, depth + 1)
    return st.builds(kind, **fields)


def counts(usage: msgspec.Struct, path: str = "") -> dict[str, Any]:
    """Each counter by its way there."""
    found: dict[str, Any] = {}
    for name in usage.__struct_fields__:
        value = getattr(usage, name)
        if isinstance(value, msgspec.Struct):
            found |= counts(value, f"{path}{name}.")
        elif value is not None and not isinstance(value, bool | str | tuple) and name != "reported_cost_usd":
            found[path + name] = value
    return found


USAGES = structs(TokenUsage)


@given(st.lists(USAGES, min_size=1, max_size=4))
@settings(max_examples=60)
def test_no_counter_of_any_part_is_lost(parts: list[TokenUsage]) -> None:
    whole = reduce(together, parts, None)
    assert whole is not None
    expected: dict[str, Any] = {}
    for part in parts:
        for name, count in counts(part).items():
            expected[name] = expected.get(name, 0) + count
    assert counts(whole) == expected
    assert whole.estimated == any(part.estimated for part in parts)
    costs = [part.reported_cost_usd for part in parts]
    assert whole.reported_cost_usd == (None if None in costs else sum(cost for cost in costs if cost is not None))
    tiers = {part.service_tier for part in parts}
    unpriced = set(whole.details.unpriced) if whole.details is not None else set()
    if len(tiers) == 1:
        assert whole.service_tier in tiers
    else:
        assert any(text.startswith("service tiers") for text in unpriced)
    assert unpriced >= {text for part in parts if part.details is not None for text in part.details.unpriced}


def test_what_is_not_told_of_is_nothing_to_add() -> None:
    usage = TokenUsage(input_tokens=3)
    assert together(None, None) is None
    assert together(usage, None) is usage
    assert together(None, usage) is usage


def test_an_embedding_in_parts_used_what_its_parts_did_if_all_of_them_say() -> None:
    def used(*usages: TokenUsage | None) -> TokenUsage | None:
        return _joined([EmbeddingResponse(model="m", embeddings=(), usage=usage) for usage in usages]).usage

    one = TokenUsage(input_tokens=3, service_tier="batch", details=UsageDetails(image_input_tokens=2))
    both = TokenUsage(input_tokens=6, service_tier="batch", details=UsageDetails(image_input_tokens=4))
    assert used(one, one) == both
    assert used(one, None) is used(one, TokenUsage()) is used(None, None) is None
