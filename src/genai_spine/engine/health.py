"""How the providers are: what traffic tells, and what a probe finds where there is none.

Traffic tells without being asked: every call leaves its mark on `provider.status()`. A probe is sent only

    idle      where no call was made for an interval, or where the provider is failing
    always    every interval, traffic or not
    never     not at all: there is no task either

and what it asks is free: a list of models. A service that bills is left alone all the same unless `health.paid` is
set: its health is nobody's affair while nobody calls it. A provider that is failing is looked at every `RECHECK_S`,
so that a local server that comes up late is noticed.

Must not know: routes, HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable

import msgspec

from genai_spine.engine.targets import Targets
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.registry import ProviderRegistry
from genai_spine.providers.status import ProviderMetrics, ProviderStatus
from genai_spine.settings import Duration, HealthSettings, Settings

RECHECK_S = 15.0
"""How often a provider that is failing is looked at, where the interval is not shorter."""
JITTER = 0.1
"""The share by which each wait is drawn shorter or longer, so that several gateways do not probe together."""

logger = logging.getLogger(__name__)


def health_of(settings: Settings) -> HealthSettings:
    """`[health]`, with `providers.health_check_interval`: the interval where `health.interval` is not set, and a
    wish for probes where `health.probe` is not set."""
    health, interval = settings.health, settings.providers.health_check_interval
    if interval is None:
        return health
    given = settings.loaded.keys
    return msgspec.structs.replace(
        health,
        interval=health.interval if "health.interval" in given else interval,
        probe=health.probe if "health.probe" in given or health.probe != "never" else "idle",
    )


class Watch:
    """When one provider is to be probed. Pure: `now_s` is of any clock, `chance` is drawn from [0, 1)."""

    __slots__ = ("_calls", "_due_s", "_interval_s", "_planned_s", "_recheck_s")

    def __init__(self, interval_s: float, *, now_s: float, chance: float) -> None:
        self._interval_s = interval_s
        self._recheck_s = min(interval_s, RECHECK_S)
        self._calls = 0
        self._planned_s = now_s
        self._due_s = now_s + self._recheck_s * chance  # soon after the start, but not all at once

    def wants_probe(self, now_s: float, chance: float, *, calls: int, is_failing: bool, even_busy: bool) -> bool:
        """Whether to probe now; `calls` is how many the provider has had so far. The next look is planned, too."""
        if now_s < self._planned_s:  # the clock went back: wait from here
            self._due_s = now_s + (self._due_s - self._planned_s)
            self._planned_s = now_s
        if is_failing:
            is_due = now_s >= min(self._due_s, self._planned_s + self._recheck_s)
        else:
            is_due = now_s >= self._due_s
        if not is_due:
            return False
        was_idle = calls == self._calls
        self._calls = calls
        self._planned_s = now_s
        self._due_s = now_s + self._interval_s * (1 + JITTER * (2 * chance - 1))
        return is_failing or was_idle or even_busy


class HealthChecker:
    """Probes of providers: `check_provider` asks one now; `start` goes on asking until `close`.

    `is_failing` may say of a provider more than its status does, as a breaker can. `returned` hears of one that did not
    answer a probe and answers the next.
    """

    def __init__(
        self,
        providers: Iterable[LLMProvider] = (),
        settings: HealthSettings | None = None,
        *,
        interval: float | None = None,
        timeout: float | None = None,
        is_failing: Callable[[LLMProvider], bool] | None = None,
        returned: Callable[[LLMProvider], None] | None = None,
    ) -> None:
        """`providers` is looked at anew each time: a registry may grow."""
        settings = settings or HealthSettings()
        self.settings = msgspec.structs.replace(
            settings,
            interval=settings.interval if interval is None else Duration(interval),
            timeout=settings.timeout if timeout is None else Duration(timeout),
        )
        self._providers = providers
        self._is_failing = is_failing or (lambda provider: False)
        self._returned = returned
        self._silent: set[str] = set()
        self._watches: dict[str, Watch] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def interval(self) -> float:
        return self.settings.interval

    @property
    def timeout(self) -> float:
        return self.settings.timeout

    # ------------------------------------------------------------ asking now

    async def check_provider(self, provider: LLMProvider) -> ProviderStatus:
        """Ask one provider how it is, whatever `health.probe` says: within `timeout`, and never raising for it."""
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(self.timeout):
                is_healthy = await provider.is_healthy()
        except TimeoutError:
            provider.probed(f"no answer within {self.timeout:g} s", time.perf_counter() - begun)
        except Exception as error:  # of a stranger's provider
            logger.exception("%s failed while it was probed", provider.name)
            provider.probed(f"failed: {type(error).__name__}: {error}", time.perf_counter() - begun)
        else:
            if is_healthy is not provider.status().healthy:  # a stranger's, which keeps no status
                error_text = None if is_healthy else "says that it is not healthy"
                provider.probed(error_text, time.perf_counter() - begun)
        status = provider.status()
        if not status.healthy:
            self._silent.add(provider.name)
        elif provider.name in self._silent:
            self._silent.discard(provider.name)
            logger.info("%s answers again", provider.name)
            if self._returned is not None:
                self._returned(provider)
        return status

    async def check_all(self) -> list[ProviderStatus]:
        """Ask every provider now, all at the same time."""
        return list(await asyncio.gather(*(self.check_provider(provider) for provider in self._providers)))

    # ------------------------------------------------------------ going on

    def start(self) -> None:
        """Begin to probe in the background of the running loop; nothing where settings say never. Idempotent."""
        if self.settings.probe == "never" or (self._task is not None and not self._task.done()):
            return
        self._task = asyncio.get_running_loop().create_task(self._go_on(), name="genai-spine-health")

    async def close(self) -> None:
        """End the probes; one that is under way is left off."""
        task, self._task = self._task, None
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            return
        task.cancel()
        await asyncio.wait([task])

    async def _go_on(self) -> None:
        while True:
            await asyncio.gather(*(self.check_provider(provider) for provider in self._due()))
            pause_s = min(self.interval, RECHECK_S) / 2
            await asyncio.sleep(pause_s * (1 + JITTER * (2 * random.random() - 1)))

    def _due(self) -> list[LLMProvider]:
        now_s = time.monotonic()
        return [provider for provider in self._providers if self._may_ask(provider) and self._is_due(provider, now_s)]

    def _may_ask(self, provider: LLMProvider) -> bool:
        return self.settings.paid or bool(getattr(provider, "is_local", False))

    def _is_due(self, provider: LLMProvider, now_s: float) -> bool:
        watch = self._watches.get(provider.name)
        if watch is None:
            watch = self._watches[provider.name] = Watch(self.interval, now_s=now_s, chance=random.random())
        return watch.wants_probe(
            now_s,
            random.random(),
            calls=provider.metrics.request_count,
            is_failing=not provider.status().healthy or self._is_failing(provider),
            even_busy=self.settings.probe == "always",
        )


def checker_for(registry: ProviderRegistry, settings: Settings, targets: Targets) -> HealthChecker:
    """The checker of a manager: an open breaker is a reason to look, and is closed when its provider is back."""

    def is_failing(provider: LLMProvider) -> bool:
        now_s = time.monotonic()
        return any(target.breaker.state(now_s) != "closed" for target in targets.of_provider(provider.name))

    def returned(provider: LLMProvider) -> None:
        # It was down as a whole: what its models have failed of until now says nothing any more.
        now_s = time.monotonic()
        for target in targets.of_provider(provider.name):
            if target.breaker.state(now_s) != "closed":
                target.breaker.record(now_s, None)

    return HealthChecker(registry, health_of(settings), is_failing=is_failing, returned=returned)


def metrics_of(provider: LLMProvider, targets: Targets) -> ProviderMetrics:
    """The provider's metrics, with the first token's time as its targets have it: the mean, by how often each began."""
    paces = [(pace.first_s, pace.count) for target in targets.of_provider(provider.name) if (pace := target.pace).count]
    known = [(first_s, count) for first_s, count in paces if first_s is not None]
    total = sum(count for _, count in known)
    first_s = sum(first_s * count for first_s, count in known) / total if total else None
    return msgspec.structs.replace(provider.metrics, avg_first_token_s=first_s)
