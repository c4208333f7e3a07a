from __future__ import annotations

import json
import tomllib

import jsonschema
import pytest
import yaml
from spine_process import CANARY, Place

from genai_spine.settings import load_settings

NEAR = True  # what commands say: conftest.py

GOOD = """
[providers.openai]
api_key = "${OPENAI_API_KEY}"
[providers.fast]
type = "groq"
api_key = "gsk"
model = "openai/gpt-oss-120b"
"""
BAD = """
[server]
prot = 1
[providers.openai]
api_kye = "x"
[retry]
max_retries = "many"
"""


def test_good_settings_are_ok_with_their_sources_and_providers(place: Place) -> None:
    place.write(GOOD)
    result = place.run("config", "check", OPENAI_API_KEY="k", GENAI_SERVER_PORT="8101")
    assert result.code == 0
    assert result.out.splitlines() == [
        "OK: settings from spine.toml, GENAI_SERVER_PORT",
        "providers configured: openai, fast (groq)",
    ]
    assert result.err == ""


def test_every_problem_of_a_file_is_told_at_once(place: Place) -> None:
    place.write(BAD, "other.toml")
    result = place.run("config", "check", "other.toml")
    assert result.code == 1
    assert result.out == ""
    problems = result.err.splitlines()
    assert len(problems) == 3
    assert all(problem.startswith("Error: other.toml:") for problem in problems)
    assert 'did you mean "port"' in result.err
    assert 'did you mean "api_key"' in result.err


def test_problems_as_json(place: Place) -> None:
    place.write(BAD)
    result = place.run("config", "check", "--json")
    assert result.code == 1
    told = json.loads(result.out)
    assert told["ok"] is False
    assert len(told["problems"]) == 3
    assert result.err == ""


def test_success_as_json(place: Place) -> None:
    place.write(GOOD)
    told = json.loads(place.run("config", "check", "--json", OPENAI_API_KEY="k").out)
    assert told["ok"] is True
    assert told["file"] == "spine.toml"
    assert told["providers"] == {"openai": "openai", "fast": "groq"}


def test_warnings_do_not_fail(place: Place) -> None:
    place.write('[costs]\ndaily_limit = 10\n[providers.gemini]\napi_key = "x"\nmodel = "m"\n')
    result = place.run("config", "check", GENAI_OPENIA_API_KEY="x")
    assert result.code == 0
    assert result.err.count("warning: ") == 2
    assert "without ledger.url" in result.err
    assert "GENAI_OPENIA_API_KEY" in result.err


def test_a_missing_file_a_directory_and_a_missing_variable_are_one_line(place: Place) -> None:
    place.write('[providers.openai]\napi_key = "${NO_SUCH}"\n', "variable.toml")
    for name, word in (("no.toml", "no.toml"), ("home", "directory"), ("variable.toml", "NO_SUCH")):
        result = place.run("config", "check", name)
        assert result.code == 1
        assert len(result.err.splitlines()) == 1
        assert word in result.err


def test_the_schema_accepts_what_the_loader_accepts(place: Place) -> None:
    result = place.run("config", "schema")
    assert result.code == 0
    schema = json.loads(result.out)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(tomllib.loads(GOOD), schema)


def test_show_has_no_secret_and_can_be_loaded_again(place: Place) -> None:
    place.write(f'[providers.openai]\napi_key = "{CANARY}"\nmodel = "m"\n[server]\napi_keys = ["{CANARY}2"]\n')
    result = place.run("config", "show")
    assert result.code == 0
    assert "canary" not in result.out
    assert yaml.safe_load(result.out)["providers"]["openai"]["api_key"] == "***"
    file = place.write(result.out, "again.yaml")
    assert load_settings(file, environ={}, cwd=place.path).providers["openai"].model == "m"
    assert json.loads(place.run("config", "show", "--json").out) == yaml.safe_load(result.out)


def test_what_keeps_a_provider_from_being_asked_is_one_line_each(place: Place) -> None:
    lacking = {
        "gemini": ('model = "m"', "has no key: set GEMINI_API_KEY or GOOGLE_API_KEY"),
        "azure": ("", "needs resource, a part of its address: set AZURE_OPENAI_ENDPOINT or providers.azure.resource"),
        "vertex_anthropic": ('project = "p"', "needs location, a part of its address: set CLOUD_ML_REGION"),
        "vertex": (
            'project = "p"\ncredentials_file = "no-such.json"',
            "has no credentials: credentials file no-such.json: No such file or directory",
        ),
        "openai": (
            'api_key = "k"\nmodel = "m"\nca_file = "no-such.pem"',
            "cannot read the CA file 'no-such.pem': No such file or directory",
        ),
    }
    place.write("\n".join(f"[providers.{id}]\n{line}" for id, (line, _) in lacking.items()))
    result = place.run("config", "check")
    assert result.code == 0, "it may be set where the settings are used"
    told = result.err.splitlines()
    assert len(told) == len(lacking)
    for line, (id, (_, words)) in zip(told, lacking.items(), strict=True):
        assert line.startswith(f"warning: providers.{id} {words}")
    warnings = json.loads(place.run("config", "check", "--json").out)["warnings"]
    assert [f"warning: {warning}" for warning in warnings] == told


