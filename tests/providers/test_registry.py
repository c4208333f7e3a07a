"""The registry: the specification's eight methods, its examples as printed, and what they say when it goes wrong."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from genai_spine import (
    CompletionRequest,
    CompletionResponse,
    ConfigError,
    HttpProvider,
    LLMMessage,
    LLMProvider,
    OllamaProvider,
    Price,
    ProviderManager,
    ProviderNotFound,
    ProviderRegistry,
    SimulatedProvider,
    Text,
    TokenUsage,
    load_settings,
)
from genai_spine.model.card import ModelCard
from genai_spine.model.response import UsageTotals
from genai_spine.providers import presence
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Simulator

S2 = Path(__file__).parents[1] / "settings" / "examples" / "s2.yaml"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


def dead_url() -> str:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


class Priced(LLMProvider):
    """Answers with a known use of tokens, at a known price."""

    def __init__(self, name: str, price: Price | None = None) -> None:
        self.name = name
        self.price = price
        self.closed = 0

    def card(self, model: str | None = None) -> ModelCard:
        return ModelCard(id=model or "m", price=self.price)

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        usage = TokenUsage(input_tokens=1_000_000, output_tokens=500_000)
        return CompletionResponse(model="m", parts=(Text(text="Hi"),), usage=usage)

    async def close(self) -> None:
        self.closed += 1


# ---------------------------------------------------------------- the specification's examples


async def test_basic_usage_as_printed(simulator: Simulator) -> None:
    providers = {
        "claude_main": {
            "type": "anthropic",
            "api_key": "sk-test",
            "default_model": "claude-3-5-sonnet",
            "base_url": simulator.urls.anthropic,
        },
        "openai_main": {"type": "openai", "api_key": "sk-test", "base_url": simulator.urls.openai},
    }
    registry = ProviderRegistry.from_config(providers)

    provider = registry.get("claude_main")
    message = LLMMessage(role="user", content="Hello, Claude!")
    response = await provider.complete(messages=[message], temperature=0.7, max_tokens=1024)

    assert response.content == "You said: Hello, Claude!"
    assert response.tokens_input + response.tokens_output > 0
    sent = simulator.received[-1].json()
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("claude-3-5-sonnet-20241022", 0.7, 1024)
    await registry.close()


async def test_tool_calling_as_printed(simulator: Simulator) -> None:
    tools = [
        {
            "name": "get_weather",
            "description": "Get weather for a location",
            "input_schema": {
                "type": "object",
                "properties": {"location": {"type": "string"}},
                "required": ["location"],
            },
        }
    ]
    registry = ProviderRegistry.from_config({"local": {"type": "ollama", "base_url": simulator.urls.ollama}})
    provider = registry.get("local")
    if provider.supports_tools():
        response = await provider.complete(messages=[{"role": "user", "content": "Weather?"}], tools=tools)
    assert [(call.name, call.input) for call in response.tool_calls] == [("get_weather", {"location": "location"})]
    await registry.close()


async def test_streaming_and_usage_as_printed(simulator: Simulator) -> None:
    table = {"type": "openai", "api_key": "k", "base_url": simulator.urls.openai, "default_model": "gpt-4o"}
    registry = ProviderRegistry.from_config({"openai_main": table})
    provider = registry.get("openai_main")
    chunks = [chunk async for chunk in provider.text_stream(messages=["Hi there"], max_tokens=2048)]
    assert "".join(chunks) == "You said: Hi there"

    usage = provider.get_usage()
    assert f"{usage.total_cost_usd:.2f}" == "0.00"
    assert usage.call_count == 1
    summary = registry.get_usage_summary()
    assert f"${summary['total']['cost_usd']:.2f}" == "$0.00"
    assert summary["total"]["calls"] == 1
    registry.reset_all_usage()
    assert provider.get_usage() == UsageTotals()
    await registry.close()


def test_the_specifications_file_makes_providers() -> None:
    environ = {"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o", "AZURE_API_KEY": "z"}
    settings = load_settings(S2, environ=environ, cwd=S2.parent)
    table = settings.providers.by_id["claude_main"]
    registry = ProviderRegistry.from_config({"claude_main": {"type": "claude", "api_key": "a", "model": table.model}})
    assert registry.get("claude_main").provider_type == "anthropic"


# ---------------------------------------------------------------- register, get, list


def test_register_get_and_list() -> None:
    registry = ProviderRegistry()
    first, second = Priced("x"), Priced("y")
    registry.register("a", first)
    registry.register("b", second)
    assert registry.list_providers() == ["a", "b"]
    assert registry.get("a") is first
    assert first.name == "a", "a provider has the name that it is registered by"
    assert "b" in registry
    assert len(registry) == 2


def test_a_mapping_is_a_whole_file_where_it_has_a_key_of_one() -> None:
    manager = ProviderManager.from_settings({"retry": {"max_retries": 0}, "routes": {}})
    assert manager.settings.retry.max_retries == 0
    assert ProviderRegistry.from_config({"simulated": {}}).list_providers() == ["simulated"]
    with pytest.raises(ConfigError, match="expected a mapping, a path or Settings, got list"):
        ProviderManager.from_settings(["openai"])  # type: ignore[arg-type]


@pytest.mark.parametrize(("given", "said"), [(Priced, "the class Priced"), ("openai", "str"), (object(), "object")])
def test_what_is_no_provider_is_not_registered(given: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=f"expected an instance of LLMProvider, got {said}"):
        ProviderRegistry([given])


def test_an_unknown_provider_is_a_key_error_that_names_those_there_are() -> None:
    registry = ProviderRegistry([Priced("a"), Priced("b")])
    with pytest.raises(KeyError) as raised:
        registry.get("c")
    assert isinstance(raised.value, ProviderNotFound)
    assert str(raised.value) == 'no provider "c": registered are a, b'
    with pytest.raises(ProviderNotFound, match="registered are none"):
        ProviderRegistry().get("c")


def test_an_id_is_taken_once_and_has_no_slash() -> None:
    registry = ProviderRegistry({"a": Priced("a")})
    with pytest.raises(ConfigError, match='"a" is registered already'):
        registry.register("a", Priced("a"))
    registry.register("a", registry.get("a"))
    for wrong in ("", "a/b"):
        with pytest.raises(ConfigError, match="cannot be a provider's id"):
            registry.register(wrong, Priced("x"))


def test_two_providers_of_one_name_are_not_one() -> None:
    with pytest.raises(ConfigError, match='"same" is registered already: give each a name of its own'):
        ProviderRegistry([Priced("same"), Priced("same")])
    one = Priced("same")
    assert ProviderRegistry([one, one]).list_providers() == ["same"]


def test_a_row_or_its_alias_means_its_only_provider() -> None:
    registry = ProviderRegistry.from_config({"main": {"type": "anthropic", "api_key": "k"}})
    assert registry.get("claude") is registry.get("anthropic") is registry.get("main")
    registry.register("second", HttpProvider("anthropic"))
    with pytest.raises(ProviderNotFound):
        registry.get("claude")


def test_the_type_is_found_by_the_id() -> None:
    registry = ProviderRegistry.from_config({"ollama": {}, "groq": {"api_key": "k"}, "simulated": {}})
    kinds = [type(registry.get(id)) for id in registry.list_providers()]
    assert kinds == [OllamaProvider, HttpProvider, SimulatedProvider]


def test_an_unknown_type_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"providers\.x\.type: unknown provider; known are alibaba, anthropic"):
        ProviderRegistry.from_config({"x": {"type": "nonesuch"}})


# ---------------------------------------------------------------- agents


async def test_an_agent_gets_its_provider() -> None:
    registry = ProviderRegistry({"a": Priced("a"), "b": Priced("b")})
    config = {"writer": {"provider": "b"}, "idle": {}}
    assert registry.get_for_agent("writer", config).name == "b"
    with pytest.raises(KeyError, match="no agent"):
        registry.get_for_agent("reader", config)
    with pytest.raises(KeyError, match="names no provider"):
        registry.get_for_agent("idle", config)
    with pytest.raises(ConfigError, match=r"agents\.writer\.temprature: "):
        registry.get_for_agent("writer", {"writer": {"provider": "b", "temprature": 1}})
    with pytest.raises(KeyError, match='no provider "c"'):
        registry.get_for_agent("writer", {"writer": {"provider": "c"}})


async def test_an_agents_model_and_limits_hold_where_a_request_says_nothing(simulator: Simulator) -> None:
    table = {"type": "openai_compatible", "base_url": simulator.urls.openai, "model": "usual"}
    tree = {
        "providers": {"main": table},
        "agents": {"writer": {"provider": "main", "model": "special", "temperature": 0.1, "max_tokens": 7}},
    }
    registry = ProviderRegistry.from_config(tree)
    from genai_spine.providers.registry import settings_of

    writer = registry.get_for_agent("writer", settings_of(tree))
    await writer.complete("Hi")
    await writer.complete("Hi", temperature=0.9)
    sent = [received.json() for received in simulator.received]
    assert [(body["model"], body["temperature"], body["max_tokens"]) for body in sent] == [
        ("special", 0.1, 7),
        ("special", 0.9, 7),
    ]
    await registry.close()


async def test_an_agent_with_a_model_of_its_own_has_its_providers_vectors(simulator: Simulator) -> None:
    table = {
        "type": "openai_compatible",
        "base_url": simulator.urls.openai,
        "model": "usual",
        "embed_model": "sim-embed",
    }
    registry = ProviderRegistry.from_config({"main": table, "claude": {"type": "anthropic", "api_key": "k"}})
    config = {"writer": {"provider": "main", "model": "special", "temperature": 0.1}}
    writer = registry.get_for_agent("writer", config)
    assert len((await writer.embed(["a", "b"])).embeddings) == 2
    assert simulator.received[-1].json()["model"] == "sim-embed"
    assert writer.default_embed_model == "sim-embed"
    assert writer.usage().call_count == 1
    provider = registry.get("main")
    for content in ("Hello there", CompletionRequest(messages="Hello there", model="other")):
        assert await writer.count_tokens(content) == await provider.count_tokens(content)
    assert writer.suggestion("claude-sonnet-4-5") == provider.suggestion("claude-sonnet-4-5")
    await registry.close()


def test_a_mapping_without_providers_has_no_ollama_that_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where nothing is given: each call waited seconds at it, and then asked the service that there is a key for."""
    monkeypatch.setattr(presence.OllamaProbe, "answers", False)
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    for given in ({}, {"logging": {"level": "info"}}, {"providers": {}}):
        assert "ollama" not in ProviderManager.from_settings(given).registry.list_providers()
        assert "openai" in ProviderManager.from_settings(given).registry.list_providers()
    for named in ({"ollama": {}}, {"providers": {"default": "ollama"}}, {"agents": {"a": {"provider": "ollama"}}}):
        assert "ollama" in ProviderManager.from_settings(named).registry.list_providers()
    monkeypatch.setattr(presence.OllamaProbe, "answers", True)
    assert "ollama" in ProviderManager.from_settings({}).registry.list_providers()


