"""Requests to Converse as the middle has them: the reverse of the dialect, which only writes them.

Source: as `genai_spine.dialects.bedrock_converse` (2026-11).
"""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects.bedrock_converse import blocks
from genai_spine.dialects.bedrock_converse.schema import DIALECT, DOCUMENT_FORMATS, IMAGE_FORMATS
from genai_spine.dialects.metadata import keep
from genai_spine.dialects.reading import Reader
from genai_spine.model.content import Audio, CacheMark, Document, Image, Opaque, Part, ToolResult
from genai_spine.model.errors import BadReply, InvalidRequest
from genai_spine.model.request import (
    CompletionRequest,
    Message,
    OutputSchema,
    ProviderTool,
    ThinkingConfig,
    Tool,
    ToolChoice,
)
from genai_spine.wire import json

_MEDIA_TYPES = {name: media_type for media_type, name in (IMAGE_FORMATS | DOCUMENT_FORMATS).items()}
_SAMPLING = {"maxTokens": Reader.integer, "temperature": Reader.number, "topP": Reader.number}
_RENAMED = {"maxTokens": "max_tokens", "topP": "top_p"}
_EFFORT_FIELDS = ("reasoning_effort", "reasoning_config")


def decode_request(body: bytes, model: str | None = None, *, stream: bool = False) -> CompletionRequest:
    """A request to Converse, whose model stands in its address. Raises: InvalidRequest, naming the place."""
    return request_of(Reader(json.decode_inbound(body, json.ANY), ""), model, stream=stream)


def request_of(request: Reader, model: str | None, *, stream: bool = False) -> CompletionRequest:
    messages = [_message(message) for message in request.objects("messages")]
    if system := _parts(request, "system"):
        messages.insert(0, Message(role="system", content=system))
    options: dict[str, Any] = {}
    if (inference := request.object("inferenceConfig")) is not None:
        given = inference.given(_SAMPLING)
        options = {_RENAMED.get(name, name): value for name, value in given.items()}
        options["stop"] = inference.strings("stopSequences")
        request.leave("inferenceConfig", inference.rest())
    options |= _tools(request)
    options |= _additional(request)
    options["output_schema"] = _output_schema(request)
    decoded = CompletionRequest(model=model, messages=tuple(messages), stream=stream, **options)
    return msgspec.structs.replace(decoded, extra=keep(DIALECT, request.rest()))


def _message(message: Reader) -> Message:
    role = message.text("role", required=True)
    if role not in ("user", "assistant", "system"):
        raise message.wrong("role", f"there is no role {role}")
    return Message(role=role, content=_parts(message, "content", role))  # type: ignore[arg-type]  # checked above


def _parts(holder: Reader, key: str, role: str = "system") -> tuple[Part, ...]:
    """The blocks as parts; a cache point is a mark on the part before it."""
    parts: list[Part] = []
    for block in holder.objects(key):
        if (mark := _mark(block)) is not None and parts:
            parts[-1] = msgspec.structs.replace(parts[-1], cache=mark)
        else:
            parts.append(_part(block, role))
    return tuple(parts)


def _mark(block: Reader) -> CacheMark | None:
    point = block.mapping("cachePoint")
    return CacheMark(ttl=point.get("ttl")) if point is not None else None


def _part(block: Reader, role: str) -> Part:
    kind = next(iter(block.members), "")
    raw = msgspec.Raw(json.encode(block.members))
    match kind:
        case "text" | "citationsContent" | "reasoningContent" | "toolUse":
            try:
                return blocks.part_of_block(raw)
            except BadReply as error:
                raise block.wrong(kind, error.message) from None
        case "image" | "document" | "audio":
            part = _media(kind, block.object(kind, required=True))
        case "toolResult" if role == "user" and block.members[kind].get("type") is None:
            return _tool_result(block.object(kind, required=True))
        case "":
            raise InvalidRequest(f"{block.path}: a block without content", param=block.path)
        case _:
            part = None
    return part if part is not None else Opaque(dialect=DIALECT, kind=kind, raw=raw)


