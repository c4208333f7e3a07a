"""What the ledger holds of a call: values, as they are in the journal and in the database.

Money is whole nano-dollars (10⁻⁹ USD), None where it is not known. Times are seconds since 1970, durations
seconds. No text of a prompt or an answer.

A journal may be read by another version than wrote it: a field is added at the end of its struct, with a default,
and none is ever taken away or moved.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["answered", "failed", "left", "interrupted"]
"""`left`: the caller went away, or another attempt was quicker. `interrupted`: the process died meanwhile."""

Operation = Literal["embeddings", "rerank"]

NANO = 1_000_000_000


class Begun(msgspec.Struct, frozen=True, kw_only=True, tag="b", array_like=True, gc=False):
    """An attempt is about to be sent. `most_nanousd` is what it may cost at most. Ids are unique, whoever writes."""

    id: str
    call: str
    at: float
    provider: str
    model: str
    is_stream: bool = False
    caller: str | None = None
    agent: str | None = None
    route: str | None = None
    tags: tuple[str, ...] = ()
    dialect: str | None = None
    most_nanousd: int | None = None
    is_hedge: bool = False
    held_tokens: int | None = None
    """What budgets have set aside for it, in and out."""
    operation: Operation | None = None
    """None: a chat."""


class Bounded(msgspec.Struct, frozen=True, kw_only=True, tag="m", array_like=True, gc=False):
    """What an attempt that is under way may cost at most, where its beginning did not say."""

    id: str
    most_nanousd: int


class Tokens(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """As the provider counted them; what it did not say is None."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    is_estimated: bool = False
    more: str | None = None
    """What few calls use (`TokenUsage.details`, `compute_s`), as JSON of a TokenUsage of these alone."""


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="e", array_like=True, gc=False):
    """What became of an attempt, maybe after its call is over. A cost of 0 says that nothing is charged; where it is
    None, `most_nanousd` bounds it, or where that is None that of its beginning."""

    id: str
    at: float
    status: Status
    duration_s: float
    first_s: float | None = None
    tokens: Tokens | None = None
    cost_nanousd: int | None = None
    price_since: str | None = None
    price_source: str | None = None
    """`reported` by the provider, `settings`, or the catalog's source."""
    error_type: str | None = None
    status_code: int | None = None
    model: str | None = None
    """As the answer named it, where that differs."""
    service: str | None = None
    """The tier that was charged, where it is not the ordinary one: `batch`, `flex`, `priority`."""
    most_nanousd: int | None = None
    uncounted_tokens: int | None = None
    """What budgets take for used beside `tokens`, where nobody knows how many there were."""
    call_s: float | None = None
    """How long the whole call took, where it is over with this attempt, which was its only one: no `Call` is written
    then, since all that it would tell is here and in the beginning."""
    taken_nanousd: int | None = None
    """What expected budgets take for spent where the cost is None: what was set aside, or what was counted where that
    is more. None: as much as it may have cost at most, which is what hard ones take."""


class Call(msgspec.Struct, frozen=True, kw_only=True, tag="c", array_like=True, gc=False):
    """A call is over: what its caller got, after so many attempts."""

    id: str
    at: float
    duration_s: float
    status: Status
    attempts: int
    caller: str | None = None
    agent: str | None = None
    route: str | None = None
    tags: tuple[str, ...] = ()
    dialect: str | None = None
    is_stream: bool = False
    provider: str | None = None
    model: str | None = None
    cost_nanousd: int | None = None
    """Of all attempts whose cost is known; None where none is."""
    unpriced: int = 0
    """Attempts that may be charged and whose cost is not known, those included that are still under way."""
    error_type: str | None = None
    status_code: int | None = None
    is_cached: bool = False
    """The answer was given before, and is given again without an attempt; `saved_nanousd` is what it cost then. Of a
    call of several parts some may be such."""
    saved_nanousd: int | None = None
    operation: Operation | None = None
    """None: a chat."""


Entry = Begun | Bounded | Ended | Call
