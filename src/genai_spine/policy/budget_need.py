"""What one call may use before it is sent: tokens in and out, expected and at most, and what they cost.

Rates are whole pico-dollars (10⁻¹² USD) a token, so that a reservation is two multiplications. `expected` is for an
answer as long as 95 % of the model's were (`Lengths`), `most` the upper bound of cost_bounds.py: the dearest kind of
token in the dearest tier. Estimates are somebody else's. No clock, no state but `Lengths`.
"""

from __future__ import annotations

from collections import OrderedDict
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import NamedTuple

import msgspec

from genai_spine.model.card import Price
from genai_spine.policy.cost_bounds import dearest_of, is_free
from genai_spine.policy.pace import Quantile

PRIOR_OUTPUT = 2_000
"""How long an answer of a model is taken to be while little is known of it: nineteen of twenty chats are shorter."""
LEAST_ANSWER = 16
"""An answer is not made shorter than this, which is the least that OpenAI's Responses take."""
UNBOUNDED_OUTPUT = 32_000
"""How long an answer may be, under a hard budget, where neither the request nor the catalog limits it."""
MOST_OUTPUT = 10**9
"""Tokens of all answers of one call; no service writes more, and larger numbers fit in no ledger and no sum."""
_ENOUGH = 20
_MOST_MODELS = 1_000
_PICO = Decimal(10**12)
_PICO_PER_NANO = 1_000


