"""Speaking Ollama's chat to an Ollama: `POST {base_url}/api/chat`.

Must not know which server it is. What Ollama has no word for and does without (tool_choice, user,
cache marks) is left out with a Notice; content that it cannot take is refused. A thought's signature is
left out without one: it proves the thought to the provider that signed it, and to nobody else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from genai_spine.dialects import effort, rfc3339
from genai_spine.dialects.failure import unreadable
from genai_spine.dialects.foreign import check_thread, foreign_to, only_there
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.metadata import extend
from genai_spine.dialects.ollama_chat import schema as wire
from genai_spine.dialects.ollama_chat.decoder import OllamaStreamDecoder
from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.text_documents import text_of
from genai_spine.model.content import (
    Audio,
    Document,
    Image,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from genai_spine.model.errors import BadReply, InvalidRequest, ModelNotFound, ProviderError
from genai_spine.model.free_text import as_functions
from genai_spine.model.request import CompletionRequest, Message, OutputSchema, ProviderTool, Tool, ToolChoice
from genai_spine.model.response import CompletionResponse, Notice, TokenUsage
from genai_spine.wire import json

DIALECT = wire.DIALECT
PATH = "/api/chat"

# ---------------------------------------------------------------- request


def encode_request(request: CompletionRequest, target: Target, *, stream: bool) -> Outgoing:
    """The request as this target takes it.

    Raises: InvalidRequest for content that cannot be said here: documents, audio, images by URL, n > 1.
    """
    check_thread(DIALECT, request)
    writer = _Writer(target)
    body = writer.body(request, stream=stream)
    return Outgoing(path=PATH, body=json.encode(body), notices=tuple(writer.notices))


class _Writer:
    """Writes one request; collects the notices on the way, each once."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.notices: dict[Notice, None] = {}
        self.call_names: dict[str, str] = {}

    def notice(self, code: str, message: str, param: str | None = None) -> None:
        self.notices[Notice(code=code, message=message, param=param)] = None

    def body(self, request: CompletionRequest, *, stream: bool) -> dict[str, Any]:
        if request.n is not None and request.n > 1:
            raise InvalidRequest("n: one answer a call; ask several times for several", param="n")
        request = as_functions(request, self.notice)
        # `stream` is always said: where it is left out, Ollama streams.
        body: dict[str, Any] = {
            "model": self.target.model,
            "messages": self.messages(request.messages),
            "stream": stream,
        }
        if tools := self.tools(request):
            body["tools"] = tools
        if request.output_schema is not None:
            body["format"] = self.format(request.output_schema)
        self.think(request, body)
        if options := self.options(request):
            body["options"] = options
        if request.user is not None:
            self.notice("dropped", "Ollama takes no user id", "user")
        if request.cache is not None:
            self.cache_mark()
        extend(body, request.extra, DIALECT)
        for found in foreign_to(DIALECT, request):
            self.notice(found.code, found.message, found.param)
        return body

    def options(self, request: CompletionRequest) -> dict[str, Any]:
        options: dict[str, Any] = {}
        for name, field in wire.OPTIONS.items():
            value = getattr(request, field)
            if value is None or value == ():
                continue
            if name in ("temperature", "top_p") and self.target.card.capabilities.sampling is False:
                self.notice("dropped", f"the model takes no {name}", name)
            else:
                options[name] = value
        return options

    def format(self, wanted: OutputSchema) -> Any:
        """The schema itself: it has no name here, and is always enforced."""
        if wanted.description is not None:
            self.notice("dropped", "a schema has no description of its own here", "output_schema.description")
        return "json" if wanted.schema is None else wanted.schema

    def think(self, request: CompletionRequest, body: dict[str, Any]) -> None:
        """`think` is true or false, or a level for models that have levels; another model's level is refused
        by versions before 0.33 and silently taken for the model's default by later ones."""
        thinking = request.thinking
        if thinking is None:
            return
        if thinking.display is not None:
            self.notice("dropped", "Ollama always shows thoughts", "thinking.display")
        level = thinking.effort
        if level is None and thinking.budget_tokens is not None:
            level = effort.effort_of(thinking.budget_tokens)
        if thinking.enabled is False or level == "none":
            body["think"] = False
        elif self.target.card.capabilities.thinking is False:
            self.notice("dropped", "the model does not think", "thinking")
        elif level is not None and has_levels(self.target):
            body["think"] = _LEVELS.get(level, "medium")
            if thinking.effort is None:
                self.notice("changed", f"a budget is sent as {body['think']!r}", "thinking")
            elif body["think"] != level:
                self.notice("changed", f"effort {level} is sent as {body['think']!r}", "thinking")
        elif level is not None or thinking.enabled or thinking.adaptive:
            body["think"] = True
            if level is not None or thinking.adaptive:
                self.notice("changed", "the model thinks or does not: how much is sent as true", "thinking")

    def cache_mark(self) -> None:
        self.notice("dropped", "Ollama caches by itself and takes no cache marks", "cache_control")

    # ------------------------------------------------------------ tools

    def tools(self, request: CompletionRequest) -> list[dict[str, Any]]:
        if request.parallel_tool_calls is False:
            self.notice("dropped", "Ollama cannot be kept from parallel tool calls", "parallel_tool_calls")
        if request.tool_choice is not None and request.tools:
            self.tool_choice(request.tool_choice)
            if request.tool_choice.mode == "none":
                return []
        return [written for tool in request.tools if (written := self.tool(tool)) is not None]

    def tool_choice(self, choice: ToolChoice) -> None:
        match choice.mode:
            case "auto":
                pass
            case "none":
                self.notice("changed", "Ollama has no tool_choice: the tools are left out", "tool_choice")
            case "required" | "tool":
                self.notice("dropped", "Ollama has no tool_choice: the model may answer without", "tool_choice")

    def tool(self, tool: Tool | ProviderTool) -> dict[str, Any] | None:
        if isinstance(tool, ProviderTool):
            self.notice("dropped", f"the tool {tool.name} runs at a provider that speaks {tool.dialect}", "tools")
            return None
        if tool.strict:
            self.notice("dropped", "Ollama does not enforce the schemas of tools", "tools.strict")
        if tool.cache is not None:
            self.cache_mark()
        function: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        # The field is required; this is a function without parameters.
        function["parameters"] = (
            tool.parameters if tool.parameters is not None else {"type": "object", "properties": {}}
        )
        return extend({"type": "function", "function": function}, tool.provider_metadata, DIALECT)

    # ------------------------------------------------------------ messages

    def messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        written: list[dict[str, Any]] = []
        moved: list[Part] = []  # images of tool results, until the results are all said
        for index, message in enumerate(messages):
            path = f"messages[{index}]"
            if message.name is not None:
                self.notice("dropped", "a message has no name here", f"{path}.name")
            results = [part for part in message.content if isinstance(part, ToolResult)]
            if moved and not results:
                written.append(self.moved(moved))
            match message.role:
                case "system" | "developer":
                    written.append(self.plain(message, path, "system"))
                case "assistant":
                    written.append(self.assistant(message, path))
                case "user" | "tool":
                    written.extend(self.result(part, moved, path) for part in results)
                    rest = [part for part in message.content if not isinstance(part, ToolResult)]
                    if moved and rest:
                        written.append(self.moved(moved))
                    if rest or not results:
                        written.append(self.plain(message, path, "user", rest))
        if moved:
            written.append(self.moved(moved))
        return written

    def moved(self, images: list[Part]) -> dict[str, Any]:
        message = self.plain(Message(role="user", content=tuple(images)), "tool results", "user")
        images.clear()
        return message

    def plain(self, message: Message, path: str, role: str, parts: Sequence[Part] | None = None) -> dict[str, Any]:
        content = message.content if parts is None else parts
        written = {"role": role, **self.content(content, path, between="\n\n")}
        return extend(written, message.provider_metadata, DIALECT)

    def result(self, result: ToolResult, moved: list[Part], path: str) -> dict[str, Any]:
        """Tool results are messages of their own here, of text; images follow in a message of the user."""
        if result.is_error:
            self.notice("dropped", "a tool result has no error flag here; its text stays", f"{path}.is_error")
        if result.cache is not None:
            self.cache_mark()
        images = [part for part in result.content if isinstance(part, Image)]
        if images:
            self.notice("changed", "images of tool results follow in a message of the user", path)
            moved.extend(images)
        texts = [part for part in result.content if not isinstance(part, Image)]
        written = {
            "role": "tool",
            **self.content(texts, path, between="\n\n"),
            "tool_call_id": result.call_id,
        }
        if (name := result.name or self.call_names.get(result.call_id)) is not None:
            written["tool_name"] = name
        return extend(written, result.provider_metadata, DIALECT)

    def assistant(self, message: Message, path: str) -> dict[str, Any]:
        shown: list[Part] = []
        thoughts: list[str] = []
        calls: list[dict[str, Any]] = []
        for index, part in enumerate(message.content):
            match part:
                case ToolCall():
                    calls.append(self.tool_call(part, f"{path}.content[{index}]"))
                case Thinking(redacted=str()):
                    self.notice("omitted_thinking", "redacted thoughts cannot be sent here", path)
                case Thinking():
                    thoughts.append(part.text)
                case _:
                    shown.append(part)
        # Blocks of one answer may be cut in the middle of a sentence (citations): nothing goes between them.
        written = {"role": "assistant", **self.content(shown, path, between="")}
        if thoughts:
            written["thinking"] = "".join(thoughts)
        if calls:
            written["tool_calls"] = calls
        return extend(written, message.provider_metadata, DIALECT)

    def tool_call(self, call: ToolCall, path: str) -> dict[str, Any]:
        self.call_names[call.id] = call.name
        if (arguments := wire.object_of(call.arguments)) is None:
            raise InvalidRequest(
                f"{path}.arguments: Ollama takes the arguments of a tool call as a JSON object, "
                "and these are none; mend or leave out the call",
                param=path,
            )
        written = {"id": call.id, "function": {"name": call.name, "arguments": arguments}}
        return extend(written, call.provider_metadata, DIALECT)

    # ------------------------------------------------------------ parts

    def content(self, parts: Sequence[Part], path: str, *, between: str) -> dict[str, Any]:
        texts: list[str] = []
        images: list[str] = []
        for index, part in enumerate(parts):
            place = f"{path}.content[{index}]"
            if part.cache is not None:
                self.cache_mark()
            match part:
                case Text():
                    texts.append(part.text)
                case Image():
                    images.append(self.image(part, place))
                case Document() if (text := text_of(part)) is not None:
                    self.notice("changed", "a text document is sent as text", place)
                    texts.append(text)
                case Refusal():
                    self.notice("changed", "a refusal is sent as text", place)
                    texts.append(part.text)
                case _:
                    raise InvalidRequest(f"{place}: {_refused(part)}", param=place)
        written: dict[str, Any] = {"content": between.join(texts)}
        if images:
            written["images"] = images
        return written

    def image(self, image: Image, path: str) -> str:
        if image.data is None:
            raise InvalidRequest(
                f"{path}: Ollama takes images as base64 only; send the bytes, as a data: URL for one",
                param=path,
            )
        if image.detail not in (None, "auto"):
            self.notice("dropped", "Ollama takes no detail of images", "detail")
        return image.data


