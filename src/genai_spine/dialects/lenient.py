"""What a provider says, taken leniently: a value of another kind than is looked for is not there.

The counterpart of reading.py, where a caller's mistake is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genai_spine.model.errors import BadReply
from genai_spine.wire import json

LARGEST_COUNT = 10**12


def count_of(value: Any) -> int | None:
    """A counter, 12.0 too; None for what cannot be one: text, negative, absurdly large."""
    if type(value) is not int:
        if not isinstance(value, float) or not value.is_integer():
            return None
        value = int(value)
    return value if 0 <= value <= LARGEST_COUNT else None


def most_of(value: Any) -> int | None:
    """How much a model takes or gives; None for the 0 of a list that does not know."""
    return value if type(value) is int and 0 < value < LARGEST_COUNT else None


def text_of(value: Any) -> str | None:
    """A text that says something."""
    return value if isinstance(value, str) and value else None


def object_of(value: Any) -> Mapping[str, Any]:
    """The members of an object; none where it is none."""
    return value if isinstance(value, dict) else {}


def seconds_of(created: Any) -> int | None:
    """A time in seconds since 1970; None for what is none, and for the 0 that stands for "not known"."""
    return int(created) if type(created) in (int, float) and 0 < created < 1e11 else None


def counted_tokens(body: bytes, member: str, default: int | None = None) -> int:
    """{"input_tokens": 14}. Raises: BadReply."""
    members = json.decode_outbound(body, json.ANY)
    count = count_of(members.get(member, default)) if isinstance(members, dict) else None
    if count is None:
        raise BadReply(f"a count of tokens without {member}")
    return count
