"""The shapes of OpenAI's chat on the wire, and the tables that are read from both ends.

Wire structs are lenient inwards: what a service leaves out or sends as null is None, what we do not
know is kept by the reader. They never leave this package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from genai_spine.dialects.failure import failed
from genai_spine.dialects.metadata import extend, keep, kept, unknown
from genai_spine.dialects.shortened import shortened
from genai_spine.dialects.signatures import MISTRAL, named
from genai_spine.model.card import Capabilities
from genai_spine.model.content import Metadata, Opaque, Part, Text, Thinking, ToolCall
from genai_spine.model.errors import (
    AuthenticationError,
    BadRequest,
    ConfigError,
    ContentFiltered,
    ContextLengthExceeded,
    ErrorType,
    ModelNotFound,
    Overloaded,
    ProviderError,
    QuotaExceeded,
    RateLimitError,
    SpineError,
)
from genai_spine.model.request import ToolChoice
from genai_spine.model.response import FinishReason

DIALECT = "openai_chat"

LONGEST_USER = 64
"""The letters of a `user`; Claude Code's `user_id` has 150. Sources of this and the next: shortened.py."""

LONGEST_CALL_ID = 40

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    # Said by some compatible services only (recordings, 2026-11).
    "function_call": FinishReason.TOOL_CALLS,
    "eos": FinishReason.STOP,
    "model_length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "error": FinishReason.ERROR,
    "insufficient_system_resource": FinishReason.ERROR,
}

WRITTEN_FINISH: dict[FinishReason, str] = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.PAUSE: "stop",
    FinishReason.ERROR: "error",
    FinishReason.OTHER: "stop",
}

TOO_LONG = "string_above_max_length"
"""Of a text in the request; `param` says which."""

ERROR_CODES: dict[str, type[ProviderError]] = {
    "context_length_exceeded": ContextLengthExceeded,
    TOO_LONG: ContextLengthExceeded,
    "exceed_context_size_error": ContextLengthExceeded,  # llama.cpp
    "content_filter": ContentFiltered,
    "content_policy_violation": ContentFiltered,
    "insufficient_quota": QuotaExceeded,
    "billing_hard_limit_reached": QuotaExceeded,
    "insufficient_balance": QuotaExceeded,
    "model_not_found": ModelNotFound,
    "invalid_model": ModelNotFound,  # Mistral, with status 400
    "invalid_api_key": AuthenticationError,
    "rate_limit_exceeded": RateLimitError,
    "engine_overloaded": Overloaded,
    "overloaded_error": Overloaded,
}


class Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class Custom(msgspec.Struct, gc=False):
    name: str | None = None
    input: str | None = None


