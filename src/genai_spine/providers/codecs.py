"""Dialects by name. Each is imported when it is first spoken: starting costs nothing for the others."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import cast

from genai_spine.dialects.interface import (
    Counting,
    Embeddings,
    InUrl,
    ModelList,
    Outbound,
    Particular,
    Relayed,
    Reranking,
    Splitting,
    Tapping,
    Target,
)
from genai_spine.dialects.relayed_request import IN_URL

OUTBOUND = {
    "openai_chat": "genai_spine.dialects.openai_chat.outbound",
    "openai_responses": "genai_spine.dialects.openai_responses.outbound",
    "openai_completions": "genai_spine.dialects.openai_completions.outbound",
    "anthropic_messages": "genai_spine.dialects.anthropic_messages.outbound",
    "ollama_chat": "genai_spine.dialects.ollama_chat.outbound",
    "gemini": "genai_spine.dialects.gemini.outbound",
    "gemini_vertex": "genai_spine.dialects.gemini.vertex",
    "replicate": "genai_spine.dialects.replicate.outbound",
    "hf_text_generation": "genai_spine.dialects.hf_text_generation",
    "tgi_generate": "genai_spine.dialects.tgi_generate",
    "cohere_chat": "genai_spine.dialects.cohere_chat.outbound",
    "bedrock_converse": "genai_spine.dialects.bedrock_converse.outbound",
    "bedrock_invoke": "genai_spine.dialects.bedrock_invoke",
    "vertex_anthropic": "genai_spine.dialects.vertex_anthropic",
}
RELAYED = {"ollama_generate": "genai_spine.dialects.ollama_chat.relay_generate"}
PARTICULAR = {
    "anthropic_messages": "genai_spine.dialects.anthropic_messages.particular",
    "openai_chat": "genai_spine.dialects.openai_chat.particular",
    "openai_responses": "genai_spine.dialects.openai_responses.particular",
}
"""Dialects whose models differ in what they take."""
TAPS = {
    "openai_chat": "genai_spine.dialects.openai_chat.tap",
    "openai_responses": "genai_spine.dialects.openai_responses.tap",
    "openai_completions": "genai_spine.dialects.openai_chat.tap",
    "anthropic_messages": "genai_spine.dialects.anthropic_messages.tap",
    "gemini": "genai_spine.dialects.gemini.tap",
    "ollama_chat": "genai_spine.dialects.ollama_chat.tap",
    "ollama_generate": "genai_spine.dialects.ollama_chat.tap",
}
EMBEDDINGS = {
    "openai_embeddings": "genai_spine.dialects.openai_embeddings",
    "ollama_embed": "genai_spine.dialects.ollama_embed",
    "gemini_embeddings": "genai_spine.dialects.gemini_embeddings",
    "gemini_embed_content": "genai_spine.dialects.gemini_embed_content",  # inbound only: of one text
    "vertex_embeddings": "genai_spine.dialects.vertex_embeddings",
    "cohere_embed": "genai_spine.dialects.cohere_embed",
    "hf_feature_extraction": "genai_spine.dialects.hf_feature_extraction",
    "bedrock_embeddings": "genai_spine.dialects.bedrock_embeddings",
    "ollama_embeddings": "genai_spine.dialects.ollama_embeddings",  # inbound only: the older path
}


MODEL_LISTS = {
    "openai_chat": "genai_spine.dialects.openai_chat.models",
    "anthropic_messages": "genai_spine.dialects.anthropic_models",
    "ollama_chat": "genai_spine.dialects.ollama_chat.models",
    "gemini": "genai_spine.dialects.gemini_models",
    "replicate": "genai_spine.dialects.replicate.outbound",
    "cohere_chat": "genai_spine.dialects.cohere_models",
    "bedrock_converse": "genai_spine.dialects.bedrock_models",
}
SPLITTING = frozenset(
    ("openai_embeddings", "gemini_embeddings", "vertex_embeddings", "cohere_embed", "bedrock_embeddings")
)
"""Dialects of embeddings that have the function of `Splitting`."""
RERANKING = {
    "cohere_rerank": "genai_spine.dialects.cohere_rerank",
    "jina_rerank": "genai_spine.dialects.jina_rerank",
}
COUNTING = frozenset(
    ("anthropic_messages", "gemini", "gemini_vertex", "bedrock_converse", "bedrock_invoke", "vertex_anthropic")
)
"""Dialects whose services count tokens: their outbound module has the functions of `Counting`."""


@cache
def outbound(dialect: str) -> Outbound:
    return cast("Outbound", import_module(OUTBOUND[dialect]))


@cache
def relayed(dialect: str) -> Relayed:
    """Also the dialects that are only ever relayed."""
    return cast("Relayed", import_module(RELAYED.get(dialect) or OUTBOUND[dialect]))


@cache
def particular(dialect: str) -> Particular:
    return cast("Particular", import_module(PARTICULAR[dialect]))


def path(dialect: str, model: str, *, stream: bool) -> str:
    """Where a request that is relayed goes, relative to the provider's base URL."""
    codec = relayed(dialect)
    return cast("InUrl", codec).path(model, stream=stream) if dialect in IN_URL else codec.PATH


@cache
def tapping(dialect: str) -> Tapping:
    """How the dialect's answers are read along while they are relayed."""
    return cast("Tapping", import_module(TAPS[dialect]))


@cache
def embeddings(dialect: str) -> Embeddings:
    return cast("Embeddings", import_module(EMBEDDINGS[dialect]))


def most_inputs(dialect: str, target: Target) -> int | None:
    """How many inputs one request for embeddings may hold; None where the service tells when it has enough."""
    if dialect not in SPLITTING:
        return None
    return cast("Splitting", import_module(EMBEDDINGS[dialect])).most_inputs(target)


@cache
def reranking(dialect: str) -> Reranking:
    return cast("Reranking", import_module(RERANKING[dialect]))


@cache
def counting(dialect: str) -> Counting:
    return cast("Counting", import_module(OUTBOUND[dialect]))


@cache
def model_list(dialect: str) -> ModelList:
    """How a service that speaks this dialect lists its models."""
    return cast("ModelList", import_module(MODEL_LISTS[dialect]))