# ---------------------------------------------------------------- connectivity


async def test_connectivity_is_validated_on_request(simulator: Simulator) -> None:
    """Also from within a running loop, which it does not disturb."""
    alive = {"type": "openai_compatible", "base_url": simulator.urls.openai}
    dead = {"type": "openai_compatible", "base_url": dead_url()}
    registry = ProviderRegistry.from_config({"alive": alive}, validate_connectivity=True)
    assert [received.path for received in simulator.received] == ["/v1/models"]
    assert (await registry.get("alive").complete("Hi", model="m")).content == "You said: Hi"
    await registry.close()

    ProviderRegistry.from_config({"dead": dead})
    with pytest.raises(ConfigError) as raised:
        ProviderRegistry.from_config({"alive": alive, "dead": dead, "dead too": dead}, validate_connectivity=True)
    assert "dead: " in raised.value.message
    assert "dead too: " in raised.value.message
    assert "alive: " not in raised.value.message


def test_connectivity_is_validated_without_a_loop_too(simulator: Simulator) -> None:
    alive = {"type": "ollama", "base_url": simulator.urls.ollama}
    assert ProviderRegistry.from_config({"o": alive}, validate_connectivity=True).list_providers() == ["o"]


def test_loops_that_take_turns_keep_their_connections(simulator: Simulator) -> None:
    provider = ProviderRegistry.from_config({"a": {"type": "ollama", "base_url": simulator.urls.ollama}}).get("a")
    with asyncio.Runner() as first, asyncio.Runner() as second:
        for _ in range(3):
            for loop in (first, second):
                assert loop.run(provider.complete("Hi", model="m")).content == "You said: Hi"
    chats = [received for received in simulator.received if received.method == "POST"]
    assert (len(chats), len({received.connection for received in chats})) == (6, 2)


