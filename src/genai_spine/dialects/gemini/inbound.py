"""Answering a caller who speaks Gemini's generateContent.

Must not know which provider answers. The model and whether to stream stand in the URL of such a request: `addressed`
puts both into the body, where `decode_request` finds them. Unknown members of the request are kept as metadata of
this dialect, unknown parts as `Opaque`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import groupby
from typing import Any

import msgspec

from genai_spine.dialects import rfc3339
from genai_spine.dialects.failure import status_for_caller
from genai_spine.dialects.gemini import errors
from genai_spine.dialects.gemini import schema as wire
from genai_spine.dialects.gemini.citations import grounding_written, is_grounded, texts_joined
from genai_spine.dialects.gemini.encoder import GeminiStreamEncoder, written_part
from genai_spine.dialects.gemini.json_schema import fitted, plain
from genai_spine.dialects.gemini.parts import part_of
from genai_spine.dialects.gemini.schema import in_camel, objects
from genai_spine.dialects.gemini.thinking import read_thinking
from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.reading import Reader
from genai_spine.model.content import Opaque, Part, Text, Thinking, ToolCall, ToolResult
from genai_spine.model.errors import SpineError
from genai_spine.model.request import (
    CompletionRequest,
    Message,
    OutputSchema,
    ProviderTool,
    Role,
    Tool,
    ToolChoice,
)
from genai_spine.model.response import CompletionResponse
from genai_spine.wire import json

DIALECT = wire.DIALECT
STREAM_CONTENT_TYPE = b"text/event-stream; charset=utf-8"
FORWARDED_HEADERS: frozenset[bytes] = frozenset()
# Google's JavaScript client finds no event after a line that is none (`responseLineRE`, 2026-11).
KEEP_ALIVE = b""

_ROLES: dict[str, Role] = {"user": "user", "model": "assistant", "function": "tool"}
_MODES: dict[str, Any] = {"AUTO": "auto", "NONE": "none", "ANY": "required"}
_JSON = "application/json"


# ---------------------------------------------------------------- what stands in the URL


def split_path(resource: str) -> tuple[str, str]:
    """The model and the method of `models/gemini-2.5-flash:generateContent`, decoded and without the base path.

    The model comes without `models/`; it may hold slashes and colons of its own (`ollama/llama3.2:latest`).
    """
    model, _, method = resource.rpartition(":")
    return model.removeprefix("models/"), method


def addressed(body: bytes, model: str, *, stream: bool) -> bytes:
    """The caller's body with what its URL says as members, for `decode_request` and for routing.

    Raises: InvalidRequest for what is no object, or has a member twice.
    """
    members = json.top_level(body)
    members |= {"model": msgspec.Raw(json.encode(model)), "stream": msgspec.Raw(json.encode(stream))}
    return json.encode(members)


# ---------------------------------------------------------------- request


def decode_request(body: bytes) -> CompletionRequest:
    """A request, with `model` and `stream` as `addressed` adds them; without, neither is known.

    Raises: InvalidRequest, naming the place.
    """
    request = in_camel(Reader(json.decode_inbound(body, json.ANY), ""))
    messages = _messages(request)
    tools = tuple(tool for item in objects(request, "tools") for tool in _tools(item))
    config = in_camel(request.object("generationConfig") or Reader({}, "generationConfig"))
    limit = request.number("costLimit")
    decoded = CompletionRequest(
        messages=(*_system(request), *_cached(request), *messages),
        model=_model(request),
        stream=request.boolean("stream") or False,
        tools=tools,
        tool_choice=_tool_choice(request),
        temperature=config.number("temperature"),
        top_p=config.number("topP"),
        top_k=config.integer("topK"),
        max_tokens=config.integer("maxOutputTokens", least=1),
        stop=config.strings("stopSequences"),
        seed=config.integer("seed"),
        n=config.integer("candidateCount", least=1),
        frequency_penalty=config.number("frequencyPenalty"),
        presence_penalty=config.number("presencePenalty"),
        output_schema=_output_schema(config),
        thinking=_thinking(config),
        provider=request.text("provider"),
        provider_hint=request.text("providerHint"),
        cost_limit=Decimal(str(limit)) if limit is not None else None,
        fallbacks=request.strings("fallbacks"),
    )
    request.leave("generationConfig", config.rest())
    return msgspec.structs.replace(decoded, extra=keep(DIALECT, request.rest()))


def decode_count_request(body: bytes) -> CompletionRequest:
    """The request whose input is to be counted: the members stand at the top, or all of them under
    `generateContentRequest`.

    Raises: InvalidRequest, naming the place.
    """
    members = json.decode_inbound(body, json.ANY)
    request = in_camel(Reader(members, ""))
    if (inner := request.object("generateContentRequest")) is None:
        return decode_request(body)
    model = {"model": members["model"]} if "model" in members else {}
    return decode_request(json.encode({**inner.members, **model}))


def _model(request: Reader) -> str | None:
    model = request.text("model")
    return model.removeprefix("models/") if model is not None else None


def _system(request: Reader) -> tuple[Message, ...]:
    content = request.object("systemInstruction")
    if content is None:
        return ()
    content = in_camel(content)
    parts = tuple(_part(item) for item in objects(content, "parts"))
    return (Message(role="system", content=parts, provider_metadata=keep(DIALECT, content.rest())),) if parts else ()


def _cached(request: Reader) -> tuple[Message, ...]:
    """What stands for a prompt that the service keeps."""
    if not request.has(wire.CACHED):
        return ()
    raw = msgspec.Raw(json.encode({wire.CACHED: request.take(wire.CACHED)}))
    return (Message(role="user", content=(Opaque(dialect=DIALECT, kind=wire.CACHED, raw=raw),)),)


def _messages(request: Reader) -> tuple[Message, ...]:
    contents = objects(request, "contents", required=True)
    if not contents:
        raise request.wrong("contents", "at least one content is required")
    ids = _CallIds()
    messages = [_message(item, place, ids) for place, item in enumerate(contents)]
    return tuple(_joined(_rejoined(messages) if any(map(_has_proof, messages)) else messages))


def _joined(messages: list[Message]) -> Iterator[Message]:
    """What the model says in a row is one message: Google's SDK keeps each chunk of a stream as a content of its own,
    the last of them empty, and no other service takes a call whose result does not follow it."""
    for goes_on, group in groupby(messages, _goes_on):
        first, *others = group
        if goes_on and others:
            content = tuple(_merged(part for message in (first, *others) for part in message.content))
            yield msgspec.structs.replace(first, content=content)
        else:
            yield from (first, *others)


def _goes_on(message: Message) -> bool:
    return message.role == "assistant" and not message.provider_metadata


def _merged(parts: Iterable[Part]) -> Iterator[Part]:
    """Texts in a row as one, and thoughts, where they are words and nothing else; an empty one says nothing."""
    kind: type[Text] | type[Thinking] | None = None
    texts: list[str] = []
    for part in parts:
        is_plain = isinstance(part, Text | Thinking) and part == type(part)(text=part.text)
        if kind is not None and not (is_plain and type(part) is kind):
            yield kind(text="".join(texts))
            kind, texts = None, []
        if not is_plain:
            yield part
        elif isinstance(part, Text | Thinking) and part.text:
            kind = type(part)
            texts.append(part.text)
    if kind is not None:
        yield kind(text="".join(texts))


def _has_proof(message: Message) -> bool:
    return any(type(part) is Thinking and part.signature is not None for part in message.content)


def _rejoined(messages: list[Message]) -> list[Message]:
    """Thoughts whole again whose proof has come behind their words, in as many parts as they were streamed in; clients
    keep each chunk of a stream as a content of its own. What another service has signed it takes back as it was."""
    contents: list[list[Part]] = []
    pieces: list[list[Part]] = []  # of the thought that is being told, for each the content at whose end it stands
    texts: list[str] = []
    for message in messages:
        content: list[Part] = []
        contents.append(content)
        for part in message.content:
            is_proof = type(part) is Thinking and part.signature is not None and not part.text
            if type(part) is Thinking and is_proof:
                for holder in pieces:
                    holder.pop()
                part = msgspec.structs.replace(part, text="".join(texts))
            is_piece = type(part) is Thinking and part.signature is None and part.redacted is None
            if type(part) is Thinking and is_piece and message.role == "assistant":
                pieces.append(content)
                texts.append(part.text)
            else:
                pieces, texts = [], []
            content.append(part)
    return [
        msgspec.structs.replace(message, content=tuple(content))
        for message, content in zip(messages, contents, strict=True)
        if content or not message.content
    ]


def _message(content: Reader, place: int, ids: _CallIds) -> Message:
    content = in_camel(content)
    name = content.text("role") or "user"
    if (role := _ROLES.get(name)) is None:
        raise content.wrong("role", f"expected user or model, got {name!r}")
    parts = tuple(ids.known(_part(item), place, position) for position, item in enumerate(objects(content, "parts")))
    return Message(role=role, content=parts, provider_metadata=keep(DIALECT, content.rest()))


def _part(item: Reader) -> Part:
    return part_of(item, lambda: "")


class _CallIds:
    """Ids for calls and results that came without one: a result is of the first unanswered call of its name."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[str]] = defaultdict(list)

    def known(self, part: Part, place: int, position: int) -> Part:
        if isinstance(part, ToolCall):
            if not part.id:
                part = msgspec.structs.replace(part, id=wire.minted_call_id("call", place, position))
            self.waiting[part.name].append(part.id)
        elif isinstance(part, ToolResult):
            waiting = self.waiting[part.name or ""]
            if not part.call_id:
                call_id = waiting[0] if waiting else wire.minted_call_id("result", place, position)
                part = msgspec.structs.replace(part, call_id=call_id)
            if part.call_id in waiting:
                waiting.remove(part.call_id)
        return part


