"""The cache over HTTP: what a caller gets again, in which form, and what nobody ever gets."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.client import HTTPResponse
from typing import Any

import pytest

from genai_spine.testing.fixtures import RunningGateway, running_gateway, running_simulator, wait_until
from genai_spine.testing.simulator import Simulator

WORDS = [{"role": "user", "content": "tea"}]
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai_chat": ("/v1/chat/completions", {"messages": WORDS, "temperature": 0}),
    "openai_responses": ("/v1/responses", {"input": "tea", "temperature": 0, "store": False}),
    "openai_completions": ("/v1/completions", {"prompt": "tea", "temperature": 0}),
    "anthropic_messages": ("/v1/messages", {"messages": WORDS, "max_tokens": 50, "temperature": 0}),
    "ollama_chat": ("/api/chat", {"messages": WORDS, "options": {"temperature": 0}}),
    "ollama_generate": ("/api/generate", {"prompt": "tea", "options": {"seed": 1}}),
    "gemini": ("/v1beta/models/", {"contents": [{"parts": [{"text": "tea"}]}], "generationConfig": {"temperature": 0}}),
}
"""One call of each dialect, which is repeatable."""
PROVIDERS = ("oa", "an", "ol", "go")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@contextmanager
def gateway_of(simulator: Simulator, cache: dict[str, Any] | None = None, **more: Any) -> Iterator[RunningGateway]:
    simulator.run()
    simulator.received.clear()
    price = {"input_cost_per_1m": 1.0, "output_cost_per_1m": 2.0}
    settings = {
        "providers": {
            "oa": {"type": "openai_compatible", "base_url": simulator.urls.openai, "api_key": "k", "cost": price},
            "an": {"type": "anthropic", "base_url": simulator.urls.anthropic, "api_key": "k"},
            "ol": {"type": "ollama", "base_url": simulator.urls.ollama, "dialect": "ollama_chat"},
            "go": {"type": "gemini", "base_url": simulator.urls.gemini, "api_key": "k"},
        },
        "retry": {"max_retries": 0},
        "cache": {"url": "memory:", **(cache or {})},
        **more,
    }
    with running_gateway(settings) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(simulator: Simulator) -> Iterator[RunningGateway]:
    with gateway_of(simulator) as running:
        yield running


class Got:
    def __init__(self, response: HTTPResponse) -> None:
        self.body = response.read()
        self.headers = response.headers
        self.cache = response.headers["x-spine-cache"]


def ask(gateway: RunningGateway, path: str, body: dict[str, Any] | bytes, **headers: str) -> Got:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(gateway.url + path, data, {"content-type": "application/json", **named})
    with urllib.request.urlopen(request, timeout=10) as response:
        return Got(response)


def chat(
    gateway: RunningGateway, *, stream: bool = False, headers: dict[str, str] | None = None, **members: Any
) -> Got:
    body = {"model": "oa/simulated", **CALLS["openai_chat"][1], **members, **({"stream": True} if stream else {})}
    return ask(gateway, "/v1/chat/completions", body, **(headers or {}))


def call(gateway: RunningGateway, dialect: str, provider: str, stream: bool, words: str) -> Got:
    path, body = CALLS[dialect]
    body = json.loads(json.dumps(body).replace("tea", words))
    if dialect == "gemini":
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return ask(gateway, f"{path}{provider}%2Fsimulated:{verb}", body)
    return ask(gateway, path, {**body, "model": f"{provider}/simulated", "stream": stream})


def text_in(dialect: str, got: Got) -> str:
    """All that the model said, whole or streamed."""
    said: list[str] = []
    lines = got.body.decode().replace("data: ", "").splitlines() if b"\n" in got.body.strip() else [got.body.decode()]
    for line in lines:
        if not line.startswith("{"):
            continue
        each = json.loads(line)
        match dialect:
            case "openai_chat":
                said += [c.get("delta", c.get("message")).get("content") or "" for c in each["choices"]]
            case "openai_completions":
                said += [c["text"] for c in each["choices"]]
            case "anthropic_messages":
                said += [b["text"] for b in each.get("content", ())] + [(each.get("delta") or {}).get("text") or ""]
            case "openai_responses" if each.get("type") == "response.output_text.delta":
                said.append(each["delta"])
            case "openai_responses" if each.get("object") == "response":
                said += [part["text"] for item in each["output"] for part in item.get("content", ())]
            case "ollama_chat":
                said.append(each["message"]["content"])
            case "ollama_generate":
                said.append(each["response"])
            case "gemini":
                said += [part["text"] for c in each["candidates"] for part in c.get("content", {}).get("parts", ())]
    return "".join(said)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("dialect", CALLS)
def test_the_answer_is_given_again_in_either_form(
    dialect: str, provider: str, gateway: RunningGateway, simulator: Simulator
) -> None:
    """Relayed or translated; the same form byte for byte, the other one with the same words."""
    for stream in (False, True):
        words = f"tea of {dialect} {provider} {stream}"
        simulator.received.clear()
        first = call(gateway, dialect, provider, stream, words)
        again = call(gateway, dialect, provider, stream, words)
        other = call(gateway, dialect, provider, not stream, words)
        assert (first.cache, again.cache, other.cache) == ("miss", "hit", "hit")
        assert len(simulator.received) == 1
        assert again.body == first.body
        assert again.headers["content-type"] == first.headers["content-type"]
        assert text_in(dialect, other) == text_in(dialect, first) != ""
        assert other.headers["content-type"] != first.headers["content-type"]
        for hit in (again, other):
            assert hit.headers["age"] == "0" and hit.headers["x-spine-attempts"] == "0"
            assert hit.headers["x-spine-cost-usd"] == "0"
            assert hit.headers["x-spine-provider"] == provider


BASE: dict[str, Any] = {
    "temperature": 0,
    "max_tokens": 40,
    "user": "u",
    "metadata": {"a": "1"},
    "tools": [],
    "x_unknown": {"b": [1]},
}
CHANGED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "tea "}],
    "temperature": 0.0001, "seed": 7, "max_tokens": 41, "user": "v", "metadata": {"a": "2"}, "x_unknown": {"b": [2]},
    "tools": [{"type": "function", "function": {"name": "f"}}], "response_format": {"type": "json_object"}, "stop": "x",
    "top_p": 1, "n": 1, "x_other": None, "model": "oa/sim-long-5",
}  # fmt: skip


def test_a_change_of_any_member_is_another_request(gateway: RunningGateway) -> None:
    headers = {"cache_control": "max-age=100"}
    assert chat(gateway, **BASE, headers=headers).cache == "miss"
    assert chat(gateway, **BASE, headers=headers).cache == "hit"
    for name, value in CHANGED.items():
        assert chat(gateway, **{**BASE, name: value}, headers=headers).cache == "miss", name
    for name in BASE:
        less = {key: value for key, value in BASE.items() if key not in (name, "temperature")}
        body = {"model": "oa/simulated", "messages": WORDS, **less}
        assert ask(gateway, "/v1/chat/completions", body, **headers).cache == "miss", name
    path, body = CALLS["anthropic_messages"]
    for beta in ("a", "b"):
        found = [ask(gateway, path, {**body, "model": "an/simulated"}, anthropic_beta=beta).cache for _ in range(2)]
        assert found == ["miss", "hit"]


def test_order_and_spacing_of_members_are_nothing(gateway: RunningGateway) -> None:
    one = b'{"model":"oa/simulated","temperature":0,"messages":[{"role":"user","content":"caf\\u00e9"}],"stop":["x"]}'
    two = '{ "stop" : ["x"], "messages":[ {"content":"café", "role":"user"} ],"temperature":0, "model":"oa/simulated"}'
    assert [ask(gateway, "/v1/chat/completions", body).cache for body in (one, two.encode())] == ["miss", "hit"]


def test_what_a_caller_says_of_caching_is_kept_to(gateway: RunningGateway, simulator: Simulator) -> None:
    words = [{"role": "user", "content": "terms"}]

    def told(control: str | None, **members: Any) -> str | None:
        headers = {"cache_control": control} if control else {}
        return chat(gateway, messages=words, headers=headers, **members).cache

    assert [told("no-store"), told(None), told(None)] == [None, "miss", "hit"]
    assert [told("no-store"), told("no-cache"), told(None)] == [None, "miss", "hit"]
    assert [told("max-age=60"), told("max-age=0"), told("max-age=nonsense")] == ["hit", "miss", "miss"]
    # Without a temperature of 0 and without a seed an answer is kept for who asks for it.
    assert [told(None, temperature=1), told(None, temperature=None)] == [None, None]
    assert [told("max-age=9", temperature=1), told("max-age=9", temperature=1)] == ["miss", "hit"]
    assert [told(None, temperature=1, seed=3), told(None, temperature=1, seed=3)] == ["miss", "hit"]


BREAKS = ("reset=3", "close=3", "error_at=3", "malformed=3")


def test_answers_that_are_not_whole_are_not_kept(gateway: RunningGateway, simulator: Simulator) -> None:
    for number, (fault, stream) in enumerate(
        [("status=500", False), ("status=429", True), *((fault, True) for fault in BREAKS)]
    ):
        words = [{"role": "user", "content": f"broken {number}"}]
        simulator.run(fault)
        try:
            chat(gateway, messages=words, model="oa/sim-long-30", stream=stream)
        except urllib.error.HTTPError as error:
            assert error.headers["x-spine-cache"] is None
        simulator.run()
        assert chat(gateway, messages=words, model="oa/sim-long-30", stream=stream).cache == "miss", fault


def test_a_stream_whose_caller_leaves_is_not_kept(gateway: RunningGateway, simulator: Simulator) -> None:
    import http.client

    words = [{"role": "user", "content": "left"}]
    body = json.dumps({"model": "oa/sim-long-50", "messages": words, "temperature": 0, "stream": True})
    simulator.run("rate=50")
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    assert connection.getresponse().read(20)
    connection.close()
    wait_until(lambda: len(gateway.gateway.streams) == 0)
    simulator.run()
    assert chat(gateway, messages=words, model="oa/sim-long-50", stream=True).cache == "miss"


def test_an_answer_that_ran_out_of_tokens_is_kept_where_the_caller_set_their_number(
    gateway: RunningGateway, simulator: Simulator
) -> None:
    for stream in (False, True):
        words = [{"role": "user", "content": f"short {stream}"}]
        found = [chat(gateway, messages=words, max_tokens=2, model="oa/sim-long-30", stream=stream) for _ in range(2)]
        assert b'"length"' in found[0].body
        assert [got.cache for got in found] == ["miss", "hit"]


def test_what_one_form_does_not_hold_is_not_made_of_it(gateway: RunningGateway) -> None:
    words = [{"role": "user", "content": "odds"}]
    found = [chat(gateway, messages=words, logprobs=True, stream=stream).cache for stream in (False, False, True)]
    assert found == ["miss", "hit", "miss"]


def test_usage_is_told_to_who_asks_for_it(gateway: RunningGateway) -> None:
    words = [{"role": "user", "content": "counted"}]
    plain = chat(gateway, messages=words, stream=True)
    assert b'"usage":{' not in plain.body
    asked = chat(gateway, messages=words, stream=True, stream_options={"include_usage": True})
    whole = chat(gateway, messages=words)
    assert asked.cache == whole.cache == "hit"
    counts = json.loads(whole.body)["usage"]
    assert counts["prompt_tokens"] > 0 and counts["completion_tokens"] > 0
    assert b'"completion_tokens":%d' % counts["completion_tokens"] in asked.body


def test_callers_get_answers_of_their_own_key_alone(simulator: Simulator) -> None:
    keys = {"server": {"api_keys": ["one", "two"]}}
    with gateway_of(simulator, **keys) as gateway:
        found = [chat(gateway, headers={"authorization": f"Bearer {key}"}).cache for key in ("one", "two") * 2]
        assert found == ["miss", "miss", "hit", "hit"]
    with gateway_of(simulator, {"scope": "all"}, **keys) as gateway:
        found = [chat(gateway, headers={"authorization": f"Bearer {key}"}).cache for key in ("one", "two")]
        assert found == ["miss", "hit"]
        # A body that two readers may understand differently would let one plant an answer for the other.
        twice = b'{"model":"oa/simulated","seed":1,"messages":[{"role":"user","content":"evil","content":"tea"}]}'
        planted = ask(gateway, "/v1/chat/completions", twice, authorization="Bearer one")
        assert planted.cache is None


def test_all_are_kept_where_settings_say_so_and_none_of_a_route_that_says_no(simulator: Simulator) -> None:
    routes = {"fast": {"targets": ["oa/simulated"]}, "fresh": {"targets": ["oa/simulated"], "cache": False}}
    with gateway_of(simulator, {"answers": "all"}, routes=routes) as gateway:
        assert [chat(gateway, model="fast", temperature=1).cache for _ in range(2)] == ["miss", "hit"]
        assert chat(gateway, model="oa/simulated", temperature=1).cache == "hit"  # the same target
        assert [chat(gateway, model="fresh", temperature=1).cache for _ in range(2)] == [None, None]


def test_a_fallbacks_answer_is_kept_for_it_alone(simulator: Simulator) -> None:
    simulator.run("status=500")
    with running_simulator() as other:
        providers = {
            "a": {"type": "openai_compatible", "base_url": simulator.urls.openai, "api_key": "k"},
            "b": {"type": "openai_compatible", "base_url": other.urls.openai, "api_key": "k"},
        }
        settings = {"providers": providers, "retry": {"max_retries": 0}, "cache": {"url": "memory:"}}
        with running_gateway(settings) as gateway:
            body: dict[str, Any] = {"model": "a/simulated", "fallbacks": ["b/simulated"]}
            simulator.run("status=500")
            first = chat(gateway, **body)
            assert (first.headers["x-spine-provider"], first.cache) == ("b", "miss")
            simulator.run()
            again = chat(gateway, **body)
            assert (again.headers["x-spine-provider"], again.cache) == ("a", "miss")
            assert chat(gateway, model="b/simulated").cache == "hit"


def test_vectors_are_kept(gateway: RunningGateway, simulator: Simulator) -> None:
    body = {"model": "oa/simulated", "input": ["a", "b"]}
    simulator.received.clear()
    first, again = (ask(gateway, "/v1/embeddings", body) for _ in range(2))
    assert (first.cache, again.cache, len(simulator.received)) == ("miss", "hit", 1)
    assert again.body == first.body
    assert again.headers["age"] == "0"
    assert ask(gateway, "/v1/embeddings", {**body, "dimensions": 2}).cache == "miss"


def test_hits_cost_nothing_and_the_ledger_tells_what_they_saved(simulator: Simulator, tmp_path: Any) -> None:
    from genai_spine.ledger.opening import open_reader
    from genai_spine.ledger.reading import find_call, usage
    from genai_spine.settings import LedgerSettings, Secret

    url = f"sqlite:///{tmp_path}/spine.db"
    with gateway_of(simulator, ledger={"url": url}) as gateway:
        first, again, streamed = chat(gateway), chat(gateway), chat(gateway, stream=True)
        reader = open_reader(LedgerSettings(url=Secret(url)))
        wait_until(lambda: usage(reader).total.calls == 3)
        total = usage(reader).total
        paid, _ = find_call(reader, first.headers["x-request-id"]) or (None, ())
        assert paid is not None and paid.cost_usd == total.cost_usd and total.cost_usd
        assert (total.attempts, total.cached_calls, total.saved_usd) == (1, 2, 2 * total.cost_usd)
        for hit in (again, streamed):
            call, attempts = find_call(reader, hit.headers["x-request-id"]) or (None, ())
            assert call is not None and attempts == ()
            assert (call.status, call.attempts, call.cost_usd, call.is_cached) == ("answered", 0, Decimal(0), True)
            assert (call.saved_usd, call.provider) == (paid.cost_usd, "oa")
            told = json.loads(urllib.request.urlopen(gateway.url + "/v1/requests/" + call.id).read())
            assert told["cached"]["provider"] == "oa" and told["attempts"] == []
        reader.close()


def test_many_at_a_time_get_the_same(gateway: RunningGateway) -> None:
    from concurrent.futures import ThreadPoolExecutor

    words = [{"role": "user", "content": "crowd"}]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: text_in("openai_chat", chat(gateway, messages=words, stream=n % 2)), range(40)))
    assert len(set(found)) == 1