def _media(kind: str, media: Reader) -> Part | None:
    """None where the middle has no word for it, as for documents whose text is cited piece by piece."""
    source = media.object("source", required=True)
    data, location = source.text("bytes"), source.object("s3Location")
    url = location.text("uri") if location is not None else None
    if data is None and url is None:
        return None
    if location is not None and location.rest():
        media.leave("source", {"s3Location": location.rest()})
    format = media.text("format")
    media_type = _MEDIA_TYPES.get(format or "")
    if kind == "audio":
        return Audio(data=data, format=format, provider_metadata=keep(DIALECT, media.rest()))
    if kind == "image":
        return Image(data=data, url=url, media_type=media_type, provider_metadata=keep(DIALECT, media.rest()))
    name = media.text("name")
    return Document(data=data, url=url, media_type=media_type, name=name, provider_metadata=keep(DIALECT, media.rest()))


def _tool_result(result: Reader) -> ToolResult:
    call_id = result.text("toolUseId", required=True)
    is_error = result.text("status") == "error"
    return ToolResult(call_id=call_id, content=_parts(result, "content"), is_error=is_error)


def _tools(request: Reader) -> dict[str, Any]:
    config = request.object("toolConfig")
    if config is None:
        return {}
    tools: list[Tool | ProviderTool] = []
    for entry in config.objects("tools"):
        if (mark := _mark(entry)) is not None and tools and isinstance(tools[-1], Tool):
            tools[-1] = msgspec.structs.replace(tools[-1], cache=mark)
        else:
            tools.append(_tool(entry))
    found: dict[str, Any] = {"tools": tuple(tools)}
    choice = config.mapping("toolChoice") or {}
    if "tool" in choice:
        found["tool_choice"] = ToolChoice(mode="tool", name=choice["tool"].get("name"))
    elif choice:
        found["tool_choice"] = ToolChoice(mode="required" if "any" in choice else "auto")
    return found


def _tool(entry: Reader) -> Tool | ProviderTool:
    spec = entry.object("toolSpec")
    if spec is None:
        kind, value = next(iter(entry.members.items()), ("", {}))
        name = value.get("name") if isinstance(value, dict) else None
        return ProviderTool(dialect=DIALECT, name=name or kind, raw=msgspec.Raw(json.encode(entry.members)))
    return Tool(
        name=spec.text("name", required=True),
        description=spec.text("description"),
        parameters=spec.object("inputSchema", required=True).mapping("json"),
        strict=spec.boolean("strict"),
        provider_metadata=keep(DIALECT, spec.rest()),
    )


def _output_schema(request: Reader) -> OutputSchema | None:
    wanted = request.mapping("outputConfig") or {}
    definition = wanted.get("textFormat", {}).get("structure", {}).get("jsonSchema")
    if not isinstance(definition, dict):
        return None
    schema = json.decode_inbound(str(definition.get("schema", "{}")).encode(), json.ANY)
    return OutputSchema(schema=schema, name=definition.get("name"), description=definition.get("description"))


def _additional(request: Reader) -> dict[str, Any]:
    """What the models of several makers call top_k and thinking; the rest stays where it was."""
    fields = request.peek("additionalModelRequestFields")
    if not isinstance(fields, dict):
        return {}
    fields, options = dict(request.take("additionalModelRequestFields")), {}
    if isinstance(thinking := fields.pop("thinking", None), dict):
        kind = thinking.get("type")
        options["thinking"] = ThinkingConfig(
            enabled=False if kind == "disabled" else None,
            adaptive=kind == "adaptive",
            budget_tokens=thinking.get("budget_tokens"),
            display=thinking.get("display"),
            effort=fields.pop("output_config", {}).get("effort"),
        )
    elif isinstance(reasoning := fields.pop("reasoningConfig", None), dict):
        options["thinking"] = ThinkingConfig(effort=reasoning.get("maxReasoningEffort", "none"))
    for name in _EFFORT_FIELDS:
        if isinstance(effort := fields.pop(name, None), str):
            options["thinking"] = ThinkingConfig(effort=effort)
    top_k = fields.pop("top_k", None)
    options["top_k"] = fields.pop("inferenceConfig", {}).get("topK") if top_k is None else top_k
    request.leave("additionalModelRequestFields", fields)
    return options
