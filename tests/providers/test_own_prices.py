"""Prices of the settings, over those of the catalog; service tiers; and what is known to cost nothing."""

from __future__ import annotations

from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from genai_spine.model.errors import ConfigError
from genai_spine.model.response import TokenUsage
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.registry import ProviderRegistry
from genai_spine.settings import ProviderSettings, load_settings


def provider(**cost: Any) -> LLMProvider:
    config = {"mine": {"type": "openai", "api_key": "k", "cost": cost}}
    return ProviderRegistry.from_config(config).get("mine")


def test_a_price_of_the_settings_stands_over_the_catalogs() -> None:
    own = provider(input_cost_per_1m=1, output_cost_per_1k=0.002)
    assert own.calculate_cost("gpt-4o", 1000, 100) == D("0.0012")
    assert own.calculate_cost("a-model-that-nobody-knows", 1000, 100) == D("0.0012")
    price = own.card("gpt-4o").price
    assert price is not None
    assert (price.source, price.input, price.cached_input) == ("settings", D(1), D("1.25")), "the rest is the catalog's"


def test_per_thousand_and_per_million_are_exact() -> None:
    assert provider(input_cost_per_1k=0.00015).calculate_cost("x", 1, 0) == D("0.00000015")
    assert provider(input_cost_per_1m=0.15).calculate_cost("x", 1, 0) == D("0.00000015")


def test_a_models_own_table_stands_over_its_providers() -> None:
    models = {"gpt-4o": {"input_cost_per_1m": 7}, "gpt-*": {"input_cost_per_1m": 5, "output_cost_per_1m": 6}}
    own = provider(input_cost_per_1m=1, output_cost_per_1m=2, models=models)
    assert own.calculate_cost("gpt-4o", 1_000_000, 1_000_000) == 13
    assert own.calculate_cost("gpt-4.1", 1_000_000, 1_000_000) == 11
    assert own.calculate_cost("o3", 1_000_000, 1_000_000) == 3


def test_a_name_of_ones_own_is_priced_by_either_name() -> None:
    settings = ProviderSettings(custom_models={"fast": "gpt-4o-mini"})
    config = {"mine": {"type": "openai", "api_key": "k", "custom_models": {"fast": "gpt-4o-mini"}}}
    for name in ("fast", "gpt-4o-mini"):
        table = {"mine": {**config["mine"], "cost": {"models": {name: {"input_cost_per_1m": 9}}}}}
        own = ProviderRegistry.from_config(table).get("mine")
        assert own.calculate_cost("fast", 1_000_000, 0) == 9
    assert HttpProvider("openai", settings).calculate_cost("fast", 1_000_000, 0) == D("0.15")


def test_cached_reads_without_a_rate_anywhere_cost_as_input() -> None:
    own = provider(input_cost_per_1m=1, output_cost_per_1m=1)
    spent = TokenUsage(input_tokens=100, output_tokens=0, cache_read_tokens=50)
    assert own.calculate_cost("a-model-that-nobody-knows", 0, 0, spent) == D("0.0001")


def test_fees_searches_and_seconds() -> None:
    assert provider(input_cost_per_1m=0, request_cost=0.005).calculate_cost("x", 5, 0) == D("0.005")
    by_time = provider(second_cost=0.001)
    assert by_time.calculate_cost("x", 0, 0, TokenUsage(compute_s=2.5)) == D("0.0025")


def test_a_long_input_at_a_price_of_ones_own_is_not_at_the_catalogs_tier() -> None:
    config = {"mine": {"type": "anthropic", "api_key": "k", "cost": {"input_cost_per_1m": 1}}}
    own = ProviderRegistry.from_config(config).get("mine")
    assert own.calculate_cost("claude-sonnet-4-5", 1_000_000, 0) == 1


def test_a_tier_of_service_has_its_price_and_an_unknown_one_has_none() -> None:
    own = HttpProvider("openai")
    plain, flex = (
        own.calculate_cost("gpt-5", 0, 0, TokenUsage(input_tokens=1_000_000, output_tokens=0, service_tier=tier))
        for tier in (None, "flex")
    )
    assert plain == D("1.25")
    assert flex == D("0.625")
    assert own.calculate_cost("gpt-5", 0, 0, TokenUsage(input_tokens=1, service_tier="scale")) is None
    for tokens, wanted in ((100_000, D("0.15")), (1_000_000, D(3))):  # the dearer tier of long inputs is halved, too
        batch = TokenUsage(input_tokens=tokens, output_tokens=0, service_tier="batch")
        assert HttpProvider("anthropic").calculate_cost("claude-sonnet-4-5", 0, 0, batch) == wanted


def test_what_runs_on_ones_own_machine_costs_nothing() -> None:
    for row in ("ollama", "vllm", "llamacpp", "lmstudio", "tgi"):
        own = HttpProvider(row)
        assert own.calculate_cost("any-model", 1000, 1000) == 0, row
        assert own.priced("any-model", TokenUsage(input_tokens=1, output_tokens=1)).cost_usd == 0
    paid = HttpProvider("vllm", ProviderSettings(cost=_cost(input_cost_per_1m=2)))
    assert paid.calculate_cost("any-model", 1_000_000, 0) == 2


def _cost(**cost: Any) -> Any:
    config = {"providers": {"x": {"type": "vllm", "cost": cost}}}
    return load_settings(environ={}, cwd=Path("/"), overrides=config).providers["x"].cost


def test_a_call_says_which_price_made_its_cost() -> None:
    spent = TokenUsage(input_tokens=1000, output_tokens=1)
    found = HttpProvider("openai").priced("gpt-4o", spent)
    assert found.cost_usd == D("0.00251")
    assert str(found.price_since) == "2024-08-06"
    assert found.source is not None
    assert provider(input_cost_per_1m=1).priced("gpt-4o", spent).source == "settings"
    assert HttpProvider("openai").priced("gpt-4o", None).cost_usd is None


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        ({"currency": "EUR"}, 'currency: expected one of "USD"'),
        ({"input_cost_per_1k": -1}, "input_cost_per_1k: must be at least 0"),
        ({"input_cost_per_1k": 1, "input_cost_per_1m": 1}, "input_cost_per_1m says the same: leave one out"),
        ({"models": {"m": {"input_cost": 1}}}, "unknown key"),
        ({"models": {"m": {"output_cost_per_1k": 1, "output_cost_per_1m": 1}}}, "says the same"),
    ],
)
def test_a_price_that_cannot_be_is_refused(cost: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        provider(**cost)
    assert said in str(raised.value)
