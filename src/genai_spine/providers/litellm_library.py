"""LiteLLM's own ways, kept in one place: how it is imported, what it calls OpenAI's chat, what it raises.

It is an extra (`pip install 'genai-spine[litellm]'`) and takes seconds to import, so it is imported at the first
call. Nothing is set in it but `suppress_debug_info`, without which it prints to the terminal; its callbacks and
loggers stay as a program has set them. Sources: docs.litellm.ai/docs/completion/input, /docs/reasoning_content,
/docs/exception_mapping (2026-11), and version 1.106, against which it is tested.

Must not know: settings, transports, which service is meant.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

import msgspec

from genai_spine.dialects.failure import redact
from genai_spine.dialects.openai_chat.schema import error_of
from genai_spine.model.errors import (
    APIConnectionError,
    BadReply,
    ConfigError,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    ProviderError,
    ProviderTimeout,
    QuotaExceeded,
    SpineError,
)
from genai_spine.model.response import Notice

EXTRA = "pip install 'genai-spine[litellm]'"


@cache
def load() -> Any:
    """The package `litellm`. Raises: ConfigError that names the extra."""
    # Without these it fetches lists over the network: of prices when it is imported, of headers at some calls.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True")
    try:
        library: Any = importlib.import_module("litellm")
    except ImportError as error:
        raise ConfigError(f'the type "litellm" needs an extra: {EXTRA} ({error})') from None
    library.suppress_debug_info = True
    return library


# ---------------------------------------------------------------- a request

CHAT_ARGUMENTS = frozenset(
    {
        *("model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls"),
        *("temperature", "top_p", "top_k", "n", "stop", "max_tokens", "seed", "user", "presence_penalty"),
        *("frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "response_format", "modalities"),
        *("prediction", "audio", "reasoning_effort", "verbosity", "safety_identifier", "service_tier", "store"),
        *("prompt_cache_key", "web_search_options"),
    }
)
"""The members of a chat's body that are arguments of `acompletion`, too.