_LEVELS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "max",
}


def has_levels(target: Target) -> bool:
    """Whether `think` may be a level: the card says so, or the model is gpt-oss under any namespace."""
    if (style := target.card.capabilities.thinking_style) is not None:
        return style == "effort"
    return target.model.rpartition("/")[2].startswith("gpt-oss")


def _refused(part: Part) -> str:
    match part:
        case Document():
            return "Ollama takes no documents; send their text"
        case Audio():
            return "Ollama takes no audio; send a transcript"
        case Opaque():
            return only_there(part)
        case _:
            return f"a part of type {type(part).__name__} cannot be said here"


# ---------------------------------------------------------------- answer

_reply = msgspec.json.Decoder(wire.Reply)


def decode_response(body: bytes, target: Target) -> CompletionResponse:
    """An answer of `/api/chat`, or of `/api/generate`.

    Raises: BadReply where it is none; the provider's error where a 200 carries one.
    """
    reply = json.decode_outbound(body, _reply)
    if reply.error != wire.NULL:
        raise wire.error_inside(reply.error)
    message = wire.message_of(reply)
    if message is None:
        raise BadReply("an answer without a message")
    if reply.done is False:
        raise BadReply("an answer that is not done")
    parts = wire.parts_of(message, reply.created_at)
    return CompletionResponse(
        model=reply.model or target.model,
        created_s=rfc3339.seconds_of(reply.created_at),
        parts=tuple(parts),
        finish_reason=wire.finish_of(reply.done_reason, called=bool(message.tool_calls)),
        raw_finish_reason=reply.done_reason or None,
        usage=wire.usage_of(reply),
        extra=wire.extra_of(body, reply.created_at),
        raw=msgspec.Raw(body),
    )