class Asks(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for, as far as it can be seen before it is sent."""

    input_tokens: int = 0
    """By estimate."""
    most_input: int = 0
    """It cannot be more."""
    max_tokens: int | None = None
    """Of the answer, as the request limits it."""
    answers: int = 1
    has_media: bool = False
    searches: int = 0
    service: str | None = None
    """The tier that is asked for: `priority`, `flex` …"""
    has_kept_prompt: bool = False
    """Whether it names a prompt that the provider keeps: then it may be as long as the model's context window."""


_NOTHING = Asks()


def nothing() -> Asks:
    return _NOTHING


class Amount(NamedTuple):
    """Nano-dollars, and tokens in and out."""

    nanousd: int
    tokens: int


class Tariff(msgspec.Struct, frozen=True, gc=False):
    """Pico-dollars: of a token, of the dearest token, and what is charged beside."""

    input: int
    output: int
    most_input: int
    most_output: int
    fee: int

    def expected(self, input_tokens: int, output_tokens: int) -> int:
        """Nano-dollars, rounded up."""
        return -(-(self.fee + input_tokens * self.input + output_tokens * self.output) // _PICO_PER_NANO)

    def most(self, input_tokens: int, output_tokens: int) -> int:
        """The upper bound in nano-dollars, rounded up."""
        return -(-(self.fee + input_tokens * self.most_input + output_tokens * self.most_output) // _PICO_PER_NANO)

    def output_within(self, nanousd: int, input_tokens: int) -> int | None:
        """The longest answer that costs no more; negative where not even the input fits; None: any does."""
        left = nanousd * _PICO_PER_NANO - self.fee - input_tokens * self.most_input
        if left < 0:
            return -1
        return left // self.most_output if self.most_output else None


def tariff_of(
    price: Price,
    input_tokens: int,
    most_input: int,
    *,
    answers: bool = True,
    has_media: bool = False,
    searches: int = 0,
    seconds: float | None = None,
) -> Tariff | None:
    """The tariff of a call with about so many input tokens, and no more than `most_input`; None where a rate is not
    known. `answers`: whether it has an answer that is charged, as vectors have none."""
    reach = _reach(price, input_tokens) if price.tiers else 0
    most_reach = _reach(price, most_input) if price.tiers else 0
    seconds = seconds if price.second is not None else None
    return _tariff(price, reach, most_reach, answers, has_media, searches, seconds)


def _reach(price: Price, input_tokens: int) -> int:
    """Input tokens that are in the same tier: the fewest."""
    return max((tier.above + 1 for tier in price.tiers if tier.above < input_tokens), default=0)


@lru_cache(4096)
def _tariff(
    price: Price,
    reach: int,
    most_reach: int,
    answers: bool,
    has_media: bool,
    searches: int,
    seconds: float | None,
) -> Tariff | None:
    dearest = dearest_of(price, most_reach, has_media=has_media, searches=searches, seconds=seconds)
    if dearest is None or (answers and dearest[1] is None):
        return None
    most_input, most_output, fee = dearest
    rates = price.rates(reach)
    return Tariff(
        input=_pico_per_token(rates.input),
        output=_pico_per_token(rates.output),
        most_input=_pico_per_token(most_input),
        most_output=_pico_per_token(most_output),
        fee=int((fee * _PICO).to_integral_value(ROUND_CEILING)),
    )


def _pico_per_token(per_1m: Decimal | None) -> int:
    return 0 if per_1m is None else int((per_1m * 1_000_000).to_integral_value(ROUND_CEILING))


class Need(NamedTuple):
    """What one attempt at one model may use. `tariff` None: its price is not known."""

    input: int
    most_input: int
    output: int
    """Expected."""
    most_output: int
    is_unbounded: bool
    """Whether nothing limits the answer, so that `most_output` is ours."""
    tariff: Tariff | None
    is_free: bool
    answers: int = 1

    @property
    def least_output(self) -> int:
        """With fewer tokens for all its answers a hard budget does not let it through."""
        return min(self.most_output, LEAST_ANSWER * self.answers)

    def by_estimate(self) -> Need:
        """With no more input than is estimated."""
        return self._replace(most_input=self.input)

    def expected(self, cap: int) -> Amount:
        output = min(self.output, cap)
        nanousd = 0 if self.is_free or self.tariff is None else self.tariff.expected(self.input, output)
        return Amount(nanousd, self.input + output)

    def of_output(self, tokens: int) -> int:
        """Nano-dollars of so many tokens of the answer, at most."""
        return 0 if self.is_free or self.tariff is None else self.tariff.most(0, tokens) - self.tariff.most(0, 0)

    def output_within(self, nanousd: int, tokens: int) -> int:
        """How long an answer is likely to fit."""
        tariff, by_tokens = self.tariff, tokens - self.input
        if self.is_free or tariff is None or not tariff.output:
            return by_tokens
        return min(by_tokens, (nanousd - tariff.expected(self.input, 0)) * _PICO_PER_NANO // tariff.output)

    def most(self, cap: int) -> Amount:
        """The upper bound with an answer of so many tokens."""
        nanousd = 0 if self.is_free or self.tariff is None else self.tariff.most(self.most_input, cap)
        return Amount(nanousd, self.most_input + cap)


def need_of(
    asks: Asks, price: Price | None, model_limit: int | None, learned: int | None, seconds: float | None = None
) -> Need:
    """Of a request at one model, whose answers have at most `model_limit` tokens and 95 % at most `learned`.

    `seconds` is how long it may take, where computing is charged by the second.
    """
    limits = [limit for limit in (asks.max_tokens, model_limit) if limit is not None]
    most_output = min((min(limits) if limits else UNBOUNDED_OUTPUT) * asks.answers, MOST_OUTPUT)
    output = PRIOR_OUTPUT * asks.answers if learned is None else learned
    tariff = None
    if price is not None:
        tariff = tariff_of(
            price,
            asks.input_tokens,
            asks.most_input,
            answers=most_output > 0,
            has_media=asks.has_media,
            searches=asks.searches,
            seconds=seconds,
        )
    return Need(
        input=asks.input_tokens,
        most_input=asks.most_input,
        output=min(output, most_output),
        most_output=most_output,
        is_unbounded=not limits and most_output > 0,
        tariff=tariff,
        is_free=_is_free(price),
        answers=asks.answers,
    )


@lru_cache(4096)
def _is_free(price: Price | None) -> bool:
    return is_free(price)


class Lengths:
    """How long answers are, by model: what 95 % do not exceed. Of the thousand models that were asked last."""

    __slots__ = ("_by_model",)

    def __init__(self) -> None:
        self._by_model: OrderedDict[tuple[str, str], Quantile] = OrderedDict()

    def add(self, model: tuple[str, str], tokens: int) -> None:
        found = self._by_model.get(model)
        if found is None:
            if len(self._by_model) >= _MOST_MODELS:
                self._by_model.popitem(last=False)
            found = self._by_model[model] = Quantile(_ENOUGH)
        else:
            self._by_model.move_to_end(model)
        found.add(tokens * _S_PER_TOKEN)

    def p95(self, model: tuple[str, str]) -> int | None:
        """None while fewer than twenty answers were seen."""
        found = self._by_model.get(model)
        longest = found.p95_s if found is not None else None
        return None if longest is None else int(longest / _S_PER_TOKEN) + 1


_S_PER_TOKEN = 0.001
"""`Quantile` knows times from a millisecond to a quarter of an hour: as tokens, from one to a million."""