# ---------------------------------------------------------------- tools


def _tools(item: Reader) -> list[Tool | ProviderTool]:
    """One tool on the wire may be several: its functions, and each of the service's own."""
    item = in_camel(item)
    tools: list[Tool | ProviderTool] = [_function(in_camel(each)) for each in objects(item, "functionDeclarations")]
    for name, value in item.rest().items():
        tools.append(ProviderTool(dialect=DIALECT, name=name, raw=msgspec.Raw(json.encode({name: value}))))
    return tools


def _function(function: Reader) -> Tool:
    """`parameters` is a Schema of the service's own: it is kept as it came, and read as JSON Schema for others."""
    name, description = function.text("name", required=True), function.text("description")
    own, schema = function.mapping("parameters"), function.mapping("parametersJsonSchema")
    rest = function.rest()
    if own is not None:
        rest["parameters"], schema = own, plain(own)
    elif schema is not None and fitted(schema) != schema:
        rest["parametersJsonSchema"] = schema
    return Tool(name=name, description=description, parameters=schema, provider_metadata=keep(DIALECT, rest))


def _tool_choice(request: Reader) -> ToolChoice | None:
    """What the middle has no word for (VALIDATED, several allowed functions) stays where it was."""
    config = request.object("toolConfig")
    if config is None:
        return None
    config = in_camel(config)
    calling = config.object("functionCallingConfig")
    choice = None
    if calling is not None:
        calling = in_camel(calling)
        mode, names = calling.text("mode"), calling.strings("allowedFunctionNames")
        known = _MODES.get((mode or "").upper())
        if known == "required" and len(names) == 1:
            choice = ToolChoice(mode="tool", name=names[0])
        else:
            choice = ToolChoice(mode=known) if known is not None else None
            if names:
                calling.put_back("allowedFunctionNames")
            if mode is not None and choice is None:
                calling.put_back("mode")
        config.leave("functionCallingConfig", calling.rest())
    request.leave("toolConfig", config.rest())
    return choice


