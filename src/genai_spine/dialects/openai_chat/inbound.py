"""Answering a caller who speaks OpenAI's chat.

Must not know which provider answers. Unknown members of the request are kept as metadata of this
dialect; thoughts go out as `reasoning_content`, and as `reasoning_details` too where they carry
a signature or are redacted, so that a caller who sends the message back loses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from genai_spine.dialects.failure import status_for_caller
from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.openai_chat import functions, plain_inbound
from genai_spine.dialects.openai_chat import schema as wire
from genai_spine.dialects.openai_chat.answer_written import encode_response, shows
from genai_spine.dialects.openai_chat.encoder import ChatStreamEncoder
from genai_spine.dialects.openai_chat.images import images_of
from genai_spine.dialects.openai_chat.thoughts import thinking_of
from genai_spine.dialects.reading import Reader
from genai_spine.model.content import (
    Audio,
    CacheMark,
    Document,
    Image,
    Opaque,
    Part,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    split_data_url,
)
from genai_spine.model.errors import SpineError
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

__all__ = [
    "DIALECT",
    "FORWARDED_HEADERS",
    "KEEP_ALIVE",
    "SAME_NAMES",
    "STREAM_CONTENT_TYPE",
    "decode_request",
    "encode_error",
    "encode_response",
    "read_members",
    "shows",
    "stream_encoder",
]

DIALECT = wire.DIALECT
STREAM_CONTENT_TYPE = b"text/event-stream; charset=utf-8"
FORWARDED_HEADERS = frozenset({b"openai-beta", b"openai-organization", b"openai-project"})
KEEP_ALIVE = b": keep-alive\n\n"


# ---------------------------------------------------------------- request


SAME_NAMES: dict[str, Callable[[Reader, str], Any]] = {
    "model": Reader.text,
    "temperature": Reader.number,
    "top_p": Reader.number,
    "top_k": Reader.integer,
    "frequency_penalty": Reader.number,
    "presence_penalty": Reader.number,
    "seed": Reader.integer,
    "stop": Reader.strings,
    "user": Reader.text,
    "parallel_tool_calls": Reader.boolean,
    "provider_hint": Reader.text,
    "fallbacks": Reader.strings,
    "n": lambda request, key: request.integer(key, least=1, most=128),
}
"""Members that the middle calls the same, and how each is read."""


def decode_request(body: bytes) -> CompletionRequest:
    """Raises: InvalidRequest, naming the place."""
    return plain_inbound.read(body) or read_members(body)


def read_members(body: bytes) -> CompletionRequest:
    """The same of any request, member by member."""
    request = Reader(json.decode_inbound(body, json.ANY), "")
    items = request.items("messages", required=True)
    messages = tuple([_plain(item) or _message(Reader(item, f"messages[{index}]")) for index, item in enumerate(items)])
    if any(["function_call" in item for item in items]):  # noqa: C419  # a list is faster here
        messages = functions.told_apart(messages, items)
    fields = request.given(SAME_NAMES)
    if isinstance(request.peek("provider"), str):  # an object is OpenRouter's own
        fields["provider"] = request.text("provider")
    for field, read in dict.fromkeys([_BY_GROUP[key] for key in request.members if key in _BY_GROUP]):
        fields[field] = read(request)
    if rest := request.rest():
        fields["extra"] = keep(DIALECT, rest)
    return CompletionRequest(messages=messages, **fields)


def _max_tokens(request: Reader) -> int | None:
    newer, older = request.integer("max_completion_tokens", least=-1), request.integer("max_tokens", least=-1)
    wanted = newer if newer is not None else older
    return None if wanted == -1 else wanted  # no limit, as llama.cpp and LM Studio write it


def _tools(request: Reader) -> tuple[Tool | ProviderTool, ...]:
    tools = [_tool(item) for item in request.objects("tools")]
    # The form before tools; the answer comes as tool calls all the same.
    tools.extend(_function(item, {}) for item in request.objects("functions"))
    return tuple(tools)


def _tool(tool: Reader) -> Tool | ProviderTool:
    kind = tool.text("type")
    if kind == "function" or (kind is None and tool.has("function")):
        inner = tool.object("function", required=True)
        return _function(inner, tool.rest())
    if kind == "custom":
        inner = tool.object("custom", required=True)
        name, description = inner.text("name", required=True), inner.text("description")
        kept_members = {**tool.rest(), **({"custom": inner.rest()} if inner.rest() else {})}
        return Tool(name=name, description=description, kind="custom", provider_metadata=keep(DIALECT, kept_members))
    if kind is None:
        raise tool.wrong("type", "missing: a tool needs type and function")
    return ProviderTool(dialect=DIALECT, name=kind, raw=msgspec.Raw(msgspec.json.encode(tool.members)))


def _function(inner: Reader, outer_rest: Mapping[str, Any]) -> Tool:
    name = inner.text("name", required=True)
    tool = Tool(
        name=name,
        description=inner.text("description"),
        parameters=inner.mapping("parameters"),
        strict=inner.boolean("strict"),
    )
    members = {**outer_rest, **({"function": inner.rest()} if inner.rest() else {})}
    mark = _cache_mark(members)
    return msgspec.structs.replace(tool, cache=mark, provider_metadata=keep(DIALECT, members))


def _tool_choice(request: Reader) -> ToolChoice | None:
    for field in ("tool_choice", "function_call"):
        value = request.peek(field)
        if value is None:
            continue
        if isinstance(value, str):
            mode = {"any": "required"}.get(value, value)
            if mode not in ("auto", "none", "required"):
                raise request.wrong(field, f"expected auto, none, required or an object, got {value!r}")
            request.take(field)
            return ToolChoice(mode=mode)  # type: ignore[arg-type]  # one of the three above
        choice = request.object(field, required=True)
        if choice.peek("type") in (None, "function"):
            inner = choice.object("function", required=True) if choice.has("function") else choice
            return ToolChoice(mode="tool", name=inner.text("name", required=True))
        if choice.peek("type") == "custom":
            return ToolChoice(mode="tool", name=choice.object("custom", required=True).text("name", required=True))
        request.put_back(field)  # allowed_tools: kept, for this dialect only
    return None


def _output_schema(request: Reader) -> OutputSchema | None:
    value = request.peek("response_format")
    if value is None:
        return None
    response_format = request.object("response_format", required=True)
    match response_format.text("type", required=True):
        case "text":
            return None
        case (
            "json_object"
        ):  # with its schema, as Together, Fireworks and llama.cpp have it; "value": Hugging Face's SDK
            return OutputSchema(schema=response_format.mapping("schema") or response_format.mapping("value"))
        case "json_schema":
            inner = response_format.object("json_schema", required=True)
            wanted = OutputSchema(
                schema=inner.mapping("schema"),
                name=inner.text("name"),
                description=inner.text("description"),
                strict=inner.boolean("strict"),
            )
            response_format.leave("json_schema", inner.rest())
            request.leave("response_format", response_format.rest())
            return wanted
        case _:
            request.put_back("response_format")
            return None


def _thinking(request: Reader) -> ThinkingConfig | None:
    """OpenAI's `reasoning_effort`, OpenRouter's `reasoning`, and `thinking` as DeepSeek and others take it."""
    if (effort := request.text("reasoning_effort")) is not None:
        return ThinkingConfig(enabled=effort != "none", effort=effort)
    if isinstance(request.peek("reasoning"), dict):
        reasoning = request.object("reasoning", required=True)
        effort, budget = reasoning.text("effort"), reasoning.integer("max_tokens")
        enabled = reasoning.boolean("enabled")
        request.leave("reasoning", reasoning.rest())
        if effort is None and budget is None and enabled is None:
            return None
        return ThinkingConfig(
            enabled=enabled if enabled is not None else effort != "none", effort=effort, budget_tokens=budget
        )
    if isinstance(request.peek("thinking"), dict):
        thinking = request.object("thinking", required=True)
        kind, budget = thinking.text("type"), thinking.integer("budget_tokens")
        request.leave("thinking", thinking.rest())
        return ThinkingConfig(enabled=kind != "disabled", adaptive=kind == "adaptive", budget_tokens=budget)
    return None


def _cache(request: Reader) -> CacheMark | None:
    """A mark for the whole prompt, as OpenRouter takes it."""
    control = request.take("cache_control")
    mark = _cache_mark({"cache_control": control})
    if mark is None and control is not None:
        request.put_back("cache_control")
    return mark


def _cost_limit(request: Reader) -> Decimal | None:
    limit = request.number("cost_limit")
    if limit is not None and limit < 0:
        raise request.wrong("cost_limit", "expected an amount in USD, 0 or more")
    return Decimal(str(limit)) if limit is not None else None


_GROUPS: tuple[tuple[tuple[str, ...], str, Callable[[Reader], Any]], ...] = (
    (("stream",), "stream", lambda request: request.boolean("stream") or False),
    (("max_completion_tokens", "max_tokens"), "max_tokens", _max_tokens),
    (("tools", "functions"), "tools", _tools),
    (("tool_choice", "function_call"), "tool_choice", _tool_choice),
    (("response_format",), "output_schema", _output_schema),
    (("reasoning_effort", "reasoning", "thinking"), "thinking", _thinking),
    (("cache_control",), "cache", _cache),
    (("cost_limit",), "cost_limit", _cost_limit),
)
_BY_GROUP = {name: (field, read) for names, field, read in _GROUPS for name in names}
"""Of which field a member says something, with others or as an object, and how they are read together."""


# ---------------------------------------------------------------- messages


def _plain(message: Any) -> Message | None:
    """A message of a role and a text, as most are; None where it is anything else."""
    if type(message) is not dict or len(message) != 2:
        return None
    role, content = message.get("role"), message.get("content")
    if type(content) is not str or not content or role not in _PLAIN_ROLES:
        return None
    return Message(role=role, content=(Text(text=content),))


_PLAIN_ROLES = ("user", "assistant", "system", "developer")


def _message(message: Reader) -> Message:
    role = message.text("role", required=True)
    match role:
        case "system" | "developer" | "user":
            content, name = _content(message), message.text("name")
        case "assistant":
            content, name = _assistant(message), message.text("name")
        case "tool" | "function":
            content, name, role = (_tool_result(message),), None, "tool"
        case _:
            raise message.wrong("role", f"expected system, developer, user, assistant or tool, got {role!r}")
    rest = message.rest() if role != "tool" else {}
    return Message(role=role, content=content, name=name, provider_metadata=keep(DIALECT, rest))  # type: ignore[arg-type]


def _content(message: Reader) -> tuple[Part, ...]:
    value = message.peek("content")
    if value is None or isinstance(value, str):
        message.take("content")
        return (Text(text=value),) if value else ()
    return tuple(_part(item) for item in message.objects("content"))


def _assistant(message: Reader) -> tuple[Part, ...]:
    parts: list[Part] = []
    details = [item.members for item in message.objects("reasoning_details")]
    content, reasoning = message.text("reasoning_content"), message.text("reasoning")
    parts.extend(thinking_of(details, content or reasoning))
    parts.extend(_content(message))
    if refusal := message.text("refusal"):
        parts.append(Refusal(text=refusal))
    if isinstance(message.peek("images"), list):
        parts.extend(images_of(message.take("images")))
    if isinstance(message.peek("audio"), dict):
        parts.append(Audio(id=message.object("audio", required=True).text("id", required=True)))
    parts.extend(_tool_call(call) for call in message.objects("tool_calls"))
    if isinstance(message.peek("function_call"), dict):
        function = message.object("function_call", required=True)
        name, arguments = function.text("name", required=True), function.text("arguments") or ""
        parts.append(ToolCall(id=functions.call_id_of(name), name=name, arguments=arguments))
    return tuple(parts)


def _tool_call(call: Reader) -> ToolCall:
    call_id = call.text("id") or "call_" + "_".join(re.findall(r"\d+", call.path))
    call.take("index")
    if call.text("type") == "custom":
        custom = call.object("custom", required=True)
        name, arguments = custom.text("name", required=True), custom.text("input") or ""
        metadata = keep(DIALECT, call.rest())
        return ToolCall(id=call_id, name=name, arguments=arguments, kind="custom", provider_metadata=metadata)
    function = call.object("function", required=True)
    value = function.peek("arguments")
    name = function.text("name", required=True)
    if isinstance(value, dict):
        function.take("arguments")
        arguments = msgspec.json.encode(value).decode()
    else:
        arguments = function.text("arguments") or ""
    members = {**call.rest(), **({"function": function.rest()} if function.rest() else {})}
    return ToolCall(id=call_id, name=name, arguments=arguments, provider_metadata=keep(DIALECT, members))


def _tool_result(message: Reader) -> ToolResult:
    name = message.text("name")
    if message.peek("role") == "function":
        call_id = functions.call_id_of(name)
    else:
        call_id = message.text("tool_call_id", required=True)
    content = _content(message)
    return ToolResult(call_id=call_id, content=content, name=name, provider_metadata=keep(DIALECT, message.rest()))


# ---------------------------------------------------------------- parts


def _part(part: Reader) -> Part:
    kind = part.text("type", required=True)
    read = _PARTS.get(kind)
    if read is None:
        return Opaque(dialect=DIALECT, kind=kind, raw=msgspec.Raw(msgspec.json.encode(part.members)))
    decoded = read(part)
    rest = part.rest()
    mark = _cache_mark(rest)
    if mark is None and not rest:
        return decoded
    return msgspec.structs.replace(decoded, cache=mark, provider_metadata=keep(DIALECT, rest))


def _cache_mark(rest: dict[str, Any]) -> CacheMark | None:
    """OpenAI's `prompt_cache_breakpoint` and the `cache_control` that OpenRouter takes."""
    if rest.pop("prompt_cache_breakpoint", None) is not None:
        return CacheMark()
    control = rest.pop("cache_control", None)
    if not isinstance(control, dict):
        return None
    ttl = control.get("ttl")
    return CacheMark(ttl=ttl if isinstance(ttl, str) else None)


