"""A key is never shown: not by repr, not in an error, not in a dump."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from genai_spine.model.errors import ConfigError
from genai_spine.settings import ProviderSettings, Secret, redacted, warnings_of

CANARY = "sk-canary-0451"

EVERYWHERE = f"""\
[server]
api_keys = ["{CANARY}"]
[providers.openai]
api_key = "{CANARY}"
api_keys = ["{CANARY}"]
headers = {{ x-api-key = "{CANARY}" }}
proxy = "http://u:{CANARY}@proxy:3128"
[ledger]
url = "postgres://u:{CANARY}@db/x"
[state]
url = "redis://:{CANARY}@r"
"""


def test_secrets_are_in_no_repr_and_no_dump(load: Any) -> None:
    settings = load(EVERYWHERE, {"GENAI_GROQ_API_KEY": CANARY, "XAI_API_KEY": CANARY, "GENAI_TYPO": CANARY})
    dump = redacted(settings)
    for text in (
        repr(settings),
        str(settings),
        f"{settings.providers}",
        json.dumps(dump),
        str(warnings_of(settings)),
    ):
        assert CANARY not in text
    assert dump["providers"]["openai"]["api_key"] == "***"
    assert dump["providers"]["openai"]["headers"] == {"x-api-key": "***"}
    assert dump["server"]["api_keys"] == ["***"]
    assert dump["ledger"]["url"] == "***"
    assert settings.providers["openai"].api_key.reveal() == CANARY


def test_a_dump_has_the_shape_of_a_file(load: Any) -> None:
    dump = redacted(load('[providers]\ndefault = "openai"\n[providers.openai]\nmodel = "m"\n'))
    assert dump["providers"]["default"] == "openai"
    assert dump["providers"]["openai"]["model"] == "m"
    assert dump["routing"]["strategy"] == "local_first"
    assert dump["timeouts"]["connect"] == 10
    assert "loaded" not in dump


@pytest.mark.parametrize(
    "text",
    [
        f'[server]\nport = "{CANARY}"\n',
        f'[health]\nprobe = "{CANARY}"\n',
        f'[timeouts]\ntotal = "{CANARY}"\n',
        f'[providers.openai]\napi_key = ["{CANARY}"]\n',
        f'[providers.openai]\nmodel = "{CANARY}"\ndefault_model = "other"\n',
        f'[providers.openai]\ntype = "{CANARY}"\n',
        f'[providers.openai]\nbase_url = "https://u:{CANARY}@x"\n',
        f'[providers.openai]\ndialect = "{CANARY}"\n',
        f'[providers.openai]\nquirks = {{ schema = "{CANARY}" }}\n',
        f'[server]\napi_keys = ["sha256:{CANARY}"]\n',
        f'[server]\ncors = ["{CANARY}"]\n',
        f'[providers]\ndefault = "{CANARY}"\n',
        f'[routes.r]\ntargets = ["{CANARY}/x"]\n',
        f'[providers.openai]\napi_key = "${{{CANARY}}}"\n',
        f'[providers.openai]\napi_key = "{CANARY}\n',
        f"[providers.openai]\napi_key = {CANARY}\n",
        f'[providers]\nopenai = "{CANARY}"\n',
    ],
)
def test_no_error_quotes_a_value(refusal: Any, text: str) -> None:
    assert CANARY not in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        f"providers:\n  openai:\n    api_key: !secret {CANARY}\n",
        f"providers:\n  openai:\n    api_key: '{CANARY}\n",
        f"providers:\n  openai:\n    max_tokens: !!int {CANARY}\n",
        f"providers:\n  openai:\n    api_key: {CANARY}: x\n",
        f"providers:\n  openai:\n    - {CANARY}\n",
    ],
)
def test_no_yaml_error_quotes_a_value(refusal: Any, text: str) -> None:
    assert CANARY not in refusal(text, name="spine.yaml")


def test_no_variable_is_quoted(refusal: Any) -> None:
    environ = {
        "GENAI_SERVER_PORT": CANARY,
        "GENAI_ROUTING_STRATEGY": CANARY,
        "GENAI_RETRY__MAX_RETRIES": CANARY,
    }
    assert CANARY not in refusal(environ=environ)


def test_white_space_around_a_key_is_no_part_of_it(load: Any) -> None:
    text = '[server]\napi_keys = ["${OURS}"]\n[providers.openai]\napi_key = "${KEY}"\n'
    settings = load(text, {"KEY": "sk-1\n", "OURS": "ours\r\n", "GENAI_GROQ_API_KEY": " sk-2\n"})
    assert settings.providers["openai"].api_key.reveal() == "sk-1"
    assert settings.providers["groq"].api_key.reveal() == "sk-2"
    assert [key.reveal() for key in settings.server.api_keys] == ["ours"]


def test_a_secret_compares_and_travels_between_processes() -> None:
    secret = Secret(CANARY)
    assert secret == Secret(CANARY)
    assert secret != Secret("x")
    assert secret != CANARY
    assert len({secret, Secret(CANARY)}) == 1
    assert (f"{secret}", str(secret), repr([secret])) == ("***", "***", "[***]")
    assert pickle.loads(pickle.dumps(secret)).reveal() == CANARY
    assert not Secret("")


def test_what_a_program_gives_as_text_is_a_secret_too() -> None:
    keys = {"api_key": CANARY, "api_keys": [CANARY], "client_secret": CANARY, "headers": {"x-key": CANARY}}
    keys |= dict.fromkeys(("secret_access_key", "session_token", "proxy"), CANARY)
    given: Any = ProviderSettings(**keys)
    assert CANARY not in repr(given)
    assert given.api_key.reveal() == given.headers["x-key"].reveal() == CANARY


def test_settings_travel_between_processes(load: Any) -> None:
    settings = load(EVERYWHERE)
    assert pickle.loads(pickle.dumps(settings)) == settings


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
SECTIONS = st.sampled_from(["server", "providers", "routes", "agents", "retry", "costs", "by_id", "loaded", "x"])
KEYS = SECTIONS | st.sampled_from(["openai", "model", "port", "targets", "type", "headers", "timeouts", "quirks"])
TREES = st.dictionaries(
    SECTIONS,
    st.recursive(SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(KEYS, part, max_size=3)),
    max_size=3,
)


@given(tree=TREES)
@hypothesis_settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_written_only_config_errors_come_out(load: Any, tree: dict[str, Any]) -> None:
    with suppress(ConfigError):
        load(json.dumps(tree), name="spine.yaml")


@given(text=st.text(alphabet="[]{}=.\"'#\n\\ab1:-*&!$<> \t", max_size=60))
@hypothesis_settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", ["one.toml", "two.yaml"])
def test_whatever_the_bytes_only_config_errors_come_out(load: Any, text: str, name: str) -> None:
    with suppress(ConfigError):
        load(text, {"GENAI_CONFIG": name}, name=name)
