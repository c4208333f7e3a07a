"""Every row of providers.toml, and what rows promise."""

from __future__ import annotations

import re
from importlib import resources
from typing import Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
import pytest

from genai_spine.catalog.rows import ProviderRow, find_row, load_rows
from genai_spine.dialects import quirks
from genai_spine.dialects.quirks import Quirks
from genai_spine.providers import codecs

ROWS = list(load_rows().values())
TEXT = resources.files("genai_spine.catalog").joinpath("providers.toml").read_text(encoding="utf-8")
DIALECTS = {*codecs.OUTBOUND, *codecs.EMBEDDINGS, *codecs.RERANKING}


def test_the_rows_that_the_first_version_promises() -> None:
    assert set(load_rows()) >= {
        *("openai", "anthropic", "ollama", "groq", "together", "anyscale", "vllm", "llamacpp", "lmstudio"),
        *("openrouter", "deepseek", "mistral", "xai", "fireworks", "perplexity", "cerebras"),
        *("openai_compatible", "simulated"),
    }
    assert find_row("claude") is load_rows()["anthropic"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_row_is_complete(row: ProviderRow) -> None:
    assert row.name
    assert row.docs.startswith("https://")
    assert row.chat
    assert set(row.dialects) <= DIALECTS
    assert set(row.base_urls) <= {*DIALECTS, "models"}
    assert re.fullmatch(r"[a-z][a-z0-9_]*", row.id)
    if row.needs_base_url or row.id in ("simulated", "litellm"):
        assert not row.base_url
    else:
        parts = urlsplit(row.base_url)
        assert parts.scheme == ("http" if row.local else "https")
        assert row.local == (parts.hostname == "localhost")
        assert not row.base_url.endswith("/")
    assert row.needs_key <= bool(row.key_variables)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", variable) for variable in row.key_variables)
    assert row.models_path == "" or row.models_path.startswith("/")
    for dialect in row.dialects:
        assert not row.base_url_for(dialect).endswith("/")
    if "anthropic_messages" in row.chat:
        assert not row.base_url_for("anthropic_messages").endswith("/v1")


def test_names_are_unique() -> None:
    names = [name for row in ROWS for name in (row.id, *row.aliases)]
    assert len(names) == len(set(names))
    variables = [variable for row in ROWS for variable in row.key_variables]
    assert len(variables) == len(set(variables))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_compatible_service_costs_few_lines(row: ProviderRow) -> None:
    own = TEXT.partition(f"[{row.id}]\n")[2].partition("\n[")[0]
    lines = 1 + len([line for line in own.splitlines() if line.strip() and not line.startswith(("#", "note"))])
    if row.is_cloud:
        return  # its address has places, and its identity many variables
    assert lines <= (8 if row.chat == ("openai_chat",) and row.id not in ("openai", "mistral") else 15)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_quirks_tell_their_source_and_year(row: ProviderRow) -> None:
    _, _, rest = TEXT.partition(f"[{row.id}]\n")[2].partition("\n[")
    if rest.startswith(f"{row.id}.quirks]"):
        lines = rest.partition("\n[")[0].splitlines()[1:]
        assert lines[0].startswith("#"), "a quirk without a comment"
        assert re.search(r"20\d\d", "\n".join(line for line in lines if line.startswith("#")))


def test_quirks_are_closed_few_and_documented() -> None:
    assert len(Quirks.__struct_fields__) <= 15
    assert Quirks.__struct_config__.forbid_unknown_fields
    assert Quirks.__struct_config__.frozen
    source = resources.files("genai_spine.dialects").joinpath("quirks.py").read_text(encoding="utf-8")
    for name in Quirks.__struct_fields__:
        assert re.search(rf'^    {name}: .*\n    """', source, re.MULTILINE), name
    assert quirks.__doc__


def test_every_quirk_but_the_plain_ones_is_used_by_a_row() -> None:
    for name in set(Quirks.__struct_fields__) - {"parallel_tool_calls"}:
        assert any(getattr(row.quirks, name) != getattr(Quirks(), name) for row in ROWS), name


def test_none_in_toml_is_none_only_where_it_is_no_word() -> None:
    row = load_rows()["openai_compatible"]
    assert row.quirks_with({"effort": "none"}).effort is None
    assert row.quirks_with({"schema": "none"}).schema == "none"
    hints = get_type_hints(Quirks)
    for name in ("effort", "reasoning_field", "cache_marks"):
        literal = next(part for part in get_args(hints[name]) if get_origin(part) is Literal)
        assert "none" not in get_args(literal)


def test_quirks_of_the_user_are_over_the_rows() -> None:
    mistral = load_rows()["mistral"]
    assert mistral.quirks_with({}) is mistral.quirks
    assert mistral.quirks_with({"temperature_max": 1.0}).temperature_max == 1.0
    assert mistral.quirks_with({"temperature_max": 1.0}).seed_field == "random_seed"
    with pytest.raises(msgspec.ValidationError):
        mistral.quirks_with({"seed": "x"})


@pytest.mark.parametrize(
    ("id", "dialect", "given", "url"),
    [
        ("ollama", "ollama_chat", None, "http://localhost:11434"),
        ("ollama", "openai_chat", None, "http://localhost:11434/v1"),
        ("ollama", "ollama_chat", "http://gpu:1/", "http://gpu:1"),
        ("ollama", "ollama_chat", "http://gpu:1/v1", "http://gpu:1"),
        ("ollama", "openai_chat", "http://gpu:1", "http://gpu:1/v1"),
        ("ollama", "openai_embeddings", "http://gpu:1/v1", "http://gpu:1/v1"),
        ("ollama", "anthropic_messages", "http://gpu:1/v1", "http://gpu:1"),
        ("vllm", "openai_chat", "http://gpu:1", "http://gpu:1/v1"),
        ("vllm", "openai_chat", "http://gpu:1/v1", "http://gpu:1/v1"),
        ("vllm", "anthropic_messages", "http://gpu:1/v1", "http://gpu:1"),
        ("vllm", "openai_chat", "http://proxy/llm", "http://proxy/llm"),
        ("openai", "openai_chat", "https://proxy.example.com", "https://proxy.example.com"),
        ("openai", "openai_embeddings", "https://proxy.example.com/x/", "https://proxy.example.com/x"),
        ("anthropic", "anthropic_messages", "https://api.anthropic.com/v1", "https://api.anthropic.com"),
        ("deepseek", "anthropic_messages", None, "https://api.deepseek.com/anthropic"),
        (
            "deepseek",
            "anthropic_messages",
            "https://api.deepseek.com/v1",
            "https://api.deepseek.com/anthropic",
        ),
        ("deepseek", "openai_chat", "https://api.deepseek.com/v1", "https://api.deepseek.com/v1"),
        (
            "fireworks",
            "openai_chat",
            "https://api.fireworks.ai/inference",
            "https://api.fireworks.ai/inference/v1",
        ),
        ("openrouter", "anthropic_messages", None, "https://openrouter.ai/api"),
        ("gemini", "gemini", "http://proxy", "http://proxy/v1beta"),
        ("gemini", "gemini_embeddings", "http://proxy/", "http://proxy/v1beta"),
        ("gemini", "gemini", "http://proxy/google/v1", "http://proxy/google/v1"),
        ("openai_compatible", "openai_chat", "http://x/v1", "http://x/v1"),
        ("openai_compatible", "anthropic_messages", "http://x/v1", "http://x"),
    ],
)
def test_a_base_url_for_each_dialect(id: str, dialect: str, given: str | None, url: str) -> None:
    assert load_rows()[id].base_url_for(dialect, given) == url


def test_a_row_is_found_by_its_id_or_an_alias() -> None:
    for row in ROWS:
        assert all(find_row(name) is row for name in (row.id, *row.aliases))
    assert find_row("nobody") is None


def test_a_note_is_a_caution() -> None:
    """It is a warning at every start: what only helps stands in a comment. A caution says since when it holds."""
    for row in ROWS:
        assert row.note is None or re.search(r"\b20\d\d-\d\d-\d\d\b", row.note), row.id