def _text_part(part: Reader) -> Part:
    return Text(text=part.text("text", required=True))


def _refusal_part(part: Reader) -> Part:
    return Refusal(text=part.text("refusal", required=True))


def _image_part(part: Reader) -> Part:
    if isinstance(part.peek("image_url"), str):
        url, detail = part.text("image_url", required=True), None
    else:
        inner = part.object("image_url", required=True)
        url, detail = inner.text("url", required=True), inner.text("detail")
        part.leave("image_url", inner.rest())
    if split := split_data_url(url):
        return Image(media_type=split[0], data=split[1], detail=detail)
    if url.startswith("data:"):
        raise part.wrong("image_url", "a data: URL must be data:<type>;base64,<data>")
    return Image(url=url, detail=detail)


def _file_part(part: Reader) -> Part:
    if part.has("file_id"):  # Mistral's
        return Document(file_id=part.text("file_id"))
    file = part.object("file", required=True)
    name, data = file.text("filename"), file.text("file_data")
    file_id = file.text("file_id", required=data is None)
    part.leave("file", file.rest())
    if data is None:
        return Document(file_id=file_id, name=name)
    if data.startswith(("https://", "http://")):
        # OpenRouter's; kept as it stands for services that take it (openrouter.ai/docs, PDF inputs, 2026-11).
        part.leave("file", {**file.rest(), "file_data": data})
        return Document(url=data, name=name)
    media_type, data = split_data_url(data) or (None, data)
    return Document(data=data, media_type=media_type, name=name)


