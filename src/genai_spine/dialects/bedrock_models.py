"""Bedrock's list of models, `GET https://bedrock.{region}.amazonaws.com/foundation-models`, both ends.

    {"modelSummaries": [{"modelId": "amazon.nova-lite-v1:0", "modelName": "Nova Lite", "providerName": "Amazon",
      "inputModalities": ["TEXT", "IMAGE"], "outputModalities": ["TEXT"], "inferenceTypesSupported": ["ON_DEMAND"], …}]}

A model whose only inference type is INFERENCE_PROFILE is asked under a name with a geography, `us.…`: the list
gives it without. What else the service says of a model is in the card's `extra`.

Source: docs.aws.amazon.com/bedrock/latest/APIReference/API_FoundationModelSummary.html (2026-11); recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genai_spine.dialects.bedrock_converse.schema import DIALECT
from genai_spine.dialects.lenient import count_of
from genai_spine.dialects.metadata import extend, keep, unknown
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.errors import BadReply
from genai_spine.wire import json

_READ = ("modelId", "modelName", "providerName")


def decode_models(body: bytes) -> tuple[ModelCard, ...]:
    """Raises: BadReply."""
    members = json.decode_outbound(body, json.ANY)
    entries = members.get("modelSummaries") if isinstance(members, dict) else None
    if not isinstance(entries, list):
        raise BadReply("a list of models without modelSummaries")
    return tuple(
        _card_of(entry) for entry in entries if isinstance(entry, dict) and isinstance(entry.get("modelId"), str)
    )


def _card_of(entry: Mapping[str, Any]) -> ModelCard:
    name, maker = entry.get("modelName"), entry.get("providerName")
    modalities, converse = entry.get("inputModalities"), entry.get("converse")
    most = converse.get("maxTokensMaximum") if isinstance(converse, dict) else None
    return ModelCard(
        id=entry["modelId"],
        name=name if isinstance(name, str) else None,
        owned_by=maker if isinstance(maker, str) else None,
        max_output_tokens=count_of(most),
        capabilities=Capabilities(images="IMAGE" in modalities if isinstance(modalities, list) else None),
        extra=keep(DIALECT, unknown(entry, _READ)),
    )


def encode_models(cards: Sequence[ModelCard]) -> bytes:
    return json.encode({"modelSummaries": [_written(card) for card in cards]})


def _written(card: ModelCard) -> dict[str, Any]:
    modalities = ["TEXT", "IMAGE"] if card.capabilities.images else ["TEXT"]
    entry = {
        "modelId": card.id,
        "modelName": card.name,
        "providerName": card.owned_by,
        "inputModalities": modalities,
        "outputModalities": ["TEXT"],
        "responseStreamingSupported": True,
        "inferenceTypesSupported": ["ON_DEMAND"],
        "modelLifecycle": {"status": "ACTIVE"},
    }
    return extend({name: value for name, value in entry.items() if value is not None}, card.extra, DIALECT)
