"""Zero configuration: keys in the environment, and Ollama."""

from __future__ import annotations

from typing import Any

import pytest

from genai_spine.catalog.rows import load_rows
from genai_spine.settings import discover, warnings_of
from genai_spine.settings.discover import ollama_url


def test_nothing_but_ollama_without_keys(load: Any) -> None:
    settings = load()
    assert list(settings.providers) == ["ollama"]
    assert settings.providers["ollama"].base_url == "http://localhost:11434"
    assert settings.loaded.discovered
    assert warnings_of(settings) == []


@pytest.mark.parametrize("id", [row.id for row in load_rows().values() if row.needs_key and not row.needs_base_url])
def test_a_key_in_the_environment_configures_its_row(id: str) -> None:
    for variable in load_rows()[id].key_variables:
        found = discover({variable: " key "}, load_rows())
        assert sorted(found) == sorted(["ollama", id])
        assert found[id].type == id
        assert found[id].api_key.reveal() == "key"


def test_a_key_in_dotenv_counts(load: Any) -> None:
    assert list(load(dotenv="GROQ_API_KEY=k\n").providers) == ["ollama", "groq"]


def test_settings_without_a_provider_do_not_end_discovery(load: Any) -> None:
    settings = load("[server]\nport = 1\n", {"OPENAI_API_KEY": "k", "GENAI_DEFAULT_PROVIDER": "openai"})
    assert list(settings.providers) == ["openai", "ollama"]
    assert settings.providers.default == "openai"


def test_a_configured_provider_ends_it(load: Any) -> None:
    assert list(load("[providers.groq]\n", {"OPENAI_API_KEY": "k"}).providers) == ["groq"]


def test_an_empty_key_is_no_key() -> None:
    assert list(discover({"OPENAI_API_KEY": " "}, load_rows())) == ["ollama"]


def test_servers_on_this_machine_are_not_guessed_from_their_key() -> None:
    assert list(discover({"VLLM_API_KEY": "k", "LLAMA_API_KEY": "k", "ANYSCALE_API_KEY": "k"}, load_rows())) == [
        "ollama"
    ]


def test_the_address_that_the_services_clients_use_is_used() -> None:
    found = discover({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://proxy/v1"}, load_rows())
    assert found["openai"].base_url == "https://proxy/v1"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8100/v1", "http://localhost:8100"])
def test_clients_that_point_at_this_gateway_are_no_loop(url: str) -> None:
    environ = {
        "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": url,
        "ANTHROPIC_API_KEY": "k",
        "ANTHROPIC_BASE_URL": url,
    }
    assert list(discover(environ, load_rows())) == ["ollama"]


def test_a_key_that_is_left_out_for_that_is_told(load: Any) -> None:
    """At whichever port and address the gateway is; the key may well be a provider's own."""
    for port in (8100, 9100):
        settings = load(
            overrides={"server.port": port},
            environ={"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "GROQ_API_KEY": "k"},
        )
        assert list(settings.providers) == ["ollama", "groq"]
        [warning] = warnings_of(settings)
        assert "OPENAI_BASE_URL is the gateway's own address" in warning
        assert "unset OPENAI_BASE_URL" in warning
    assert warnings_of(load(environ={"OPENAI_BASE_URL": "http://127.0.0.1:8100/v1"})) == []


def test_an_ollama_is_looked_for_where_clients_of_ollama_point_at_this_gateway(load: Any) -> None:
    """`OLLAMA_HOST` is set as `spine serve` says; an Ollama that ran was said not to."""
    for overrides, host in (({}, "http://127.0.0.1:8100"), ({"server.port": 9100}, "localhost:9100")):
        settings = load(overrides=overrides, environ={"OLLAMA_HOST": host})
        assert settings.providers["ollama"].base_url == "http://localhost:11434"
    assert load(environ={"OLLAMA_HOST": "localhost:9100"}).providers["ollama"].base_url == "http://localhost:9100"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://localhost:11434"),
        ("gpu", "http://gpu:11434"),
        ("gpu:8000", "http://gpu:8000"),
        (":8000", "http://localhost:8000"),
        ("0.0.0.0", "http://localhost:11434"),
        ("0.0.0.0:8000", "http://localhost:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("http://gpu", "http://gpu:80"),
        ("https://gpu/ollama/", "https://gpu:443/ollama"),
        ("gpu:none", "http://gpu:11434"),
        ('"gpu"', "http://gpu:11434"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host: str, url: str) -> None:
    assert ollama_url(host) == url
    assert discover({"OLLAMA_HOST": host}, load_rows())["ollama"].base_url == url
