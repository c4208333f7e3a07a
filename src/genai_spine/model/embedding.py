"""Texts to vectors. Pure values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import msgspec

from genai_spine.model import accept
from genai_spine.model.content import Metadata
from genai_spine.model.response import Notice, TokenUsage
from genai_spine.model.scalars import Scalars


class EmbeddingOptions(TypedDict, total=False):
    """What the fields of `EmbeddingRequest` take beside its input."""

    model: str | None
    provider: str | None
    dimensions: int | None
    user: str | None
    provider_hint: str | None
    cost_limit: Decimal | float | None
    extra: Mapping[str, Any] | None


class EmbeddingKeywords(EmbeddingOptions, total=False):
    """What all of them take, as keyword arguments of `embed`."""

    input: str | Sequence[str | Sequence[int]]


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`input` holds one entry a vector: a text, or token ids where the provider takes them.

    `cost_limit` is what all attempts together may cost, in USD. `provider_hint` is not heeded, and a Notice says so:
    vectors of two models cannot be mixed.
    """

    input: tuple[str | tuple[int, ...], ...]
    model: str | None = None
    provider: str | None = None
    dimensions: int | None = None
    user: str | None = None
    provider_hint: str | None = None
    cost_limit: Decimal | None = None
    extra: Metadata | None = None

    if TYPE_CHECKING:  # what it takes, which is more than what it holds

        def __init__(
            self, *, input: str | Sequence[str | Sequence[int]], **options: Unpack[EmbeddingOptions]
        ) -> None: ...

    def __post_init__(self) -> None:
        _SCALARS.check(self)
        if type(self.input) is not tuple or not all(type(item) is str for item in self.input):  # lists are taken too
            msgspec.structs.force_setattr(self, "input", accept.inputs_of(self.input))
        if self.cost_limit is not None and not accept.is_amount(self.cost_limit):
            msgspec.structs.force_setattr(self, "cost_limit", accept.amount_of(self.cost_limit, "cost_limit"))
        if self.extra is not None:
            msgspec.structs.force_setattr(self, "extra", accept.raw_by_dialect(self.extra))


_SCALARS = Scalars(strings=("model", "provider", "user", "provider_hint"), counts=("dimensions",))


class EmbeddingResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`embeddings[i]` is the vector of `input[i]`. `cost_usd` is None where a price is unknown."""

    model: str
    embeddings: tuple[tuple[float, ...], ...] = ()
    usage: TokenUsage | None = None
    provider: str | None = None
    cost_usd: Decimal | None = None
    id: str | None = None
    notices: tuple[Notice, ...] = ()
    extra: Metadata | None = None
