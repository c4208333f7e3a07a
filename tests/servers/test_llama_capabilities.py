"""Capabilities in front of llama.cpp's server. Its weights are random: the way is looked at, not the words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import jsonschema
import pytest
import pytest_asyncio

from genai_spine import ProviderManager
from genai_spine.capabilities import CapabilityResult, classify, extract, summarize

pytestmark = pytest.mark.servers

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"type": "string", "enum": ["circle", "square"]}, "is_big": {"type": "boolean"}},
    "required": ["kind", "is_big"],
    "additionalProperties": False,
}


@pytest_asyncio.fixture
async def manager(tables: dict[str, dict[str, Any]]) -> AsyncIterator[ProviderManager]:
    # The model babbles until its window is full: what it says of a text is bounded here, as an operator may.
    bounded = {id: {**table, "max_tokens": 60} for id, table in tables.items()}
    settings = {"providers": bounded, "retry": {"max_retries": 0, "enable_fallback": False}}
    async with ProviderManager.from_settings(settings) as manager:
        yield manager


def _told(result: CapabilityResult, provider: str) -> None:
    assert (result.provider, result.model) == (provider, "tiny")
    assert result.usage is not None and result.usage.input_tokens and result.usage.output_tokens
    if provider == "compatible_plain":  # who knows who runs that?
        assert result.cost_usd is None and "cost_unknown" in {notice.code for notice in result.notices}
    else:
        assert result.cost_usd == 0


@pytest.mark.parametrize("provider", ["llama_plain", "messages_plain"])
async def test_a_text_of_several_windows_is_summarised_in_parts(manager: ProviderManager, provider: str) -> None:
    """A slot has 2,048 tokens and the list of models says more: the refusals of the server lead to the right size."""
    content = "\n\n".join(f"Point {number}: some words that make a sentence, and some more." for number in range(150))
    result = await summarize(manager, content=content, provider=provider, length="short")
    assert result.parts > 1 and result.calls > result.parts
    assert result.summary
    _told(result, provider)


@pytest.mark.parametrize("provider", ["llama_plain", "compatible_plain"])
async def test_what_the_grammar_allows_fits_the_schema(manager: ProviderManager, provider: str) -> None:
    result = await extract(manager, content="A large circle.", schema=SCHEMA, provider=provider)
    jsonschema.validate(result.data, SCHEMA)
    _told(result, provider)


async def test_a_label_comes_from_the_list(manager: ProviderManager) -> None:
    labels = ["spam", "ham", "neither of them"]
    result = await classify(manager, content="Buy this now!", labels=labels, provider="llama_plain")
    assert len(result.labels) == 1 and result.labels[0] in labels
    _told(result, "llama_plain")
