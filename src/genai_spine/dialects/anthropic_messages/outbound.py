"""Speaking Anthropic's Messages to a provider: `POST {base_url}/v1/messages`.

Must not know which provider it is. The version header belongs to the provider's row; `anthropic-beta` is
added here for what we write and the service does not take without it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from genai_spine.dialects.anthropic_messages import schema as wire
from genai_spine.dialects.anthropic_messages.blocks import part_of_block
from genai_spine.dialects.anthropic_messages.decoder import MessagesStreamDecoder
from genai_spine.dialects.anthropic_messages.history import HistoryWriter
from genai_spine.dialects.anthropic_messages.json_schema import fitted, schema_of_tool
from genai_spine.dialects.anthropic_messages.thinking import refused_sampling, thinking_of
from genai_spine.dialects.anthropic_messages.white_space import sayable_stop
from genai_spine.dialects.failure import unreadable
from genai_spine.dialects.foreign import foreign_to
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.lenient import counted_tokens
from genai_spine.dialects.metadata import extend, keep, kept, unknown
from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.searches import MARK_BYTES
from genai_spine.dialects.shortened import Renaming
from genai_spine.dialects.signatures import may_be_named
from genai_spine.model.content import Part
from genai_spine.model.errors import BadReply, InvalidRequest, ProviderError
from genai_spine.model.free_text import as_functions
from genai_spine.model.request import CompletionRequest, ProviderTool, Tool, ToolChoice
from genai_spine.model.response import CompletionResponse, Notice, TokenUsage
from genai_spine.model.tool_names import CLAUDE
from genai_spine.wire import json

DIALECT = wire.DIALECT
PATH = wire.PATH

# max_tokens is required. Where neither the caller nor the model's card says one, this is what every
# model since Claude 3 can write.
DEFAULT_MAX_TOKENS = 4096

# …/build-with-claude/files and …/api/beta-headers (2026-11): still asked for under version 2023-06-01.
_FILES_BETA = "files-api-2025-04-14"

_LONGEST_USER = 256
# "metadata.user_id: user_id appears to contain an email address" (400, BerriAI/litellm#10106).
_EMAIL = re.compile(r"[^\s@]@[^\s@]+\.[^\s@]")

_UNSAID = ("frequency_penalty", "presence_penalty", "seed", "context_window")
"""What the service takes no member for."""

_NOT_COUNTED = frozenset(
    {"max_tokens", "metadata", "service_tier", "stop_sequences", "stream", "temperature", "top_k", "top_p"}
)
"""The members of a request that a count of its tokens does not take (CountMessageTokensParams)."""


# ---------------------------------------------------------------- request


def encode_request(request: CompletionRequest, target: Target, *, stream: bool) -> Outgoing:
    """The request as this target takes it.

    Raises: InvalidRequest for content that cannot be said here: audio, another dialect's opaque parts,
    tool calls whose arguments are no object, n > 1.
    """
    writer = _Writer(target)
    body = writer.body(request, stream=stream)
    return writer.outgoing(PATH, body)


def encode_count_request(request: CompletionRequest, target: Target) -> Outgoing:
    """The question how many input tokens the request has. The answer of the model costs nothing here, so
    what bears only on it is left out without a word.

    Raises: InvalidRequest, as `encode_request` does.
    """
    writer = _Writer(target)
    body = writer.body(request, stream=False)
    writer.notices.clear()
    return writer.outgoing(wire.COUNT_PATH, unknown(body, _NOT_COUNTED))


class _Writer:
    """Writes one request; collects the notices on the way."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.notices: list[Notice] = []
        self.betas: list[str] = []
        self.names = Renaming(None, self.notice, CLAUDE)  # ids: blocks.py

    def notice(self, code: str, message: str, param: str | None = None) -> None:
        self.notices.append(Notice(code=code, message=message, param=param))

    def outgoing(self, path: str, body: dict[str, Any]) -> Outgoing:
        headers = (("anthropic-beta", ",".join(self.betas)),) if self.betas else ()
        return Outgoing(path=path, body=json.encode(body), headers=headers, notices=tuple(self.notices))

    def body(self, request: CompletionRequest, *, stream: bool) -> dict[str, Any]:
        if request.n is not None and request.n > 1:
            raise InvalidRequest("n: one answer a call; ask several times for several", param="n")
        request = as_functions(request, self.notice)
        history = HistoryWriter(self.target.model, self.notice, self.names)
        system, messages = history.written(request.messages)
        if history.has_files:
            self.betas.append(_FILES_BETA)
        body: dict[str, Any] = {"model": self.target.model, "max_tokens": 0}
        if system:
            body["system"] = system
        body["messages"] = messages
        if stream:
            body["stream"] = True
        is_forced = self.tools(request, body)
        self.thinking(request, body, is_forced=is_forced)
        self.sampling(request, body)
        self.output_schema(request, body)
        if request.user is not None:
            body["metadata"] = {"user_id": self.user(request.user)}
        if request.cache is not None:
            body["cache_control"] = wire.cache_control(request.cache)
        self.extra(request, body)
        return body

    def user(self, user: str) -> str:
        """At most 256 characters, and nothing that tells who it is (…/api/messages, metadata)."""
        if len(user) <= _LONGEST_USER and _EMAIL.search(user) is None:
            return user
        self.notice("changed", "the user is sent as a hash: the service takes no addresses and no long names", "user")
        return hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()

    def thinking(self, request: CompletionRequest, body: dict[str, Any], *, is_forced: bool) -> None:
        """Writes max_tokens too: the two depend on each other."""
        card = self.target.card
        max_tokens, most = request.max_tokens or None, None  # 0 is "no limit" to some that Ollama answers
        if max_tokens is None:
            max_tokens = card.max_output_tokens or DEFAULT_MAX_TOKENS
            most = card.max_output_tokens or 2**31
            if card.max_output_tokens is None:
                self.notice("changed", f"max_tokens is required here: sent {max_tokens}", "max_tokens")
        elif (limit := card.max_output_tokens) is not None and max_tokens > limit:
            # "max_tokens: 21333 > 4096, which is the maximum allowed number of output tokens" (400, claude-code#11302)
            self.notice("changed", f"max_tokens {max_tokens} sent as {limit}, the model's most", "max_tokens")
            max_tokens = limit
        thought = thinking_of(
            request,
            card.capabilities,
            max_tokens=max_tokens,
            most_tokens=most,
            is_forced=is_forced,
            notice=self.notice,
        )
        body["max_tokens"] = thought.max_tokens
        if thought.config is not None:
            body["thinking"] = thought.config
        if thought.effort is not None:
            body["output_config"] = {"effort": thought.effort}

    def sampling(self, request: CompletionRequest, body: dict[str, Any]) -> None:
        temperature = request.temperature
        if temperature is not None and temperature > 1:
            self.notice("changed", f"temperature {temperature} sent as 1, the highest here", "temperature")
            temperature = 1
        card = self.target.card.capabilities
        thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
        for name, value in (("temperature", temperature), ("top_p", request.top_p), ("top_k", request.top_k)):
            if value is None:
                continue
            if why := refused_sampling(name, value, card, thinks=thinks, has_temperature="temperature" in body):
                self.notice("dropped", why, name)
            else:
                body[name] = value
        if stop := sayable_stop(request.stop, self.notice):
            body["stop_sequences"] = stop
        for name in _UNSAID:
            if getattr(request, name) is not None:
                self.notice("dropped", f"the service takes no {name}", name)

    def output_schema(self, request: CompletionRequest, body: dict[str, Any]) -> None:
        wanted = request.output_schema
        if wanted is None:
            return
        if wanted.schema is None:
            self.notice("dropped", "JSON can be asked for with a schema only", "response_format")
        elif self.target.card.capabilities.structured_output is False:
            self.notice("dropped", "the model takes no output schema", "response_format")
        else:
            schema = fitted(wanted.schema)
            if schema != wanted.schema:
                self.notice("changed", "the schema was fitted to what the service takes", "response_format")
            named = {"title": wanted.name, "description": wanted.description}
            for key, value in named.items():
                if value is not None:
                    schema.setdefault(key, value)
            body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}

    # ------------------------------------------------------------ tools

    def tools(self, request: CompletionRequest, body: dict[str, Any]) -> bool:
        """Whether the model is forced to call one."""
        tools = [written for tool in request.tools if (written := self.tool(tool)) is not None]
        if tools:
            body["tools"] = tools
        choice = request.tool_choice
        if choice is None and request.parallel_tool_calls is False and tools:
            choice = ToolChoice(mode="auto")
        if choice is None:
            return False
        left_out = {tool.name for tool in request.tools if isinstance(tool, ProviderTool) and tool.dialect != DIALECT}
        if not tools and not kept(request.extra, DIALECT).get("mcp_servers"):
            self.notice("dropped", "there is no tool to choose", "tool_choice")
            return False
        if choice.mode == "tool" and choice.name in left_out:
            self.notice("dropped", f"the tool {choice.name} was left out", "tool_choice")
            return False
        if choice.mode in ("required", "tool") and self.target.card.capabilities.forced_tools is False:
            self.notice("changed", "the model cannot be told to call a tool: left to it", "tool_choice")
            choice = ToolChoice(mode="auto")
        said: dict[str, Any] = {"type": {"required": "any"}.get(choice.mode, choice.mode)}
        if choice.mode == "tool":
            said["name"] = choice.name and self.names.tool(choice.name)
        if request.parallel_tool_calls is False and choice.mode != "none":
            said["disable_parallel_tool_use"] = True
        body["tool_choice"] = said
        return choice.mode in ("required", "tool")

    def tool(self, tool: Tool | ProviderTool) -> dict[str, Any] | msgspec.Raw | None:
        if isinstance(tool, ProviderTool):
            if tool.dialect == DIALECT:
                return tool.raw
            self.notice("dropped", f"the tool {tool.name} is known to {tool.dialect} only", "tools")
            return None
        written: dict[str, Any] = {"name": self.names.tool(tool.name)}
        if tool.description is not None:
            written["description"] = tool.description
        card = self.target.card.capabilities
        written["input_schema"], strict = schema_of_tool(tool, card, self.notice)
        if tool.strict is not None and card.structured_output is not False:
            written["strict"] = strict
        if tool.cache is not None:
            written["cache_control"] = wire.cache_control(tool.cache)
        return extend(written, tool.provider_metadata, DIALECT)

    def extra(self, request: CompletionRequest, body: dict[str, Any]) -> None:
        extend(body, request.extra, DIALECT)
        betas = body.pop("betas", None)  # the SDKs' name for the header
        if isinstance(betas, list):
            self.betas[:0] = [str(beta) for beta in betas if beta not in self.betas]
        for found in foreign_to(DIALECT, request):
            self.notice(found.code, found.message, found.param)


