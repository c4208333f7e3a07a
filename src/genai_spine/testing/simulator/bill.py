"""What the simulator would charge for what it was asked: its own count of the work, to compare a gateway's with.

    a refusal, whatever its status             nothing: no work was begun
    a connection that ends before any byte     the same
    a plain answer                             its input and output, whether or not its bytes arrive
    a stream                                   its input, and the output that has left, be it broken, cut or given up;
                                               nothing, where it tells an error before it has said anything

`GET /simulator/bill` tells it: the total in nano-dollars (10⁻⁹ USD), and each request's share. Must not know: how the
gateway counts (policy/cost.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from genai_spine.model.errors import InvalidRequest
from genai_spine.model.response import TokenUsage

PATH = "/simulator/bill"
MOST_KEPT = 100_000
"""Requests that are told one by one; older ones are in the total."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Nano-dollars for one token. What was cached is part of the input, and as dear where nothing else is said."""

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None


DEFAULT_RATES: Mapping[str, Rates] = {"*": Rates(input=1_250, output=10_000)}
"""By the model's name, as a shell's pattern; the first that fits."""


class Work:
    """What an answer takes to make. `made` is, for each piece of a stream, how much of the output it and those before
    it hold; None for what is made whole before any of it leaves."""

    __slots__ = ("made", "pieces", "usage")

    def __init__(self, usage: TokenUsage, made: Sequence[int] | None = None) -> None:
        self.usage = usage
        self.made = made
        self.pieces: int | None = 0
        """How many have left; None: all, however they are cut."""

    @property
    def output_tokens(self) -> int:
        """Made so far."""
        if self.made is None or self.pieces is None:
            return self.usage.output_tokens or 0
        return self.made[min(self.pieces, len(self.made)) - 1] if self.pieces and self.made else 0

    def until(self, pieces: int) -> Work | None:
        """That of a stream which tells an error after so many pieces; None where it had said nothing until then."""
        made = self.made[:pieces] if self.made is not None else None
        return Work(self.usage, made) if made and made[-1] else None


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """One request's share of the bill."""

    request_id: str
    path: str
    model: str | None
    input_tokens: int
    output_tokens: int
    nanousd: int


class _Entry(msgspec.Struct, frozen=True):
    request_id: str
    path: str
    model: str | None
    work: Work
    rates: Rates

    def charge(self) -> Charge:
        usage, rates, output = self.work.usage, self.rates, self.work.output_tokens
        tokens, reads, writes = usage.input_tokens or 0, usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
        cached = reads * _or(rates.cache_read, rates.input) + writes * _or(rates.cache_write, rates.input)
        return Charge(
            request_id=self.request_id,
            path=self.path,
            model=self.model,
            input_tokens=tokens,
            output_tokens=output,
            nanousd=(tokens - reads - writes) * rates.input + cached + output * rates.output,
        )


class Bill:
    """All work of one simulator. What is still being made is charged as far as it is."""

    __slots__ = ("_entries", "_forgotten", "_rates")

    def __init__(self, rates: Mapping[str, Rates] = DEFAULT_RATES) -> None:
        self._rates = dict(rates)
        self._entries: deque[_Entry] = deque()
        self._forgotten = 0

    def add(self, request_id: str, path: str, model: str | None, work: Work) -> None:
        """Work is begun; what has no price is free."""
        rates = next((rates for name, rates in self._rates.items() if fnmatchcase(model or "", name)), None)
        if rates is None:
            return
        if len(self._entries) >= MOST_KEPT:
            self._forgotten += self._entries.popleft().charge().nanousd
        self._entries.append(_Entry(request_id, path, model, work, rates))

    @property
    def charges(self) -> list[Charge]:
        return [entry.charge() for entry in self._entries]

    @property
    def nanousd(self) -> int:
        return self._forgotten + sum(charge.nanousd for charge in self.charges)

    def told(self) -> dict[str, Any]:
        """As `GET /simulator/bill` says it."""
        charges = self.charges
        total = self._forgotten + sum(charge.nanousd for charge in charges)
        return {"object": "bill", "nanousd": total, "requests": msgspec.to_builtins(charges)}


def parse_rates(texts: Sequence[str]) -> Mapping[str, Rates]:
    """`gpt-*=1250,10000`: a pattern of names, and nano-dollars for a token in and out. Raises: InvalidRequest."""
    rates = {}
    for text in texts:
        name, _, numbers = text.rpartition("=")
        tokens_in, _, tokens_out = numbers.partition(",")
        if not (name and tokens_in.strip().isdecimal() and tokens_out.strip().isdecimal()):
            raise InvalidRequest(f"{text[:80]}: expected MODEL=IN,OUT in nano-dollars for a token: gpt-*=1250,10000")
        rates[name] = Rates(input=int(tokens_in), output=int(tokens_out))
    return rates or DEFAULT_RATES


def _or(rate: int | None, other: int) -> int:
    return other if rate is None else rate