def test_a_wrong_key_is_a_failure_of_connectivity() -> None:
    with running_simulator(key="right") as simulator:
        table = {"type": "openai", "base_url": simulator.urls.openai, "api_key": "wrong-key-of-mine"}
        with pytest.raises(ConfigError, match="no connection to o: ") as raised:
            ProviderRegistry.from_config({"o": table}, validate_connectivity=True)
        assert "wrong-key-of-mine" not in raised.value.message


# ---------------------------------------------------------------- usage


async def test_usage_is_summed_exactly_and_unknown_prices_are_not_zero() -> None:
    priced = Priced("priced", Price(input=Decimal("0.15"), output=Decimal("0.60")))
    free = Priced("unpriced")
    registry = ProviderRegistry([priced, free])
    for _ in range(3):
        response = await priced.complete("Hi")
        assert response.cost_usd == Decimal("0.45")
    assert (await free.complete("Hi")).cost_usd is None
    totals = registry.get_total_usage()
    assert totals["priced"].total_cost_usd == Decimal("1.35")
    assert totals["priced"].total_input == 3_000_000
    assert (totals["unpriced"].total_cost_usd, totals["unpriced"].unpriced_calls) == (0, 1)
    summary = registry.get_usage_summary()
    assert summary["providers"]["priced"]["cost_usd"] == 1.35
    assert summary["total"] == {
        "input_tokens": 4_000_000,
        "output_tokens": 2_000_000,
        "total_tokens": 6_000_000,
        "cost_usd": 1.35,
        "calls": 4,
        "unpriced_calls": 1,
    }
    registry.reset_all_usage()
    assert set(registry.get_usage_summary()["total"].values()) == {0}


