"""Routing over HTTP: the dry run, what became of a call, sessions and tags, and a gateway that asks itself."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import msgspec
import pytest

from genai_spine.gateway.call_headers import about_of
from genai_spine.model.errors import InvalidRequest
from genai_spine.testing.fixtures import RunningGateway, running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator

HELLO = [{"role": "user", "content": "a secret word"}]


@pytest.fixture(scope="module")
def running_upstream() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture
def simulator(running_upstream: Simulator) -> Simulator:
    running_upstream.run()
    running_upstream.received.clear()
    return running_upstream


def tables(simulator: Simulator, **more: Any) -> dict[str, Any]:
    urls = simulator.urls
    return {
        "providers": {
            "openai": {"api_key": "sk-abcdefgh", "base_url": urls.openai},
            "claude": {"type": "anthropic", "api_key": "sk-ijklmnop", "base_url": urls.anthropic},
            "ollama": {"base_url": urls.ollama},
        },
        "routes": {
            "cheap": {
                "strategy": "cost_optimized",
                "targets": [
                    "claude/claude-sonnet-4-5",
                    "openai/gpt-4o-mini",
                    {"target": "ollama/x", "when": {"tags": ["n"]}},
                ],
            },
            "turns": {"strategy": "round_robin", "targets": ["openai/gpt-4o", "claude/claude-haiku-4-5"]},
            "kept": {"strategy": "round_robin", "targets": ["openai/gpt-4o", "claude/claude-haiku-4-5"]},
            "team": {"targets": [{"target": "ollama/x", "when": {"metadata": {"team": "a"}}}, "openai/gpt-4o"]},
        },
        "agents": {"reviewer": {"provider": "openai", "model": "gpt-4o", "temperature": 0.2, "max_tokens": 77}},
        "routing": {"sticky": "session"},
        "retry": {"max_retries": 0},
        **more,
    }


@pytest.fixture(scope="module")
def gateway(running_upstream: Simulator) -> Iterator[RunningGateway]:
    with running_gateway(tables(running_upstream)) as running:
        yield running


def post(gateway: RunningGateway, path: str, body: Any, **headers: str) -> httpx2.Response:
    return httpx2.post(gateway.url + path, json=body, headers=headers, timeout=20)


def chat(gateway: RunningGateway, model: str, _headers: dict[str, str] | None = None, **more: Any) -> httpx2.Response:
    body = {"model": model, "messages": HELLO, **more}
    answer = httpx2.post(f"{gateway.url}/v1/chat/completions", json=body, headers=_headers or {}, timeout=20)
    assert answer.status_code == 200, answer.text
    return answer


# ---------------------------------------------------------------- the dry run


def test_a_dry_run_tells_every_candidate_and_asks_nobody(gateway: RunningGateway, simulator: Simulator) -> None:
    answer = post(gateway, "/v1/route", {"model": "cheap", "messages": HELLO})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["route"], told["strategy"], told["dialect"]) == ("cheap", "cost_optimized", "openai_chat")
    openai, claude, ollama = told["candidates"]
    assert (openai["provider"], openai["model"], openai["place"]) == ("openai", "gpt-4o-mini", 1)
    assert float(openai["cost_usd"]) < float(claude["cost_usd"])
    assert (ollama["place"], ollama["reason"]) == (None, "not meant for it: without the tag n")
    assert openai["health"] == "closed" and openai["input_tokens"] > 0
    assert not simulator.received
    assert "secret" not in answer.text


def test_a_target_whose_limit_is_reached_is_told_to_be_passed_over(simulator: Simulator) -> None:
    given = tables(simulator)
    given["providers"]["openai"]["limits"] = {"gpt-4o": {"requests_per_min": 1}}
    given["routing"] = {"strategy": "ordered"}
    given["routes"] = {"two": {"targets": ["openai/gpt-4o", "claude/claude-haiku-4-5"]}}
    body = {"model": "two", "messages": HELLO}
    with running_gateway(given) as running:
        before = post(running, "/v1/route", body).json()["candidates"]
        asked = [chat(running, "two").headers["x-spine-provider"] for _ in range(2)]
        after = post(running, "/v1/route", body).json()["candidates"]
    assert [(each["provider"], each["place"]) for each in before] == [("openai", 1), ("claude", 2)]
    assert asked == ["openai", "claude"]
    assert [(each["provider"], each["place"]) for each in after] == [("claude", 1), ("openai", None)]
    assert after[1]["reason"] == "the limit of 1 requests per minute for openai/gpt-4o is reached"


def test_tags_come_in_a_header(gateway: RunningGateway) -> None:
    answer = post(gateway, "/v1/route", {"model": "cheap", "messages": HELLO}, **{"x-spine-tags": "m, n"})
    assert answer.json()["candidates"][0]["provider"] == "ollama"


@pytest.mark.parametrize(
    ("body", "path", "dialect"),
    [
        ({"messages": HELLO}, "/v1/route", "openai_chat"),
        ({"input": "hi"}, "/v1/route", "openai_responses"),
        ({"system": "Be brief.", "max_tokens": 9, "messages": HELLO}, "/v1/route", "anthropic_messages"),
        ({"contents": [{"parts": [{"text": "hi"}]}]}, "/v1/route", "gemini"),
        ({"prompt": "hi"}, "/v1/route", "ollama_generate"),
        ({"messages": HELLO}, "/v1/route?dialect=ollama_chat", "ollama_chat"),
    ],
)
def test_a_dry_run_takes_the_body_of_any_dialect(
    body: dict[str, Any], path: str, dialect: str, gateway: RunningGateway
) -> None:
    answer = post(gateway, path, {"model": "turns", **body})
    assert answer.status_code == 200, answer.text
    assert answer.json()["dialect"] == dialect


@pytest.mark.parametrize(
    ("body", "path", "status"),
    [
        (b"{", "/v1/route", 400),
        (b'{"model": "turns", "messages": 7}', "/v1/route", 400),
        (b'{"model": "turns", "messages": []}', "/v1/route?dialect=latin", 400),
        (json.dumps({"provider": "nobody", "messages": HELLO}).encode(), "/v1/route", 404),
    ],
)
def test_a_dry_run_refuses_what_the_call_would(body: bytes, path: str, status: int, gateway: RunningGateway) -> None:
    answer = httpx2.post(gateway.url + path, content=body, timeout=20)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


def test_a_dry_run_takes_nobodys_turn(gateway: RunningGateway) -> None:
    asked = [post(gateway, "/v1/route", {"model": "turns", "messages": HELLO}).json() for _ in range(3)]
    assert len({told["candidates"][0]["provider"] for told in asked}) == 1


# ---------------------------------------------------------------- real calls


def test_turns_over_real_calls_are_even(gateway: RunningGateway) -> None:
    providers = [chat(gateway, "turns").headers["x-spine-provider"] for _ in range(6)]
    assert providers.count("openai") == providers.count("claude") == 3


@pytest.mark.parametrize(
    "carried",
    [
        {"_headers": {"x-spine-session": "s-1"}},
        {"_headers": {"x-claude-code-session-id": "s-2"}},
        {"_headers": {"x-session-affinity": "s-3"}},
        {"prompt_cache_key": "s-4"},
        {"metadata": {"user_id": "user_0a_account_1b_session_8f1c2d3e-aaaa-bbbb-cccc-0123456789ab"}},
    ],
    ids=str,
)
def test_a_session_keeps_to_its_provider_however_it_is_named(carried: dict[str, Any], gateway: RunningGateway) -> None:
    providers = [chat(gateway, "kept", **carried).headers["x-spine-provider"] for _ in range(4)]
    assert len(set(providers)) == 1
    others = {chat(gateway, "kept").headers["x-spine-provider"] for _ in range(2)}
    assert others == {"openai", "claude"}, "others go on in turn"


def test_metadata_chooses_a_target(gateway: RunningGateway) -> None:
    assert chat(gateway, "team", metadata={"team": "a"}).headers["x-spine-provider"] == "ollama"
    assert chat(gateway, "team", metadata={"team": "b"}).headers["x-spine-provider"] == "openai"
    assert chat(gateway, "team").headers["x-spine-provider"] == "openai"


def test_an_agent_is_named_as_a_model(gateway: RunningGateway, simulator: Simulator) -> None:
    answer = chat(gateway, "agent:reviewer")
    assert answer.headers["x-spine-provider"] == "openai"
    sent = json.loads(simulator.received[-1].body)
    assert (sent["model"], sent["temperature"]) == ("gpt-4o", 0.2)
    assert 77 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))
    chat(gateway, "agent:reviewer", temperature=0.9)
    assert json.loads(simulator.received[-1].body)["temperature"] == 0.9


def test_a_hint_is_followed_without_a_notice(gateway: RunningGateway) -> None:
    answer = httpx2.post(
        f"{gateway.url}/v1/chat/completions", json={"messages": HELLO, "provider_hint": "cheapest"}, timeout=20
    )
    assert answer.headers["x-spine-provider"] == "ollama"
    assert "provider_hint" not in answer.headers.get("x-spine-notices", "")


# ---------------------------------------------------------------- what became of a call


def recorded(gateway: RunningGateway, answer: httpx2.Response) -> dict[str, Any]:
    told = httpx2.get(f"{gateway.url}/v1/requests/{answer.headers['x-request-id']}", timeout=20)
    assert told.status_code == 200, told.text
    assert "secret" not in told.text, "no word of a prompt"
    assert "sk-" not in told.text and "127.0.0.1" not in told.text
    record: dict[str, Any] = told.json()
    return record


def test_a_call_can_be_looked_up_by_its_id(gateway: RunningGateway) -> None:
    answer = chat(gateway, "cheap")
    told = recorded(gateway, answer)
    assert (told["provider"], told["model"], told["route"], told["strategy"]) == (
        "openai",
        "gpt-4o-mini",
        "cheap",
        "cost_optimized",
    )
    (attempt,) = told["attempts"]
    assert attempt["error"] is None and attempt["usage"]["input_tokens"] > 0 and attempt["duration_s"] > 0
    assert [each["provider"] for each in told["candidates"]] == ["openai", "claude", "ollama"]
    assert told["candidates"][0]["cost_usd"] is not None


def test_nothing_of_a_prompt_is_kept_in_memory(gateway: RunningGateway) -> None:
    import gc

    word = "a word that nobody else says 8b1f"
    body = {"model": "cheap", "messages": [{"role": "user", "content": word}]}
    answer = httpx2.post(f"{gateway.url}/v1/chat/completions", json=body, timeout=20)
    found = gateway.manager.traffic.recent.find(answer.headers["x-request-id"])
    assert found is not None
    reached, queue = {id(found)}, [found]
    while queue:  # everything that the record leads to, modules and classes apart
        for each in gc.get_referents(queue.pop()):
            if isinstance(each, str | bytes):
                assert word not in (each if isinstance(each, str) else each.decode("latin-1"))
            elif id(each) not in reached and _belongs(each):
                reached.add(id(each))
                queue.append(each)


def _belongs(value: object) -> bool:
    kind = type(value)
    is_ours = kind.__module__.startswith(("genai_spine", "builtins"))
    return is_ours and not isinstance(value, type | ModuleType) and kind.__name__ not in OURS_FOR_LONG


OURS_FOR_LONG = {"Router", "Targets", "HttpProvider", "ProviderManager", "Gateway", "function", "ProviderRegistry"}
"""Which a record may lead to, and which live as long as the gateway."""


def test_what_failed_on_the_way_is_told(gateway: RunningGateway, simulator: Simulator) -> None:
    simulator.run("status=503", "ok")
    answer = chat(gateway, "cheap")
    told = recorded(gateway, answer)
    first, second = told["attempts"]
    assert (first["provider"], first["status_code"]) == ("openai", 503) and first["error"]
    assert (second["provider"], told["provider"]) == ("claude", "claude")


def test_a_call_that_failed_can_be_looked_up_too(gateway: RunningGateway, simulator: Simulator) -> None:
    simulator.run(*["status=503"] * 4)
    answer = post(gateway, "/v1/chat/completions", {"model": "openai/gpt-4o", "messages": HELLO})
    simulator.run()
    assert answer.status_code == 503
    told = recorded(gateway, answer)
    assert told["provider"] is None and told["attempts"][0]["status_code"] == 503


def test_ids_of_nobody_and_of_others_look_alike(running_upstream: Simulator) -> None:
    with running_gateway(tables(running_upstream, server={"api_keys": ["key-of-one-1", "key-of-two-2"]})) as running:
        one, two = ({"authorization": f"Bearer {key}"} for key in ("key-of-one-1", "key-of-two-2"))
        id = chat(running, "cheap", one).headers["x-request-id"]
        for other in (f"/v1/requests/{id}x", f"/v1/requests/{id}"):
            answer = httpx2.get(running.url + other, headers=two, timeout=20)
            assert answer.status_code == 404
            assert "no call of yours by that id is remembered" in answer.text
        assert httpx2.get(f"{running.url}/v1/requests/{id}", headers=one, timeout=20).status_code == 200
        assert httpx2.get(f"{running.url}/v1/requests/{id}", timeout=20).status_code == 401


# ---------------------------------------------------------------- a gateway that asks itself


@contextmanager
def spine(folder: Path, port: int, upstream: int) -> Iterator[str]:
    """A gateway in a process of its own, whose one provider is the gateway at `upstream`."""
    folder.mkdir(exist_ok=True)
    (folder / "spine.toml").write_text(
        f'[providers.up]\ntype = "openai_compatible"\nbase_url = "http://127.0.0.1:{upstream}/v1"\nmodel = "m"\n'
        "[retry]\nmax_retries = 0\n"
    )
    command = [sys.executable, "-m", "genai_spine", "serve", "--port", str(port)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if " on http://" in line:
                break
        else:
            raise AssertionError("no gateway came up")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=20)


def free_ports(count: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return ports


@pytest.mark.parametrize("gateways", [1, 2])
def test_a_gateway_that_leads_back_to_itself_is_told_so(gateways: int, tmp_path: Path) -> None:
    """FAULTS 83: also by way of another one; each is asked once."""
    ports = free_ports(gateways)
    with spine(tmp_path / "a", ports[0], ports[-1]) as url:
        if gateways == 1:
            answer = httpx2.post(f"{url}/v1/chat/completions", json={"model": "m", "messages": HELLO}, timeout=20)
        else:
            with spine(tmp_path / "b", ports[1], ports[0]):
                answer = httpx2.post(f"{url}/v1/chat/completions", json={"model": "m", "messages": HELLO}, timeout=20)
    assert answer.status_code >= 500
    assert "leads back to this gateway" in answer.text


def test_a_gateway_behind_another_is_no_loop(simulator: Simulator, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with spine(tmp_path, port, int(simulator.urls.root.rpartition(":")[2])) as url:
        providers = {"up": {"type": "openai_compatible", "base_url": f"{url}/v1", "model": "m"}}
        with running_gateway({"providers": providers}) as running:
            assert chat(running, "up/m").json()["choices"]
    hops = dict(simulator.received[-1].headers)
    named = {name.lower() if isinstance(name, str) else name.decode().lower() for name in hops}
    assert "x-spine-hop" in named


# ---------------------------------------------------------------- what is read of a request


def raw(**members: Any) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in members.items()}


def test_what_a_request_says_of_itself() -> None:
    assert about_of({b"x-spine-tags": b" a ,b,,"}, {}).tags == ("a", "b")
    assert len(about_of({b"x-spine-tags": b",".join([b"%d" % number for number in range(32)])}, {}).tags) == 32
    for encoding in ("utf-8", "latin-1"):
        assert about_of({b"x-spine-tags": "équipe, nuit".encode(encoding)}, {}).tags == ("équipe", "nuit")
    for many in (b"a," * 33, b"a" * 201):
        with pytest.raises(InvalidRequest, match="x-spine-tags: at most 32 tags of 200 letters"):
            about_of({b"x-spine-tags": many}, {})
    assert about_of({b"x-spine-session": b"s"}, raw(prompt_cache_key="k")).session == "s"
    assert about_of({}, raw(prompt_cache_key="k")).session == "k"
    assert about_of({}, raw(metadata={"user_id": "user_1_account__session_0123456789ab"})).session == "0123456789ab"
    assert about_of({}, raw(metadata={"user_id": "someone"})).session is None
    assert about_of({b"x-spine-session": b"s" * 5000}, {}).session == "s" * 200


@pytest.mark.parametrize("members", [raw(prompt_cache_key=7), raw(metadata=[]), raw(metadata={"user_id": 7}), {}])
def test_members_of_any_shape_are_no_session(members: dict[str, msgspec.Raw]) -> None:
    assert about_of({}, members).session is None
