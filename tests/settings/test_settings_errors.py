"""What is wrong, where, and how to mend it: exact messages."""

from __future__ import annotations

import os
import re
import sys
import time
import zoneinfo
from pathlib import Path
from typing import Any

import pytest

from genai_spine.catalog.rows import load_rows
from genai_spine.model.errors import ConfigError
from genai_spine.policy.budget import span_of
from genai_spine.settings import load_settings

ROWS = ", ".join(sorted(load_rows().keys() - {"openai_compatible"}))
NO_HOST = "expected an address or a name without scheme, brackets or port, such as 127.0.0.1, ::1 or 0.0.0.0"
NO_ORIGIN = "expected an origin as browsers send it, such as https://app.example.com: in lower case, without path"
SECTIONS = (
    "agents, breaker, cache, costs, health, hedge, ledger, limits, logging, providers, "
    "retry, routes, routing, server, state, "
    "streams, timeouts"
)
MEND = f'known are {ROWS}; for any other service set type = "openai_compatible" and base_url'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\n\nprot = 1\n", 'spine.toml:3: server.prot: unknown key; did you mean "port"?'),
        ("[sevrer]\nport = 1\n", 'spine.toml:1: sevrer: unknown key; did you mean "server"?'),
        ("[hedge]\nzzz = 1\n", "spine.toml:2: hedge.zzz: unknown key; the keys here are after, budget"),
        (
            "[general_settings]\n",
            "spine.toml:1: general_settings: unknown key, as of LiteLLM's file: keys are in server.api_keys and "
            'server.keys.<name>, the database in ledger.url; "Coming from LiteLLM" in the docs has the rest',
        ),
        (
            '[providers.openai]\napi_key = "os.environ/MY_KEY"\n',
            'spine.toml:2: providers.openai.api_key: that is how LiteLLM names a variable: write "${MY_KEY}"',
        ),
        (
            "[providers]\ndefualt = 'x'\n",
            'spine.toml:2: providers.defualt: unknown key; did you mean "default"?',
        ),
        (
            "[providers.openai]\nmax_token = 1\n",
            'spine.toml:2: providers.openai.max_token: unknown key; did you mean "max_tokens"?',
        ),
        (
            "\n[providers.opanai]\nmodel = 'x'\n",
            f'spine.toml:2: providers.opanai: unknown provider; did you mean "openai"?; {MEND}',
        ),
        (
            "[providers.mine]\ntype = 'acme'\n",
            f"spine.toml:2: providers.mine.type: unknown provider; {MEND}",
        ),
        (
            "[providers.mine]\ntype = 'openai_compatible'\n",
            "spine.toml:1: providers.mine: openai_compatible needs base_url, the address of the service",
        ),
        (
            "[providers.openai]\nmodel = 'a'\ndefault_model = 'b'\n",
            "spine.toml:3: providers.openai.default_model: the same key as model, with another value; "
            "keep one of the two",
        ),
        (
            "[providers.openai]\ntext_model = 'a'\ndefault_model = 'b'\n",
            "spine.toml:3: providers.openai.default_model: the same key as text_model, with another value; "
            "keep one of the two",
        ),
        (
            "[providers.openai]\napi_key = '${NOPE}'\n",
            "spine.toml:2: providers.openai.api_key: the variable NOPE is not set; set it, or write ${NOPE:-default}",
        ),
        (
            "[providers.openai]\nmodel = '${NOPE'\n",
            'spine.toml:2: providers.openai.model: not a reference: write "${NAME}" or "${NAME:-default}", '
            'or "$${" for "${"',
        ),
        ("[providers]\nopenai = 'sk-1'\n", "spine.toml:2: providers.openai: expected a table, got text"),
        ("[server]\nport = '1'\n", "spine.toml:2: server.port: expected a whole number, got text"),
        ("[server]\nport = true\n", "spine.toml:2: server.port: expected a whole number, got true or false"),
        ("[server]\nport = 1.5\n", "spine.toml:2: server.port: expected a whole number, got a number"),
        ("[server]\nport = 70000\n", "spine.toml:2: server.port: must be at least 0 and at most 65535"),
        ("[server]\nhost = 1\n", "spine.toml:2: server.host: expected text, got a number"),
        ("[server]\ncors = 'https://a.b'\n", "spine.toml:2: server.cors: expected a list, got text"),
        ("[server]\napi_keys = [1]\n", "spine.toml:2: server.api_keys[0]: expected text, got a number"),
        ("server = 1\n", "spine.toml:1: server: expected a table, got a number"),
        (
            "[providers.openai]\nheaders = []\n",
            "spine.toml:2: providers.openai.headers: expected a table, got a list",
        ),
        (
            "[providers.openai]\nheaders = { 'bad name' = 'x' }\n",
            "spine.toml:2: providers.openai.headers.bad name: not a header name: b'bad name'",
        ),
        (
            '[providers.openai.headers]\nx = "a\\r\\nb"\n',
            "spine.toml:2: providers.openai.headers.x: header 'x' has a control character in its value",
        ),
        (
            "[providers.'a/b']\ntype = 'openai'\n",
            "spine.toml:1: providers.a/b: cannot be a provider's id: no slash, not empty",
        ),
        ("[hedge]\nbudget = nan\n", "spine.toml:2: hedge.budget: expected a number, got one that is infinite or NaN"),
        (
            "[timeouts]\ntotal = '5 minutes'\n",
            'spine.toml:2: timeouts.total: expected a duration such as 30, "30s", "5m" or "250ms", got text',
        ),
        (
            "[timeouts]\ntotal = -1\n",
            'spine.toml:2: timeouts.total: expected a duration such as 30, "30s", "5m" or "250ms", '
            "got a number below 0",
        ),
        (
            "[health]\nprobe = 'ilde'\n",
            'spine.toml:2: health.probe: expected one of "never", "idle", "always"; did you mean "idle"?',
        ),
        (
            "[retry]\nmax_delay = 1\ninitial_delay = 2\n",
            "spine.toml:2: retry.max_delay: shorter than initial_delay",
        ),
        ("[routes.a]\nstrategy = 'ordered'\n", "spine.toml:1: routes.a.targets: missing"),
        ("[routes.a]\ntargets = []\n", "spine.toml:2: routes.a.targets: a route needs a target"),
        (
            "[routes.a]\ntargets = ['opnai/x']\n[providers.openai]\n",
            'spine.toml:2: routes.a.targets[0]: no provider of that name; did you mean "openai"?',
        ),
        (
            "[agents.a]\nprovider = 'opnai'\n[providers.openai]\n",
            'spine.toml:2: agents.a.provider: no provider of that name; did you mean "openai"?',
        ),
        (
            "[providers]\ndefault = 'zzz'\n[providers.openai]\n",
            "spine.toml:2: providers.default: no provider of that name; the providers are openai",
        ),
        (
            "[providers.openai]\nquirks = { seed = 'x' }\n",
            'spine.toml:2: providers.openai.quirks.seed: unknown key; did you mean "seed_field"?',
        ),
        (
            "[providers.openai]\nquirks = { seed_field = 'x' }\n",
            "spine.toml:2: providers.openai.quirks.seed_field: not a value that this quirk may have; "
            "see the providers reference",
        ),
        (
            "[providers.openai]\ndialect = 'openai'\n",
            'spine.toml:2: providers.openai.dialect: unknown dialect; did you mean "openai_chat"?',
        ),
        (
            "[providers.openai]\nbase_url = 'api.openai.com'\n",
            "spine.toml:2: providers.openai.base_url: expected a URL such as https://api.example.com/v1",
        ),
        (
            "[providers.azure]\nbase_url = 'https://x.openai.azure.com/openai/v1/chat/completions?api-version=1'\n",
            "spine.toml:2: providers.azure.base_url: leave /chat/completions and what follows out: "
            "each dialect adds its own path",
        ),
        (
            "[providers.openai]\nbase_url = 'http://a b/v1'\n",
            "spine.toml:2: providers.openai.base_url: not a host name: 'a b'",
        ),
        (
            "[providers.openai]\nbase_url = 'https://u:p@x/v1'\n",
            "spine.toml:2: providers.openai.base_url: no user and password in a URL, which may be logged; use headers",
        ),
        (
            "[server]\napi_keys = ['sha256:abc']\n",
            "spine.toml:2: server.api_keys[0]: sha256: needs 64 hexadecimal digits behind it",
        ),
        (
            "[server]\napi_keys = ['']\n",
            "spine.toml:2: server.api_keys[0]: an empty key would let everyone in",
        ),
        (
            "[server]\ncors = ['app.example.com']\n",
            "spine.toml:2: server.cors[0]: expected an origin as browsers send it, such as https://app.example.com: "
            "in lower case, without path",
        ),
        (
            "[costs.limits]\nopenai = 1\n",
            "spine.toml:2: costs.limits.openai: expected <provider>_daily or <provider>_monthly",
        ),
        ("[[providers]]\nmodel = 'x'\n", "spine.toml:1: providers[0]: each provider in a list needs a name"),
        ("[loaded]\nfile = 'x'\n", f"spine.toml:1: loaded: unknown key; the keys here are {SECTIONS}"),
        ("a = \n", "spine.toml:1: not TOML: invalid value"),
        ("[a]\n[a]\n", "spine.toml:2: not TOML: cannot declare ('a',) twice"),
        ("a = 1\na = 2\n", "spine.toml:2: not TOML: cannot overwrite a value"),
    ],
)
def test_toml(refusal: Any, text: str, message: str) -> None:
    assert refusal(text) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "providers:\n  openai:\n    modle: x\n",
            'spine.yaml:3: providers.openai.modle: unknown key; did you mean "model"?',
        ),
        (
            "providers:\n  claud:\n    model: x\n",
            f'spine.yaml:2: providers.claud: unknown provider; did you mean "claude"?; {MEND}',
        ),
        (
            "server:\n  port: 1\n  port: 2\n",
            "spine.yaml:3: server.port: twice in one table, first in line 2",
        ),
        (
            "server:\n  host: !!python/object/apply:os.system ['true']\n",
            "spine.yaml:2: server.host: the tag !!python/object/apply:os.system is refused: settings are plain data",
        ),
        (
            "!!python/name:os.system ''\n",
            "spine.yaml:1: the tag !!python/name:os.system is refused: settings are plain data",
        ),
        ("server: !mine {}\n", "spine.yaml:1: server: the tag !mine is refused: settings are plain data"),
        ("server:\n  port: !!int x\n", "spine.yaml:2: server.port: not what its tag says"),
        ("streams:\n  on: error\n", "spine.yaml:2: a key that is not text; put it in quotes"),
        ("- a\n", "spine.yaml:1: the file must hold a table of settings, such as `providers:`"),
        ("a: 1\n---\nb: 2\n", "spine.yaml:2: not YAML: but found another document"),
        ("server: &a\n  host: *a\n", "spine.yaml:1: nested deeper than 64; this is not a settings file"),
        (
            "x: " + "[" * 70 + "]" * 70 + "\n",
            "spine.yaml:1: nested deeper than 64; this is not a settings file",
        ),
    ],
)
def test_yaml(refusal: Any, text: str, message: str) -> None:
    assert refusal(text, name="spine.yaml") == message


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("server: [\n", 2, r"did not find expected node content|expected the node content, but found '<stream end>'"),
        ("server: *nowhere\n", 1, r"found undefined alias( 'nowhere')?"),
        ("server:\n\tport: 1\n", 2, r"found character ('\\t' )?that cannot start any token"),
    ],
)
def test_what_is_not_yaml(refusal: Any, text: str, line: int, why: str) -> None:
    # In the words of libyaml, or of PyYAML where that is not installed with it.
    assert re.fullmatch(rf"spine\.yaml:{line}: not YAML: ({why})", refusal(text, name="spine.yaml"))