# ---------------------------------------------------------------- generationConfig


def _output_schema(config: Reader) -> OutputSchema | None:
    if config.peek("responseMimeType") != _JSON:
        return None
    config.take("responseMimeType")
    own, schema = config.mapping("responseSchema"), config.mapping("responseJsonSchema")
    return OutputSchema(schema=schema if schema is not None else plain(own) if own is not None else None)


def _thinking(config: Reader) -> Any:
    inner = config.object("thinkingConfig")
    if inner is None:
        return None
    inner = in_camel(inner)
    thinking = read_thinking(inner)
    config.leave("thinkingConfig", inner.rest())
    return thinking


# ---------------------------------------------------------------- answer


def encode_response(response: CompletionResponse, request: CompletionRequest) -> bytes:
    extra = kept(response.extra, DIALECT)
    candidate = extra.pop("candidate", None)
    content: dict[str, Any] = {"role": "model"}
    shown = [part for part in response.parts if shows(part)]
    if parts := [each for part in texts_joined(shown) if (each := written_part(part)) is not None]:
        content["parts"] = parts
    first: dict[str, Any] = {"content": content, "index": 0}
    first["finishReason"] = wire.finish_written(response.finish_reason, response.raw_finish_reason)
    if not (isinstance(candidate, dict) and is_grounded(candidate)):
        first |= grounding_written([part for part in response.parts if isinstance(part, Text)])
    others = extra.pop("candidates", None)
    written: dict[str, Any] = {
        "candidates": [
            {**first, **(candidate if isinstance(candidate, dict) else {})},
            *(others if isinstance(others, list) else ()),
        ]
    }
    if usage := wire.usage_written(response.usage):
        written["usageMetadata"] = usage
    written["modelVersion"] = response.model
    if response.created_s is not None:
        written["createTime"] = rfc3339.text_of(response.created_s)
    if response.id is not None:
        written["responseId"] = response.id
    return json.encode({**written, **extra})


def shows(part: Part) -> bool:
    return written_part(part) is not None


def stream_encoder(request: CompletionRequest) -> GeminiStreamEncoder:
    return GeminiStreamEncoder()


def encode_count_response(input_tokens: int) -> bytes:
    return json.encode({"totalTokens": int(input_tokens)})


def encode_error(error: SpineError, request_id: str) -> tuple[int, bytes]:
    """google.rpc.Status, with our request's id."""
    status = status_for_caller(error)
    return status, json.encode(errors.error_written(error, status, request_id))
