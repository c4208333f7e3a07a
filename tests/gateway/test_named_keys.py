"""`[server.keys.NAME]`: who calls is called by that name, may use what its settings say, and sees its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest

from genai_spine.engine.manager import ProviderManager
from genai_spine.engine.record import CallRecord
from genai_spine.engine.routing.request_facts import About
from genai_spine.gateway.server import open_sockets
from genai_spine.model.errors import ConfigError
from genai_spine.model.request import CompletionRequest
from genai_spine.policy.allowed import Allowed, ModelNotAllowed
from genai_spine.policy.route import Wanted
from genai_spine.providers.registry import settings_of
from genai_spine.settings import ServerSettings, load_settings, warnings_of
from genai_spine.settings.tree import CallerKeySettings
from genai_spine.settings.values import Secret
from genai_spine.testing.fixtures import RunningGateway, running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator

HELLO = [{"role": "user", "content": "Hi"}]
CI, TEAM, ALL, PLAIN = "sk-ci", "sk-team", "sk-all", "sk-plain"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


def tables(simulator: Simulator, **more: Any) -> dict[str, Any]:
    urls = simulator.urls
    return {
        "providers": {
            "openai": {
                "api_key": "sk-abcdefgh", "base_url": urls.openai, "models": ["gpt-4o", "gpt-4o-mini"],
                "custom_models": {"small": "gpt-4o-mini"},
            },
            "claude": {"type": "anthropic", "api_key": "sk-ijklmnop", "base_url": urls.anthropic},
            "ollama": {"base_url": urls.ollama, "model": "sim-long-2000+rate=20"},
        },
        "routes": {
            "mixed": {"targets": ["claude/claude-haiku-4-5", "openai/gpt-4o"]},
            "turns": {
                "strategy": "round_robin",
                "targets": ["claude/claude-haiku-4-5", "openai/gpt-4o", "openai/gpt-4o-mini"],
            },
            "ours": {"targets": ["claude/claude-sonnet-4-5"]},
            "outer": {"targets": ["ours", "claude/claude-opus-4-5"]},
        },
        "server": {
            "api_keys": [PLAIN],
            "keys": {
                "ci": {
                    "key": f"sha256:{sha256(CI.encode()).hexdigest()}", "models": ["openai/*", "ours"],
                    "requests_per_min": 1000,
                },
                "team": {"key": TEAM, "models": ["openai/small", "ollama/*"], "requests_per_min": 2},
                "all": {"key": ALL},
            },
        },
        "retry": {"max_retries": 0},
        **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def gateway(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    ledger = {"url": f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'spine.db'}"}
    with running_gateway(tables(simulator, ledger=ledger)) as running:
        yield running


def ask(gateway: RunningGateway, key: str, model: str | None, path: str = "/v1/chat/completions", **more: Any) -> Any:
    body = {"messages": HELLO, "max_tokens": 20, **({"model": model} if model else {}), **more}
    return httpx2.post(gateway.url + path, json=body, headers={"authorization": f"Bearer {key}"}, timeout=20)


def get(gateway: RunningGateway, key: str, path: str, **headers: str) -> Any:
    return httpx2.get(gateway.url + path, headers={"authorization": f"Bearer {key}", **headers}, timeout=20)


# ---------------------------------------------------------------- what a key may use


def test_a_key_is_asked_within_what_it_may_use(gateway: RunningGateway) -> None:
    by_key = {key: ask(gateway, key, "mixed").headers.get("x-spine-provider") for key in (CI, ALL, PLAIN)}
    assert by_key == {CI: "openai", ALL: "claude", PLAIN: "claude"}
    assert ask(gateway, CI, "ours").headers["x-spine-provider"] == "claude"  # by the route, whatever it leads to
    assert ask(gateway, CI, "outer").headers["x-spine-model"] == "claude-sonnet-4-5"
    turns = [ask(gateway, CI, "turns").headers["x-spine-model"] for _ in range(4)]
    assert sorted(turns) == ["gpt-4o", "gpt-4o", "gpt-4o-mini", "gpt-4o-mini"]
    fallbacks = ask(gateway, CI, "mixed", fallbacks=["claude/claude-opus-4-5"])
    assert fallbacks.headers["x-spine-provider"] == "openai"


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/v1/chat/completions", ("error", "message")),
        ("/v1/messages", ("error", "message")),
        ("/api/chat", ("error",)),
        ("/v1beta/models/claude/claude-haiku-4-5:generateContent", ("error", "message")),
    ],
)  # fmt: skip
def test_what_it_may_not_use_is_refused_in_the_callers_dialect(
    gateway: RunningGateway, path: str, where: tuple[str, ...]
) -> None:
    body = {"contents": [{"parts": [{"text": "Hi"}]}]} if "beta" in path else {}
    answer = ask(gateway, CI, None if body else "claude/claude-haiku-4-5", path, **body)
    told = answer.json()
    for name in where:
        told = told[name]
    assert answer.status_code == 403
    assert told == 'this key may not use "claude/claude-haiku-4-5"; it may use openai/*, ours'


def test_no_provider_is_told_of_other_models_that_may_answer(gateway: RunningGateway) -> None:
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/route"):
        body: dict[str, Any] = {"models": ["anthropic/claude-opus-4.5"]}
        if path == "/v1/responses":
            body["input"] = "Hi"
        refused = ask(gateway, CI, "openai/gpt-4o", path, **body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    assert ask(gateway, ALL, "openai/gpt-4o", models=["anthropic/claude-opus-4.5"]).status_code == 200


def test_a_refusal_does_not_tell_what_there_is(gateway: RunningGateway) -> None:
    names = ("claude/claude-haiku-4-5", "claude/nothing", "nobody/nothing", "agent:nobody", "nothing", "x" * 300)
    for name in names:
        answer = ask(gateway, CI, name)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "model_not_allowed")
        assert answer.json()["error"]["message"] == f'this key may not use "{name[:200]}"; it may use openai/*, ours'
    embedded = ask(gateway, CI, "claude/x", "/v1/embeddings", input="Hi")
    assert embedded.status_code == 403
    counted = ask(gateway, CI, "claude/claude-haiku-4-5", "/v1/messages/count_tokens")
    assert counted.status_code == 403
    summed = ask(gateway, CI, "claude/claude-haiku-4-5", "/v1/summarize", content="Much to say.")
    assert summed.status_code in (400, 403) and "sk-" not in summed.text


def test_a_capability_keeps_to_the_key(gateway: RunningGateway) -> None:
    def labelled(model: str) -> Any:
        body = {"content": "a dog", "labels": ["animal", "plant"], "model": model}
        headers = {"authorization": f"Bearer {CI}"}
        return httpx2.post(f"{gateway.url}/v1/classify", json=body, headers=headers, timeout=20)

    assert labelled("openai/gpt-4o").headers["x-spine-provider"] == "openai"
    assert labelled("claude/claude-haiku-4-5").status_code == 403


def test_lists_show_what_the_key_may_use(gateway: RunningGateway) -> None:
    def ids(key: str) -> set[str]:
        return {model["id"] for model in get(gateway, key, "/v1/models").json()["data"]}

    assert ids(PLAIN) == ids(ALL)
    assert {"ours", "mixed", "outer"} <= ids(CI) and not any(id.startswith(("claude", "ollama")) for id in ids(CI))
    assert {"openai/gpt-4o", "openai/gpt-4o-mini"} <= ids(CI)
    assert "ours" not in ids(TEAM) and any(id.startswith("ollama/") for id in ids(TEAM))
    for path, read in (("/api/tags", "model"), ("/v1beta/models", "name")):
        listed = get(gateway, CI, path).json()["models"]
        assert listed and not any("claude" in model[read] for model in listed), path
    assert get(gateway, CI, "/v1/models/openai/gpt-4o").status_code == 200
    assert get(gateway, CI, "/v1/models/claude/claude-haiku-4-5").status_code == 403
    providers = {provider["id"] for provider in get(gateway, CI, "/v1/providers").json()["data"]}
    assert providers == {"openai"}
    assert len(get(gateway, ALL, "/v1/providers").json()["data"]) == 3
    assert ask(gateway, ALL, "openai/gpt-4o").status_code == 200
    own, all_keys = (get(gateway, key, "/v1/providers").json()["data"] for key in (ALL, PLAIN))
    assert {(each["usage"], each["metrics"]["total_cost_usd"]) for each in own} == {(None, None)}
    assert {each["metrics"][count] for each in own for count in ("request_count", "error_count")} == {None}
    (openai,) = (each for each in all_keys if each["id"] == "openai")
    assert openai["usage"]["call_count"] > 0
    assert float(openai["metrics"]["total_cost_usd"]) > 0


def test_a_key_is_not_told_which_models_others_have_asked(simulator: Simulator) -> None:
    server = {"api_keys": [PLAIN], "keys": {"one": {"key": "sk-one", "models": ["openai/gpt-4o-mini"]}}}
    with running_gateway(tables(simulator, server=server)) as running:
        for key, model in ((PLAIN, "gpt-4o"), ("sk-one", "gpt-4o-mini")):
            assert ask(running, key, f"openai/{model}").status_code == 200
        seen = {
            key: {
                model["model"] for each in get(running, key, "/v1/providers").json()["data"] for model in each["models"]
            }
            for key in (PLAIN, "sk-one")
        }
    assert seen == {PLAIN: {"gpt-4o", "gpt-4o-mini"}, "sk-one": {"gpt-4o-mini"}}


def test_a_key_sees_its_own_budgets_and_not_what_others_use(simulator: Simulator) -> None:
    budgets = {
        "all": {"limit_usd": 9},
        "each_model": {"limit_usd": 9, "each": "model"},
        "each_key": {"limit_usd": 9, "each": "key"},
        "mini_of_one": {"limit_usd": 9, "key": "one", "model": "openai/gpt-4o-mini"},
        "of_two": {"limit_usd": 9, "key": "two"},
    }
    server = {"api_keys": [PLAIN], "keys": {name: {"key": f"sk-{name}"} for name in ("one", "two")}}
    with running_gateway(tables(simulator, server=server, costs={"budgets": budgets})) as running:
        for key, model in ((PLAIN, "gpt-4o"), ("sk-one", "gpt-4o-mini")):
            assert ask(running, key, f"openai/{model}").status_code == 200
        seen = {
            key: {budget["name"] for budget in get(running, key, "/v1/budgets").json()["data"]}
            for key in (PLAIN, "sk-one", "sk-two")
        }
    assert seen["sk-one"] == {"all", "each_key[one]", "mini_of_one"}
    assert seen["sk-two"] == {"all", "of_two"}
    assert {"all", "each_model[openai/gpt-4o]", "each_model[openai/gpt-4o-mini]", "by_provider[openai]"} < seen[PLAIN]


def test_own_names_of_models_may_stand_in_the_patterns(gateway: RunningGateway) -> None:
    asked = [ask(gateway, TEAM, name).status_code for name in ("openai/gpt-4o", "openai/small", "openai/gpt-4o-mini")]
    assert asked == [403, 200, 200]


def test_a_dry_run_tells_why_a_target_is_left_out(gateway: RunningGateway) -> None:
    told = ask(gateway, CI, "mixed", "/v1/route").json()
    assert [(each["provider"], each["place"], each["reason"]) for each in told["candidates"]] == [
        ("openai", 1, "by ordered"), ("claude", None, "the caller's key may not use it"),
    ]  # fmt: skip
    refused = ask(gateway, CI, "claude/claude-haiku-4-5", "/v1/route")
    assert refused.status_code == 403


# ---------------------------------------------------------------- the name, the limits, one's own


def test_the_name_of_a_key_is_that_of_its_calls(gateway: RunningGateway) -> None:
    asked = {name: ask(gateway, key, "ours").headers["x-request-id"] for name, key in (("ci", CI), ("all", ALL))}
    assert asked["ci"] != asked["all"]
    seen = get(gateway, CI, f"/v1/requests/{asked['ci']}")
    assert seen.status_code == 200
    assert get(gateway, CI, f"/v1/requests/{asked['all']}").status_code == 404
    until = time.monotonic() + 10
    while not (listed := get(gateway, ALL, "/v1/requests").json()["data"]) and time.monotonic() < until:
        time.sleep(0.05)
    assert listed and {call["caller"] for call in listed} == {"all"}


def test_the_limits_of_a_key_are_its_own(simulator: Simulator) -> None:
    with running_gateway(tables(simulator, limits={"requests_per_min": 50, "tokens_per_min": 90_000})) as running:
        team = [ask(running, TEAM, "openai/small") for _ in range(3)]
        others = [ask(running, key, "ours") for key in (CI, ALL, PLAIN)]
    assert [answer.status_code for answer in team] == [200, 200, 429]
    assert "for this key is reached" in team[2].json()["error"]["message"]
    told = [answer.headers["x-ratelimit-limit-requests"] for answer in (team[0], *others)]
    assert told == ["2", "1000", "50", "50"]
    assert {answer.headers["x-ratelimit-limit-tokens"] for answer in (team[0], *others)} == {"90000"}


def test_a_key_sees_and_ends_its_own_streams(simulator: Simulator) -> None:
    async def scenario(running: RunningGateway) -> None:
        async with httpx2.AsyncClient(base_url=running.url, timeout=20) as client:

            def headers(key: str) -> dict[str, str]:
                return {"authorization": f"Bearer {key}"}

            body = {"model": "ollama", "messages": HELLO, "stream": True}
            path = "/v1/chat/completions"
            async with client.stream("POST", path, json=body, headers=headers(TEAM)) as stream:
                lines = stream.aiter_lines()
                await anext(lines)
                id = stream.headers["x-request-id"]
                listed = {
                    key: [one["id"] for one in (await client.get("/v1/streams", headers=headers(key))).json()["data"]]
                    for key in (TEAM, CI, ALL, PLAIN)
                }
                assert listed == {TEAM: [id], CI: [], ALL: [], PLAIN: [id]}
                refused = await client.delete(f"/v1/streams/{id}", headers=headers(CI))
                ended = await client.delete(f"/v1/streams/{id}", headers=headers(TEAM))
                assert (refused.status_code, ended.status_code) == (404, 200)
                rest = [line async for line in lines]
                assert any("cancelled" in line for line in rest)

    with running_gateway(tables(simulator)) as running:
        asyncio.run(scenario(running))


def test_without_a_restriction_nothing_is_looked_at(simulator: Simulator) -> None:
    keys = {"keys": {"all": {"key": ALL}}}
    manager = ProviderManager.from_settings(settings_of(tables(simulator, server=keys)))
    assert not manager.router.allowances
    decided = manager.router.decide(Wanted(model="mixed"), request, caller="all")
    assert decided is manager.router.decide(Wanted(model="mixed"), request)


def request() -> CompletionRequest:
    return CompletionRequest(messages="Hi")  # type: ignore[arg-type]  # a text is taken


def test_a_programs_own_calls_keep_to_the_key_too(simulator: Simulator) -> None:
    async def scenario() -> None:
        async with ProviderManager.from_settings(settings_of(tables(simulator))) as manager:
            router = manager.router
            first = router.decide(Wanted(model="mixed"), request, caller="ci")
            assert first is router.decide(Wanted(model="mixed"), request, caller="ci")  # worked out once
            answer = await manager.complete("Hi", model="mixed", record=CallRecord(caller="ci"))
            assert answer.provider == "openai"
            with pytest.raises(ModelNotAllowed):
                await manager.complete("Hi", model="claude", record=CallRecord(caller="ci"))
            with pytest.raises(ModelNotAllowed):
                router.explain(Wanted(provider="claude"), request, About(), "ci")
            assert not router.may_use("claude", "ci") and router.may_use("turns", "ci")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("*", "openai/org/m", True), ("openai/*", "openai/org/m", True), ("openai/*", "openai2/m", False),
        ("openai/gpt-4o", "openai/gpt-4o-mini", False), ("*/gpt-4o", "azure/gpt-4o", True), ("a.c", "abc", False),
        ("op[e]n/*", "open/m", False), ("~open.*", "open/m", False), ("OpenAI/*", "openai/m", False),
        ("fast", "fast\n", False),
    ],
)  # fmt: skip
def test_in_a_pattern_only_the_star_is_special(pattern: str, name: str, fits: bool) -> None:
    assert Allowed("k", [pattern]).may_name(name) is fits


# ---------------------------------------------------------------- the settings


@pytest.mark.parametrize(
    ("server", "told"),
    [
        ('[server.keys.a]\nkey = "k"\n[server.keys.b]\nkey = "k"', "keys.b.key: the same key as server.keys.a.key"),
        ('[server]\napi_keys = ["k"]\n[server.keys.b]\nkey = "sha256:HASH"', "the same key as server.api_keys.0"),
        ('[server.keys.0123456789abcdef]\nkey = "k"', "16 hexadecimal digits"),
        ('[server.keys."a b"]\nkey = "k"', "a name is of letters, digits"),
        ('[server.keys.a]\nkey = " "', "an empty key would let everyone in"),
        ('[server.keys.a]\nkey = "sha256:12"', "needs 64 hexadecimal digits"),
        ("[server.keys.a]\nmodels = []", "server.keys.a"),
        ('[server.keys.a]\nkey = "k"\nmodel = ["x"]', 'did you mean "models"'),
        ('[server.keys.a]\nkey = "k"\nrequests_per_min = 0', "server.keys.a.requests_per_min"),
    ],
)  # fmt: skip
def test_keys_that_cannot_be_are_refused(server: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "spine.toml"
    file.write_text(server.replace("HASH", sha256(b"k").hexdigest()) + '\n[providers.ollama]\nmodel = "m"\n')
    with pytest.raises(ConfigError) as caught:
        load_settings(file, environ={}, cwd=tmp_path)
    assert told in str(caught.value) and "spine.toml:" in str(caught.value)


def test_patterns_that_fit_nothing_are_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "spine.toml"
    patterns = ["ollama/*", "fast", "agent:r", "oll*", "*", "anthropic/*", "olama/*", "slow", "agent:x"]
    file.write_text(
        f'[server.keys.a]\nkey = "${{K}}"\nmodels = {json.dumps(patterns)}\n[providers.ollama]\nmodel = "m"\n'
        '[providers.claude]\ntype = "anthropic"\napi_key = "sk-abcdefgh"\n'
        '[routes.fast]\ntargets = ["ollama/m"]\n[agents.r]\nprovider = "ollama"\n'
    )
    settings = load_settings(file, environ={"K": "never-shown"}, cwd=tmp_path)
    warned = [text for text in warnings_of(settings) if text.startswith("server.keys")]
    assert [text.split('"')[1] for text in warned] == ["olama/*", "slow", "agent:x"]
    assert settings.server.keys["a"].models[5] == "claude/*"
    assert "never-shown" not in repr(settings)


def test_an_error_never_tells_a_key(gateway: RunningGateway) -> None:
    wrong = get(gateway, "sk-wrong", "/v1/models")
    assert wrong.status_code == 401 and "sk-wrong" not in wrong.text
    unnamed = Allowed("k", ["a/*"]).refusal(None)
    assert unnamed.message == "this key may not use the default model; it may use a/*"


def test_a_gateway_with_a_named_key_may_listen_anywhere() -> None:
    keys = {"ci": CallerKeySettings(key=Secret(CI))}
    for sock in open_sockets(ServerSettings(host="0.0.0.0", port=0, keys=keys)):
        sock.close()


def test_the_command_explains_as_a_call_with_the_key(tmp_path: Path) -> None:
    (tmp_path / "spine.toml").write_text(
        '[server.keys.ci]\nkey = "k"\nmodels = ["small/*"]\n'
        '[providers.small]\ntype = "simulated"\n[providers.large]\ntype = "simulated"\n'
        '[routes.r]\ntargets = ["large/simulated", "small/simulated"]\n'
    )

    def explain(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "genai_spine", "route", "explain", "--model", *more]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    told = json.loads(explain("r", "--key", "ci", "--json").stdout)
    assert [(each["provider"], each["place"]) for each in told["candidates"]] == [("small", 1), ("large", None)]
    refused = explain("large/simulated", "--key", "ci")
    assert refused.returncode and 'this key may not use "large/simulated"' in refused.stderr
    unknown = explain("r", "--key", "nobody")
    assert unknown.returncode == 2 and "there are: ci" in unknown.stderr


def test_each_key_has_sessions_of_its_own() -> None:
    settings = {
        "server": {"keys": {"carol": {"key": "carols-key", "models": ["b/*"]}, "bob": {"key": "bobs-key"}}},
        "providers": {"a": {"type": "simulated"}, "b": {"type": "simulated"}},
        "routes": {"r": {"targets": ["a/x", "b/y"]}},
        "routing": {"sticky": "session"},
    }
    body = {"model": "r", "prompt_cache_key": "chat-1", "messages": [{"role": "user", "content": "Hi"}]}
    with running_gateway(settings) as gateway, httpx2.Client() as client:

        def asked(key: str) -> str:
            headers = {"authorization": f"Bearer {key}"}
            answer = client.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers)
            return str(answer.headers["x-spine-provider"])

        assert asked("carols-key") == "b"
        assert asked("bobs-key") == "a"
        assert asked("carols-key") == "b"