def bomb(levels: int, width: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(9, 9), "spine.yaml:1: more than 20000 values, aliases followed; this is not a settings file"),
        (bomb(30, 9), "spine.yaml:13: more than 100 aliases; this is not a settings file"),
    ],
)
def test_a_yaml_bomb_is_refused_quickly(refusal: Any, text: str, message: str) -> None:
    begin = time.monotonic()
    assert refusal(text, name="spine.yaml") == message
    assert time.monotonic() - begin < 30  # quadratic, it would take minutes


def test_aliases_and_merge_keys_work(load: Any) -> None:
    settings = load(
        "providers:\n  groq: &base\n    max_tokens: 7\n    model: a\n  xai:\n    <<: *base\n    model: b\n",
        name="spine.yaml",
    )
    assert (settings.providers["xai"].max_tokens, settings.providers["xai"].model) == (7, "b")


def test_a_yaml_key_without_a_value_is_left_out(load: Any) -> None:
    settings = load("server:\n  host:\nproviders:\n  openai:\n", name="spine.yaml")
    assert settings.server.host == "127.0.0.1"
    assert list(settings.providers) == ["openai"]


def test_every_problem_is_told_at_once_in_the_order_of_the_file(refusal: Any) -> None:
    text = "[server]\nprot = 1\nport = 'x'\n" + "\n" * 7 + "[timeouts]\ntotla = 1\n[health]\nprobe = 'x'\n"
    assert refusal(text, {"GENAI_SERVER_WORKERS": "0"}).splitlines() == [
        "GENAI_SERVER_WORKERS: server.workers: must be at least 1",
        'spine.toml:2: server.prot: unknown key; did you mean "port"?',
        "spine.toml:3: server.port: expected a whole number, got text",
        'spine.toml:12: timeouts.totla: unknown key; did you mean "total"?',
        'spine.toml:14: health.probe: expected one of "never", "idle", "always"',
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"environ": {"GENAI_SERVER_PORT": "x"}},
            "GENAI_SERVER_PORT: server.port: expected a whole number, got text",
        ),
        (
            {"dotenv": "GENAI_SERVER__PROT=1\n"},
            '.env: GENAI_SERVER__PROT: server.prot: unknown key; did you mean "port"?',
        ),
        (
            {"environ": {"GENAI_FALLBACK_CHAIN": "opena"}},
            "GENAI_FALLBACK_CHAIN: providers.fallback_order[0]: no provider of that name; the providers are ollama",
        ),
        ({"overrides": {"server.port": "x"}}, "argument: server.port: expected a whole number, got text"),
        ({"overrides": {"sever.port": 1}}, 'argument: sever: unknown key; did you mean "server"?'),
    ],
)
def test_the_source_is_named_where_it_is_no_file(refusal: Any, options: Any, message: str) -> None:
    assert refusal(**options) == message


