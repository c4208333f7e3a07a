"""Answers without a model: a deterministic tiny "model" as a pure function, and a provider made of it.

What it says follows from the request alone, so that the same request has the same answer, in every
process. The first of these rules that applies decides:

    tools, and the last message    calls to the tools that the text names, else to the first; several only
    is no tool result              where parallel calls are allowed; "twice" or "both" calls one tool twice.
                                   With `tool_choice` required or named also after a result. Arguments are
                                   an instance of the tool's schema (instances.py)
    output_schema                  an instance of it, as JSON
    "refuse" in the last message   a refusal
    tool results at the end        "The tool said: …", "The tool failed: …"
    else                           "You said: …", and which images, documents and sounds it has seen

Before that it thinks, if it was asked to, and signs its thought (`signature_of`). Some models are special:

    sim-long-N       N words                    sim-think       thinks unasked
    sim-empty        nothing at all             sim-think-only  thinks and then says nothing
    sim-refuse       a refusal                  sim-redacted    thinks in a block that cannot be read
    sim-unicode      what breaks line readers   sim-mirror      the request as it was understood, as JSON

Every other name is as good as `simulated`. Tokens are counted in simulated_usage.py; a stream has one delta
for each. Must not know: dialects, sockets.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import takewhile

import msgspec

from genai_spine.model.card import Capabilities, ModelCard, Price
from genai_spine.model.content import (
    Audio,
    Document,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import BadRequest
from genai_spine.model.events import MessageStart, PartDelta, StreamEvent
from genai_spine.model.fold import replay
from genai_spine.model.request import CompletionRequest, Message, ThinkingConfig, Tool
from genai_spine.model.rerank import RerankRequest, RerankResponse, RerankResult
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage
from genai_spine.providers.instances import instance_of
from genai_spine.providers.own_prices import with_own_price
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.request_defaults import RequestDefaults
from genai_spine.providers.simulated_usage import tokens_of, usage_of
from genai_spine.settings import ProviderSettings

DEFAULT_MODEL = "simulated"
MODELS = (
    DEFAULT_MODEL,
    "sim-long-100",
    "sim-think",
    "sim-think-only",
    "sim-redacted",
    "sim-refuse",
    "sim-empty",
    "sim-unicode",
    "sim-mirror",
    "sim-embed",
)
CREATED_S = 1_760_000_000
EMBEDDING_DIMENSIONS = 16
_MOST_DIMENSIONS = 8192

LONGEST_ECHO = 2000
"""Characters of the last message that an answer repeats."""

UNICODE = (
    "Grüße, 世界! 👩‍👩‍👧 a line\u2028a paragraph\u2029a next line\u0085a null-width\u200b joiner "
    '"quoted" back\\slash </script> {"json": true} data: [DONE]\r\n\r\nevent: done\ttab\n'
    "𝕊 e\u0301 \u202eright to left"
)

_LOREM = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "wizards",
    "brew",
    "tea",
)
_LONGEST = 1_000_000


# ---------------------------------------------------------------- the model


def answer_to(request: CompletionRequest) -> CompletionResponse:
    """The answer, the same for the same request.

    Raises: InvalidRequest where a schema of the request has no instance that we can find.
    """
    model = request.model or DEFAULT_MODEL
    digest = digest_of(request)
    said, finish = _said(request, model, digest)
    parts, finish, stopped_by = _within(request, [*_thoughts(request, model), *said], finish)
    return CompletionResponse(
        id=f"sim-{digest}",
        model=model,
        created_s=CREATED_S,
        parts=tuple(parts),
        finish_reason=finish,
        stop_sequence=stopped_by,
        usage=usage_of(request, parts),
    )


def events_of(response: CompletionResponse) -> Iterator[StreamEvent]:
    """The answer as a stream, one delta for each token; the prompt's usage is known from the start."""
    for event in replay(response):
        if type(event) is PartDelta:
            for token in tokens_of(event.text):
                yield PartDelta(event.index, token)
        elif type(event) is MessageStart and response.usage is not None:
            begun = msgspec.structs.replace(response.usage, output_tokens=0, reasoning_tokens=None)
            yield msgspec.structs.replace(event, usage=begun)
        else:
            yield event


def digest_of(request: CompletionRequest) -> str:
    """What is asked, in 16 characters; the same for streamed and plain."""
    asked = msgspec.structs.replace(request, stream=False, extra=None)
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()[:16]