def stream_decoder(target: Target) -> OllamaStreamDecoder:
    return OllamaStreamDecoder(target)


# ---------------------------------------------------------------- errors

_NOT_FOUND = re.compile(r"""model ['"]?(?P<model>[^'"\s]+)['"]? not found""")


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """{"error": "model 'x' not found"}, with what to do about it; whatever the body is."""
    members = json.read_or_none(body)
    if not isinstance(members, dict) or "error" not in members:
        return unreadable(status, headers)
    error = wire.error_of(members["error"], status, headers)
    if isinstance(error, ModelNotFound) and "pull" not in error.message:
        found = _NOT_FOUND.search(error.message)
        error.message += f"; pull it first: ollama pull {found['model'] if found else 'NAME'}"
        error.args = (error.message,)
    return error


def decode_embedded_error(body: bytes) -> ProviderError | None:
    members = json.read_or_none(body)
    found = isinstance(members, dict) and members.get("error")
    return wire.error_of(found, None, {}) if found else None


# ---------------------------------------------------------------- relay


def decode_usage(raw: msgspec.Raw) -> TokenUsage | None:
    """The counts of a whole last line."""
    try:
        return wire.usage_of(_reply.decode(raw))
    except json.UNREADABLE:
        return None


def concerns(members: Mapping[str, msgspec.Raw], quirks: Quirks) -> bool:
    """No quirk is about this dialect."""
    return False
