"""Facts about a model: what it can do, how much it takes, what it costs. Data, not behaviour."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Literal

import msgspec

from genai_spine.model.content import Metadata

ThinkingStyle = Literal["none", "budget", "adaptive", "effort"]
"""How a model is asked to think: not at all, a number of tokens, as it sees fit, or an effort level."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """None means that it is not known; only False is a promise that the model cannot."""

    tools: bool | None = None
    images: bool | None = None
    documents: bool | None = None
    audio: bool | None = None
    thinking: bool | None = None
    thinking_style: ThinkingStyle | None = None
    structured_output: bool | None = None
    system_messages: bool | None = None
    code_execution: bool | None = None
    sampling: bool | None = None
    """Whether temperature and top_p may be sent: newer reasoning models refuse them."""
    cache_marks: bool | None = None


class Price(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """USD per million tokens, in force from `since`."""

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    since: date | None = None
    source: str | None = None


class ModelCard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model of one provider. `extra` keeps what the provider's own list says of it."""

    id: str
    provider: str | None = None
    name: str | None = None
    created_s: int | None = None
    owned_by: str | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    capabilities: Capabilities = Capabilities()
    price: Price | None = None
    extra: Metadata | None = None
