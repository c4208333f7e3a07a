"""What the gateway tells of itself: models, providers, health."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from genai_spine.dialects import anthropic_models, gemini_models
from genai_spine.dialects.ollama_chat import models as ollama_models
from genai_spine.dialects.openai_chat import models as openai_models
from genai_spine.engine.health import metrics_of
from genai_spine.engine.record import CallRecord
from genai_spine.engine.targets import Target
from genai_spine.gateway.keys import is_google
from genai_spine.gateway.request import Request
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import ProviderNotFound
from genai_spine.policy.route import Wanted
from genai_spine.policy.standing import RETIRED
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.status import ProviderStatus
from genai_spine.wire.json import top_level

if TYPE_CHECKING:
    from genai_spine.gateway.app import Gateway

OLLAMA_VERSION = "0.12.0"
"""The version of Ollama's API that the Ollama paths follow; clients compare it with what they need."""


# ---------------------------------------------------------------- models


async def models(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """The models of every provider that answers, and the routes, in Anthropic's, Google's or OpenAI's shape."""
    await request.reply(200, _shape_of(request).encode_models(await _all_cards(gateway, record)))


async def model(gateway: Gateway, request: Request, record: CallRecord) -> None:
    card = await _card(gateway, record, request.path.partition("/models/")[2])
    await request.reply(200, _shape_of(request).encode_model(card))


def _shape_of(request: Request) -> Any:
    """Three SDKs ask the same path for their models; they differ in their headers."""
    if is_google(request):
        return gemini_models
    return anthropic_models if b"anthropic-version" in request.headers else openai_models


async def ollama_tags(gateway: Gateway, request: Request, record: CallRecord) -> None:
    await request.reply(200, ollama_models.encode_models(await _all_cards(gateway, record)))


async def ollama_ps(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """No models: only an Ollama itself knows which are in memory."""
    await request.reply(200, ollama_models.encode_running((), ""))


async def ollama_version(gateway: Gateway, request: Request, record: CallRecord) -> None:
    await request.reply(200, ollama_models.encode_version(OLLAMA_VERSION))


async def ollama_show(gateway: Gateway, request: Request, record: CallRecord) -> None:
    body = await gateway.body_of(request)
    top_level(body)
    name = ollama_models.decode_model_name(body)
    await request.reply(200, ollama_models.encode_show(await _card(gateway, record, name)))


async def _all_cards(gateway: Gateway, record: CallRecord) -> list[ModelCard]:
    """Named as a caller may name them: `provider/model`, and the routes by their own names; of a key that may not use
    everything, those that it may."""
    router = gateway.manager.router
    allowed = router.allowances.get(record.caller or "")
    routes = [ModelCard(id=name, owned_by="genai-spine") for name in gateway.settings.routes]
    cards = [_named_for_callers(card) for card in await gateway.manager.list_models()]
    if allowed is None:
        return routes + cards
    open_routes = [card for card in routes if router.may_use(card.id, record.caller)]
    return open_routes + [card for card in cards if allowed.may_name(card.id)]


def _named_for_callers(card: ModelCard) -> ModelCard:
    owner = card.owned_by or card.provider
    return msgspec.structs.replace(card, id=f"{card.provider}/{card.id}", owned_by=owner)


async def _card(gateway: Gateway, record: CallRecord, name: str) -> ModelCard:
    """One model by any name that a caller may use: that of the list, or one that stands for it, as `llama3.2` does for
    `llama3.2:latest`; and what the catalog knows, since no list has the names that services take beside
    (`claude-sonnet-4-5`). Raises: ProviderNotFound, ModelNotAllowed."""
    cards = await _all_cards(gateway, record)
    for card in cards:
        if card.id == name:
            return card
    choice = gateway.manager.router.plan(Wanted(model=name), record.caller)[0]
    listed = f"{choice.provider}/{choice.model}"
    for card in cards:
        if card.id in (listed, f"{listed}:latest"):
            return msgspec.structs.replace(card, id=name)
    provider = gateway.manager.router.provider_of(choice)
    known = provider.card(choice.model)
    is_local = getattr(provider, "is_local", False)  # then it costs nothing whatever its name is, and all were listed
    is_known = not is_local and (known.price is not None or known.context_window is not None)
    if is_known and all(notice.code != RETIRED for notice in provider.standing(choice.model).notices):
        return msgspec.structs.replace(_named_for_callers(known), id=name)
    raise ProviderNotFound(f'no model "{name[:200]}": GET /v1/models lists them')


# ---------------------------------------------------------------- state


async def providers(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """Each provider: its status from traffic and probes, its calls, usage and keys, and the breaker and speed of each
    model that was asked. What all keys together have used and spent, named keys are not told.
    """
    manager = gateway.manager
    is_told = record.caller not in gateway.keys.named
    totals = manager.usage() if is_told else {}
    tables = gateway.settings.providers
    allowed = manager.router.allowances.get(record.caller or "")
    listed = [
        {
            "id": provider.name,
            "name": tables[provider.name].name if provider.name in tables else None,
            "type": provider.provider_type,
            "default_model": provider.default_model,
            "status": _told(provider.status(), gateway),
            "metrics": _metrics(provider, gateway, is_told),
            "usage": totals.get(provider.name),
            "keys": _keys(provider),
            "models": [
                _fares(target)
                for target in manager.targets.of_provider(provider.name)
                if allowed is None or allowed.may_use(target.choice)
            ],
        }
        for provider in manager.registry
        if allowed is None or allowed.may_ask(provider.name)
    ]
    await request.reply(200, msgspec.json.encode({"object": "list", "data": listed}))


def _metrics(provider: LLMProvider, gateway: Gateway, is_told: bool) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.structs.asdict(metrics_of(provider, gateway.manager.targets))
    return told if is_told else {**told, "request_count": None, "error_count": None, "total_cost_usd": None}


def _keys(provider: LLMProvider) -> dict[str, int] | None:
    """How many keys there are, and how many are left out or rest; None where there are not several."""
    keys = provider.keys if isinstance(provider, HttpProvider) else None
    return None if keys is None else {"count": len(keys), "out": keys.out, "resting": keys.resting}


def _fares(target: Target) -> dict[str, Any]:
    now_s = time.monotonic()
    return {
        "model": target.choice.model,
        "breaker": target.breaker.state(now_s),
        "reopens_in_s": target.breaker.reopens_in_s(now_s),
        "in_flight": target.in_flight,
        "first_token_s": target.pace.first_s,
        "tokens_per_s": target.pace.tokens_per_s,
    }


def _told(status: ProviderStatus, gateway: Gateway) -> ProviderStatus:
    if status.error is None:
        return status
    return msgspec.structs.replace(status, error=gateway.discretion(status.error))


async def live(gateway: Gateway, request: Request, record: CallRecord) -> None:
    await request.reply(200, b'{"status":"ok"}')


async def ready(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """Whether calls are accepted: 200 `ready`, or `degraded` if they wait to be entered into the ledger; 503 `refusing`
    if they could be recorded nowhere, or `draining`."""
    if gateway.draining:
        await request.reply(503, b'{"status":"draining"}')
        return
    healthy = [provider.status().healthy for provider in gateway.manager.registry]
    # Not 503 where all are failing: another gateway would find them no better, and a caller learns why here.
    state: dict[str, Any] = {"status": "ready", "providers": {"healthy": sum(healthy), "failing": healthy.count(False)}}
    if (ledger := gateway.manager.ledger) is not None:
        state["ledger"] = {
            "database": "ok" if ledger.trouble is None else "not written",  # why not may tell where it is
            "journal": "not written" if ledger.held else "ok",
            "held": ledger.held,
            "lost": ledger.lost,
        }
        if ledger.held and (must_write := gateway.manager.traffic.must_write) is not None and must_write.refuses_all:
            state["status"] = "refusing"
        elif ledger.held or ledger.trouble is not None:
            state["status"] = "degraded"
    await request.reply(503 if state["status"] == "refusing" else 200, msgspec.json.encode(state))


async def root(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """200 and a short text: clients of Ollama check here whether a server is running."""
    await request.reply(200, b"GenAI Spine is running", content_type=b"text/plain; charset=utf-8")
