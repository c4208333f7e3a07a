"""What is said about settings: warnings, JSON Schema, the reference."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import jsonschema
import msgspec
import pytest

from genai_spine.settings import Settings, document, schema, warnings_of
from genai_spine.settings.build import field_types, is_struct, split


def structs(struct: type[msgspec.Struct] = Settings) -> set[type[msgspec.Struct]]:
    found = {struct}
    for hint in field_types(struct).values():
        type_, _ = split(hint)
        for part in (type_, *getattr(type_, "__args__", ())):
            if is_struct(part):
                found |= structs(part)
    return found


def test_every_key_is_documented() -> None:
    for struct in structs():
        assert struct.__doc__, struct
        for name, hint in field_types(struct).items():
            _, meta = split(hint)
            assert meta is not None, (struct, name)
            assert meta.description.endswith("."), (struct, name)


def test_every_struct_is_strict_and_frozen() -> None:
    for struct in structs():
        config = struct.__struct_config__
        assert config.frozen, struct
        assert config.forbid_unknown_fields, struct


def test_the_reference_has_every_key_with_type_default_and_words() -> None:
    entries = {entry.key: entry for entry in document()}
    assert len(entries) == len(document())
    assert entries["server.port"].type == "a whole number"
    assert entries["server.port"].default == "8100"
    assert entries["timeouts.connect"].default == "10s"
    assert entries["providers.<id>.api_key"].type == "secret text"
    assert entries["providers.<id>.timeouts.total"].doc.startswith("As `timeouts.total`")
    assert entries["routes.<id>.targets[].when.tags"].type == "list of text"
    assert entries["ledger.redact[].pattern"].default == "required"
    assert entries["routes.<id>.targets"].default == "required"
    assert entries["retry.retryable_errors"].default == "rate_limit, server_error, network_error, timeout"
    assert entries["costs.budgets.<id>.limit_usd"].type == "a number"
    assert all(entry.doc and entry.type and entry.default for entry in entries.values())
    assert not [key for key in entries if "loaded" in key or "by_id" in key]


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("[routing]\nstrategy = 'ordered'\n", []),
        ("[routing]\nstrategy = 'quality'\n", []),
        ("[streams]\non_break = 'error'\n", []),
        ("[streams]\non_break = 'continue'\n", []),
        ("[breaker]\nmin_calls = 10\n[retry]\nbudget = 0.1\n[hedge]\nbudget = 0.1\n", []),
        ("[costs]\nalert_threshold = 0.8\n", []),
        (
            "[costs]\ndaily_limit = 10\n[costs.limits]\nopenai_daily = 1\n[providers.ollama]\n",
            [
                "costs.limits.openai_daily: no provider 'openai' is configured, so this limits nothing",
                "costs: without ledger.url a restart forgets what was spent, and every budget begins anew",
            ],
        ),
        ("[costs]\ndaily_limit = 10\n[ledger]\nurl = 'sqlite:///spine.db'\n", []),
        (
            "[ledger]\nurl = 'sqlite:///x.db'\nretention_days = 30\n[costs.budgets.x]\nlimit_usd = 1\ntag = 'team-*'\n"
            "[costs.budgets.y]\nlimit_usd = 1\nwindow = 'week'\ntag = 'team-*'\n"
            "[costs.budgets.z]\nlimit_usd = 1\ntag = 'blue'\nkey = 'alice'\n",
            [
                "costs.budgets.x: a restart would forget what was spent: the sums of days do not tell it, and calls "
                "are kept for less than its window (ledger.retention_days)"
            ],
        ),
        (
            "[ledger]\nurl = 'sqlite:///x.db'\n[providers.openai]\n[costs.budgets.x]\nlimit_usd = 1\n"
            "provider = 'opnai'\n[costs.budgets.y]\nlimit_usd = 1\nprovider = 'open*'\n",
            ["costs.budgets.x: no provider 'opnai' is configured, so this limits nothing; did you mean \"openai\"?"],
        ),
        (
            "[ledger]\nurl = 'sqlite:///x.db'\nretention_days = 7\n[costs]\ntimezone = 'America/Los_Angeles'\n"
            "[costs.budgets.x]\nlimit_usd = 1\n[costs.budgets.y]\nlimit_usd = 1\nwindow = 'week'\n"
            "[costs.budgets.z]\nlimit_usd = 1\nwindow = 'total'\n",
            [
                "costs.budgets.x: a restart would forget what was spent: the sums of days do not tell it, and calls "
                "are kept for less than its window (ledger.retention_days)"
            ],
        ),
        (
            "[ledger]\nurl = 'sqlite:///x.db'\n[server.keys.alice]\nkey = 'sk-alice-123'\n[server.keys.bob]\n"
            "key = 'sk-bob-12345'\n[costs.budgets.x]\nlimit_usd = 1\nkey = 'alic'\n[costs.budgets.y]\nlimit_usd = 1\n"
            "key = 'b*'\n",
            ["costs.budgets.x: no key has the name 'alic', so this limits nothing; did you mean \"alice\"?"],
        ),
        ("[providers.ollama]\nauto_pull = true\n", []),
        (
            "[providers.ollama.cost]\ninput_cost_per_1k = 1\n",
            [],
        ),
        (
            "[routes.a]\ntargets = [{ target = 'ollama/x', weight = 2 }]\nstrategy = 'weighted'\n",
            [],
        ),
        (
            "[providers.anyscale]\nbase_url = 'https://x/v1'\n",
            [
                "providers.anyscale: its shared service ended on 2024-08-01; base_url is that of your own",
            ],
        ),
        (
            "[server]\nport = 1\n[timeouts]\ntotal = 1\n[retry]\nmax_retries = 1\n[providers.ollama]\nmodel = 'a'\n",
            [],
        ),
    ],
)
def test_what_limits_nothing_or_is_forgotten_is_a_warning_and_what_is_in_force_is_none(
    load: Any, text: str, warnings: list[str]
) -> None:
    assert warnings_of(load(text)) == warnings


def test_defaults_warn_of_nothing() -> None:
    assert warnings_of(Settings()) == []


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"server": {"port": "${PORT}"}, "timeouts": {"total": "5m", "idle": 3, "connect": "${C}"}},
        {"routes": {"a": {"targets": ["x/y", {"target": "x/y", "weight": 2}]}}},
        {"providers": {"default": "a", "a": {"url": "http://x", "text_model": "m", "keep_alive": -1}}},
        {"retry": {"retry_delay_ms": 100, "retryable_errors": ["timeout"]}},
    ],
)
def test_the_schema_takes(value: Any) -> None:
    jsonschema.Draft202012Validator(schema()).validate(value)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize(
    "value",
    [
        {"sevrer": {}},
        {"server": {"prot": 1}},
        {"server": {"port": "x"}},
        {"server": {"port": 70000}},
        {"timeouts": {"total": "5 minutes"}},
        {"providers": {"a": {"modle": "x"}}},
        {"providers": {"a": 1}},
        {"routes": {"a": {}}},
        {"loaded": {}},
    ],
)
def test_the_schema_refuses(value: Any) -> None:
    assert not jsonschema.Draft202012Validator(schema()).is_valid(value)


def test_importing_settings_brings_no_yaml_no_dotenv_and_no_network() -> None:
    code = "import sys, genai_spine.settings; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"yaml", "dotenv", "asyncio", "socket", "httptools"} & set(loaded)
