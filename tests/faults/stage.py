"""A stage for faults: three providers, a gateway before them, a caller; and four questions after each play.

    Scenario(
        name="fault_65_429_then_success",
        upstreams={"a": ("status=429; retry_after_ms=60",)},
        ends=Ends(by="a", tried="a:rate_limit a", at_least_s=0.06),
    )

What did the caller see, in its own dialect? How many calls did each provider get? How long did it take, as bounds:
a lower one where the design has a wait, an upper one that only a hang reaches? What was recorded: attempts, targets
passed over, what is in flight, the breakers?
"""

from __future__ import annotations

import re
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from callers import ANTHROPIC, KEY, OPENAI, Answer, Caller, Dialect, broken, failed_upstream, refused

from genai_spine.engine.record import CallRecord
from genai_spine.testing.fixtures import RunningGateway, running_gateway, wait_until
from genai_spine.testing.simulator import Simulator
from genai_spine.testing.simulator.faults import parse_fault
from genai_spine.testing.simulator.script import Step

MODEL = "sim-long-30"
NOBODY = "nobody listens"
"""In place of faults: connections to this provider are refused."""
MID = {False: "1", True: "6; rate=300"}
"""What `{mid}` in a fault stands for: in the middle of a plain answer, and of a stream."""
BASE: dict[str, Any] = {
    "retry": {"max_retries": 1, "initial_delay": "10ms", "max_delay": 1},
    "timeouts": {"connect": 2, "first_token": 5, "idle": 5, "total": 10},
}
IMPATIENT = {"timeouts": {"first_token": 0.4, "idle": 0.4}}
"""More of a provider's table: it is not waited for."""
NO_RETRY = {"retry": {"max_retries": 0}}


both = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
each_dialect = pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=lambda dialect: dialect.name)
"""One that is relayed, and one that is translated: the providers here speak OpenAI's."""


class Ends(msgspec.Struct, frozen=True, kw_only=True):
    """What a play comes to."""

    status: int = 200
    by: str | None = None
    """Who answered, or broke off."""
    breaks: bool = False
    """Whether the stream ends with an error event, its beginning having been shown."""
    says: str = ""
    """What the error's message holds."""
    tried: str = ""
    """The attempts as recorded, in order, each with its error's type: `a:rate_limit a`. `left` is one that was given
    up. Each was one request to the provider, but for those that nobody hears."""
    passed_over: str = ""
    """The providers that were not asked."""
    notices: tuple[str, ...] = ()
    retry_after: str | None = None
    """The header."""
    at_least_s: float = 0.0
    at_most_s: float = 4.0


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """`upstreams` are asked in the order of their names: a tuple has the faults of the next requests, one each, and
    then all is well; a text is the fault of all."""

    name: str
    upstreams: Mapping[str, str | tuple[str, ...]]
    ends: Ends
    streamed: Ends | None = None
    """Where a stream ends otherwise."""
    settings: Mapping[str, Any] = {}
    providers: Mapping[str, Mapping[str, Any]] = {}
    """More of a provider's table."""
    headers: Mapping[str, str] = {}
    model: str = MODEL
    text: str = "the quick brown fox"
    """What an answer begins with."""
    kinds: tuple[bool, ...] = (False, True)


def cases(scenarios: tuple[Scenario, ...]) -> list[tuple[Scenario, bool]]:
    return [(scenario, stream) for scenario in scenarios for stream in scenario.kinds]


def name_of(value: Any) -> str | None:
    """The ids of parametrised tests."""
    if isinstance(value, bool):
        return "stream" if value else "plain"
    return getattr(value, "name", None)


class Stage:
    """A gateway with its providers, while it runs."""

    def __init__(self, gateway: RunningGateway, upstreams: Mapping[str, Simulator]) -> None:
        self.gateway = gateway
        self.manager = gateway.manager
        self.upstreams = upstreams

    def ask(self, dialect: Dialect, request: Any, headers: Mapping[str, str] | None = None) -> Answer:
        with Caller(self.gateway, timeout_s=15) as caller:
            caller.send("POST", dialect.path, request, headers)
            return caller.answer()

    def record(self, answer: Answer) -> CallRecord:
        """What was recorded of a call, once it has come to rest."""
        record = self.manager.traffic.recent.find(answer.header("x-request-id") or "")
        assert record is not None, answer.headers
        wait_until(lambda: all(attempt.is_settled for attempt in record.attempts))
        return record

    def at_rest(self) -> None:
        """Nothing is in flight, here or at the providers."""
        wait_until(lambda: all(target.in_flight == 0 for target in self.manager.targets))
        wait_until(lambda: len(self.gateway.gateway.streams) == 0)
        for upstream in self.upstreams.values():
            wait_until(lambda upstream=upstream: all(each.outcome != "open" for each in upstream.received), 2)  # type: ignore[misc]

    def last_record(self) -> CallRecord:
        """Of the call that came last, whose caller has no answer to tell its id."""
        recent: OrderedDict[str, CallRecord] = self.manager.traffic.recent._by_id
        return next(reversed(recent.values()))

    def calls(self) -> dict[str, int]:
        return {name: len(upstream.received) for name, upstream in self.upstreams.items()}

    def breakers(self) -> dict[str, str]:
        now_s = time.monotonic()
        return {target.choice.provider: target.breaker.state(now_s) for target in self.manager.targets}