# ---------------------------------------------------------------- answer


class _Reply(msgspec.Struct):
    type: str | None = None
    id: str | None = None
    model: str | None = None
    content: list[msgspec.Raw] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _PlainReply(msgspec.Struct, forbid_unknown_fields=True):
    """What nearly every answer is: wire.KNOWN_TOP_LEVEL and no more."""

    id: str
    type: Literal["message"]
    role: str
    model: str
    content: list[msgspec.Raw]
    stop_reason: str
    stop_sequence: str | None
    usage: dict[str, Any]


_reply = msgspec.json.Decoder(_Reply)
_plain_reply = msgspec.json.Decoder(_PlainReply)


def decode_response(body: bytes, target: Target) -> CompletionResponse:
    """Raises: BadReply where it is none; the provider's error where a 200 carries one."""
    try:
        plain = json.decode_outbound(body, _plain_reply)
    except BadReply:
        return _decode_any(body, target)
    return CompletionResponse(
        id=plain.id,
        model=plain.model or target.model,
        parts=tuple([part_of_block(block) for block in plain.content]),
        finish_reason=wire.finish_of(plain.stop_reason),
        raw_finish_reason=plain.stop_reason or None,
        stop_sequence=plain.stop_sequence,
        usage=wire.usage_of(plain.usage),
        raw=msgspec.Raw(body),
    )


