"""A simulated Cohere: chat of version 2, reranking and the list of models. Vectors are written by `cohere_embed`.

The chat module of the dialect only speaks to Cohere, so the other end stands here: a reader of requests, and a
writer of answers and streams. Where a request gives documents, the answer cites the first of them, whole.

Source: as `genai_spine.dialects.cohere_chat` (2026-11).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from genai_spine.dialects.cohere_chat.schema import DIALECT, PLAN, plan_of
from genai_spine.dialects.cohere_models import encode_models as encode_models
from genai_spine.dialects.failure import status_for_caller
from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.reading import Reader
from genai_spine.model.content import Document, Image, Part, Refusal, Text, Thinking, ToolCall, ToolResult
from genai_spine.model.errors import SpineError
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.request import (
    CompletionRequest,
    Message,
    OutputSchema,
    ThinkingConfig,
    Tool,
    ToolChoice,
)
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage
from genai_spine.providers.simulated import ranking_of
from genai_spine.testing.simulator.answers import Answer, Received
from genai_spine.testing.simulator.faults import Fault
from genai_spine.testing.simulator.routes import Asked, Row
from genai_spine.wire import json
from genai_spine.wire.sse import encode_event

STREAM_CONTENT_TYPE = b"text/event-stream"
FORWARDED_HEADERS: frozenset[bytes] = frozenset()

_FINISHES = {
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.TOOL_CALLS: "TOOL_CALL",
    FinishReason.ERROR: "ERROR",
}
_CHOICES = {"REQUIRED": "required", "NONE": "none"}
_SAMPLING = {
    "max_tokens": Reader.integer,
    "temperature": Reader.number,
    "frequency_penalty": Reader.number,
    "presence_penalty": Reader.number,
    "seed": Reader.integer,
    "p": Reader.number,
    "k": Reader.integer,
}
_RENAMED = {"p": "top_p", "k": "top_k"}


# ---------------------------------------------------------------- a request


def decode_request(body: bytes) -> CompletionRequest:
    """Raises: InvalidRequest, naming the place."""
    request = Reader(json.decode_inbound(body, json.ANY), "")
    sampling = {_RENAMED.get(name, name): value for name, value in request.given(_SAMPLING).items()}
    choice = request.text("tool_choice")
    if choice is not None and choice not in _CHOICES:
        raise request.wrong("tool_choice", "expected REQUIRED or NONE")
    messages = tuple(_message(message) for message in request.objects("messages", required=True))
    decoded = CompletionRequest(
        model=request.text("model", required=True),
        messages=messages,
        stream=request.boolean("stream") or False,
        tools=_tools(request),
        tool_choice=ToolChoice(mode=_CHOICES[choice]) if choice is not None else None,  # type: ignore[arg-type]  # checked
        output_schema=_output_schema(request),
        thinking=_thinking(request),
        stop=request.strings("stop_sequences"),
        **sampling,
    )
    return msgspec.structs.replace(decoded, extra=keep(DIALECT, request.rest()))


def _tools(request: Reader) -> tuple[Tool, ...]:
    strict = True if request.peek("strict_tools") is True else None
    if strict:
        request.take("strict_tools")
    tools: list[Tool] = []
    for entry in request.objects("tools"):
        function = entry.object("function", required=True)
        tools.append(
            Tool(
                name=function.text("name", required=True),
                description=function.text("description"),
                parameters=function.mapping("parameters"),
                strict=strict,
            )
        )
    return tuple(tools)


def _output_schema(request: Reader) -> OutputSchema | None:
    wanted = request.object("response_format")
    if wanted is None or wanted.text("type", required=True) != "json_object":
        return None
    return OutputSchema(schema=wanted.mapping("json_schema") or wanted.mapping("schema"))


def _thinking(request: Reader) -> ThinkingConfig | None:
    wanted = request.object("thinking")
    if wanted is None:
        return None
    enabled = wanted.text("type", required=True) == "enabled"
    return ThinkingConfig(enabled=enabled, budget_tokens=wanted.integer("token_budget", least=1))


def _message(message: Reader) -> Message:
    role = message.text("role", required=True)
    if role not in ("system", "user", "assistant", "tool"):
        raise message.wrong("role", f"there is no role {role}")
    parts = _content(message)
    if role == "tool":
        result = ToolResult(call_id=message.text("tool_call_id", required=True), content=tuple(parts))
        return Message(role="tool", content=(result,))
    if plan := message.text("tool_plan"):
        parts.append(plan_of(plan))
    parts.extend(_call(call) for call in message.objects("tool_calls"))
    if citations := message.take("citations"):
        place = next((index for index, part in enumerate(parts) if isinstance(part, Text)), None)
        if place is not None:
            metadata = keep(DIALECT, {"citations": citations})
            parts[place] = msgspec.structs.replace(parts[place], provider_metadata=metadata)
    return Message(role=role, content=tuple(parts))  # type: ignore[arg-type]  # checked above


def _content(message: Reader) -> list[Part]:
    if isinstance(text := message.peek("content"), str):
        return [Text(text=text)] if text else []
    return [_part(entry) for entry in message.objects("content")]


def _part(entry: Reader) -> Part:
    match kind := entry.text("type", required=True):
        case "text":
            return Text(text=entry.text("text", required=True))
        case "thinking":
            return Thinking(text=entry.text("thinking", required=True))
        case "image_url":
            image = entry.object("image_url", required=True)
            url, detail = image.text("url", required=True), image.text("detail")
            if found := re.fullmatch(r"data:([\w/+.-]+);base64,(.*)", url, re.DOTALL):
                return Image(data=found[2], media_type=found[1], detail=detail)
            return Image(url=url, detail=detail)
        case "document":
            return _document(entry.object("document", required=True))
    raise entry.wrong("type", f"there is no content of type {kind}")


def _document(document: Reader) -> Document:
    data = document.mapping("data") or {}
    text, title = data.pop("text", None), data.pop("title", None)
    rest = document.rest() | ({"data": data} if data else {})
    return Document(
        text=text if isinstance(text, str) else "",
        name=title if isinstance(title, str) else None,
        provider_metadata=keep(DIALECT, rest),
    )


def _call(call: Reader) -> ToolCall:
    function = call.object("function", required=True)
    return ToolCall(
        id=call.text("id", required=True),
        name=function.text("name", required=True),
        arguments=function.text("arguments") or "",
    )


# ---------------------------------------------------------------- an answer


def encode_response(response: CompletionResponse, request: CompletionRequest) -> bytes:
    content: list[dict[str, Any]] = []
    message: dict[str, Any] = {"role": "assistant"}
    for part in response.parts:
        if isinstance(part, ToolCall):
            message.setdefault("tool_calls", []).append(_call_written(part, part.arguments or "{}"))
            continue
        kind, text = _said(part)
        if kind == PLAN:
            message["tool_plan"] = text
        elif kind is not None:
            content.append({"type": kind, kind: text})
            if kind == "text" and (citation := _citation(text, len(content) - 1, request)) is not None:
                message.setdefault("citations", []).append(citation)
    if content:
        message["content"] = content
    written = {"id": response.id, "message": message, "finish_reason": _finish(response.finish_reason)}
    return json.encode({**written, **_usage_written(response.usage)})


def _said(part: Part) -> tuple[str | None, str]:
    """What a part is here, which is also the member that holds its text; a refusal is plain text."""
    match part:
        case Thinking(redacted=None):
            return (PLAN if kept(part.provider_metadata, DIALECT).get(PLAN) else "thinking"), part.text
        case Text() | Refusal():
            return "text", part.text
        case _:
            return None, ""


def _call_written(call: ToolCall, arguments: str) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _citation(text: str, place: int, request: CompletionRequest) -> dict[str, Any] | None:
    documents = kept(request.extra, DIALECT).get("documents")
    if not documents:
        return None
    first = documents[0] if isinstance(documents[0], dict) else {"data": {"text": documents[0]}}
    name = first.get("id") or "doc:0"
    source = {"type": "document", "id": name, "document": {"id": name, **first.get("data", {})}}
    what = {"start": 0, "end": len(text), "text": text, "content_index": place}
    return {**what, "sources": [source], "type": "TEXT_CONTENT"}


def _finish(reason: FinishReason | None) -> str:
    return _FINISHES.get(reason, "COMPLETE") if reason is not None else "COMPLETE"


def _usage_written(usage: TokenUsage | None) -> dict[str, Any]:
    """Billed as they were counted; and read with instructions of a thousand tokens, as in recordings."""
    if usage is None:
        return {}
    counts = {"input_tokens": usage.input_tokens or 0, "output_tokens": usage.output_tokens or 0}
    tokens = {**counts, "input_tokens": counts["input_tokens"] + 1000}
    return {"usage": {"billed_units": counts, "tokens": tokens, "cached_tokens": 992}}


def encode_error(error: SpineError, request_id: str) -> tuple[int, bytes]:
    return status_for_caller(error), json.encode({"id": request_id, "message": error.message})


# ---------------------------------------------------------------- a stream


class CohereStreamEncoder:
    def __init__(self, request: CompletionRequest) -> None:
        self._request = request
        self._kinds: dict[int, str] = {}
        self._numbers: dict[int, int] = {}  # contents and calls, each from 0
        self._texts: dict[int, list[str]] = {}

    def encode(self, event: StreamEvent) -> bytes:
        match event:
            case MessageStart():
                empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
                return _written("message-start", {"message": empty}, id=event.id)
            case PartStart():
                return self._part_start(event.index, event.part)
            case PartDelta():
                return self._part_delta(event.index, event.text)
            case PartEnd():
                return self._part_end(event.index)
            case MessageEnd():
                delta = {"finish_reason": _finish(event.finish_reason), **_usage_written(event.usage)}
                return _written("message-end", delta) + b"data: [DONE]\n\n"

    def error(self, error: SpineError, request_id: str) -> bytes:
        return _written("message-end", {"finish_reason": "ERROR", "error": error.message}) + b"data: [DONE]\n\n"

    def _part_start(self, index: int, part: Part) -> bytes:
        kind, text = ("call", "") if isinstance(part, ToolCall) else _said(part)
        if kind is None:
            return b""
        self._kinds[index] = kind
        family = [known for known in self._kinds.values() if (known == "call") == (kind == "call") and known != PLAN]
        number = self._numbers[index] = len(family) - 1
        if isinstance(part, ToolCall):
            call = _call_written(part, part.arguments)
            return _written("tool-call-start", {"message": {"tool_calls": call}}, index=number)
        if kind == PLAN:
            return b""
        self._texts[index] = [text]
        return _written("content-start", {"message": {"content": {"type": kind, kind: text}}}, index=number)

    def _part_delta(self, index: int, text: str) -> bytes:
        number = self._numbers[index]
        match kind := self._kinds[index]:
            case "call":
                call = {"function": {"arguments": text}}
                return _written("tool-call-delta", {"message": {"tool_calls": call}}, index=number)
            case "tool_plan":
                return _written("tool-plan-delta", {"message": {"tool_plan": text}})
            case _:
                self._texts[index].append(text)
                return _written("content-delta", {"message": {"content": {kind: text}}}, index=number)

    def _part_end(self, index: int) -> bytes:
        kind, number = self._kinds.get(index), self._numbers.get(index)
        if kind == "call":
            return _written("tool-call-end", None, index=number)
        if kind is None or kind == PLAN:
            return b""
        cited = b""
        citation = _citation("".join(self._texts[index]), number or 0, self._request) if kind == "text" else None
        if citation is not None:
            cited = _written("citation-start", {"message": {"citations": citation}}, index=0)
            cited += _written("citation-end", None, index=0)
        return cited + _written("content-end", None, index=number)


def stream_encoder(request: CompletionRequest) -> CohereStreamEncoder:
    return CohereStreamEncoder(request)


def _written(kind: str, delta: dict[str, Any] | None, **more: Any) -> bytes:
    members = {"type": kind, **more, **({"delta": delta} if delta is not None else {})}
    return encode_event(json.encode(members), event=kind.encode())


# ---------------------------------------------------------------- reranking


def _rerank(received: Received) -> Asked:
    request = Reader(json.decode_inbound(received.body, json.ANY), "")
    query, documents = request.text("query", required=True), request.strings("documents")
    top_n = request.integer("top_n", least=1)
    name = request.text("model", required=True)
    if not documents:
        raise request.wrong("documents", "list of documents must not be empty")

    def answer(model: str | None, fault: Fault, words: str | None) -> Answer:
        best = ranking_of(query, documents, top_n)
        results = [{"index": each.index, "relevance_score": each.relevance_score} for each in best]
        if received.path.startswith("/v2/"):
            meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
            return Answer(pieces=(json.encode({"id": received.request_id, "results": results, "meta": meta}),))
        total = len(query) + sum(map(len, documents))
        usage = {"prompt_tokens": total, "total_tokens": total}
        return Answer(pieces=(json.encode({"model": model, "object": "list", "results": results, "usage": usage}),))

    return Asked(model=name, answer=answer)


def _jina_error(error: SpineError, request_id: str) -> tuple[int, bytes]:
    return status_for_caller(error), json.encode({"error": {"message": error.message, "code": error.code}})


ROWS: tuple[Row, ...] = (
    ("POST", "/v2/rerank", _rerank, encode_error),
    ("POST", "/v1/rerank", _rerank, _jina_error),  # as llama.cpp and others have it
)
