"""Calls of every kind, each of which can be found again: in the simulator's bill by a word of its prompt, and in the
gateway's ledger by a tag."""

from __future__ import annotations

import asyncio
import json
import random
import re
import sqlite3
from collections import defaultdict
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from soak_traffic import FAULTS, MODELS, PATHS, body_of

from genai_spine.ledger.entry import NANO
from genai_spine.testing.simulator import Simulator
from genai_spine.testing.simulator.bill import Rates

RATES = {
    "sim-think": Rates(input=3_000, output=15_000, cache_read=300, cache_write=3_750),
    "*": Rates(input=1_250, output=10_000, cache_read=125, cache_write=1_563),
}
PROVIDER_OF = {path: provider for provider, path in PATHS.items()}
_NAME = re.compile(rb"call-\d{6}")
KEY = "bill-key"


def settings(simulator: Simulator, ledger: Path, **more: Any) -> dict[str, Any]:
    """A gateway with everything on that asks twice: retries, fallback, hedges, single flight, continued streams."""
    urls = simulator.urls
    cost = {**_cost(RATES["*"]), "models": {"sim-think*": _cost(RATES["sim-think"])}}
    common = {"model": "sim-long-40", "cost": cost}
    return {
        "server": {"api_keys": [KEY], "access_log": False},
        "providers": {
            "default": "oa",
            "fallback_order": ["oa", "an", "ol"],
            "oa": {"type": "openai_compatible", "base_url": urls.openai, "api_key": "k", **common},
            "an": {"type": "anthropic", "base_url": urls.anthropic, "api_key": "k", **common},
            "ol": {
                "type": "ollama", "dialect": "ollama_chat", "base_url": urls.ollama, "on_disconnect": "drain", **common,
            },
        },
        "retry": {"max_retries": 1, "initial_delay": 0.005, "max_delay": 0.05},
        "timeouts": {"connect": 1, "first_token": 0.3, "idle": 0.3, "total": 5},
        "breaker": {"open_for": 0.2},
        "hedge": {"budget": 0.1, "after": 0.1},
        "routing": {"single_flight": True, "sticky": "session"},
        "streams": {"on_break": "continue"},
        "costs": {"daily_limit": 100_000},
        "ledger": {"url": f"sqlite:///{ledger}"},
        **more,
    }  # fmt: skip


def _cost(rates: Rates) -> dict[str, float]:
    named = {"input": rates.input, "output": rates.output}
    cached = {"cached_input": rates.cache_read, "cache_write": rates.cache_write}
    return {f"{name}_cost_per_1m": rate / 1000 for name, rate in {**named, **cached}.items() if rate is not None}


class Seen(NamedTuple):
    """What the caller of one call saw of it. None: it left before."""

    status: int | None
    cost_usd: Decimal | None = None


