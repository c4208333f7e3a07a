"""Answers that are given again: which call may have which, and what is kept of them.

    slot = cache.slot_of_…(call)     None: the call is none to be cached
    await slot.find()                what was kept of an equal call, or None
    slot.keep(…)                     only what is whole: no error, no broken stream, nothing cut short by a guard

An answer belongs to its tenant, its request and the target that gave it, with all that is set about that target.
The gateway's answers are kept as the bytes that their caller got (cached_exchanges.py), a program's as values; the
two share nothing. Must not know: HTTP, how a store works.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar

import msgspec

from genai_spine.engine.caching.cache_stores import Store, open_store
from genai_spine.engine.exchange import Exchange
from genai_spine.engine.record import Cached, CallRecord, RecentCalls
from genai_spine.engine.routing.decision import Decision
from genai_spine.model import accept
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.events import PartDelta, StreamEvent
from genai_spine.model.fold import Collector
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, FinishReason, Notice, TokenUsage
from genai_spine.policy.cache_key import is_stateful, key_of, sampling_in
from genai_spine.policy.cost import nanousd
from genai_spine.policy.route import Choice
from genai_spine.providers.agent import AgentProvider
from genai_spine.providers.provider import LLMProvider
from genai_spine.settings import Settings
from genai_spine.wire.http import Headers
from genai_spine.wire.json import encode

if TYPE_CHECKING:
    from genai_spine.engine.routing.router import Router

A = TypeVar("A")

MOST_BYTES = 4 * 1024 * 1024
"""Of one answer; larger ones are not kept."""
_MOST_TARGETS = 1000
_PROGRAM, _VECTORS = "program", "vectors"
"""What stands for the dialect of calls that have none."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of an answer."""

    body: bytes
    form: str
    """How it is written: see `cached_exchanges.form_of`."""
    provider: str
    model: str
    at: float
    """Seconds since 1970."""
    cost_nanousd: int | None
    """What it cost when it was given."""
    usage: bytes | None
    """As JSON."""
    notices: tuple[Notice, ...] = ()
    raw: bytes | None = None
    """`CompletionResponse.raw`."""

    def token_usage(self) -> TokenUsage | None:
        return _usage.decode(self.usage) if self.usage is not None else None


