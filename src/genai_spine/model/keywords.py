"""Requests of keyword arguments. An argument that is none is named, with what it may have been meant to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from genai_spine.model.embedding import EmbeddingRequest
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.request import CompletionRequest
from genai_spine.model.rerank import RerankRequest

S = TypeVar("S", bound=msgspec.Struct)
R = TypeVar("R", CompletionRequest, EmbeddingRequest, RerankRequest)

_CALLED_HERE = {
    "response_format": "output_schema",
    "response_model": "output_schema",
    "response_schema": "output_schema",
    "schema": "output_schema",
    "format": "output_schema",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "max_new_tokens": "max_tokens",
    "num_predict": "max_tokens",
    "reasoning_effort": "thinking",
    "reasoning": "thinking",
    "think": "thinking",
    "stop_sequences": "stop",
    "functions": "tools",
    "function_call": "tool_choice",
    "extra_body": "extra",
    "prompt": "messages",
    "contents": "messages",
    "texts": "input",
    "text": "input",
}
"""By the name that a provider's own library, or LiteLLM, has for it."""
_MESSAGES_HERE = ("system", "system_prompt", "system_instruction", "instructions", "developer")


def request_of(kind: type[S], members: Mapping[str, Any], *, like: S | None = None) -> S:
    """A request of its keywords, or one as another with these members instead.

    Raises: InvalidRequest.
    """
    try:
        return kind(**members) if like is None else msgspec.structs.replace(like, **members)
    except TypeError as error:
        known = kind.__struct_fields__
        for name in members:
            if name not in known:
                raise InvalidRequest(f"{name}: unknown argument{_mend(name, known)}", param=name) from None
        for field in msgspec.structs.fields(kind):
            if field.required and field.name not in members and like is None:
                raise InvalidRequest(f"{field.name}: missing", param=field.name) from None
        raise InvalidRequest(f"not a request: {error}") from None


def _mend(name: str, known: Sequence[str]) -> str:
    import difflib  # noqa: PLC0415 - only where something is wrong

    if name in _MESSAGES_HERE and "messages" in known:
        return '; here that is a message of role "system"'
    if (here := _CALLED_HERE.get(name)) in known:
        return f'; here that is "{here}"'
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f'; did you mean "{near[0]}"?' if near else ""


def as_request(request: Any, options: Mapping[str, Any]) -> CompletionRequest:
    """A request, or what makes one: messages in any form, and keywords.

    Raises: InvalidRequest for a keyword that is none, naming it.
    """
    return _made(CompletionRequest, "messages", request, options)


def as_embedding_request(request: Any, options: Mapping[str, Any]) -> EmbeddingRequest:
    """The same of a text or texts. Raises: InvalidRequest."""
    return _made(EmbeddingRequest, "input", request, options)


def as_rerank_request(request: Any, options: Mapping[str, Any]) -> RerankRequest:
    """The same of a query. Raises: InvalidRequest."""
    return _made(RerankRequest, "query", request, options)


def _made(kind: type[R], first: str, request: Any, options: Mapping[str, Any]) -> R:
    """`first` is the field that a request stands for which is none yet."""
    if isinstance(request, kind):
        return request_of(kind, options, like=request) if options else request
    if request is not None and first in options:
        raise InvalidRequest(f"{first}: given twice, once by its name", param=first)
    return request_of(kind, options if request is None else {first: request, **options})
