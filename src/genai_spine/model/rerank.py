"""Texts in order of how well they answer a query. Pure values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import msgspec

from genai_spine.model import accept
from genai_spine.model.content import Metadata
from genai_spine.model.response import Notice, TokenUsage
from genai_spine.model.scalars import Scalars


class RerankOptions(TypedDict, total=False):
    """What the fields of `RerankRequest` take beside what is ranked."""

    model: str | None
    provider: str | None
    top_n: int | None
    cost_limit: Decimal | float | None
    extra: Mapping[str, Any] | None


class RerankKeywords(RerankOptions, total=False):
    """What all of them take, as keyword arguments of `rerank`."""

    query: str
    documents: str | Sequence[str]


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which of `documents` answer `query`, the best first; no more than `top_n` of them.

    `cost_limit` is what all attempts together may cost, in USD. `extra` holds, by dialect, members the model has no
    name for, such as Cohere's `max_tokens_per_doc`.
    """

    query: str
    documents: tuple[str, ...]
    model: str | None = None
    provider: str | None = None
    top_n: int | None = None
    cost_limit: Decimal | None = None
    extra: Metadata | None = None

    if TYPE_CHECKING:  # what it takes, which is more than what it holds

        def __init__(self, *, query: str, documents: str | Sequence[str], **options: Unpack[RerankOptions]) -> None: ...

    def __post_init__(self) -> None:
        _SCALARS.check(self)
        if not isinstance(self.documents, tuple):  # a list is taken too
            msgspec.structs.force_setattr(self, "documents", accept.strings_of(self.documents, "documents"))
        if self.cost_limit is not None and not accept.is_amount(self.cost_limit):
            msgspec.structs.force_setattr(self, "cost_limit", accept.amount_of(self.cost_limit, "cost_limit"))
        if self.extra is not None:
            msgspec.structs.force_setattr(self, "extra", accept.raw_by_dialect(self.extra))


_SCALARS = Scalars(strings=("query", "model", "provider"), counts=("top_n",))


class RerankResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`index` is the document's place in the request. Scores of one answer can be compared, of two models not:
    some are from 0 to 1, others (llama.cpp's) any number."""

    index: int
    relevance_score: float
    document: str | None = None
    provider_metadata: Metadata | None = None


class RerankResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`results` are ordered by their score, the highest first. `cost_usd` is None where a price is unknown."""

    model: str
    results: tuple[RerankResult, ...] = ()
    usage: TokenUsage | None = None
    provider: str | None = None
    cost_usd: Decimal | None = None
    id: str | None = None
    notices: tuple[Notice, ...] = ()
    extra: Metadata | None = None