class ResponseCache:
    """One for each manager whose settings name a store."""

    def __init__(self, settings: Settings, store: Store, router: Router, recent: RecentCalls) -> None:
        self.store = store
        self.recent = recent
        self.ttl_s = float(settings.cache.ttl)
        self._settings = settings
        self._keeps_all = settings.cache.answers == "all"
        self._is_shared = settings.cache.scope == "all"
        self._router = router
        self._targets: dict[Choice, tuple[LLMProvider, bytes]] = {}

    @classmethod
    def of(cls, settings: Settings, router: Router, recent: RecentCalls) -> ResponseCache | None:
        """Raises: ConfigError."""
        store = open_store(settings.cache)
        return cls(settings, store, router, recent) if store is not None else None

    # ------------------------------------------------------------ which calls

    def slot_of_exchange(self, exchange: Exchange, record: CallRecord, decision: Decision) -> Slot | None:
        members = exchange.peek.members
        wants = self._keeps_all or record.cache_terms.max_age_s is not None
        if is_stateful(members) or not (wants or sampling_in(exchange.dialect, members).is_repeatable):
            return None
        return self._slot(record, decision, exchange.dialect, encode(members), exchange.headers)

    def slot_of_request(self, request: CompletionRequest, record: CallRecord, decision: Decision) -> Slot | None:
        wants = self._keeps_all or record.cache_terms.max_age_s is not None
        if not (wants or request.temperature == 0 or request.seed is not None):
            return None
        plain = msgspec.structs.replace(request, provider=None, provider_hint=None, fallbacks=(), cost_limit=None)
        return self._slot(record, decision, _PROGRAM, accept.encoded(plain))

    def slot_of_embedding(self, request: EmbeddingRequest, record: CallRecord, decision: Decision) -> Slot | None:
        plain = msgspec.structs.replace(request, provider=None, provider_hint=None, cost_limit=None)
        return self._slot(record, decision, _VECTORS, accept.encoded(plain))

    def _slot(
        self,
        record: CallRecord,
        decision: Decision,
        dialect: str,
        body: bytes,
        headers: Headers = (),
    ) -> Slot | None:
        if record.cache_terms.no_store or not self._caches(decision.route):
            return None
        provider = self._router.provider_of(decision.choices[0])
        slot = Slot(self, record, decision, provider, (dialect, body, headers))
        if slot.key is None:
            return None
        record.may_be_cached = True
        return slot

    def _caches(self, route: str | None) -> bool:
        own = self._settings.routes.get(route) if route is not None else None
        return own is None or own.cache

    def key(self, record: CallRecord, choice: Choice, said: Said) -> bytes | None:
        tenant = "all" if self._is_shared else "nobody" if record.caller is None else f"key {record.caller}"
        dialect, body, headers = said
        return key_of(tenant, dialect, self._target(choice), body, headers)

    def _target(self, choice: Choice) -> bytes:
        """The model and all that is set about it: with other settings it may answer otherwise."""
        provider = self._router.provider_of(choice)
        behind = provider.provider if isinstance(provider, AgentProvider) else provider
        known = self._targets.get(choice)
        if known is not None and known[0] is behind:
            return known[1]
        agent = self._settings.agents.get(choice.agent) if choice.agent is not None else None
        about = (
            choice.provider, behind.provider_type, provider.card(choice.model).id, choice.model, choice.agent,
            agent, getattr(behind, "settings", None),  # secrets show as ***
        )  # fmt: skip
        digest = sha256(repr(about).encode()).digest()
        if len(self._targets) >= _MOST_TARGETS:
            self._targets.clear()
        self._targets[choice] = behind, digest
        return digest


Said = tuple[str, bytes, Headers]
"""Dialect, body and headers of a request."""