def signature_of(thought: str) -> str:
    """What proves a thought to be ours."""
    return "sig_" + hashlib.sha256(thought.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def check_signatures(request: CompletionRequest) -> None:
    """Thoughts that come back must be signed by us, as Anthropic checks them.

    Raises: BadRequest, in Anthropic's words.
    """
    for position, turn in enumerate(request.messages):
        for index, part in enumerate(turn.content):
            if not isinstance(part, Thinking):
                continue
            ours = part.redacted == _REDACTED if part.redacted else part.signature == signature_of(part.text)
            if not ours:
                field, block = ("data", "redacted_thinking") if part.redacted else ("signature", "thinking")
                where = f"messages.{position}.content.{index}"
                message = f"{where}: Invalid `{field}` in `{block}` block"
                raise BadRequest(message, code="invalid_request_error")


def _said(request: CompletionRequest, model: str, digest: str) -> tuple[list[Part], FinishReason]:
    results = _last_results(request)
    if calls := _calls(request, digest, after_result=bool(results)):
        return list(calls), FinishReason.TOOL_CALLS
    if request.output_schema is not None:
        schema = request.output_schema.schema
        value = instance_of(schema) if schema is not None else {"answer": _echo(request)}
        return [Text(text=msgspec.json.encode(value).decode())], FinishReason.STOP
    if model == "sim-refuse" or re.search(r"\brefuse\b", _last_text(request), re.IGNORECASE):
        return [Refusal(text="I cannot help with that.")], FinishReason.STOP
    if results:
        said = " ".join(_of_result(result) for result in results)
        text = _last_text(request)
        return [Text(text=f"{said} {_echo(request)}" if text else said)], FinishReason.STOP
    text = _special(request, model)
    return ([Text(text=text)] if text else []), FinishReason.STOP


def _special(request: CompletionRequest, model: str) -> str:
    if found := re.fullmatch(r"sim-long-(\d{1,7})", model):
        words = min(int(found[1]), _LONGEST)
        return " ".join(_LOREM[index % len(_LOREM)] for index in range(words))
    match model:
        case "sim-unicode":
            return UNICODE
        case "sim-empty" | "sim-think-only":
            return ""
        case "sim-mirror":
            return msgspec.json.encode(request).decode()
        case _:
            return _echo(request)


def _echo(request: CompletionRequest) -> str:
    text = _last_text(request)
    said = f"You said: {text[:LONGEST_ECHO]}{'…' if len(text) > LONGEST_ECHO else ''}"
    seen = _seen(request)
    return f"{said} ({seen})" if seen else said


def _last_text(request: CompletionRequest) -> str:
    users = [message for message in request.messages if message.role == "user"]
    return "\n".join(part.text for part in users[-1].content if isinstance(part, Text)) if users else ""


def _last_results(request: CompletionRequest) -> list[ToolResult]:
    """The results that the conversation ends with, in order."""

    def has_results(message: Message) -> bool:
        return any(isinstance(part, ToolResult) for part in message.content)

    tail = list(takewhile(has_results, reversed(request.messages)))
    return [part for message in reversed(tail) for part in message.content if isinstance(part, ToolResult)]


def _of_result(result: ToolResult) -> str:
    said = f"The tool {'failed' if result.is_error else 'said'}: {result.text[:LONGEST_ECHO]}"
    seen = _seen_in(result.content)
    return f"{said} ({seen})" if seen else said


def _seen(request: CompletionRequest) -> str:
    return _seen_in(part for message in request.messages for part in _leaves(message.content))


def _seen_in(parts: Iterable[Part]) -> str:
    """`2 images: image/png, by URL; 1 document: application/pdf`."""
    kinds: dict[str, list[str]] = {}
    for part in parts:
        match part:
            case Image() | Document():
                word = "image" if isinstance(part, Image) else "document"
                by = "by URL" if part.url else "by id" if part.file_id else "unnamed type"
                kinds.setdefault(word, []).append(part.media_type or by)
            case Audio():
                kinds.setdefault("sound", []).append(part.format or "unnamed type")
            case _:
                pass
    return "; ".join(
        f"{len(found)} {word}{'s' if len(found) > 1 else ''}: {', '.join(found)}" for word, found in kinds.items()
    )


def _leaves(parts: Iterable[Part]) -> Iterator[Part]:
    for part in parts:
        if isinstance(part, ToolResult):
            yield from _leaves(part.content)
        else:
            yield part


# ---------------------------------------------------------------- tool calls


def _calls(request: CompletionRequest, digest: str, *, after_result: bool) -> list[ToolCall]:
    choice = request.tool_choice
    tools = [tool for tool in request.tools if isinstance(tool, Tool)]
    forced = choice is not None and choice.mode in ("required", "tool")
    if not tools or (choice is not None and choice.mode == "none") or (after_result and not forced):
        return []
    if choice is not None and choice.mode == "tool":
        tools = [tool for tool in tools if tool.name == choice.name]
        if not tools:
            raise BadRequest(f"tool_choice: there is no tool {choice.name!r}", code="invalid_request_error")
    text = _last_text(request)
    called = sorted((tool for tool in tools if _named(tool, text) >= 0), key=lambda tool: _named(tool, text))
    called = called or tools[:1]
    if len(called) == 1 and re.search(r"\b(both|twice)\b", text, re.IGNORECASE):
        called *= 2
    if request.parallel_tool_calls is False:
        called = called[:1]
    return [_call(tool, f"call_{digest}_{index}") for index, tool in enumerate(called)]


def _named(tool: Tool, text: str) -> int:
    found = re.search(rf"(?<!\w){re.escape(tool.name)}(?!\w)", text)
    return found.start() if found else -1


def _call(tool: Tool, call_id: str) -> ToolCall:
    if tool.kind == "custom":
        return ToolCall(id=call_id, name=tool.name, arguments=f"input of {tool.name}", kind="custom")
    value = instance_of(tool.parameters) if tool.parameters else {}
    return ToolCall(id=call_id, name=tool.name, arguments=msgspec.json.encode(value).decode())


# ---------------------------------------------------------------- thinking

_REDACTED = "cmVkYWN0ZWQgdGhpbmtpbmc="


def _thoughts(request: CompletionRequest, model: str) -> list[Part]:
    wanted = request.thinking
    if not (_asks(wanted) or model in ("sim-think", "sim-think-only", "sim-redacted")):
        return []
    if model == "sim-redacted":
        return [Thinking(redacted=_REDACTED)]
    count = len(tokens_of(_last_text(request)))
    thought = f"I was given {count} tokens to answer."
    if wanted is not None and wanted.effort is not None:
        thought += f" My effort is {wanted.effort}."
    if wanted is not None and wanted.budget_tokens is not None:
        thought += f" I may think for {wanted.budget_tokens} tokens."
        thought = "".join(tokens_of(thought)[: wanted.budget_tokens])
    if wanted is not None and wanted.display == "omitted":
        thought = ""
    return [Thinking(text=thought, signature=signature_of(thought))]


def _asks(wanted: ThinkingConfig | None) -> bool:
    if wanted is None or wanted.enabled is False or wanted.effort == "none":
        return False
    return bool(wanted.enabled or wanted.effort or wanted.budget_tokens or wanted.adaptive)


# ---------------------------------------------------------------- limits


def _within(
    request: CompletionRequest, parts: list[Part], finish: FinishReason
) -> tuple[list[Part], FinishReason, str | None]:
    """The parts cut at a stop sequence and at `max_tokens`. Calls and refusals are never cut."""
    stopped_by: str | None = None
    kept: list[Part] = []
    left = request.max_tokens if request.max_tokens is not None else _LONGEST * 10
    for part in parts:
        if isinstance(part, Text):
            places = [(at, stop) for stop in request.stop if stop and (at := part.text.find(stop)) >= 0]
            if places:
                at, stopped_by = min(places)
                part = msgspec.structs.replace(part, text=part.text[:at])
        if isinstance(part, Text | Thinking):
            tokens = tokens_of(part.text)
            if len(tokens) > left:
                finish, stopped_by = FinishReason.LENGTH, None
                cut = msgspec.structs.replace(part, text="".join(tokens[:left]))
                if isinstance(cut, Thinking):
                    cut = msgspec.structs.replace(cut, signature=signature_of(cut.text))
                return [*kept, cut], finish, None
            left -= len(tokens)
        kept.append(part)
    return kept, finish, stopped_by


# ---------------------------------------------------------------- vectors


def vectors_for(texts: Sequence[str | tuple[int, ...]], dimensions: int | None = None) -> tuple[tuple[float, ...], ...]:
    """One vector of length 1 for each text, exact in 32-bit floats. Texts that share words are near."""
    return tuple(_vector(text, dimensions or EMBEDDING_DIMENSIONS) for text in texts)


def _vector(text: str | tuple[int, ...], dimensions: int) -> tuple[float, ...]:
    words = re.findall(r"\w+", text.lower()) if isinstance(text, str) else [str(token) for token in text]
    sums = [0.0] * dimensions
    for word in words or [""]:
        drawn = struct.unpack(f"<{dimensions}i", hashlib.shake_256(word.encode()).digest(4 * dimensions))
        for index, value in enumerate(drawn):
            sums[index] += value / 2**31
    length = math.sqrt(sum(value * value for value in sums)) or 1.0
    packed = struct.pack(f"<{dimensions}f", *(value / length for value in sums))
    return struct.unpack(f"<{dimensions}f", packed)


def embedding_to(request: EmbeddingRequest) -> EmbeddingResponse:
    """The answer to a request for vectors. Raises: BadRequest for longer ones than any model makes."""
    if request.dimensions is not None and request.dimensions > _MOST_DIMENSIONS:
        raise BadRequest(f"dimensions: at most {_MOST_DIMENSIONS}", code="invalid_request_error")
    count = sum(len(tokens_of(text)) if isinstance(text, str) else len(text) for text in request.input)
    return EmbeddingResponse(
        model=request.model or "sim-embed",
        embeddings=vectors_for(request.input, request.dimensions),
        usage=TokenUsage(input_tokens=count),
    )


# ---------------------------------------------------------------- rankings


def ranking_of(query: str, documents: Sequence[str], top_n: int | None = None) -> tuple[RerankResult, ...]:
    """The best first. The score, from 0 to 1, is how many of the query's words stand in the document."""
    wanted = set(query.lower().split())
    scores = [len(wanted & set(document.lower().split())) / max(1, len(wanted)) for document in documents]
    best_first = sorted(range(len(scores)), key=lambda index: -scores[index])[:top_n]
    return tuple(RerankResult(index=index, relevance_score=scores[index]) for index in best_first)


# ---------------------------------------------------------------- the provider


def card_of(model: str) -> ModelCard:
    able = Capabilities(
        tools=True,
        images=True,
        documents=True,
        audio=True,
        thinking=True,
        thinking_style="budget",
        structured_output=True,
        system_messages=True,
        code_execution=False,
        sampling=True,
        cache_marks=True,
    )
    return ModelCard(
        id=model,
        name=f"{model} (simulated)",
        created_s=CREATED_S,
        owned_by="genai-spine",
        context_window=1_000_000,
        max_output_tokens=_LONGEST,
        capabilities=able,
        price=Price(input=Decimal(0), output=Decimal(0), cached_input=Decimal(0), cache_write=Decimal(0)),
    )


class SimulatedProvider(LLMProvider):
    """A provider in this process: no key, no network, and no cost but what the settings say."""

    name = "simulated"

    def __init__(
        self, name: str = "simulated", default_model: str = DEFAULT_MODEL, settings: ProviderSettings | None = None
    ) -> None:
        """Raises: ConfigError, as `RequestDefaults` does."""
        self.name = name
        self.settings = settings = settings or ProviderSettings()
        self._default_model = settings.model or default_model
        self._defaults = RequestDefaults(settings, name)

    @property
    def default_model(self) -> str | None:
        return self._default_model

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        return answer_to(self._addressed(request))

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        for event in events_of(answer_to(self._addressed(request))):
            yield event

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        model = request.model or self.settings.embed_model
        return embedding_to(msgspec.structs.replace(request, model=self._own_name(model) if model else None))

    async def rerank(self, request: RerankRequest) -> RerankResponse:
        results = [
            msgspec.structs.replace(result, document=request.documents[result.index])
            for result in ranking_of(request.query, request.documents, request.top_n)
        ]
        count = sum(len(tokens_of(text)) for text in (request.query, *request.documents))
        model = self._own_name(request.model or "sim-rerank")
        return RerankResponse(model=model, results=tuple(results), usage=TokenUsage(input_tokens=count))

    async def list_models(self) -> list[ModelCard]:
        return [self.card(model) for model in self.settings.models or MODELS]

    def card(self, model: str | None = None) -> ModelCard:
        asked = model or self._default_model
        card = msgspec.structs.replace(card_of(self._own_name(asked)), provider=self.name)
        return with_own_price(card, self.settings.cost, asked)

    def _own_name(self, model: str) -> str:
        return self.settings.custom_models.get(model, model)

    def _addressed(self, request: CompletionRequest) -> CompletionRequest:
        request = self._defaults.onto(request)
        model = self._own_name(request.model or self._default_model)
        return request if request.model == model else msgspec.structs.replace(request, model=model)
