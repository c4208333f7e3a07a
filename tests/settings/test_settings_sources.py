"""Where a setting comes from, and which source wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genai_spine.settings import RoutingStrategy, load_settings, warnings_of


def test_later_sources_win(load: Any) -> None:
    toml, dotenv = "[server]\nport = 1\n", "GENAI_SERVER_PORT=2\n"
    environ, overrides = {"GENAI_SERVER_PORT": "3"}, {"server.port": "4"}
    assert load().server.port == 8100
    assert load(toml).server.port == 1
    assert load(toml, dotenv=dotenv).server.port == 2
    assert load(toml, environ, dotenv=dotenv).server.port == 3
    assert load(toml, environ, dotenv=dotenv, overrides=overrides).server.port == 4


def test_sources_are_merged_key_by_key(load: Any) -> None:
    settings = load(
        '[providers.openai]\nmodel = "a"\nmax_tokens = 1\n',
        {"GENAI_OPENAI_DEFAULT_MODEL": "b", "GENAI_SERVER_HOST": "::1"},
        overrides={"server": {"port": 9}},
    )
    assert (settings.providers["openai"].model, settings.providers["openai"].max_tokens) == ("b", 1)
    assert (settings.server.host, settings.server.port) == ("::1", 9)


def test_a_name_in_a_table_of_arguments_may_have_dots(load: Any) -> None:
    llama = {"type": "openai_compatible", "base_url": "http://x/v1", "deployments": {"gpt-4": "a", "gpt-4.1": "b"}}
    overrides = {
        "providers": {"llama3.2": llama},
        "routes": {"gpt-4.1": {"targets": ["llama3.2/m"]}},
        "server.keys": {"alice.smith": {"key": "one-key", "content": None}},
    }
    settings = load(overrides=overrides)
    assert settings.providers["llama3.2"].deployments == {"gpt-4": "a", "gpt-4.1": "b"}
    assert settings.routes["gpt-4.1"].targets[0].target == "llama3.2/m"
    assert settings.server.keys["alice.smith"].key.reveal() == "one-key"


def test_an_argument_that_is_none_is_no_argument(load: Any) -> None:
    assert load("[server]\nport = 1\n", overrides={"server.port": None, "server": {"host": None}}).server.port == 1


def test_a_variables_spelling_of_a_key_wins_over_another_spelling_in_the_file(load: Any) -> None:
    settings = load('[providers.openai]\ndefault_model = "a"\n', {"GENAI_OPENAI_MODEL": "b"})
    assert settings.providers["openai"].model == "b"


@pytest.mark.parametrize(
    ("variable", "text", "read"),
    [
        ("GENAI_SERVER_PORT", "9000", lambda s: s.server.port == 9000),
        ("GENAI_SERVER__PORT", "9000", lambda s: s.server.port == 9000),
        ("GENAI_SERVER_API_KEYS", "a, b", lambda s: [k.reveal() for k in s.server.api_keys] == ["a", "b"]),
        ("GENAI_SERVER_ACCESS_LOG", "off", lambda s: s.server.access_log is False),
        ("GENAI_TIMEOUTS_FIRST_TOKEN", "2m", lambda s: s.timeouts.first_token == 120),
        ("GENAI_RETRY_RETRY_DELAY_MS", "250", lambda s: s.retry.initial_delay == 0.25),
        ("GENAI_RETRY_RETRYABLE_ERRORS", '["timeout"]', lambda s: s.retry.retryable_errors == ("timeout",)),
        ("GENAI_ROUTING_STRATEGY", "ordered", lambda s: s.routing.strategy == RoutingStrategy.ORDERED),
        ("GENAI_GROQ_BASE_URL", "http://x", lambda s: s.providers["groq"].base_url == "http://x"),
        ("GENAI_CLAUDE_API_KEY", "k", lambda s: s.providers["claude"].type == "anthropic"),
        ("GENAI_PROVIDERS__GROQ__TIMEOUTS__TOTAL", "9", lambda s: s.providers["groq"].timeouts.total == 9),
        (
            "GENAI_PROVIDERS__GROQ__HEADERS",
            '{"a": "b"}',
            lambda s: s.providers["groq"].headers["a"].reveal() == "b",
        ),
        ("GENAI_ROUTES__FAST__TARGETS", "groq/x", lambda s: s.routes["fast"].targets[0].target == "groq/x"),
        ("GENAI_PROVIDERS_HEALTH_CHECK_INTERVAL", "5m", lambda s: s.providers.health_check_interval == 300),
    ],
)
def test_every_key_has_a_variable(load: Any, variable: str, text: str, read: Any) -> None:
    assert read(load(environ={variable: text}))


def test_an_empty_variable_hides_none_of_dotenv(load: Any) -> None:
    settings = load(environ={"OPENAI_API_KEY": ""}, dotenv="OPENAI_API_KEY=sk-1\n")
    assert settings.providers["openai"].api_key.reveal() == "sk-1"


def test_a_variable_means_the_name_that_stands_in_the_file(load: Any) -> None:
    text = (
        '[providers.openai]\n[agents.Reviewer]\nprovider = "openai"\n[routes."gpt-4.1"]\ntargets = ["openai/a"]\n'
        '[server.keys.Alice]\nkey = "alices-key"\n'
    )
    environ = {
        "GENAI_AGENTS__REVIEWER__MODEL": "m",
        "GENAI_ROUTES__GPT_4_1__TARGETS": "openai/b",
        "GENAI_SERVER__KEYS__ALICE__KEY": "another-key",
        "GENAI_SERVER__KEYS__BOB__KEY": "bobs-key",
    }
    settings = load(text, environ)
    assert {id: agent.model for id, agent in settings.agents.items()} == {"Reviewer": "m"}
    assert {name: route.targets[0].target for name, route in settings.routes.items()} == {"gpt-4.1": "openai/b"}
    keys = {name: key.key.reveal() for name, key in settings.server.keys.items()}
    assert keys == {"Alice": "another-key", "bob": "bobs-key"}


def test_a_variable_adds_to_the_table_of_another(load: Any, refusal: Any) -> None:
    environ = {"GENAI_SERVER__KEYS": '{"alice": {"key": "alices-key"}}', "GENAI_SERVER__KEYS__BOB__KEY": "bobs-key"}
    keys = load(environ=environ).server.keys
    assert {name: key.key.reveal() for name, key in keys.items()} == {"alice": "alices-key", "bob": "bobs-key"}
    assert "GENAI_SERVER__KEYS: server.keys: expected a table" in refusal(
        environ={"GENAI_SERVER__KEYS": "alice", "GENAI_SERVER__KEYS__BOB__KEY": "bobs-key"}
    )


def test_an_empty_variable_sets_nothing(load: Any) -> None:
    assert load(environ={"GENAI_SERVER_PORT": "", "GENAI_OPENAI_API_KEY": " "}).server.port == 8100


def test_a_variable_means_the_one_provider_of_its_row(load: Any) -> None:
    settings = load('[providers.claude_main]\ntype = "anthropic"\n', {"GENAI_ANTHROPIC_API_KEY": "k"})
    assert list(settings.providers) == ["claude_main"]
    assert settings.providers["claude_main"].api_key.reveal() == "k"


def test_a_variable_finds_an_id_with_a_dash(load: Any) -> None:
    settings = load('[providers.groq-fast]\ntype = "groq"\n', {"GENAI_GROQ_FAST_MODEL": "m"})
    assert settings.providers["groq-fast"].model == "m"


def test_a_variable_that_sets_nothing_is_a_warning(load: Any) -> None:
    environ = {
        "GENAI_OPNAI_API_KEY": "sk-canary",
        "GENAI_SERVER_PROT": "1",
        "GENAI_WIRE": "/x",
        "GENAI_CACHE": "/y",
    }
    assert warnings_of(load(environ=environ, dotenv="GENAI_FOO=1\n")) == [
        ".env: GENAI_FOO: sets nothing: no setting of that name",
        'GENAI_OPNAI_API_KEY: sets nothing: no setting of that name; did you mean "GENAI_OPENAI_API_KEY"?',
        'GENAI_SERVER_PROT: sets nothing: no setting of that name; did you mean "GENAI_SERVER_PORT"?',
    ]


def test_a_line_of_dotenv_that_cannot_be_read_is_told(load: Any) -> None:
    settings = load(dotenv="# keys\nOPENAI_API_KEY: sk-1\n\nMISTRAL_API_KEY=k\nALONE\n")
    assert warnings_of(settings) == [".env:2: sets nothing: expected NAME=value"]
    assert "mistral" in settings.providers


def test_a_dotenv_file_is_read_as_it_stands(load: Any) -> None:
    settings = load(dotenv='export GENAI_OPENAI_API_KEY="a${HOME}b" # mine\nOTHER=1\n')
    assert settings.providers["openai"].api_key.reveal() == "a${HOME}b"


# Which file


def test_the_file_is_the_argument_else_the_variable_else_in_the_directory(tmp_path: Path) -> None:
    (tmp_path / "spine.toml").write_text("[server]\nport = 1\n")
    (tmp_path / "two.yaml").write_text("server: {port: 2}\n")
    (tmp_path / "three.toml").write_text("[server]\nport = 3\n")

    def port(path: Path | None = None, **environ: str) -> int:
        return load_settings(path, environ=environ, cwd=tmp_path).server.port

    assert port() == 1
    assert port(GENAI_CONFIG="two.yaml") == 2
    assert port(Path("three.toml"), GENAI_CONFIG="two.yaml") == 3
    assert port(tmp_path) == 1
    (tmp_path / ".env").write_text("GENAI_CONFIG=three.toml\n")
    assert port() == 3


def test_a_second_file_in_the_directory_is_a_warning(load: Any) -> None:
    load("server: {port: 2}\n", name="spine.yml")
    settings = load("[server]\nport = 1\n")
    assert settings.server.port == 1
    assert settings.loaded.file == "spine.toml"
    assert warnings_of(settings) == ["spine.yml: not read, since there is spine.toml; keep one of the two"]


# References


def test_references_are_replaced_in_texts(load: Any) -> None:
    settings = load(
        '[providers.openai]\nmodel = "a-${A}-${B:-b}-${E:-e}-$${C}"\norg_id = "${D}"\nproject = "$A"\n',
        {"A": "1", "E": "", "D": "${A}"},
    )
    assert settings.providers["openai"].model == "a-1-b-e-${C}"
    assert settings.providers["openai"].org_id == "${A}"  # replaced once, never again
    assert settings.providers["openai"].project == "$A"


def test_a_reference_looks_in_the_environment_then_in_dotenv(load: Any) -> None:
    text = '[providers.openai]\nmodel = "${A}${B}"\n'
    assert load(text, {"A": "1"}, dotenv="A=2\nB=3\n").providers["openai"].model == "13"


def test_a_reference_may_stand_for_a_number_or_a_list(load: Any) -> None:
    settings = load('[server]\nport = "${P}"\ncors = "${C}"\n', {"P": "9", "C": "https://a.com,https://b.com"})
    assert (settings.server.port, settings.server.cors) == (9, ["https://a.com", "https://b.com"])


# Keys of providers


def test_the_usual_variable_of_a_service_is_its_key(load: Any) -> None:
    text = "[providers.openai]\n[providers.groq]\napi_key_env = 'MINE'\n[providers.xai]\napi_key = 'given'\n"
    environ = {"OPENAI_API_KEY": "o", "GROQ_API_KEY": "not this one", "MINE": "m", "XAI_API_KEY": "nor this"}
    providers = load(text, environ).providers
    assert [providers[id].api_key.reveal() for id in ("openai", "groq", "xai")] == ["o", "m", "given"]


def test_a_provider_may_be_meant_by_its_row(load: Any) -> None:
    settings = load(
        '[providers]\ndefault = "anthropic"\nfallback_order = ["claude", "openai"]\n'
        '[providers.main]\ntype = "claude"\n'
        '[agents.a]\nprovider = "claude"\n[routes.r]\ntargets = ["claude/x"]\n'
    )
    assert settings.providers.default == "main"
    assert settings.providers.fallback_order == ["main", "openai"]
    assert settings.agents["a"].provider == "main"
    assert settings.routes["r"].targets[0].target == "main/x"
    assert list(settings.providers) == ["main", "openai"]


def test_types_of_plugins_are_known(load: Any) -> None:
    assert load('[providers.a]\ntype = "acme"\n', plugins=("acme",)).providers["a"].type == "acme"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ('"30"', 30), ('"30s"', 30), ('"5m"', 300), ('"250ms"', 0.25), ('"1.5h"', 5400)],
)
def test_durations(load: Any, text: str, seconds: float) -> None:
    assert load(f"[timeouts]\ntotal = {text}\n").timeouts.total == pytest.approx(seconds)


def test_a_variable_may_hold_what_a_key_of_any_kind_takes(load: Any) -> None:
    settings = load(
        environ={
            "GENAI_OLLAMA_KEEP_ALIVE": "-1",
            "GENAI_PROVIDERS__GPU__KEEP_ALIVE": "5m",
            "GENAI_PROVIDERS__GPU__TYPE": "ollama",
            "GENAI_GEMINI_SAFETY_SETTINGS": '{"HARM_CATEGORY_HARASSMENT": "BLOCK_ONLY_HIGH"}',
            "GENAI_PROVIDERS__GROQ__QUIRKS__STREAM_USAGE": "never",
            "GENAI_PROVIDERS__GROQ__QUIRKS__MAX_TOKENS_FIELD": "max_tokens",
            "GENAI_PROVIDERS__GROQ__QUIRKS__TEMPERATURE_MAX": "1.5",
        }
    )
    assert (settings.providers["ollama"].keep_alive, settings.providers["gpu"].keep_alive) == (-1, "5m")
    assert settings.providers["gemini"].safety_settings == {"HARM_CATEGORY_HARASSMENT": "BLOCK_ONLY_HIGH"}
    quirks = settings.providers["groq"].quirks
    assert (quirks["max_tokens_field"], quirks["temperature_max"]) == ("max_tokens", 1.5)


def test_what_set_something_is_known_in_its_order(load: Any) -> None:
    settings = load(
        "[server]\nport = 1\n",
        {"GENAI_SERVER_PORT": "3", "GENAI_FOO": "1", "OPENAI_API_KEY": "k"},
        dotenv="GENAI_SERVER_PORT=2\n",
    )
    assert settings.loaded.sources == ("spine.toml", ".env", "GENAI_SERVER_PORT")