def _document_url_part(part: Reader) -> Part:
    """Mistral's."""
    url, name = part.text("document_url", required=True), part.text("document_name")
    if split := split_data_url(url):
        return Document(media_type=split[0], data=split[1], name=name)
    return Document(url=url, name=name)


def _thinking_part(part: Reader) -> Part:
    """Mistral's, in what the assistant said before."""
    part.objects("thinking", required=True)
    thought = wire.part_of_chunk({"type": "thinking", **part.members})
    for name in part.rest():
        part.take(name)  # it is in the thought's metadata
    return thought


def _audio_part(part: Reader) -> Part:
    audio = part.object("input_audio", required=True)
    data, kind = audio.text("data", required=True), audio.text("format")
    part.leave("input_audio", audio.rest())
    return Audio(data=data, format=kind)


_PARTS: dict[str, Callable[[Reader], Part]] = {
    "text": _text_part,
    "image_url": _image_part,
    "file": _file_part,
    "input_audio": _audio_part,
    "refusal": _refusal_part,
    "document_url": _document_url_part,
    "thinking": _thinking_part,
}


# ---------------------------------------------------------------- answer


def stream_encoder(request: CompletionRequest) -> ChatStreamEncoder:
    options = kept(request.extra, DIALECT).get("stream_options")
    return ChatStreamEncoder(include_usage=isinstance(options, dict) and options.get("include_usage") is True)


def encode_error(error: SpineError, request_id: str) -> tuple[int, bytes]:
    """OpenAI's error object (platform.openai.com/docs/guides/error-codes), with our request's id."""
    return status_for_caller(error), msgspec.json.encode(wire.error_written(error, request_id))