class Slot:
    """The place of one call in the cache."""

    __slots__ = ("_cache", "_choice", "_decision", "_said", "key", "provider", "record")

    def __init__(
        self, cache: ResponseCache, record: CallRecord, decision: Decision, provider: LLMProvider, said: Said
    ) -> None:
        self._cache = cache
        self._decision = decision
        self._choice = choice = decision.choices[0]
        self._said = said
        self.record = record
        self.provider = provider
        """Who would be asked."""
        self.key = cache.key(record, choice, said)

    async def find(self) -> Entry | None:
        """What was kept, if it is as young as the caller wants it. `use` then says that it is given."""
        terms = self.record.cache_terms
        if terms.no_cache or self.key is None:
            return None
        value = await self._cache.store.get(self.key)
        if value is None:
            return None
        try:
            entry = _entry.decode(value)
        except msgspec.DecodeError:  # of another version, or spoilt
            return None
        bound_s = self._cache.ttl_s if terms.max_age_s is None else min(terms.max_age_s, self._cache.ttl_s)
        return entry if _age_s(entry) <= bound_s else None

    def use(self, entry: Entry) -> None:
        """The entry is the call's answer."""
        record = self.record
        record.decision, record.answered_by = self._decision, self._choice
        self._cache.recent.add(record)
        record.cached = Cached(
            age_s=_age_s(entry), provider=entry.provider, model=entry.model, saved_nanousd=entry.cost_nanousd
        )

    def keep(
        self,
        body: bytes,
        form: str,
        provider: str,
        model: str,
        notices: tuple[Notice, ...],
        raw: msgspec.Raw | None = None,
    ) -> None:
        """The call's answer is whole: keep it, under the target that gave it."""
        record, choice = self.record, self.record.answered_by
        if choice is None or record.is_shared or record.notices or len(body) + len(raw or b"") > MOST_BYTES:
            return  # one that goes on where another broke is nobody's own
        key = self.key if choice == self._choice else self._cache.key(record, choice, self._said)
        attempt = next((each for each in reversed(record.attempts) if each.target.choice == choice), None)
        if key is None or attempt is None:
            return
        usage = attempt.usage
        cost = attempt.target.provider.priced(choice.model or "", usage).cost_usd if usage is not None else None
        entry = Entry(
            body,
            form,
            provider,
            model,
            time.time(),
            nanousd(cost),
            msgspec.json.encode(usage) if usage is not None else None,
            notices,
            bytes(raw) if raw is not None else None,
        )
        self._cache.store.put(key, _encode(entry), self._cache.ttl_s)

    # ------------------------------------------------------------ a program's own calls

    async def response(self) -> CompletionResponse | None:
        found = await self._read(_response)
        if found is None:
            return None
        entry, kept = found
        notices = (*kept.notices, _notice(entry))
        raw = msgspec.Raw(entry.raw) if entry.raw is not None else None
        return msgspec.structs.replace(kept, cost_usd=Decimal(0), duration_s=None, notices=notices, raw=raw)

    def keep_response(self, response: CompletionResponse, max_tokens: int | None) -> None:
        if is_whole(response.finish_reason, response.usage, max_tokens):
            provider = response.provider or self._choice.provider
            body = msgspec.json.encode(msgspec.structs.replace(response, raw=None))
            self.keep(body, "", provider, response.model, response.notices, response.raw)

    async def keeping(
        self, batches: AsyncGenerator[list[StreamEvent], None], start: StreamEvent, max_tokens: int | None
    ) -> AsyncGenerator[list[StreamEvent], None]:
        """The events of a stream, which is kept once it is whole; `start` is its first as the provider told it."""
        collector = Collector()
        collector.add(start)
        size, is_first = 0, True
        async with aclosing(batches):
            async for events in batches:
                for event in events[1:] if is_first else events:
                    if type(event) is PartDelta:
                        size += len(event.text)
                    if size <= MOST_BYTES:
                        collector.add(event)
                is_first = False
                yield events
        if size <= MOST_BYTES:
            self.keep_response(collector.response(), max_tokens)

    async def vectors(self) -> EmbeddingResponse | None:
        found = await self._read(_vectors)
        if found is None:
            return None
        entry, kept = found
        return msgspec.structs.replace(kept, cost_usd=Decimal(0), notices=(*kept.notices, _notice(entry)))

    async def _read(self, decoder: msgspec.json.Decoder[A]) -> tuple[Entry, A] | None:
        entry = await self.find()
        if entry is None:
            return None
        try:
            kept = decoder.decode(entry.body)
        except msgspec.DecodeError:  # as in `find`
            return None
        self.use(entry)
        return entry, kept

    def keep_vectors(self, response: EmbeddingResponse) -> None:
        provider = response.provider or self._choice.provider
        self.keep(msgspec.json.encode(response), "", provider, response.model, response.notices)


def is_whole(finish: FinishReason | None, usage: TokenUsage | None, max_tokens: int | None) -> bool:
    """Whether the model came to its end. One that ran out of tokens did so where the caller had set the bound, and
    that was reached: else somebody else cut it, and it may go on next time."""
    if finish is FinishReason.LENGTH:
        used = usage.output_tokens if usage is not None else None
        return max_tokens is not None and used is not None and used >= max_tokens
    return finish in (FinishReason.STOP, FinishReason.TOOL_CALLS)


def _notice(entry: Entry) -> Notice:
    return Notice(code="cached", message=f"the answer is {_age_s(entry):.0f} s old and costs nothing")


def _age_s(entry: Entry) -> float:
    return max(0.0, time.time() - entry.at)


_encode = msgspec.msgpack.Encoder().encode
_entry = msgspec.msgpack.Decoder(Entry)
_usage = msgspec.json.Decoder(TokenUsage)
_response = msgspec.json.Decoder(CompletionResponse)
_vectors = msgspec.json.Decoder(EmbeddingResponse)