class ToolCallWire(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: Function | None = None
    custom: Custom | None = None


class ReplyMessage(msgspec.Struct, gc=False):
    """A message of an answer, or the delta of one."""

    content: str | list[dict[str, Any]] | dict[str, Any] | None = None
    tool_calls: list[ToolCallWire] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    refusal: str | None = None
    function_call: Function | None = None
    annotations: list[Any] | None = None
    audio: dict[str, Any] | None = None
    images: list[Any] | None = None


class Choice(msgspec.Struct, gc=False):
    delta: ReplyMessage | None = None
    index: int | None = None
    finish_reason: str | None = None
    message: ReplyMessage | None = None
    logprobs: Any = None
    content_filter_results: Any = None
    """Azure's, on any chunk of a stream; of a whole answer it is among what is kept."""


class Reply(msgspec.Struct, gc=False):
    """An answer, or one chunk of a streamed one. What is Any may be anything and is looked at before use."""

    choices: list[Choice] | None = None
    usage: Any = None
    error: Any = None
    id: str | None = None
    model: str | None = None
    created: Any = None


# `obfuscation` pads the chunks of a stream and means nothing.
KNOWN_TOP_LEVEL = frozenset({"id", "model", "created", "choices", "usage", "error", "object", "obfuscation"})
KNOWN_OF_CHOICE = frozenset({"index", "delta", "message", "finish_reason", "logprobs"})
KNOWN_OF_MESSAGE = frozenset({"role", *ReplyMessage.__struct_fields__})
KNOWN_OF_CALL = frozenset(ToolCallWire.__struct_fields__)


OF_CHOICE = "choices[0]"
"""Under which an answer's `extra` has that of its first choice: no member is named so, and none loses its place."""


def pop_choice(extra: dict[str, Any]) -> dict[str, Any]:
    """What `extra` has of the choice, taken out of it."""
    more = extra.pop(OF_CHOICE, None)
    return dict(more) if isinstance(more, dict) else {}


def extra_of_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """What a choice says beside what the middle has names for; of its message under `message`."""
    extra = unknown(choice, KNOWN_OF_CHOICE)
    for message in (choice.get("message"), choice.get("delta")):
        if isinstance(message, dict) and (more := unknown(message, KNOWN_OF_MESSAGE)):
            extra.setdefault("message", {}).update(more)
    return extra


def metadata_of_call(call: Any) -> Metadata | None:
    """What a tool call says beside what the middle has names for, such as Gemini's `extra_content`, which
    holds its thought's signature (ai.google.dev/gemini-api/docs/thought-signatures, 2026-11)."""
    return keep(DIALECT, unknown(call, KNOWN_OF_CALL)) if isinstance(call, dict) else None


def content_text(content: dict[str, Any]) -> str:
    """Cloudflare's JSON mode answers with the object itself in place of its text (recorded, 2026-11)."""
    return msgspec.json.encode(content).decode()


def arguments_text(arguments: str | dict[str, Any] | None) -> str:
    """Arguments as JSON text; some compatible services send the object itself."""
    if isinstance(arguments, dict):
        return msgspec.json.encode(arguments).decode()
    return arguments or ""


def called(call: ToolCallWire) -> tuple[str | None, str, Literal["function", "custom"]]:
    """Name, arguments as text, and kind. Some services send both objects, one of them empty (Snowflake)."""
    if (custom := call.custom) is not None and (custom.name or custom.input):
        return custom.name, custom.input or "", "custom"
    if (function := call.function) is not None:
        return function.name, arguments_text(function.arguments), "function"
    return None, "", "function"


def minted_call_id(response_id: str | None, position: int) -> str:
    """An id for a tool call that came without one: the same for the stream and the plain answer."""
    return f"call_{response_id or 'unnamed'}_{position}"


# ---------------------------------------------------------------- content as a list of chunks


def part_of_chunk(chunk: dict[str, Any]) -> Part:
    """Mistral's magistral models answer with a list: text and thinking (docs.mistral.ai/capabilities/reasoning)."""
    kind = chunk.get("type")
    if kind == "text" and isinstance(text := chunk.get("text"), str):
        return Text(text=text, provider_metadata=keep(DIALECT, unknown(chunk, ("type", "text"))))
    if kind == "thinking" and isinstance(inner := chunk.get("thinking"), list):
        return _thinking_of_chunk(chunk, inner)
    return Opaque(dialect=DIALECT, kind=str(kind), raw=msgspec.Raw(msgspec.json.encode(chunk)))


def _thinking_of_chunk(chunk: dict[str, Any], inner: list[Any]) -> Thinking:
    """Its texts; what stands among them, references for one, is kept beside, as a signature is, and that the thought
    goes on (`closed` is true otherwise)."""
    texts: list[str] = []
    others: list[Any] = []
    for item in inner:
        is_text = isinstance(item, dict) and item.keys() == {"type", "text"} and isinstance(item["text"], str)
        texts.append(item["text"]) if is_text else others.append(item)
    members = unknown(chunk, ("type", "thinking"))
    if members.get("closed") is True:
        del members["closed"]
    if others:
        members["references"] = others
    signature = members.get("signature")
    return Thinking(
        text="".join(texts),
        signature=named(MISTRAL, signature) if isinstance(signature, str) and signature else None,
        provider_metadata=keep(DIALECT, members),
    )


def joined(before: Metadata | None, more: Metadata) -> Metadata:
    """What two pieces of one part say beside their texts: lists grow, the rest is set."""
    members = kept(before, DIALECT)
    for name, value in kept(more, DIALECT).items():
        known = members.get(name)
        members[name] = [*known, *value] if isinstance(known, list) and isinstance(value, list) else value
    return {DIALECT: msgspec.Raw(msgspec.json.encode(members))}


# ---------------------------------------------------------------- options


def is_forced(choice: ToolChoice | None) -> bool:
    """Whether some tool must be called."""
    return choice is not None and choice.mode in ("required", "tool")


def user_written(user: str, notice: Callable[[str, str, str], None]) -> str:
    """The user, or where that is too long a hash, which is as long as a `user` may be and tells users apart as well."""
    written = shortened(user, LONGEST_USER)
    if written is not user:
        notice("changed", f"a user of more than {LONGEST_USER} letters sent as its SHA-256", "user")
    return written


# ---------------------------------------------------------------- what the reasoning models refuse

NOT_WHILE_REASONING = ("logprobs", "top_logprobs")
NOT_OF_REASONING = ("logit_bias", "prediction")
"""What OpenAI's reasoning models refuse as they do a temperature, and what they always refuse: "Unsupported parameter …
not supported with this model" (400, tried out in github.com/BerriAI/litellm/pull/21576, read 2026-11)."""


ONLY_IN_RESPONSES = "max"
"""The effort that chat does not take (github.com/BerriAI/litellm-docs/pull/1173, livekit/agents/pull/7169; 2026-11)."""


def limits_sampling(able: Capabilities) -> bool:
    """Whether it is one of the reasoning models, which take a temperature never, or with the effort `none` only."""
    return able.sampling is False or able.sampling_while_thinking is False


def efforts_taken(able: Capabilities) -> tuple[str, ...]:
    """The model's efforts, as far as they are taken here."""
    return tuple([level for level in able.efforts or () if level != ONLY_IN_RESPONSES])


EXTRA_HEADERS = "extra_headers"
"""The member of `extra` that holds headers of a caller's, those of `OF_EXTRA_HEADERS`: so OpenAI's SDKs call them."""
OF_EXTRA_HEADERS = frozenset({"openai-beta", "openai-organization", "openai-project"})


def take_headers(own: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """A caller's own headers of OpenAI's, taken out of what is said in the body."""
    said = own.get(EXTRA_HEADERS)
    if not isinstance(said, dict) or not said.keys() <= OF_EXTRA_HEADERS:
        return ()
    del own[EXTRA_HEADERS]
    return tuple([(name, str(value)) for name, value in said.items()])


# ---------------------------------------------------------------- endings


def finish_of(reason: str | None) -> FinishReason | None:
    return FINISH_REASONS.get(reason, FinishReason.OTHER) if reason else None


def error_of(members: Any, status: int | None, headers: Mapping[str, str]) -> ProviderError:
    """OpenAI's {"error": {message, type, code}}, and the shapes that compatible services use instead."""
    if isinstance(members, list) and members:  # Gemini's compatible endpoint puts it into a list
        members = members[0]
    error = (members.get("error") or members) if isinstance(members, dict) else members
    if not isinstance(error, dict):
        return failed(status, headers, message=_said(error), code=None, codes=ERROR_CODES)
    code, kind = error.get("code"), error.get("type")
    if status is None and isinstance(code, int) and 400 <= code < 600:
        status = code
    codes = codes_for(error, ERROR_CODES)
    found = next((str(item) for item in (code, kind) if str(item) in codes), None)
    name = found or (str(code) if isinstance(code, str) else kind if isinstance(kind, str) else None)
    message = _said(error.get("message") or error.get("detail") or error)
    return failed(status, headers, message=message, code=name, codes=codes)


def codes_for(error: Mapping[str, Any], codes: dict[str, type[ProviderError]]) -> dict[str, type[ProviderError]]:
    """The codes as they are meant of this error: a text that is too long is the conversation only where it stands
    there. A user, an id or a tool's name is no shorter in a shorter conversation."""
    place = error.get("param")
    if error.get("code") != TOO_LONG or not isinstance(place, str) or _CONVERSATION.fullmatch(place):
        return codes
    return {**codes, TOO_LONG: BadRequest}


_CONVERSATION = re.compile(r"(messages|input|instructions)(\[\d+\])?(\.(content|output)\b.*|.*\.arguments)?")


def _said(message: Any) -> str:
    return message if isinstance(message, str) else msgspec.json.encode(message).decode()


def finish_written(reason: FinishReason | None) -> str | None:
    """The finish reason in OpenAI's words, whatever the provider called it: clients compare with them."""
    return None if reason is None else WRITTEN_FINISH[reason]


def has_empty_arguments(call: ToolCall, finish: FinishReason | None) -> bool:
    """Whether a call's arguments are to be written `{}`: clients parse them as JSON. Where the answer was cut
    they stay empty, so that nobody runs a call which was never finished."""
    return call.kind == "function" and not call.arguments and finish is not FinishReason.LENGTH


def tool_call_written(call: ToolCall) -> dict[str, Any]:
    written: dict[str, Any]
    if call.kind == "custom":
        written = {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    else:
        function = {"name": call.name, "arguments": call.arguments}
        written = {"id": call.id, "type": "function", "function": function}
    return extend(written, call.provider_metadata, DIALECT)


ERROR_TYPES: dict[ErrorType, str] = {
    ErrorType.AUTHENTICATION: "authentication_error",
    ErrorType.RATE_LIMIT: "rate_limit_error",
    ErrorType.QUOTA_EXCEEDED: "insufficient_quota",
    ErrorType.INVALID_REQUEST: "invalid_request_error",
    ErrorType.SERVER_ERROR: "server_error",
    ErrorType.NETWORK_ERROR: "server_error",
    ErrorType.TIMEOUT: "timeout_error",
    ErrorType.UNKNOWN: "server_error",
}


def error_written(error: SpineError, request_id: str) -> dict[str, Any]:
    """{"error": {message, type, param, code}} as OpenAI's clients read it, with our request's id."""
    return {
        "error": {
            "message": error.message,
            # What is wrong is the gateway's settings; a caller who reads of an invalid request would look at his own.
            "type": ERROR_TYPES[ErrorType.SERVER_ERROR if isinstance(error, ConfigError) else error.type],
            "param": getattr(error, "param", None),
            "code": _code_written(error),
            "request_id": request_id,
        }
    }


def _code_written(error: SpineError) -> str | None:
    """Clients shorten a conversation on reading this very code, whatever the provider calls it."""
    if isinstance(error, ContextLengthExceeded) and error.code != TOO_LONG:
        return ContextLengthExceeded.code
    return error.code
