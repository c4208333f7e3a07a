"""The model cards: the data holds together, and every model that the specifications name is known."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from genai_spine.catalog import cards, prices
from genai_spine.catalog.cards import card_of, known_models, own_name, rows_knowing, suggestion
from genai_spine.catalog.names import alike, did_you_mean, plain
from genai_spine.catalog.rows import load_rows
from genai_spine.model.card import ModelCard, Price, Tier

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import make_catalog  # noqa: E402

D = Decimal


# ---------------------------------------------------------------- the data

NAMED = {
    "openai": (
        *("gpt-3.5-turbo", "gpt-4", "gpt-4-turbo", "gpt-4o", "gpt-4o-mini", "text-embedding-ada-002"),
        *("gpt-4o-2024-05-13", "gpt-4o-2024-08-06"),
    ),
    "anthropic": (
        *("claude-3-haiku", "claude-3-sonnet", "claude-3-opus", "claude-3-5-sonnet", "claude-3-5-haiku"),
        *("claude-3-5-sonnet-20241022", "claude-3-opus-20240229", "claude-3-haiku-20240307"),
        *("claude-3-sonnet-20240229", "claude-sonnet-4-5"),
    ),
    "groq": ("llama-3.3-70b-versatile", "llama-3.1-8b-instant", "mixtral-8x7b-32768", "llama3-70b-8192"),
    "bedrock": ("anthropic.claude-3-sonnet-20240229-v1:0",),
    "gemini": ("gemini-pro", "gemini-pro-vision"),
    "azure": ("gpt-4",),
}
"""Every model of REQUIREMENTS.md that costs something."""
LOCAL = (
    *("llama3.2:latest", "llama3.2:3b", "mistral:latest", "qwen2.5:7b", "codellama:7b", "llama2", "codellama"),
    *("mistral", "phi", "llama3.2"),
)
UNPRICED = {"gemini-pro-vision": "gone since July 2024; nobody publishes its price any more"}


@pytest.mark.parametrize(("row", "model"), [(row, model) for row, models in NAMED.items() for model in models])
def test_every_model_that_the_specifications_name_is_known(row: str, model: str) -> None:
    card = card_of(row, row, model)
    assert card.context_window
    assert (card.price is None) == (model in UNPRICED)
    assert row in rows_knowing(model)


@pytest.mark.parametrize("model", LOCAL)
def test_local_models_cost_nothing_and_have_a_window(model: str) -> None:
    card = card_of("ollama", "ollama", model)
    assert card.context_window
    assert card.price is not None
    assert (card.price.input, card.price.output) == (0, 0)


@pytest.mark.parametrize(
    ("model", "least", "most", "beside_thinking", "unasked"),
    [
        ("gpt-5", "minimal", "high", False, None),
        ("gpt-5-mini-2025-08-07", "minimal", "high", False, None),
        ("gpt-5-pro", "high", "high", False, None),
        ("gpt-5-codex", "low", "high", False, None),
        ("gpt-5.1", "none", "high", None, "none"),
        ("gpt-5.1-codex-max", "low", "xhigh", False, None),
        ("gpt-5.1-chat-latest", "medium", "medium", None, None),
        ("gpt-5.2", "none", "xhigh", None, "none"),
        ("gpt-5.3-codex", "low", "xhigh", False, None),
        ("gpt-5.4-pro-2026-03-05", "medium", "xhigh", False, None),
        ("gpt-5.4-mini", "none", "xhigh", None, "none"),
        ("gpt-5.5", "none", "xhigh", None, "medium"),
        ("gpt-5.6-terra", "none", "max", None, "medium"),
        ("gpt-6-luna", "none", "max", None, "medium"),
        ("gpt-6-astra", "low", "max", False, None),
        ("o3", "low", "high", False, None),
    ],
)
def test_how_much_a_model_thinks_and_what_it_takes_beside_it(
    model: str, least: str, most: str, beside_thinking: bool | None, unasked: str | None
) -> None:
    able = card_of("openai", "openai", model).capabilities
    assert able.thinking
    assert able.efforts is not None
    assert (able.efforts[0], able.efforts[-1]) == (least, most)
    assert (able.sampling, able.default_effort) == (beside_thinking, unasked)
    assert able.sampling_while_thinking is (None if unasked is None else False)


def test_a_chat_model_does_not_think() -> None:
    able = card_of("openai", "openai", "gpt-5-chat-latest").capabilities
    assert (able.thinking, able.sampling, able.efforts) == (False, True, None)


def test_every_price_says_when_and_where_it_was_read() -> None:
    for row, listed in prices.all_prices().items():
        assert listed.source.startswith("https://"), row
        assert listed.as_of is not None, row
        for model in listed.models:
            for price in listed.dated(model):
                assert price.as_of and price.source
                assert all(rate >= 0 for rate in price.known.values()), (row, model.id)
                assert price.known or price.tiers, (row, model.id)
    for row, entries in cards.load_entries().items():
        for entry in entries:
            assert entry.read and entry.source, (row, entry.match)
            for price in (*([entry.price] if entry.price else []), *entry.earlier):
                assert price.since, (row, entry.match)


def test_no_row_is_described_that_does_not_exist() -> None:
    known = load_rows().keys() | prices.rows_with_prices()
    assert cards.load_entries().keys() - {cards.FAMILY} <= known


def test_every_successor_is_a_model_that_is_known_and_not_gone() -> None:
    today = make_catalog.READ
    for row, entries in cards.load_entries().items():
        for entry in entries:
            if entry.successor is not None:
                card = card_of(row, row, entry.successor)
                assert card.price is not None, entry.successor
                assert card.retired is None or card.retired > today, entry.successor


def test_every_alias_leads_to_a_model_that_is_known() -> None:
    for row, names in cards._overlay().names.items():
        for name, meant in names.items():
            assert own_name(row, name) == meant
            assert card_of(row, row, meant).price is not None, meant


def test_ids_of_a_price_list_are_there_once_and_patterns_can_be_read() -> None:
    for row, listed in prices.all_prices().items():
        index = prices.index_of(row)
        for model in listed.models:
            assert index.find(model.id.lower()) is not None, (row, model.id)
        for pattern, _ in index.patterns:
            prices.fits("x", pattern)


def test_the_compiled_cards_are_those_of_models_toml() -> None:
    written = (make_catalog.CARDS).read_text(encoding="utf-8")
    assert written == make_catalog.cards(), "catalog/models.toml has changed: run `make cards`"


def test_importing_the_package_reads_no_data() -> None:
    code = (
        "import sys, builtins, io; opened = []; real = io.open\n"
        "def spy(file, *a, **k):\n    opened.append(str(file)); return real(file, *a, **k)\n"
        "io.open = builtins.open = spy\n"
        "import genai_spine, genai_spine.catalog.cards, genai_spine.policy.tokens\n"
        "print([name for name in opened if name.endswith(('.json', '.xz', '.toml'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_data_is_small() -> None:
    folder = Path(prices.__file__).parent
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.suffix in (".json", ".toml", ".xz")]
    assert sum(sizes) < 2_000_000


# ---------------------------------------------------------------- one model, many names


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet-20241022"),
        ("anthropic.claude-3-sonnet-20240229-v1:0:200k", "claude-3-sonnet-20240229"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/eu.anthropic.claude-opus-4-5-v1:0", "claude-opus-4-5"),
        ("anthropic/claude-3.5-sonnet:beta", "claude-3-5-sonnet"),
        ("models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("publishers/anthropic/models/claude-sonnet-4@20250514", "claude-sonnet-4-20250514"),
        ("accounts/fireworks/models/deepseek-v3p2", "deepseek-v3p2"),
        ("openai/gpt-4o", "gpt-4o"),
        ("llama3.2:latest", "llama3.2"),
        ("gpt-4.1-mini", "gpt-4.1-mini"),
    ],
)
def test_the_plain_name_of_a_model(name: str, wanted: str) -> None:
    assert plain(name) == wanted


@pytest.mark.parametrize(
    ("row", "name", "output"),
    [
        ("anthropic", "claude-3-5-sonnet-latest", 8_192),
        ("bedrock", "us.anthropic.claude-3-5-sonnet-20241022-v2:0", 8_192),
        ("openrouter", "anthropic/claude-3.5-sonnet", 8_192),
        ("openrouter", "openai/gpt-4o", 16_384),
        ("gemini", "models/gemini-2.5-pro", 65_536),
        ("vertex", "claude-3-5-haiku@20241022", 8_192),
    ],
)
def test_a_card_is_found_by_every_name_of_the_model(row: str, name: str, output: int) -> None:
    card = card_of(row, row, name)
    assert card.id == name
    assert card.max_output_tokens == output
    assert card.price is not None and card.price.input


def test_what_is_not_known_is_none() -> None:
    card = card_of("openai", "openai", "gpt-of-tomorrow")
    assert (card.price, card.prices, card.context_window, card.retired) == (None, (), None, None)
    assert card_of("openai_compatible", "x", "gpt-4o").price is None


def test_names_that_look_alike_are_suggested() -> None:
    assert "gpt-4o-mini" in alike("gpt-4o-mni", known_models("openai"))
    assert did_you_mean("gpt-4o", known_models("openai")) == ""
    assert suggestion("anthropic", "claude-sonet-4-5").startswith('; did you mean "claude-sonnet-4-5"')
    assert did_you_mean("zzzzzzzzzzzz", known_models("openai")) == ""


def test_how_a_model_thinks() -> None:
    styles = {
        ("anthropic", "claude-3-5-sonnet-20241022"): "none",
        ("anthropic", "claude-sonnet-4-5"): "budget",
        ("anthropic", "claude-opus-4-8"): "adaptive",
        ("openai", "o4-mini"): "effort",
        ("gemini", "gemini-2.5-flash"): "budget",
        ("gemini", "gemini-3-flash-preview"): "level",
    }
    assert {key: card_of(key[0], "p", key[1]).capabilities.thinking_style for key in styles} == styles


@pytest.mark.parametrize(
    ("model", "sampling", "both"),
    [
        ("claude-3-5-haiku-20241022", None, None),
        ("claude-3-7-sonnet-latest", None, None),
        ("claude-sonnet-4-20250514", None, None),
        ("claude-opus-4-1-20250805", None, False),
        ("claude-sonnet-4-5-20250929", None, False),
        ("claude-haiku-4-5", None, False),
        ("claude-opus-4-6", None, False),
        ("claude-opus-4-7", False, None),
        ("claude-opus-4-8", False, None),
        ("claude-sonnet-5", False, None),
        ("claude-haiku-5-5", False, None),
        ("claude-mythos-5-1", False, None),
    ],
)
def test_which_claude_takes_temperature_and_top_p(model: str, sampling: bool | None, both: bool | None) -> None:
    able = card_of("anthropic", "anthropic", model).capabilities
    assert (able.sampling, able.temperature_with_top_p) == (sampling, both)


def test_which_grok_takes_stop_sequences_and_penalties() -> None:
    told = {
        "grok-3": (None, None),
        "grok-3-mini": (False, False),
        "grok-4-0709": (False, False),
        "grok-4-1-fast-reasoning": (False, False),
        "grok-4.5": (False, False),
        "grok-4.20-0309-non-reasoning": (True, False),
    }
    cards = {model: card_of("xai", "xai", model).capabilities for model in told}
    assert {model: (able.stop, able.penalties) for model, able in cards.items()} == told


def test_which_of_openais_models_take_stop_sequences() -> None:
    told = {"o1": None, "o3-mini": None, "o3": False, "o4-mini": False, "gpt-4.1": None, "gpt-5": False}
    told |= {"gpt-5-nano-2025-08-07": False, "gpt-5-chat-latest": None, "gpt-5.1": None}
    assert {model: card_of("openai", "openai", model).capabilities.stop for model in told} == told


def test_which_claude_cannot_be_told_not_to_think_nor_to_call_a_tool() -> None:
    told = {
        "claude-opus-4-8": (None, None),
        "claude-opus-5": (None, None),
        "claude-haiku-5-5": (None, None),
        "claude-fable-5": ("never", None),
        "claude-fable-5-1": ("never", False),
        "claude-opus-5-5": ("never", False),
        "claude-sonnet-5-5": ("between_tools", False),
    }
    cards = {model: card_of("anthropic", "anthropic", model).capabilities for model in told}
    assert {model: (able.thinking_off, able.forced_tools) for model, able in cards.items()} == told


def test_which_geminis_take_penalties_and_how_much_they_write() -> None:
    known = {
        ("gemini", "gemini-2.0-flash"): (None, 8_192),
        ("gemini", "gemini-2.5-pro"): (False, 65_536),
        ("gemini", "gemini-2.5-flash"): (False, 65_536),
        ("gemini", "gemini-3.8-flash"): (False, 65_536),
        ("gemini", "gemini-pro-latest"): (False, 65_536),
        ("vertex", "gemini-3-flash-preview"): (False, 65_536),
        ("vertex", "gemini-2.5-pro"): (None, 65_535),
        ("vertex", "gemini-2.5-flash"): (None, 65_536),
    }
    cards = {key: card_of(key[0], "p", key[1]) for key in known}
    assert {key: (card.capabilities.penalties, card.max_output_tokens) for key, card in cards.items()} == known


# ---------------------------------------------------------------- prices in time


def test_a_price_is_that_of_its_day() -> None:
    card = card_of("openai", "openai", "gpt-4o")
    first, then = card.price_at(date(2024, 6, 1)), card.price_at(date(2024, 10, 1))
    assert first and then
    assert (first.input, first.output) == (5, 15)
    assert (then.input, then.output) == (D("2.5"), 10)
    assert card.price_at(date(2023, 1, 1)) is None


def test_a_batch_costs_what_it_names_and_otherwise_the_ordinary_price() -> None:
    card = card_of("openai", "openai", "gpt-4o")
    batch = card.price_at(date(2026, 11, 1), "batch")
    assert batch is not None
    assert (batch.input, batch.output, batch.cached_input) == (D("1.25"), 5, D("1.25"))
    assert card.price_at(date(2026, 1, 1), "batch") is None
    assert card.price_at(date(2026, 11, 1), "no-such-service") is None


def test_a_long_input_costs_more_from_its_first_token_on() -> None:
    price = card_of("gemini", "gemini", "gemini-2.5-pro").price
    assert price is not None
    assert (price.rates(200_000).input, price.rates(200_001).input) == (D("1.25"), D("2.5"))
    assert price.rates(300_000).searches_per_1k == price.searches_per_1k


def test_a_batch_of_long_inputs_keeps_what_only_the_ordinary_price_names() -> None:
    ordinary = Price(input=D(2), output=D(4), tiers=(Tier(above=100, input=D(3), output=D(6)),))
    batch = Price(service="batch", input=D(1))
    card = ModelCard(id="m", prices=(ordinary, batch))
    found = card.price_at(date(2026, 1, 1), "batch")
    assert found is not None
    assert (found.rates(50).input, found.rates(50).output) == (1, 4)
    assert (found.rates(500).input, found.rates(500).output) == (1, 6)


def test_a_price_of_certain_hours() -> None:
    card = card_of("deepseek", "deepseek", "deepseek-chat")
    night, noon = (card.price_at(datetime(2026, 11, 20, hour, tzinfo=UTC)) for hour in (20, 12))
    assert night and noon
    assert (night.input, noon.input) == (D("0.135"), D("0.27"))
    assert card.price_at(date(2026, 11, 20)) == night


def test_the_price_lists_are_the_pinned_packages() -> None:
    listed = json.loads((make_catalog.TARGET / "openai.json").read_text(encoding="utf-8"))
    assert listed["as_of"] == make_catalog.READ.isoformat()


def test_no_service_is_asked_for_a_model_that_is_gone_where_nobody_names_one() -> None:
    named = {row.id: card_of(row.id, row.id, row.default_model) for row in load_rows().values() if row.default_model}
    gone = {id: card.retired for id, card in named.items() if card.retired is not None}
    assert gone == {"openai": date(2027, 1, 14)}, "and on that day OpenAI's must be another"