def test_a_machine_without_a_database_of_time_zones_has_utc(
    load: Any, refusal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tzdata", *(name for name in sys.modules if name.startswith("tzdata."))):
        monkeypatch.setitem(sys.modules, name, None)
    zoneinfo.reset_tzpath(to=[])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        assert load("[costs]\ndaily_limit = 1\n").costs.timezone == "UTC"
        assert span_of("day", 1.0, "UTC") == (0.0, 86_400.0)
        assert refusal("[costs]\ntimezone = 'Europe/Vienna'\n") == (
            "spine.toml:2: costs.timezone: this machine knows no time zone but UTC: "
            "install its tzdata, or pip install tzdata"
        )
    finally:
        zoneinfo.reset_tzpath()


def test_a_key_of_very_many_parts_is_refused_quickly(refusal: Any) -> None:
    begin = time.monotonic()
    assert refusal("a." * 100_000 + "b = 1\n") == ("spine.toml:1: nested deeper than 64; this is not a settings file")
    assert refusal("".join(f"[a{n}]\n" for n in range(30_000))) == (
        "spine.toml: more than 20000 values; this is not a settings file"
    )
    assert time.monotonic() - begin < 30  # quadratic, it would take minutes


def test_twenty_problems_are_enough_for_one_message(refusal: Any) -> None:
    lines = refusal("[server]\n" + "".join(f"k{n} = 1\n" for n in range(25))).splitlines()
    assert (len(lines), lines[-1]) == (21, "and 5 more")


def test_a_line_is_found_in_the_midst_of_long_values(refusal: Any) -> None:
    text = (
        'providers.openai.model = """\nport = 1\n[server]\n"""\n'
        "[server]\ncors = [ # comment ]\n  'https://a.b', # host = 1\n]\n"
        "api_keys = ['''a''', \"\\\"]\"]\n'prot' = 1\n"
        "[[providers.openai.models]]\n"
    )
    assert refusal(text).splitlines()[0] == 'spine.toml:10: server.prot: unknown key; did you mean "port"?'


def test_inside_a_one_line_table_the_line_is_that_of_the_table(refusal: Any) -> None:
    assert refusal("\n\nserver = { prot = 1 }\n") == ('spine.toml:3: server.prot: unknown key; did you mean "port"?')


# Files


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def refused(path: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load_settings(Path(path), environ={}, cwd=tmp_path)
        return str(caught.value)

    (tmp_path / "bad.toml").write_bytes(b"# ok\n[server]\nhost = '\xff'\n")
    (tmp_path / "big.toml").write_text("#" * (1024 * 1024 + 1))
    (tmp_path / "deep.toml").write_text("a = " + "[" * 5000 + "]" * 5000)
    (tmp_path / "deeper.toml").write_text("a = " + "[" * 70 + "]" * 70)
    (tmp_path / "spine.ini").write_text("")
    (tmp_path / "folder").mkdir()
    assert refused("none.toml") == "none.toml: no such file; check the path (--config, GENAI_CONFIG)"
    assert refused("/none.toml") == "/none.toml: no such file; check the path (--config, GENAI_CONFIG)"
    assert refused("folder") == "folder: a directory without spine.toml, spine.yaml, spine.yml; name a file"
    assert refused("bad.toml") == "bad.toml:3: not UTF-8; save the file as UTF-8"
    assert refused("big.toml") == "big.toml: larger than 1024 KiB; this is not a settings file"
    assert refused("deep.toml") == "deep.toml: nested too deeply; this is not a settings file"
    assert refused("deeper.toml") == "deeper.toml: nested deeper than 64; this is not a settings file"
    assert refused("spine.ini") == "spine.ini: settings are .toml or .yaml; rename the file, or name another"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(refusal: Any, tmp_path: Path) -> None:
    (tmp_path / "spine.toml").touch(mode=0)
    assert refusal() == "spine.toml: cannot be read: Permission denied; check its owner and mode"


def test_a_directory_of_the_files_name(refusal: Any, tmp_path: Path) -> None:
    (tmp_path / "spine.toml").mkdir()
    assert refusal() == "spine.toml: is a directory; name the file in it"


@pytest.mark.parametrize("name", ["spine.toml", "spine.yaml"])
@pytest.mark.parametrize("text", [b"\n", b"# nothing\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf# mark\r\n"])
def test_empty_files_and_byte_order_marks_are_tolerated(load: Any, name: str, text: bytes) -> None:
    assert load(text, name=name).server.port == 8100


def test_windows_lines(load: Any) -> None:
    assert load(b"\xef\xbb\xbf[server]\r\nport = 1\r\n").server.port == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[timeouts]\ntotal = 0\n", "spine.toml:2: timeouts.total: must be more than 0"),
        (
            "[providers.openai.timeouts]\nconnect = 0\n",
            "spine.toml:2: providers.openai.timeouts.connect: must be more than 0",
        ),
        ("[health]\ninterval = 0\n", "spine.toml:2: health.interval: must be more than 0"),
        ("[server]\nmax_connections_per_ip = 0\n", "spine.toml:2: server.max_connections_per_ip: must be at least 1"),
        ("[server]\ncors = ['https://a.b/c']\n", f"spine.toml:2: server.cors[0]: {NO_ORIGIN}"),
        ("[server]\nhost = 'http://0.0.0.0'\n", f"spine.toml:2: server.host: {NO_HOST}"),
        ("[server]\nhost = '0.0.0.0:8100'\n", f"spine.toml:2: server.host: {NO_HOST}"),
        ("[server]\nhost = '[::1]'\n", f"spine.toml:2: server.host: {NO_HOST}"),
        ("[server]\nhost = '127.0.0.1, ::1'\n", f"spine.toml:2: server.host: {NO_HOST}"),
        ("[server]\ncors = ['https://A.b']\n", f"spine.toml:2: server.cors[0]: {NO_ORIGIN}"),
        ("[server]\ncors = ['https://a.b:443']\n", f"spine.toml:2: server.cors[0]: {NO_ORIGIN}"),
        ("[costs]\ndaily_limit = -1\n", "spine.toml:2: costs.daily_limit: must be at least 0 and at most 9000000"),
        ("[retry]\nretry_delay_ms = -5\n", "spine.toml:2: retry.retry_delay_ms: expected milliseconds, such as 500"),
        ("[retry]\nretry_delay_ms = '5s'\n", "spine.toml:2: retry.retry_delay_ms: expected milliseconds, such as 500"),
        ("[retry]\nretry_delay_ms = 60000\n", "spine.toml:1: retry.max_delay: shorter than initial_delay"),
        (
            "[providers.openai]\ntext_model = 1\n",
            "spine.toml:2: providers.openai.text_model: expected text, got a number",
        ),
        (
            f"[providers.openai]\ntemperature = 1{'0' * 400}\n",
            "spine.toml:2: providers.openai.temperature: expected a number, got one that is too large",
        ),
        (
            f"[limits]\nrequests_per_min = 1{'0' * 30}\n",
            "spine.toml:2: limits.requests_per_min: expected a whole number, got one that is too large",
        ),
        (
            f"[server]\nport = 1{'0' * 5000}\n",
            "spine.toml: a number of thousands of digits; this is not a settings file",
        ),
        (
            '[providers.openai]\napi_key = "a\\nb"\n',
            "spine.toml:2: providers.openai.api_key: has a control character within, such as the end of a line: "
            "no key has",
        ),
        (
            "[providers.ollama]\nkeep_alive = '300'\n",
            "spine.toml:2: providers.ollama.keep_alive: expected a duration as Ollama reads it, "
            'such as "5m" or "1h30m", or seconds as a number; -1: for ever',
        ),
        (
            "[providers.openai]\ndialect = 'gemini'\n",
            "spine.toml:2: providers.openai.dialect: OpenAI does not speak it: it speaks openai_chat, "
            "openai_responses, openai_completions; set base_url for a server that does",
        ),
        (
            "[routes.a]\ntargets = ['']\n",
            "spine.toml:2: routes.a.targets[0]: expected provider/model, a provider, a model or another route",
        ),
        (
            "[routes.a]\ntargets = [{ target = 'openai/x', when = { min_tokens = 2, max_tokens = 1 } }]\n",
            "spine.toml:2: routes.a.targets[0].when: no request fits: min_tokens is more than max_tokens",
        ),
    ],
)
def test_values_with_which_no_call_could_go_well(refusal: Any, text: str, message: str) -> None:
    assert refusal(text) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server: {keys: {bob: {key: }}}\n", "spine.yaml:1: server.keys.bob.key: missing"),
        ("routes: {a: {targets: }}\n", "spine.yaml:1: routes.a.targets: missing"),
    ],
)
def test_a_required_key_without_a_value_is_missing(refusal: Any, text: str, message: str) -> None:
    assert refusal(text, name="spine.yaml") == message


