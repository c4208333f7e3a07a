"""Facts about a model: what it can do, how much it takes, what it costs. Data, not behaviour."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Literal

import msgspec

from genai_spine.model.content import Metadata

ThinkingStyle = Literal["none", "budget", "adaptive", "effort", "level"]
"""How a model is asked to think: not at all, a number of tokens, as it sees fit, an effort, or Gemini's level."""

ThinkingOff = Literal["disabled", "between_tools", "never"]
"""How a Claude is asked not to think: with which word, or that it always does."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, cache_hash=True):
    """None means that it is not known; only False is a promise that the model cannot."""

    tools: bool | None = None
    images: bool | None = None
    documents: bool | None = None
    audio: bool | None = None
    video: bool | None = None
    image_output: bool | None = None
    audio_output: bool | None = None
    thinking: bool | None = None
    thinking_style: ThinkingStyle | None = None
    thinking_off: ThinkingOff | None = None
    structured_output: bool | None = None
    system_messages: bool | None = None
    code_execution: bool | None = None
    sampling: bool | None = None
    """Whether temperature and top_p may be sent: newer reasoning models refuse them."""
    sampling_while_thinking: bool | None = None
    """False where they are taken with the effort `none` only."""
    efforts: tuple[str, ...] | None = None
    """How much it may be asked to think, rising, in OpenAI's words; it refuses any other."""
    default_effort: str | None = None
    """How much it thinks where nobody says."""
    temperature_with_top_p: bool | None = None
    """Whether both may be sent at once: Claude 4.1 to 4.6 take one of them."""
    penalties: bool | None = None
    """Whether frequency_penalty and presence_penalty may be sent: Gemini from 2.5 on and Grok 4 refuse them."""
    stop: bool | None = None
    """Whether stop sequences may be sent: gpt-5, o3, o4-mini and Grok 4 refuse them."""
    parallel_tools: bool | None = None
    """Whether OpenAI's chat may be told of `parallel_tool_calls`, yes or no: o1, o3 and o4-mini refuse the word."""
    forced_tools: bool | None = None
    """Whether it may be told that it must call a tool."""
    cache_marks: bool | None = None

    def over(self, other: Capabilities) -> Capabilities:
        """These, and the other's word on what is not known here."""
        mine, theirs = msgspec.structs.asdict(self), msgspec.structs.asdict(other)
        return Capabilities(**{name: theirs[name] if value is None else value for name, value in mine.items()})


class Rates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What each thing costs, in USD; None is not known, and never free.

    Tokens are per million. `input` is for those that no other rate names: text, and what has no rate of its
    own; `cached_input`, `cached_audio` and `cached_image` are read from a cache, `cache_write` is written to one
    for five minutes, `cache_write_1h` for an hour. The rest is per thousand (`_per_1k`), hour or second.
    """

    input: Decimal | None = None
    output: Decimal | None = None
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning_output: Decimal | None = None
    citation: Decimal | None = None
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None
    cached_audio: Decimal | None = None
    image_input: Decimal | None = None
    image_output: Decimal | None = None
    cached_image: Decimal | None = None
    video_input: Decimal | None = None
    video_output: Decimal | None = None
    characters_per_1m: Decimal | None = None
    requests_per_1k: Decimal | None = None
    messages_per_1k: Decimal | None = None
    searches_per_1k: Decimal | None = None
    file_searches_per_1k: Decimal | None = None
    pages_per_1k: Decimal | None = None
    annotated_pages_per_1k: Decimal | None = None
    audio_hour: Decimal | None = None
    audio_input_hour: Decimal | None = None
    second: Decimal | None = None

    @property
    def known(self) -> dict[str, Decimal]:
        return {name: rate for name in Rates.__struct_fields__ if (rate := getattr(self, name)) is not None}


class Tier(Rates, frozen=True, kw_only=True, omit_defaults=True):
    """Other rates for the whole call where it has more than `above` input tokens, cached ones included."""

    above: int


class Price(Rates, frozen=True, kw_only=True, omit_defaults=True, cache_hash=True):
    """Rates, and when they are in force: from `since` on, and where `hours` are given only between them (UTC).

    `service` None is the ordinary price. "batch", "flex", "priority" … are what another way of asking
    costs: the rates it names stand in place of the ordinary ones. `as_of` is the day the source was read.
    """

    since: date | None = None
    hours: tuple[time, time] | None = None
    service: str | None = None
    tiers: tuple[Tier, ...] = ()
    as_of: date | None = None
    source: str | None = None

    def applies(self, moment: datetime | date) -> bool:
        """Whether it is in force. On a day without an hour, a price of certain hours is not."""
        day = moment.date() if isinstance(moment, datetime) else moment
        if self.since is not None and day < self.since:
            return False
        if self.hours is None:
            return True
        if not isinstance(moment, datetime):
            return False
        (begin, end), now = self.hours, moment.time()
        return begin <= now < end if begin <= end else (now >= begin or now < end)

    def rates(self, input_tokens: int = 0) -> Rates:
        """The rates of a call with so many input tokens."""
        found = self.known
        for tier in self.tiers:
            if input_tokens > tier.above:
                found |= tier.known
        return Rates(**found)


class ModelCard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model of one provider. `extra` keeps what the provider's own list says of it.

    `price` is the ordinary one of the day the catalog was made; `prices` are all, each in force until a later
    one of its service is. A model that is `retired` is no longer answered; `successor` is whom to ask instead.
    """

    id: str
    provider: str | None = None
    name: str | None = None
    created_s: int | None = None
    owned_by: str | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    capabilities: Capabilities = Capabilities()
    price: Price | None = None
    prices: tuple[Price, ...] = ()
    deprecated: bool | None = None
    retired: date | None = None
    successor: str | None = None
    extra: Metadata | None = None

    def price_at(self, moment: datetime | date, service: str | None = None) -> Price | None:
        """The price in force at a moment in UTC; None where none is known.

        Of a `service`, such as "batch", it is what that names over the ordinary price; None where the service
        has no price of its own.
        """
        prices = self.prices or ((self.price,) if self.price is not None else ())
        ordinary = next((p for p in reversed(prices) if p.service is None and p.applies(moment)), None)
        if service is None or ordinary is None:
            return ordinary
        special = next((p for p in reversed(prices) if p.service == service and p.applies(moment)), None)
        return over(special, ordinary) if special is not None else None


def over(special: Price, ordinary: Price) -> Price:
    """A service's price with the ordinary rates that it does not name, in the base and in each tier."""
    named = special.known.keys() | {name for tier in special.tiers for name in tier.known}
    bounds = sorted({tier.above for price in (special, ordinary) for tier in price.tiers})
    tiers = []
    for above in bounds:
        ours, theirs = special.rates(above + 1).known, ordinary.rates(above + 1).known
        kept = {name: rate for name, rate in theirs.items() if name not in named}
        tiers.append(Tier(above=above, **{**kept, **ours}))
    rest = {name: rate for name, rate in ordinary.known.items() if name not in named}
    return msgspec.structs.replace(special, tiers=tuple(tiers), **rest)
