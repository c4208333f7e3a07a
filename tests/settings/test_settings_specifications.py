"""The configuration examples of the five specifications load as they are printed."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from dotenv import dotenv_values

from genai_spine.settings import schema, warnings_of

EXAMPLES = Path(__file__).parent / "examples"

KEYS = {
    "ANTHROPIC_API_KEY": "sk-ant",
    "OPENAI_API_KEY": "sk-oai",
    "AZURE_API_KEY": "az",
    "GROQ_API_KEY": "gsk",
    "SPINE_KEY": "spine",
}


def example(name: str) -> str:
    return (EXAMPLES / name).read_text()


def test_the_environment_of_the_first_specification(load: Any) -> None:
    settings = load(environ=dotenv_values(EXAMPLES / "s0.env"))
    providers = settings.providers
    assert providers.default == "ollama"
    assert providers.fallback_order == ["ollama", "openai", "anthropic"]
    assert settings.routing.strategy == "local_first"
    assert providers["ollama"].base_url == "http://localhost:11434"
    assert providers["ollama"].model == "llama3.2:latest"
    assert providers["openai"].api_key.reveal() == "sk-..."
    assert providers["openai"].model == "gpt-4o-mini"
    assert providers["anthropic"].api_key.reveal() == "sk-ant-..."
    assert providers["anthropic"].model == "claude-3-5-sonnet-20241022"
    assert providers["bedrock"].region == "us-east-1"
    assert providers["bedrock"].model == "anthropic.claude-3-sonnet-20240229-v1:0"
    assert warnings_of(settings) == []


def test_the_same_variables_in_a_dotenv_file(load: Any) -> None:
    settings = load(dotenv=example("s0.env"))
    assert settings.providers["anthropic"].api_key.reveal() == "sk-ant-..."
    assert settings.providers.fallback_order == ["ollama", "openai", "anthropic"]


def test_the_provider_config_and_manager_config_of_the_second(load: Any) -> None:
    settings = load(example("s1.toml"), KEYS)
    groq = settings.providers["groq-fast"]
    assert (groq.type, groq.name, groq.model) == ("groq", "groq-fast", "llama3-70b-8192")
    assert (groq.max_tokens, groq.temperature, groq.api_key.reveal()) == (8192, 0.7, "gsk")
    assert settings.providers["openai"].embed_model == "text-embedding-ada-002"
    assert settings.retry.enable_fallback is True
    assert settings.retry.max_retries == 2
    assert settings.retry.initial_delay == 1.0


def test_the_yaml_of_the_third(load: Any) -> None:
    settings = load(example("s2.yaml"), KEYS, name="spine.yaml")
    assert list(settings.providers) == ["claude_main", "openai_main", "azure"]
    claude = settings.providers["claude_main"]
    assert (claude.type, claude.model, claude.max_tokens) == ("anthropic", "claude-3-5-sonnet", 8192)
    assert claude.api_key.reveal() == "sk-ant"
    assert settings.providers["azure"].type == "litellm"
    assert settings.providers["azure"].base_url == "https://myorg.openai.azure.com"
    assert settings.providers["azure"].model == "azure/gpt-4"
    assert warnings_of(settings) == []


def test_the_settings_class_of_the_fourth(load: Any) -> None:
    groq = load(environ=dotenv_values(EXAMPLES / "s3.env")).providers["groq"]
    assert (groq.type, groq.api_key.reveal(), groq.model) == ("groq", "gsk-...", "llama-3.3-70b-versatile")


def test_the_toml_of_the_fifth(load: Any) -> None:
    settings = load(example("s4.toml"), KEYS)
    providers = settings.providers
    assert providers.default == "openai"
    assert providers.fallback_order == ["openai", "claude", "gemini", "ollama"]
    assert providers.health_check_interval == 300
    openai = providers["openai"]
    assert (openai.model, openai.max_tokens, openai.temperature) == ("gpt-4", 4096, 0.7)
    assert (openai.requests_per_min, openai.base_url) == (60, "https://api.openai.com/v1")
    assert openai.api_key.reveal() == "sk-oai"
    assert providers["claude"].type == "anthropic"
    assert providers["gemini"].location == "us-central1"
    assert (providers["ollama"].keep_alive, providers["ollama"].num_ctx) == ("5m", 4096)
    assert (settings.costs.monthly_budget, settings.costs.daily_limit) == (100.0, 10.0)
    assert settings.costs.limits == {"openai_daily": 5.0, "claude_daily": 3.0, "gemini_daily": 2.0}


def test_what_the_fifth_asks_for_is_in_force(load: Any) -> None:
    assert warnings_of(load(example("s4.toml"), KEYS)) == [
        "costs: without ledger.url a restart forgets what was spent, and every budget begins anew",
    ]


def test_the_contracts_example(load: Any) -> None:
    settings = load(example("contract.toml"), KEYS)
    assert settings.server.api_keys[0].reveal() == "spine"
    assert settings.providers["claude"].type == "anthropic"  # named in fallback_order, so configured
    assert settings.providers["claude"].api_key.reveal() == "sk-ant"
    assert [target.target for target in settings.routes["smart"].targets] == [
        "claude/claude-sonnet-4-5",
        "openai/gpt-4o",
    ]
    assert settings.agents["reviewer"].provider == "claude"
    assert settings.streams.on_break == "continue"


@pytest.mark.parametrize("name", ["s1.toml", "s4.toml", "contract.toml"])
def test_the_editors_schema_takes_the_toml_examples(name: str) -> None:
    jsonschema.validate(tomllib.loads(example(name)), schema())


def test_the_editors_schema_takes_the_yaml_example() -> None:
    jsonschema.validate(yaml.safe_load(example("s2.yaml")), schema())
