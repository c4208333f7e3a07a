"""Fields of one plain value each: what is none is refused by its name, however often its types were right before."""

from __future__ import annotations

import math
from typing import Any

import pytest

from genai_spine import CompletionRequest, EmbeddingRequest, InvalidRequest
from genai_spine.model.scalars import Scalars


@pytest.mark.parametrize("name", ["temperature", "top_p", "frequency_penalty"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "0.5"])
def test_a_number_that_json_cannot_say_is_refused(name: str, value: Any) -> None:
    CompletionRequest(messages="Hi", **{name: 0.5})
    with pytest.raises(InvalidRequest, match=f"{name}: expected a number, got"):
        CompletionRequest(messages="Hi", **{name: value})


def test_a_class_of_ones_own_counts_as_what_it_is() -> None:
    class Name(str):
        __slots__ = ()

    assert CompletionRequest(messages="Hi", model=Name("m"), max_tokens=5).model == "m"
    assert EmbeddingRequest(input="Hi", model=Name("m")).model == "m"


@pytest.mark.parametrize(("name", "value"), [("max_tokens", 1.5), ("max_tokens", False), ("stream", 1), ("user", 7)])
def test_what_is_of_another_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"{name}: expected "):
        CompletionRequest(messages="Hi", **{name: value})


def test_what_is_remembered_is_bounded() -> None:
    fields = Scalars(strings=("model",))
    kinds = [type(f"Text{number}", (str,), {}) for number in range(1100)]
    holder = type("Holder", (), {"model": None})
    for kind in kinds:
        given = holder()
        given.model = kind("m")
        fields.check(given)
    assert len(fields._right) == 1000