def codes_of(answer: Answer) -> list[str]:
    """The codes of the notices on an answer."""
    return re.findall(r"(?:^|; )(\w+)(?: \S+)?: ", answer.header("x-spine-notices") or "")


def told(record: CallRecord) -> str:
    """The attempts of a call, as `Ends.tried` writes them."""
    said = []
    for attempt in record.attempts:
        how = "left" if attempt.left else attempt.error_type
        said.append(f"{attempt.provider}:{how}" if how else attempt.provider)
    return " ".join(said)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextmanager
def staged(
    simulators: Mapping[str, Simulator],
    upstreams: Mapping[str, str | tuple[str, ...]],
    settings: Mapping[str, Any] = {},
    providers: Mapping[str, Mapping[str, Any]] = {},
    *,
    stream: bool = True,
) -> Iterator[Stage]:
    tables: dict[str, Any] = {}
    for name, faults in upstreams.items():
        if faults == NOBODY:
            url = f"http://127.0.0.1:{free_port()}/v1"
        else:
            url = simulators[name].urls.openai
            direct(simulators[name], faults, stream=stream)
        tables[name] = {"type": "openai_compatible", "base_url": url, "api_key": KEY, "model": MODEL}
        tables[name].update(providers.get(name, {}))
    order = {"default": next(iter(upstreams)), "fallback_order": list(upstreams)}
    tree = merged(merged(BASE, settings), {"providers": {**order, **tables}})
    with running_gateway(tree) as gateway:
        yield Stage(gateway, {name: simulators[name] for name, faults in upstreams.items() if faults != NOBODY})


def direct(simulator: Simulator, faults: str | tuple[str, ...], *, stream: bool = True) -> None:
    """What the simulator does next: see `Scenario`."""
    mid = {"mid": MID[stream]}
    if isinstance(faults, str):
        simulator.run(Step(times="always", fault=parse_fault(faults.format(**mid))))
    else:
        simulator.run(*[fault.format(**mid) for fault in faults])


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Tables within tables put together; the second one's values win."""
    tree = dict(base)
    for key, value in more.items():
        known = tree.get(key)
        tree[key] = merged(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return tree


def play(simulators: Mapping[str, Simulator], scenario: Scenario, dialect: Dialect, *, stream: bool) -> None:
    """One call through one scenario, and the four questions."""
    ends = scenario.streamed if stream and scenario.streamed is not None else scenario.ends
    with staged(simulators, scenario.upstreams, scenario.settings, scenario.providers, stream=stream) as stage:
        request = dialect.request(scenario.model, stream=stream)
        begun = time.monotonic()
        answer = stage.ask(dialect, request, scenario.headers)
        lasted_s = time.monotonic() - begun
        _seen(answer, ends, dialect, scenario.text, stream=stream)
        assert ends.at_least_s <= lasted_s <= ends.at_most_s, lasted_s
        _recorded(stage, stage.record(answer), ends)


def _seen(answer: Answer, ends: Ends, dialect: Dialect, text: str, *, stream: bool) -> None:
    if ends.status != 200:
        sent = ends.tried != ""
        error = (failed_upstream if sent else refused)(dialect, answer, ends.status)
        assert ends.says in error["message"], error
        assert answer.header("retry-after") == ends.retry_after
        return
    assert answer.status == 200, answer
    assert answer.is_whole, answer
    assert answer.header("x-spine-provider") == ends.by
    if ends.breaks:
        error = broken(dialect, answer)
        assert error["message"].startswith(f"{ends.by}: "), error
        assert ends.says in error["message"], error
        assert "quick" in dialect.text(answer.body), "what came before is kept"
        return
    assert answer.header("x-spine-attempts") == str(len(ends.tried.split()))
    assert codes_of(answer) == list(ends.notices)
    if stream:
        assert dialect.ended(answer.body), answer.body[-300:]
    said = dialect.text(answer.body) if stream else dialect.answer_text(answer.json())
    assert said.startswith(text), said


def _recorded(stage: Stage, record: CallRecord, ends: Ends) -> None:
    assert told(record) == ends.tried
    assert [passed.choice.provider for passed in record.passed_over] == ends.passed_over.split()
    assert record.answered_by is None or record.answered_by.provider == ends.by
    assert (record.answered_by is None) == (ends.status != 200)
    asked = Counter(attempt.provider for attempt in record.attempts)
    stage.at_rest()
    assert stage.calls() == {name: asked[name] for name in stage.upstreams}, "each attempt was one request"
    assert set(stage.breakers().values()) <= {"closed"}, "one call opens no breaker"