class Billed:
    """So many calls, some at a time; `seen` holds what each saw, by its name."""

    def __init__(self, port: int, calls: int, seed: int = 0) -> None:
        self.seen: dict[str, list[Seen]] = defaultdict(list)
        self._port = port
        self._random = random.Random(seed)
        self._names = iter([f"call-{number:06d}" for number in range(calls)])

    async def run(self, callers: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(self._caller())

    async def _caller(self) -> None:
        for name in self._names:
            request, leaves_after_s = self._request(name)
            twins = 2 if self._random.random() < 0.05 else 1
            asks = [self._ask(request, leaves_after_s) for _ in range(twins)]
            self.seen[name] += await asyncio.gather(*asks)

    def _request(self, name: str) -> tuple[bytes, float | None]:
        chance = self._random
        dialect = chance.choice(tuple(PATHS))
        provider = dialect if chance.random() < 0.5 else chance.choice(tuple(PATHS))
        fault = f"+{chance.choice(FAULTS)}" if chance.random() < 0.3 else ""
        model = f"{provider}/{'sim-long-40' if fault else chance.choice(MODELS)}{fault}"
        text = f"{name} {'weather ' * chance.choice((1, 1, 1, 200))}"
        body = body_of(dialect, model, stream=chance.random() < 0.6, tools=chance.random() < 0.2, text=text)
        if dialect == "oa" and chance.random() < 0.7:  # without a limit there is no bound either
            body = _with(body, max_tokens=500)
        if chance.random() < 0.2:
            body = _with(body, fallbacks=["an/sim-think", "ol/sim-echo"])
        if dialect == "an" and chance.random() < 0.3:
            body = _with_cache(body)
        head = (
            f"POST {PATHS[dialect]} HTTP/1.1\r\nhost: bill\r\nauthorization: Bearer {KEY}\r\nx-spine-tags: {name}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        return head.encode() + body, chance.random() * 0.15 if chance.random() < 0.15 else None

    async def _ask(self, request: bytes, leaves_after_s: float | None) -> Seen:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
        try:
            writer.write(request)
            async with asyncio.timeout(leaves_after_s if leaves_after_s is not None else 60):
                answer = await reader.read()
        except TimeoutError:
            assert leaves_after_s is not None, "no answer within a minute"
            writer.transport.abort()
            return Seen(None)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        head = answer.partition(b"\r\n\r\n")[0].decode("latin-1").lower()
        cost = re.search(r"x-spine-cost-usd: ([\d.]+)", head)
        return Seen(int(head.split(" ", 2)[1]), Decimal(cost[1]) if cost else None)


def _with(body: bytes, **members: Any) -> bytes:
    return json.dumps({**json.loads(body), **members}).encode()


def _with_cache(body: bytes) -> bytes:
    told = json.loads(body)
    text = told["messages"][0]["content"]
    told["messages"][0]["content"] = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]
    return json.dumps(told).encode()


# ---------------------------------------------------------------- both books


class Attempt(NamedTuple):
    """A row of the ledger."""

    call: str
    provider: str
    status: str
    cost: int | None
    """Nano-dollars, as `most`."""
    most: int | None
    error: str | None
    model: str
    is_hedge: int


class Book(NamedTuple):
    """The ledger: attempts by the name of their call, what each call cost by its id, and calls without a name."""

    attempts: dict[str, list[Attempt]]
    costs: dict[str, int | None]
    nameless: list[str]


def book_of(ledger: Path) -> Book:
    connection = sqlite3.connect(ledger)
    calls = connection.execute("SELECT id, tags, cost_nanousd FROM call").fetchall()
    attempts = connection.execute(
        "SELECT call, provider, status, cost_nanousd, most_nanousd, error_type, model, is_hedge FROM attempt"
    ).fetchall()
    connection.close()
    names = {id: found[0] for id, tags, _ in calls if (found := re.findall(r"call-\d{6}", tags or ""))}
    by_name: dict[str, list[Attempt]] = defaultdict(list)
    for row in attempts:
        by_name[names.get(row[0], row[0])].append(Attempt(*row))
    nameless = [id for id, _, _ in calls if id not in names]
    return Book(by_name, {id: cost for id, _, cost in calls}, nameless)


class Sent(NamedTuple):
    """A request as the simulator got it, and its share of the bill."""

    id: str
    provider: str
    nanousd: int
    said: str


def sent_of(simulator: Simulator) -> dict[str, list[Sent]]:
    """By the name of the call, in the order of arrival."""
    charges = {charge.request_id: charge.nanousd for charge in simulator.bill.charges}
    by_name: dict[str, list[Sent]] = defaultdict(list)
    for got in simulator.received:
        if got.status is None and got.request_id not in charges:
            continue  # its body did not come to its end
        found = _NAME.search(got.body)
        if found is None:
            continue
        cost = charges.get(got.request_id, 0)
        said = f"{got.model} {got.fault} {got.status} {got.outcome}"
        by_name[found[0].decode()].append(Sent(got.request_id, PROVIDER_OF[got.path], cost, said))
    return by_name


def usd(nanousd: int) -> Decimal:
    return Decimal(nanousd) / NANO