async def test_closing_closes_every_provider() -> None:
    providers = [Priced("a"), Priced("b")]
    registry = ProviderRegistry(providers)
    await asyncio.gather(registry.close(), registry.close())
    assert [provider.closed for provider in providers] == [2, 2]


async def test_one_that_cannot_be_closed_leaves_no_other_open(caplog: pytest.LogCaptureFixture) -> None:
    class Clinging(Priced):
        async def close(self) -> None:
            raise OSError("connection reset by peer")

    other = Priced("b")
    await ProviderRegistry([Clinging("a"), other]).close()
    assert other.closed == 1
    assert "a could not be closed" in caplog.text


async def test_the_provider_in_this_process_heeds_its_settings() -> None:
    table = {
        "model": "sim-think",
        "models": ["sim-think", "mine"],
        "custom_models": {"mine": "sim-mirror"},
        "embed_model": "mine",
        "max_tokens": 3,
        "temperature": 0.5,
        "cost": {"input_cost_per_1m": 1000, "models": {"mine": {"input_cost_per_1m": 5}}},
    }
    registry = ProviderRegistry.from_config({"simulated": table})
    provider = registry.get("simulated")

    assert provider.default_model == "sim-think"
    prices = [card.price.input for card in await provider.list_models() if card.price is not None]
    assert prices == [Decimal(1000), Decimal(5)]
    answer = await provider.complete("Hello there")
    assert answer.model == "sim-think"
    assert (answer.usage or TokenUsage()).output_tokens == 3
    assert (answer.cost_usd or 0) > 0
    mirrored = await provider.complete("Hello", model="mine", max_tokens=500)
    assert mirrored.model == "sim-mirror"
    assert '"temperature":0.5' in mirrored.content.replace(" ", "")
    assert (await provider.embed("Hello")).model == "sim-mirror"


def test_a_program_hears_of_what_its_settings_leave_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spine.toml").write_text("[providers.simulated]\n")
    (tmp_path / ".env").write_text('OPENAI_API_KEY="abc\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENAI_BOGUS", "1")
    ProviderManager.from_settings()
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "GENAI_BOGUS" in said
    assert ".env:1: sets nothing" in said


@pytest.mark.parametrize(("name", "variable"), [("xai", "MY_KEY"), ("groq", "GROQ_API_KEY")])
async def test_a_missing_key_is_asked_for_by_the_variable_that_is_read(name: str, variable: str) -> None:
    """`api_key_env` names the one that is looked at: the service's usual one would be set in vain."""
    registry = ProviderRegistry.from_config({"xai": {"api_key_env": "MY_KEY"}, "groq": {}})
    with pytest.raises(ConfigError) as caught:
        await registry.get(name).complete("Hello", model="m")
    assert str(caught.value) == f'no API key for "{name}": set {variable}, or providers.{name}.api_key'
