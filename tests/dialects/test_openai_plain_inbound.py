"""What is read by its types at once is what is read member by member; and only what is plain is read so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai_spine.dialects.openai_chat import plain_inbound
from genai_spine.dialects.openai_chat.inbound import decode_request, read_members
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.request import CompletionRequest

HI = {"role": "user", "content": "Hi"}
NUMBERS = st.none() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
MEMBERS = st.fixed_dictionaries(
    {
        "messages": st.lists(
            st.builds(dict, role=st.sampled_from(["user", "system", "assistant", "tool"]), content=st.text())
        )
    },
    optional={
        "model": st.text() | st.none(),
        "temperature": NUMBERS,
        "top_p": NUMBERS,
        "max_tokens": NUMBERS,
        "max_completion_tokens": NUMBERS,
        "stream": st.booleans() | st.none(),
        "seed": st.integers(0, 5),
    },
)


@given(members=MEMBERS)
def test_both_make_the_same_of_it(members: dict[str, Any]) -> None:
    body = json.dumps(members, ensure_ascii=False).encode("utf-8", "surrogatepass")
    assert outcome(decode_request, body) == outcome(read_members, body)


def outcome(read: Callable[[bytes], CompletionRequest], body: bytes) -> CompletionRequest | str:
    try:
        return read(body)
    except InvalidRequest as refused:
        return f"{refused.param}: {refused}"


@pytest.mark.parametrize(
    "more",
    [{}, {"temperature": 1}, {"temperature": 0.5, "top_p": 1}, {"max_tokens": 5}, {"max_tokens": 5, "stream": True}],
)
def test_most_requests_are_plain(more: dict[str, Any]) -> None:
    assert plain_inbound.read(json.dumps({"model": "m", "messages": [HI], **more}).encode()) is not None


@pytest.mark.parametrize(
    "more",
    [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
        {"messages": [{"role": "user", "content": "Hi", "name": "Ada"}]},
        {"messages": [{"role": "user", "content": ""}]},
        {"max_tokens": -1},
        {"max_tokens": "5"},
        {"temperature": True},
        {"tools": []},
        {"seed": 1},
        {"provider_hint": "cheapest"},
    ],
)
def test_what_takes_more_to_understand_is_not(more: dict[str, Any]) -> None:
    assert plain_inbound.read(json.dumps({"model": "m", "messages": [HI], **more}).encode()) is None