def test_what_only_making_a_provider_finds_is_a_problem(place: Place) -> None:
    place.write('[providers.gemini]\napi_key = "k"\nsafety_settings = "none"')
    result = place.run("config", "check")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("Error: providers.gemini.safety_settings: expected a table such as")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[server]\nhost = "0.0.0.0"', 'will not listen on "0.0.0.0" without a key (server.api_keys)'),
        ('[ledger]\nurl = "mysql://x"', "ledger.url has the scheme 'mysql'"),
        ('[ledger]\nurl = "spine.db"', "ledger.url has the scheme 'none': it is `sqlite:///spine.db`"),
        ('[cache]\nurl = "file.db"', "cache.url has the scheme 'file.db'"),
        ('[state]\nurl = "redis//x"', "state.url: "),
        ('[state]\nurl = "redis://:hunter2/x@h/0"', "state.url: that is no URL of a Redis server"),
        ('[cache]\nurl = "redis://:hunter2#x@h/0"', "cache.url: that is no URL of a Redis server"),
        ('[ledger]\nurl = "postgresql://u:hunter2/x@h/db"', "ledger.url is no URL that PostgreSQL reads"),
        ('[providers."a/b"]\ntype = "simulated"', "spine.toml:2: providers.a/b: cannot be a provider's id"),
        ('[providers.""]\ntype = "simulated"', "spine.toml:2: providers.: cannot be a provider's id"),
    ],
    ids=["exposed", "ledger", "file", "cache", "state", "redis", "redis-cache", "postgres", "slash", "nameless"],
)
def test_what_keeps_the_gateway_from_starting_is_a_problem(place: Place, text: str, words: str) -> None:
    place.write(f"[providers.simulated]\n{text}\n")
    result = place.run("config", "check")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"Error: {words}")
    assert result.err.count("Error: ") == 1
    assert "hunter2" not in result.err
    told = json.loads(place.run("config", "check", "--json").out)
    assert (told["ok"], len(told["problems"])) == (False, 1)


def test_a_default_model_that_is_retired_is_a_warning(place: Place) -> None:
    gone = '[providers.anthropic]\nmodel = "claude-3-5-sonnet-20241022"\napi_key = "k"\n'
    place.write(gone + '[providers.named]\ntype = "anthropic"\napi_key = "k"\n')
    told = "claude-3-5-sonnet-20241022 was retired on 2025-10-28: set providers.anthropic.model"
    result = place.run("config", "check")
    assert result.code == 0
    assert result.err == f"warning: providers.anthropic: for requests that name no model: {told}\n"
    listed = place.run("providers")
    assert "claude-3-5-sonnet-20241022 (retired)" in listed.out
    assert listed.err == f"warning: anthropic: {told}\n"


def test_a_check_opens_and_writes_nothing(place: Place) -> None:
    place.write('[providers.simulated]\n[ledger]\nurl = "sqlite:///l.db"\n[cache]\nurl = "sqlite:///c.db"\n')
    before = sorted(place.path.iterdir())
    assert place.run("config", "check").code == 0
    assert sorted(place.path.iterdir()) == before


def test_one_file_is_checked_or_shown(place: Place) -> None:
    place.write(GOOD)
    for command in ("check", "show"):
        result = place.run("config", command, "-c", "other.toml", "spine.toml", OPENAI_API_KEY="k")
        assert result.code == 2
        assert "name one file: spine.toml, or --config other.toml" in result.err


def test_the_file_may_be_named_as_everywhere_else(place: Place) -> None:
    place.write(GOOD, "other.toml")
    assert "settings from other.toml" in place.run("config", "check", "-c", "other.toml", OPENAI_API_KEY="k").out
    assert "providers:" in place.run("config", "show", "--config", "other.toml", OPENAI_API_KEY="k").out


def test_a_safety_setting_that_gemini_is_not_known_to_have_is_a_warning(place: Place) -> None:
    place.write(
        '[providers.gemini]\napi_key = "k"\nmodel = "m"\nsafety_settings = { HARM_CATEGORY_RUDE = "BLOCK_NONE" }'
    )
    told = place.run("config", "check").err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("warning: providers.gemini.safety_settings: Gemini is not known to have")
    assert '"HARM_CATEGORY_RUDE", but HARM_CATEGORY_' in told[0]
    listed = '[{ category = "HARM_CATEGORY_HARASSMENT", threshold = "BLOCK_SOME" }]'
    place.write(f'[providers.gemini]\napi_key = "k"\nmodel = "m"\nsafety_settings = {listed}')
    result = place.run("config", "check")
    assert result.code == 0, "Google may know more than we do"
    assert 'have "BLOCK_SOME", but BLOCK_LOW_AND_ABOVE, ' in result.err


def test_a_variable_that_sets_nothing_is_no_source(place: Place) -> None:
    place.write("[providers.simulated]\n")
    result = place.run("config", "check", GENAI_FOO="1", GENAI_RETRY_MAX_RETRIES="0")
    assert result.out.splitlines()[0] == "OK: settings from spine.toml, GENAI_RETRY_MAX_RETRIES"
    assert result.err == "warning: GENAI_FOO: sets nothing: no setting of that name\n"


def test_a_proxy_that_cannot_be_read_is_told_by_the_name_of_its_key(place: Place) -> None:
    place.write('[providers.openai]\napi_key = "k"\nproxy = "ftp://x"\n')
    result = place.run("config", "check")
    assert result.code == 1
    assert result.err.startswith("Error: providers.openai.proxy: a proxy's address cannot be read: use http://")