@pytest.mark.parametrize("text", ['["a", "b"', "[" * 100_000])
def test_what_begins_like_json_and_is_none_is_told_so(refusal: Any, text: str) -> None:
    said = "server.api_keys: expected a list, got text that begins like JSON and is none"
    assert refusal(environ={"GENAI_SERVER_API_KEYS": text}) == f"GENAI_SERVER_API_KEYS: {said}"


@pytest.mark.parametrize("url", ["", "${NOT_SET:-}"])
def test_an_empty_state_url_is_none_and_workers_do_not_count_together(refusal: Any, url: str) -> None:
    text = f"[server]\nworkers = 2\n[costs]\ndaily_limit = 1\n[state]\nurl = '{url}'\n"
    assert refusal(text).startswith("spine.toml:2: server.workers: each worker would spend a whole budget of its own")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({1: {}}, "argument: 1: a key that is not text; put it in quotes"),
        ({"costs": {"limits": {5: 1}}}, "argument: 5: a key that is not text; put it in quotes"),
        ({"providers": [{"name": "a", 1: 2}]}, "argument: 1: a key that is not text; put it in quotes"),
        (
            {"server": 1, "server.port": 2},
            "argument: server.port: server is no table here, since it has a value of its own",
        ),
    ],
)
def test_what_a_program_gives_in_the_wrong_shape_is_no_traceback(refusal: Any, overrides: Any, message: str) -> None:
    assert refusal(overrides=overrides) == message