No other member becomes one: `api_base`, `api_key`, `mock_response` and many more are arguments, and a body may
come from a caller of the gateway, who must not say where our keys go.
"""
EMBEDDING_ARGUMENTS = frozenset({"model", "input", "dimensions", "encoding_format", "user"})

_OPTIONAL = CHAT_ARGUMENTS - {"model", "messages", "stream", "stream_options", "top_k"}
_CONTENT = frozenset({"tools", "tool_choice", "response_format", "modalities", "audio", "prediction"})
"""What changes the answer and not only how it is drawn: LiteLLM refuses it where the service has no word for it."""


def chat_arguments(body: Mapping[str, Any], supported: Iterable[str] | None) -> tuple[dict[str, Any], list[Notice]]:
    """The body of an OpenAI chat as arguments of `acompletion`, and what had to be left out.

    `supported` are the arguments that LiteLLM knows for the model; None where it does not say. What it has no word
    for is left out here, with a Notice: its own `drop_params` would leave it out in silence.
    """
    arguments, notices = known_arguments(body, CHAT_ARGUMENTS)
    unsaid = arguments.keys() & (_OPTIONAL - _CONTENT) - set(arguments if supported is None else supported)
    for name in sorted(unsaid):
        del arguments[name]
        notices.append(Notice(code="dropped", message=f"LiteLLM has no word for {name} of this model", param=name))
    arguments["messages"] = [_message_written(message) for message in arguments["messages"]]
    return arguments, notices


def known_arguments(body: Mapping[str, Any], known: frozenset[str]) -> tuple[dict[str, Any], list[Notice]]:
    """The members that are arguments by these names; the others are told of."""
    arguments = {name: value for name, value in body.items() if name in known}
    notices = [
        Notice(code="dropped", message=f"LiteLLM is not told of {name}", param=name)
        for name in body
        if name not in known
    ]
    return arguments, notices


def _message_written(message: Mapping[str, Any]) -> dict[str, Any]:
    """Thoughts as LiteLLM takes them back: `reasoning_content`, and `thinking_blocks` where they are signed."""
    written = dict(message)
    details = written.pop("reasoning_details", None)
    if not details:
        return written
    blocks: list[dict[str, Any]] = []
    for detail in details:
        if "data" in detail:
            blocks.append({"type": "redacted_thinking", "data": detail["data"]})
        elif detail.get("signature"):
            block = {"type": "thinking", "thinking": detail.get("text", ""), "signature": detail["signature"]}
            blocks.append(block)
    if text := "".join(detail.get("text", "") for detail in details):
        written["reasoning_content"] = text
    if blocks:
        written["thinking_blocks"] = blocks
    return written


# ---------------------------------------------------------------- an answer


def openai_answer(members: Mapping[str, Any]) -> dict[str, Any]:
    """An answer or a chunk of LiteLLM's, as a service that speaks OpenAI's chat would write it.

    Its dumps hold every field that any service has, mostly as null; and signed thoughts are in
    `thinking_blocks`, which the dialect knows as `reasoning_details`.
    """
    answer: dict[str, Any] = _said(members)
    for choice in answer.get("choices", ()):
        for name in ("message", "delta"):
            if name in choice:
                _read_thoughts(choice[name])
    return answer


def _read_thoughts(message: dict[str, Any]) -> None:
    blocks = message.pop("thinking_blocks", None)
    if (more := message.get("provider_specific_fields")) is not None:
        for name in ("thinking_blocks", "reasoning_content"):  # the same once more
            more.pop(name, None)
        if not more:
            del message["provider_specific_fields"]
    if blocks:
        message["reasoning_details"] = [_detail_of(block) for block in blocks]


def _detail_of(block: Mapping[str, Any]) -> dict[str, Any]:
    if block.get("type") == "redacted_thinking":
        return {"type": "reasoning.encrypted", "data": block.get("data", ""), "index": 0}
    detail = {"type": "reasoning.text", "text": block.get("thinking", ""), "index": 0}
    return {**detail, "signature": block["signature"]} if block.get("signature") else detail


def was_cut(stream: Any) -> bool:
    """Whether a stream of LiteLLM's ended without the service's word for why: its last chunk says "stop" then, too."""
    said = [getattr(stream, name, None) for name in ("received_finish_reason", "intermittent_finish_reason")]
    return hasattr(stream, "received_finish_reason") and said == [None, None]


def _said(value: Any) -> Any:
    """The value without members that are null or that hold nothing but such members."""
    if isinstance(value, Mapping):
        members = {name: _said(member) for name, member in value.items()}
        return {name: member for name, member in members.items() if member is not None and member != {}}
    return [_said(item) for item in value] if isinstance(value, list) else value


def cost_of(library: Any, answer: Any, model: str) -> Decimal | None:
    """What LiteLLM says that an answer cost, in USD; None where its list has no price for the model."""
    try:
        cost = library.completion_cost(completion_response=answer, model=model)
    except Exception:  # it has many kinds of them for a model that it has no price for
        return None
    if not cost and not _is_listed(library, model):
        return None  # its zero for every model of some services is a guess
    return Decimal(str(round(cost, 12)))


def _is_listed(library: Any, model: str) -> bool:
    return model in library.model_cost or model.partition("/")[2] in library.model_cost


# ---------------------------------------------------------------- errors

_CLASSES: Mapping[str, type[ProviderError]] = {
    "ContextWindowExceededError": ContextLengthExceeded,
    "ContentPolicyViolationError": ContentFiltered,
    "PaymentRequiredError": QuotaExceeded,
    "Timeout": ProviderTimeout,
    "APIConnectionError": APIConnectionError,
    "APIResponseValidationError": BadReply,
}
"""By name, since versions differ in which there are; every other is told by its status."""

_REFUSED = {"UnsupportedParamsError": None, "LiteLLMUnknownProvider": "model", "ImageFetchError": "messages"}
"""Those that LiteLLM raises before anything is sent, and the parameter that is wrong."""

_PREFIX = re.compile(r"^(?:litellm\.)?\w+(?:Error|Timeout|Exception)\s*[:-]\s*")
_BODY = re.compile(r"""^(?:b['"])?(\{.*\})""", re.DOTALL)
_NO_SOCKET = re.compile(r"connection error|cannot connect|connection refused|name or service not known", re.IGNORECASE)
_NO_JSON = re.compile(r"expecting value|unable to get json|invalid response from llm", re.IGNORECASE)
"""What it says with a status of 500 of its own, where none came."""


def failure_of(error: Exception) -> SpineError:
    """The error of ours that an exception of LiteLLM is; BadReply for one that is none of LiteLLM's."""
    original = getattr(error, "original_exception", None)
    if type(error).__name__ == "MidStreamFallbackError" and isinstance(original, Exception):
        error = original
    names = [kind.__name__ for kind in type(error).__mro__]
    message = _message_of(error)
    if (refused := next((name for name in names if name in _REFUSED), None)) is not None:
        return InvalidRequest(f"LiteLLM: {message}", param=_REFUSED[refused])
    status = getattr(error, "status_code", None)
    if not isinstance(status, int):
        return BadReply(redact(f"LiteLLM failed: {names[0]}: {message}"))
    told = error_of(_body_of(error, message), status, _headers_of(error))
    found = next((_CLASSES[name] for name in names if name in _CLASSES), None)
    if status >= 500 and _NO_JSON.search(message):
        found = BadReply
    elif found is None and status >= 500 and _NO_SOCKET.search(message):
        found = APIConnectionError
    if found is None or isinstance(told, found):
        return told
    return found(told.message, code=told.code, retry_after_s=told.retry_after_s, request_id=told.request_id)


def _message_of(error: Exception) -> str:
    """What the service said, without the names of classes before it and the traceback that some have after it."""
    message = str(getattr(error, "message", None) or error).partition("\nTraceback")[0].strip()
    while (found := _PREFIX.match(message)) is not None and found.end() < len(message):
        message = message[found.end() :]
    return message


def _body_of(error: Exception, message: str) -> dict[str, Any]:
    """The service's own answer, which LiteLLM has as an object, or within its message, or not at all."""
    if isinstance(body := getattr(error, "body", None), dict):
        return {"error": body}
    if (found := _BODY.match(message)) is not None:
        try:
            members = msgspec.json.decode(found[1])
        except msgspec.DecodeError:
            pass
        else:
            return members if isinstance(members, dict) else {"error": message}
    return {"error": message}


def _headers_of(error: Exception) -> dict[str, str]:
    found = getattr(error, "litellm_response_headers", None) or getattr(
        getattr(error, "response", None), "headers", None
    )
    return {str(name).lower(): str(value) for name, value in found.items()} if found else {}
