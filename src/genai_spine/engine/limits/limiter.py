"""Limits on our side: what a call may use before a provider is asked, and who waits for it.

    grant = await limiter.admit(choice, caller, tokens, wait_until_s)     # or LimitReached
    …
    grant.settle(usage.total_tokens)

A call passes through the caller's buckets (`[limits]`), its provider's and its model's, in one decision: it
gets room in all of them, or takes nothing. Beside these stands what the target itself told (gate.py). Where
nothing is configured and nothing was told, `concerns` is False and none of this is run.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from genai_spine.engine.limits.gate import Gate, RawHeaders, Refused, Way, is_too_much, limits_told, tells_of_little
from genai_spine.engine.limits.lines import Lines
from genai_spine.engine.limits.state import Bucket, Buckets, LocalState, Refusal, State, Taken
from genai_spine.model.errors import LimitReached, RateLimit, SpineError
from genai_spine.policy.route import Choice
from genai_spine.settings import ProviderSettings, Settings
from genai_spine.settings.tree import LimitsSettings, ModelLimits

_MOST_GATES = 10_000
_MOST_CALLERS = 10_000
_FOREVER_S = 1e9
_EAR_RESTS = 15
"""Answers that are not listened to after one that told of no limit."""

Key = tuple[str, str | None]
"""Provider and model."""


class Grant:
    """What a call was given. Settled once; every settlement after the first is nothing."""

    __slots__ = ("_gate", "_is_settled", "_limiter", "_round", "_taken", "_way", "tokens", "waited_s")

    def __init__(self, limiter: Limiter, gate: Gate, way: Way, taken: Taken | None, tokens: int, round: int) -> None:
        self._limiter = limiter
        self._gate = gate
        self._way = way
        self._taken = taken
        self._round = round
        self._is_settled = False
        self.tokens = tokens
        """What was set aside; 0 where no limit counts tokens."""
        self.waited_s = 0.0

    def settle(self, tokens: int | None, *, error: SpineError | None = None, left: bool = False) -> None:
        """The call is over. `tokens` is what it used, in and out; None where nobody knows: as was set aside."""
        if self._is_settled:
            return
        self._is_settled = True
        limiter = self._limiter
        if self._taken is not None:
            limiter.state.settle(self._taken, tokens)
        if (adaptive := self._gate.adaptive) is not None:
            if error is not None and is_too_much(error):
                adaptive.refused(self._round)
            elif error is None and not left:
                adaptive.succeeded()
            adaptive.give_back()
        if limiter._lines.doors:
            limiter.has_room(self._way)


class Limiter:
    """All limits of a gateway or a program."""

    __slots__ = (
        "_callers", "_clock_ns", "_concerned", "_configured", "_gates", "_has_callers", "_is_general", "_learned",
        "_limits", "_lines", "_models", "_named", "_providers", "_taught", "state",
    )  # fmt: skip

    def __init__(
        self, settings: Settings, state: State | None = None, *, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.state: State = state if state is not None else state_of(settings, clock_ns)
        self._clock_ns = clock_ns
        self._limits = settings.limits
        self._is_general = settings.limits.adaptive
        self._has_callers = bool(_buckets("", settings.limits))
        named = settings.server.keys.items()
        self._named = {name: own for name, key in named if (own := _own_buckets(name, key, self._limits))}
        self._learned = settings.limits.learned
        tables = settings.providers.by_id
        self._providers = {id: _buckets(f"provider:{id}", provider) for id, provider in tables.items()}
        self._models: dict[Key, Buckets] = {
            (id, provider.custom_models.get(name, name)): _model_buckets(id, provider, name)
            for id, provider in tables.items()
            for name in provider.limits
        }
        self._configured = frozenset(
            [id for id, buckets in self._providers.items() if buckets] + [id for id, _ in self._models]
        )
        self._concerned: frozenset[str] = self._configured
        self._taught: dict[Key, Gate] = {}
        self._gates: dict[Key, Gate] = {}
        self._callers: dict[str, Buckets] = {}
        self._lines = Lines()

    # ------------------------------------------------------------ admission

    def concerns(self, choice: Choice, caller: str | None) -> bool:
        """Whether `admit` has anything to say to a call of this caller to this target."""
        if choice.provider in self._concerned or self._is_general:
            return True
        return caller is not None and (self._has_callers or caller in self._named)

    def at_once(
        self, choice: Choice, caller: str | None, tokens: Callable[[], int], *, is_first: bool = True
    ) -> Grant | None:
        """What `admit` grants where all is counted in this process, nobody waits and there is room, as for most
        calls; None: `admit` must say."""
        state, gate = self.state, self._gates.get((choice.provider, choice.model))
        if gate is None or gate.told or gate.held_until_us or self._lines.doors or not isinstance(state, LocalState):
            return None
        way = gate.ways.get((caller, is_first))
        if way is None or self._taught:
            return None
        adaptive = gate.adaptive
        if adaptive is not None and not adaptive.is_free:
            return None
        wanted = tokens() if way.counts_tokens else 0
        taken = state.take_now(way.buckets, wanted) if way.buckets else None
        if isinstance(taken, Refusal):
            return None
        return Grant(self, gate, way, taken, wanted, adaptive.take() if adaptive is not None else 0)

    async def admit(
        self,
        choice: Choice,
        caller: str | None,
        tokens: Callable[[], int],
        wait_until_s: float | None = None,
        priority: int = 0,
        *,
        max_wait_s: float | None = None,
        patience_s: float = 0.0,
        is_first: bool = True,
    ) -> Grant:
        """Room for one attempt of a call, waited for as long as `limits.max_wait` says, or `max_wait_s` if given.

        `tokens` estimates the tokens, in and out; it is called where a limit counts them. `wait_until_s`
        (monotonic) is when the call has no more use for it. Calls of a higher `priority` go first. Where the target
        itself asked for a while (Retry-After), `patience_s` of it are waited for, whatever the longest wait is. A
        further attempt of the same call (`is_first` False) is not counted anew among the caller's requests.
        Raises: LimitReached; its `fallback` is False where the caller's own limit is meant.
        """
        gate = self._gate(choice)
        if self._taught:
            self._prune()
        way = gate.ways.get((caller, is_first)) or self._new_way(gate, caller, is_first)
        wanted = tokens() if way.counts_tokens or gate.told else 0
        ahead = self._lines.ahead(priority, way.doors) if self._lines else None
        outcome: Grant | Refused
        if ahead is None:
            outcome = await self._try(gate, way, wanted)
            if isinstance(outcome, Grant):
                return outcome
        else:
            behind = _behind_others(ahead)._replace(is_asked=gate.hold_us > 0 and ahead == gate.door)
            outcome = gate.refusal(wanted, self._clock_ns() // 1000) or behind
        begun_s = self._now_s()
        longest_s = self._limits.max_wait if max_wait_s is None else max_wait_s
        if outcome.is_asked and patience_s > longest_s:
            longest_s = patience_s
        until_s = min(begun_s + longest_s, _FOREVER_S if wait_until_s is None else wait_until_s)
        if until_s <= begun_s:
            raise _error(outcome)
        grant = await self._wait(outcome, gate, way, wanted, until_s, priority)
        if gate.hold_us:
            gate.let_in(self._lines.waiting(gate.door), self._clock_ns() // 1000)
        grant.waited_s = self._now_s() - begun_s
        return grant

    async def _try(self, gate: Gate, way: Way, tokens: int) -> Grant | Refused:
        now_us = self._clock_ns() // 1000
        if (refused := gate.refusal(tokens, now_us)) is not None:
            return refused
        adaptive = gate.adaptive
        round = adaptive.take() if adaptive is not None else 0
        taken: Taken | Refusal | None = None
        try:
            if way.buckets:
                taken = await self.state.take(way.buckets, tokens)
        finally:
            if adaptive is not None and (isinstance(taken, Refusal) or (taken is None and way.buckets)):
                adaptive.give_back()
        if isinstance(taken, Refusal):
            return _refused(taken)
        if gate.told:
            gate.take(tokens, now_us)
        return Grant(self, gate, way, taken, tokens, round)

    async def _wait(self, refused: Refused, gate: Gate, way: Way, tokens: int, until_s: float, priority: int) -> Grant:
        """In line before the door that refused, and before the next one that does, until all let through."""
        lines = self._lines
        if lines.waiting(refused.door) >= self._limits.max_waiting:
            raise _error(refused, f"{self._limits.max_waiting} calls wait for it already")
        waiter = lines.newcomer(priority)
        while True:
            door = refused.door
            lines.enter(waiter, door)
            try:
                while refused.door == door:
                    left_s = until_s - self._now_s()
                    sleep_s = self._sleep_s(refused)
                    if left_s <= 0 or (refused.is_firm and sleep_s > left_s):
                        raise _error(refused)
                    await waiter.sleep(min(sleep_s, left_s))
                    ahead = lines.before(waiter, way.doors)
                    outcome = _behind_others(ahead) if ahead is not None else await self._try(gate, way, tokens)
                    if isinstance(outcome, Grant):
                        return outcome
                    refused = outcome
            finally:
                lines.leave(waiter, door)

    def _sleep_s(self, refused: Refused) -> float:
        """When to try again if nobody wakes us before."""
        if refused.wait_us is not None:
            return refused.wait_us / 1e6
        return (self.state.poll_s if refused.is_elsewhere else None) or _FOREVER_S

    def _now_s(self) -> float:
        return self._clock_ns() / 1e9

    def has_room(self, way: Way) -> None:
        """A call that came this way is over: who waits may try."""
        for door in way.doors:
            self._lines.wake(door)

    # ------------------------------------------------------------ what targets tell

    def ear(self, provider: str) -> Ear:
        """Who listens to the heads of this provider's answers."""
        return Ear(self, provider)

    def heard(self, provider: str, model: str | None, headers: RawHeaders) -> None:
        """The headers of an answer. Of most answers this is a glance."""
        if self._learned and ((provider, model) in self._taught or tells_of_little(headers)):
            self.learn(Choice(provider=provider, model=model), limits_told(headers))

    def learn(self, choice: Choice, limits: tuple[RateLimit, ...]) -> None:
        """Keep to what a provider told of its limits, until they are whole again."""
        if self._learned and limits:
            gate = self._gate(choice)
            gate.learn(limits, self._clock_ns() // 1000)
            self._remember(choice, gate)

    def failed(self, choice: Choice, error: SpineError) -> None:
        """An attempt failed. A target that says for how long it wants to be left alone is held back so long."""
        if self._learned and is_too_much(error):
            gate = self._gate(choice)
            now_us = self._clock_ns() // 1000
            gate.failed(error, now_us)
            gate.learn(getattr(error, "rate_limits", ()), now_us)
            self._remember(choice, gate)

    def _remember(self, choice: Choice, gate: Gate) -> None:
        """The target has told something; it is looked to until that is over."""
        self._taught[choice.provider, choice.model] = gate
        self._concerned |= {choice.provider}
        self._prune()
        self._lines.wake(gate.door)

    def _prune(self) -> None:
        """What targets have told is over for some of them."""
        now_us = self._clock_ns() // 1000
        waiting = self._lines.waiting
        if over := [key for key, gate in self._taught.items() if not gate.has_told(now_us, waiting(gate.door))]:
            for key in over:
                del self._taught[key]
            self._concerned = self._configured | {provider for provider, _ in self._taught}

    # ------------------------------------------------------------ what there is

    def left_of(self, caller: str) -> list[tuple[str, int, int | None]]:
        """The limits per minute of a caller's key: `requests` or `tokens`, how many, and how many are left; None where
        that is counted elsewhere."""
        if not self._has_callers and caller not in self._named:
            return []
        buckets = self._of_caller(caller)
        told = zip(buckets, self.state.left(buckets), strict=True)
        return [(bucket.kind, bucket.limit, left) for bucket, left in told if bucket.kind != "places"]

    def why_not(self, choice: Choice, caller: str | None, tags: tuple[str, ...] = ()) -> str | None:
        """Why a call to this target would be refused now, as far as this process knows; one that may wait is not."""
        if self._limits.max_wait or not self.concerns(choice, caller):
            return None
        gate = self._gate(choice)
        if (refused := gate.refusal(1, self._clock_ns() // 1000)) is not None:
            return refused.why
        way = gate.ways.get((caller, True)) or self._new_way(gate, caller, True)
        lefts = zip(way.buckets, self.state.left(way.buckets), strict=True)
        return next((_why(bucket) for bucket, left in lefts if left == 0), None)

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._lines)

    def _gate(self, choice: Choice) -> Gate:
        key = (choice.provider, choice.model)
        found = self._gates.get(key)
        if found is None:
            if len(self._gates) >= _MOST_GATES:
                self._gates = dict(self._taught)
            name = f"{choice.provider}/{choice.model}" if choice.model is not None else choice.provider
            buckets = self._providers.get(choice.provider, ()) + self._models.get(key, ())
            found = self._gates[key] = Gate(name, buckets, adaptive=self._is_general)
        return found

    def _new_way(self, gate: Gate, caller: str | None, is_first: bool) -> Way:
        own = self._of_caller(caller) if caller is not None else ()
        if not is_first:
            own = tuple(bucket for bucket in own if bucket.kind != "requests")
        if len(gate.ways) >= _MOST_CALLERS:
            gate.ways.clear()
        made = gate.ways[caller, is_first] = Way(own + gate.buckets, gate.door)
        return made

    def _of_caller(self, caller: str) -> Buckets:
        found = self._named.get(caller) or self._callers.get(caller)
        if found is None:
            if len(self._callers) >= _MOST_CALLERS:
                self._callers.clear()
            found = self._callers[caller] = _buckets(f"caller:{caller}", self._limits)
        return found


class Ear:
    """Is given the model and the headers of each answer of one provider.

    Most services tell nothing of limits: then it looks only now and then whether they have begun to.
    """

    __slots__ = ("_limiter", "_provider", "_rests")

    def __init__(self, limiter: Limiter, provider: str) -> None:
        self._limiter = limiter
        self._provider = provider
        self._rests = 0

    def __call__(self, model: str, headers: RawHeaders) -> None:
        if self._rests:
            self._rests -= 1
            return
        for name, _ in headers:
            if b"ratelimit" in name:
                self._limiter.heard(self._provider, model, headers)
                return
        self._rests = _EAR_RESTS


def state_of(settings: Settings, clock_ns: Callable[[], int] = time.monotonic_ns) -> State:
    """Where the settings say that limits are counted. Raises: ConfigError."""
    if not settings.state.url:
        return LocalState(clock_ns)
    from genai_spine.engine.limits.redis_state import RedisState  # noqa: PLC0415  # who shares nothing does not load it

    return RedisState(settings.state.url.reveal(), clock_ns=clock_ns)


def _buckets(door: str, limits: LimitsSettings | ProviderSettings | ModelLimits) -> Buckets:
    given = (
        Bucket(door=door, kind="requests", limit=limits.requests_per_min) if limits.requests_per_min else None,
        Bucket(door=door, kind="tokens", limit=limits.tokens_per_min) if limits.tokens_per_min else None,
        Bucket(door=door, kind="places", limit=limits.max_concurrency) if limits.max_concurrency else None,
    )
    return tuple(bucket for bucket in given if bucket is not None)


def _own_buckets(caller: str, key: ModelLimits, general: LimitsSettings) -> Buckets:
    """Those of a key with limits of its own; what it leaves out is as for every key."""
    own = {name: getattr(key, name) or getattr(general, name) for name in ModelLimits.__struct_fields__}
    return _buckets(f"caller:{caller}", ModelLimits(**own))


def _model_buckets(id: str, provider: ProviderSettings, name: str) -> Buckets:
    return _buckets(f"model:{id}/{provider.custom_models.get(name, name)}", provider.limits[name])


_WHAT = {
    "requests": "the limit of {} requests per minute for {} is reached",
    "tokens": "the limit of {} tokens per minute for {} is reached",
    "places": "{} calls at a time are the limit for {}",
}


def _refused(refusal: Refusal) -> Refused:
    bucket = refusal.bucket
    is_own = bucket.door.startswith("caller:")
    return Refused(
        door=bucket.door,
        why=_why(bucket),
        wait_us=refusal.wait_us,
        longest_us=refusal.longest_us,
        own=is_own,
        is_firm=bucket.kind == "requests",
        is_elsewhere=refusal.wait_us is None,
    )


def _why(bucket: Bucket) -> str:
    return _WHAT[bucket.kind].format(bucket.limit, _whose(bucket.door))


def _behind_others(door: str) -> Refused:
    return Refused(door, f"other calls wait for {_whose(door)} already", own=door.startswith("caller:"))


def _whose(door: str) -> str:
    kind, _, name = door.partition(":")
    return "this key" if kind == "caller" else name


def _error(refused: Refused, more: str = "") -> LimitReached:
    why = f"{refused.why}, and {more}" if more else refused.why
    wait_s = refused.longest_us / 1e6 if refused.longest_us is not None else None
    return LimitReached(why, retry_after_s=wait_s, fallback=not refused.own)