def _decode_any(body: bytes, target: Target) -> CompletionResponse:
    reply = json.decode_outbound(body, _reply)
    members: dict[str, Any] = json.read_kept(body, json.ANY)
    if reply.type == "error" or (reply.content is None and "error" in members):
        raise wire.error_of(members, None, {})
    if reply.content is None:
        raise BadReply("an answer without content")
    parts: list[Part] = [part_of_block(block) for block in reply.content]
    return CompletionResponse(
        id=reply.id,
        model=reply.model or target.model,
        parts=tuple(parts),
        finish_reason=wire.finish_of(reply.stop_reason),
        raw_finish_reason=reply.stop_reason or None,
        stop_sequence=reply.stop_sequence,
        usage=wire.usage_of(members.get("usage")),
        extra=keep(DIALECT, unknown(members, wire.KNOWN_TOP_LEVEL)),
        raw=msgspec.Raw(body),
    )


def stream_decoder(target: Target) -> MessagesStreamDecoder:
    return MessagesStreamDecoder(target)


def decode_count_response(body: bytes) -> int:
    """{"input_tokens": 14}. Raises: BadReply."""
    return counted_tokens(body, "input_tokens")


# ---------------------------------------------------------------- errors


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error of an answer that is not 200; whatever the body is."""
    members = json.read_or_none(body)
    return unreadable(status, headers) if members is None else wire.error_of(members, status, headers)


def decode_embedded_error(body: bytes) -> ProviderError | None:
    members = json.read_or_none(body)
    found = isinstance(members, dict) and isinstance(members.get("error"), dict)
    return wire.error_of(members, None, {}) if found else None


# ---------------------------------------------------------------- relay


def decode_usage(raw: msgspec.Raw) -> TokenUsage | None:
    try:
        return wire.usage_of(json.ANY.decode(raw))
    except json.UNREADABLE:
        return None  # a number out of range: nobody counted that


_UNSIGNED = re.compile(rb'"signature"\s*:\s*""')


def concerns(members: Mapping[str, msgspec.Raw], quirks: Quirks) -> bool:
    """No quirk is about this dialect. But thoughts that another provider had, which we showed to a caller of this
    one without a signature or with its maker's, would be refused, and so would an address of the user: written
    through the model, they are left out, or sent as a hash, with a Notice."""
    messages = bytes(members.get("messages", b""))
    metadata = bytes(members.get("metadata", b"")).decode("utf-8", "replace")
    is_signed = b'signature"' in messages  # the end of a name is found sooner than a pattern, and most have none
    return (
        (is_signed and _UNSIGNED.search(messages) is not None)
        or (bool(metadata) and _EMAIL.search(metadata) is not None)
        or ((is_signed or b'redacted_thinking"' in messages) and may_be_named(messages))
        or MARK_BYTES[DIALECT] in messages
    )
