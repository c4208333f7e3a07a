"""Every recorded request through another dialect and back, and every recorded answer to another dialect's caller.

What a trip loses is told in a Notice, or refused, or it is in the tables below: no more and no less.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import permutations
from typing import Any, NamedTuple

import bedrock_exchanges
import msgspec
import pytest
from recorded_exchanges import ROOT, exchanges
from trip_facts import AN_ANSWERS, Facts, facts_of, is_told, lost

from genai_spine.dialects.interface import Inbound, Outbound, Target
from genai_spine.dialects.quirks import Quirks
from genai_spine.gateway.inbounds import inbound
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import InvalidRequest, ProviderError
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage
from genai_spine.providers import codecs


class Way(NamedTuple):
    """A dialect that both ends speak."""

    name: str
    api: str
    target: Target

    @property
    def inbound(self) -> Inbound:
        return inbound(self.name)

    @property
    def outbound(self) -> Outbound:
        return codecs.outbound(self.name)


OPENROUTER = Quirks(
    max_tokens_field="max_completion_tokens",
    developer_role=True,
    reasoning_field="reasoning_details",
    effort="reasoning",
    schema="strict",
    top_k=True,
    cache_marks="cache_control",
    tool_result_images=True,
)
"""The service whose chat can say most."""

WAYS = {
    way.name: way
    for way in (
        Way("openai_chat", "chat", Target(card=ModelCard(id="m"), quirks=OPENROUTER)),
        Way("openai_responses", "responses", Target(card=ModelCard(id="m"), quirks=Quirks(schema="strict"))),
        Way("anthropic_messages", "messages", Target(card=ModelCard(id="m"))),
        Way("ollama_chat", "ollama_chat", Target(card=ModelCard(id="m"))),
        Way("gemini", "generate_content", Target(card=ModelCard(id="gemini-3-pro"))),
    )
}
PAIRS = list(permutations(WAYS, 2))
needs_recordings = pytest.mark.skipif(not (ROOT / "exchanges").is_dir(), reason=f"no recordings in {ROOT}")

# ---------------------------------------------------------------- requests


@cache
def asked(source: str) -> list[tuple[str, CompletionRequest, Facts]]:
    """What callers of this dialect were recorded to ask, as it is understood."""
    found = []
    for exchange in exchanges(WAYS[source].api):
        if isinstance(exchange.request, dict):
            try:
                request = WAYS[source].inbound.decode_request(json.dumps(exchange.request).encode())
            except InvalidRequest:
                continue  # refused before it goes anywhere
            if request.max_tokens == 0:
                continue  # goes on as it is, to be refused by the service
            found.append((exchange.name, request, facts_of(request)))
    return found


def untold(source: str, via: str, request: CompletionRequest, before: Facts) -> set[str]:
    """The names of what is lost between here and there and back, and not told in a Notice."""
    notices, here, there = [], WAYS[source], WAYS[via]
    for sender, reader in ((there, there), (here, here)):
        try:
            sent = sender.outbound.encode_request(request, sender.target, stream=request.stream)
        except InvalidRequest:
            return set()  # refused is told
        notices.extend(sent.notices)
        request = reader.inbound.decode_request(sent.body)
    return {loss for loss in lost(before, facts_of(request)) if not is_told(loss, notices)}


WHY = {
    AN_ANSWERS: "they go back to the provider that said them, and nobody asked for them",
    "output_schema.name": "only OpenAI has names of schemas; Anthropic and Gemini get it as the title",
    "output_schema.description": "Gemini gets it as the schema's own",
    "output_schema.strict": "who takes a schema and no such word always keeps to it",
    "extra.openai_chat.stream_options": "a stream tells its usage where we write it; Gemini's URL says it is one",
    "signature": "Ollama takes thoughts without proof",
    "thinking": "`on` is an effort at OpenAI and what Gemini does unasked; adaptive is as good as silence",
    "thinking.display": "thoughts that shall not be shown are not asked for",
    "tool.strict": "the tool is left out altogether, with a Notice",
    "image": "the way back takes a URL that does not tell its type for a document's",
    "document": "the same",
    "extra.openai_responses.include": "an empty list includes nothing",
    "extra.gemini.generationConfig": "text is what all answer with (`responseModalities`)",
    "user.Text.openai_responses.prompt_cache_breakpoint": "it is the cache mark, of which a Notice tells",
    "user.ToolResult.openai_responses.status": "a result that is there is completed",
    "message.gemini.role": "instructions have no other role",
    "tool.gemini.parameters": "the schema as it was spelled before it was read",
    "user.Audio.gemini.inlineData": "another name of the same format",
    "user.Audio.gemini.thought": "false, as everywhere",
    "user.ToolResult.gemini.thought": "false, as everywhere",
    "user.ToolResult.gemini.functionResponse": "the object whose JSON is the result's text",
    "result.Text.anthropic_messages.search_result": "the text says all that was found, and where",
}
"""What is lost without a Notice, and why that is right."""

_SCHEMA = {"output_schema.name", "output_schema.strict"}
_OF_RESPONSES = {
    "extra.openai_responses.include",
    "user.Text.openai_responses.prompt_cache_breakpoint",
    "user.ToolResult.openai_responses.status",
}
_OF_GEMINI = {
    "extra.gemini.generationConfig",
    "message.gemini.role",
    "tool.gemini.parameters",
    "user.ToolResult.gemini.thought",
}
_OF_ANTHROPIC = {"result.Text.anthropic_messages.search_result"}
_OF_RESULTS = {"user.ToolResult.gemini.functionResponse", "image", "document"}

DECLARED: dict[tuple[str, str], set[str]] = {
    ("openai_chat", "openai_responses"): {"thinking"},
    ("openai_chat", "anthropic_messages"): {*_SCHEMA, "output_schema.description"},
    ("openai_chat", "ollama_chat"): {*_SCHEMA, "signature"},
    ("openai_chat", "gemini"): {
        *_SCHEMA,
        "output_schema.description",
        "thinking",
        "extra.openai_chat.stream_options",
    },
    ("openai_responses", "openai_chat"): _OF_RESPONSES,
    ("openai_responses", "anthropic_messages"): {*_OF_RESPONSES, *_SCHEMA},
    ("openai_responses", "ollama_chat"): {*_OF_RESPONSES, *_SCHEMA, "signature", "tool.strict"},
    ("openai_responses", "gemini"): {*_OF_RESPONSES, *_SCHEMA},
    ("anthropic_messages", "openai_chat"): _OF_ANTHROPIC,
    ("anthropic_messages", "openai_responses"): {*_OF_ANTHROPIC, "thinking", "thinking.display"},
    ("anthropic_messages", "ollama_chat"): {*_OF_ANTHROPIC, "signature"},
    ("anthropic_messages", "gemini"): {*_OF_ANTHROPIC, "thinking", "image", "document"},
    ("ollama_chat", "gemini"): {"thinking"},
    ("gemini", "openai_chat"): {*_OF_GEMINI, *_OF_RESULTS, "user.Audio.gemini.inlineData", "user.Audio.gemini.thought"},
    ("gemini", "openai_responses"): {*_OF_GEMINI, *_OF_RESULTS, "thinking.display"},
    ("gemini", "anthropic_messages"): {*_OF_GEMINI, *_OF_RESULTS, "thinking.display"},
    ("gemini", "ollama_chat"): _OF_GEMINI,
}
"""By pair of dialects, beside what a provider said beside its answers."""


@needs_recordings
@pytest.mark.parametrize(("source", "via"), PAIRS, ids=[" via ".join(pair) for pair in PAIRS])
def test_a_request_loses_on_its_way_only_what_is_declared(source: str, via: str) -> None:
    found: dict[str, str] = {}
    for name, request, before in asked(source):
        for loss in untold(source, via, request, before):
            found.setdefault(loss, name)
    assert found.keys() - {AN_ANSWERS} == DECLARED.get((source, via), set()), found


def test_every_declared_loss_has_its_reason() -> None:
    assert set(WHY) == {AN_ANSWERS}.union(*DECLARED.values())


# ---------------------------------------------------------------- answers


_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens")


def said_in(response: CompletionResponse) -> dict[str, Any]:
    """What every dialect can say of an answer."""
    calls = [(call.id, call.name, _input_of(call.arguments)) for call in response.tool_calls]
    finish = response.finish_reason or FinishReason.STOP
    return {
        "text": response.content + (response.refusal or ""),
        "thought": response.thinking,
        "calls": calls,
        # OpenAI says `stop` of a call that was asked for by name.
        "finish": FinishReason.TOOL_CALLS if calls and finish is FinishReason.STOP else finish,
        **{name: getattr(response.usage or TokenUsage(), name) or None for name in _COUNTS},
    }


def _input_of(arguments: str) -> Any:
    """As an object, which they are in most dialects."""
    try:
        found = (json.loads(arguments) if arguments.strip() else None) or {}
    except ValueError:
        found = arguments
    return found if isinstance(found, dict) else {"input": arguments}


@cache
def answered(api: str) -> list[tuple[str, CompletionResponse]]:
    if api == "converse":
        recorded: list[Any] = [*bedrock_exchanges.exchanges("converse", "converse_stream")]
        codec = codecs.outbound("bedrock_converse")
    else:
        recorded = [*exchanges(api)]
        codec = next(way.outbound for way in WAYS.values() if way.api == api)
    found = ((exchange.name, _read(codec, exchange)) for exchange in recorded if exchange.status == 200)
    return [(name, response) for name, response in found if response is not None]


def _read(codec: Outbound, exchange: Any) -> CompletionResponse | None:
    """None for an error that came with status 200, and for what is no answer."""
    target = Target(card=ModelCard(id="m"))
    is_whole = exchange.body.lstrip()[:1] == b"{" and not exchange.streamed
    try:
        if is_whole:
            return codec.decode_response(exchange.body, target)
        decoder = codec.stream_decoder(target)
        return collect([*decoder.feed(exchange.body), *decoder.close()])
    except ProviderError:
        return None


OTHERWISE: dict[str, dict[str, str]] = {
    "openai_chat": {},
    "openai_responses": {},
    "anthropic_messages": {
        "finish": "a refusal ends with `refusal`, which other dialects call a filter",
        "input_tokens": "services that say more tokens came from a cache than went in: the sum is what is written",
    },
    "ollama_chat": {
        "finish": "there is no word for a filter",
        "reasoning_tokens": "they are not counted apart",
    },
    "gemini": {"output_tokens": "services that say more tokens were thought than came out"},
}
"""What callers of a dialect are told otherwise than it was said, and why."""


@needs_recordings
@pytest.mark.parametrize("via", WAYS)
def test_an_answer_is_the_same_for_callers_of_every_dialect(via: str) -> None:
    """Plain and streamed: texts, thoughts, calls with their ids, why it ended and what was counted."""
    way = WAYS[via]
    differing: dict[str, tuple[str, Any, Any]] = {}
    extra = {"openai_chat": msgspec.Raw(b'{"stream_options":{"include_usage":true}}')}
    request = CompletionRequest(messages=(), extra=extra)
    for api in (*(each.api for each in WAYS.values() if each is not way), "converse"):
        for name, response in answered(api):
            if response.finish_reason is FinishReason.ERROR:
                continue  # an error in some dialects, and told as one
            before = said_in(response)
            for after in _both_ways(way, response, request):
                for field, value in before.items():
                    if after[field] != value:
                        differing.setdefault(field, (name, value, after[field]))
    assert differing.keys() == OTHERWISE[via].keys(), differing


def _both_ways(way: Way, response: CompletionResponse, request: CompletionRequest) -> Iterator[dict[str, Any]]:
    yield said_in(way.outbound.decode_response(way.inbound.encode_response(response, request), way.target))
    encoder, decoder = way.inbound.stream_encoder(request), way.outbound.stream_decoder(way.target)
    stream = b"".join(encoder.encode(event) for event in replay(response))
    yield said_in(collect([*decoder.feed(stream), *decoder.close()]))
