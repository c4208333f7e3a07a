"""Every recorded answer that is an error, of the services we speak to: what it is taken for."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any, NamedTuple

import pytest
from recorded_exchanges import ROOT, in_groups

from genai_spine.model.errors import ProviderError
from genai_spine.providers import codecs

DIALECTS = {
    "chat": "openai_chat",
    "responses": "openai_responses",
    "messages": "anthropic_messages",
    "legacy_completions": "openai_completions",
    "ollama_chat": "ollama_chat",
    "cohere_v2_chat": "cohere_chat",
    "generate_content": "gemini",
    "converse": "bedrock_converse",
    "converse_stream": "bedrock_converse",
    "invoke": "bedrock_invoke",
    "invoke_stream": "bedrock_invoke",
}
"""By the recordings' name of the API. Embeddings are read as the provider's chat is."""

OF_EMBEDDINGS = {"cohere": "cohere_chat", "gemini": "gemini"}

RETRY, NO_RETRY = True, False

TABLE: dict[tuple[str, str, int, str | None], tuple[str, bool]] = {
    ("chat", "azure-openai", 401, "401"): ("AuthenticationError", NO_RETRY),
    ("chat", "azure-openai", 404, "DeploymentNotFound"): ("ModelNotFound", NO_RETRY),
    ("chat", "deepseek", 400, "invalid_request_error"): ("BadRequest", NO_RETRY),
    ("chat", "deepseek", 401, "invalid_request_error"): ("AuthenticationError", NO_RETRY),
    ("chat", "doubleword", 400, "Bad Request"): ("BadRequest", NO_RETRY),
    ("chat", "doubleword", 403, "forbidden"): ("PermissionDenied", NO_RETRY),
    ("chat", "doubleword", 404, "model_not_found"): ("ModelNotFound", NO_RETRY),
    ("chat", "groq", 400, "tool_use_failed"): ("BadRequest", NO_RETRY),
    ("chat", "groq", 404, "model_not_found"): ("ModelNotFound", NO_RETRY),
    ("chat", "llamacpp", 400, "invalid_request_error"): ("BadRequest", NO_RETRY),
    ("chat", "llamacpp", 401, "authentication_error"): ("AuthenticationError", NO_RETRY),
    ("chat", "llamacpp", 500, "server_error"): ("ServerError", RETRY),
    ("chat", "mistral", 400, "invalid_model"): ("ModelNotFound", NO_RETRY),
    ("chat", "mistral", 401, None): ("AuthenticationError", NO_RETRY),
    ("chat", "ollama", 400, "invalid_request_error"): ("ContextLengthExceeded", NO_RETRY),
    ("chat", "openai", 400, "invalid_function_parameters"): ("BadRequest", NO_RETRY),
    ("chat", "openai", 400, "invalid_image_url"): ("BadRequest", NO_RETRY),
    ("chat", "openai", 400, "invalid_request_error"): ("BadRequest", NO_RETRY),
    ("chat", "openai", 400, "invalid_value"): ("BadRequest", NO_RETRY),
    ("chat", "openai", 400, "unsupported_parameter"): ("BadRequest", NO_RETRY),
    ("chat", "openai", 400, "unsupported_value"): ("BadRequest", NO_RETRY),
    ("chat", "openai", 401, "invalid_api_key"): ("AuthenticationError", NO_RETRY),
    ("chat", "openai", 404, "model_not_found"): ("ModelNotFound", NO_RETRY),
    ("chat", "openrouter", 400, "context_length_exceeded"): ("ContextLengthExceeded", NO_RETRY),
    ("chat", "openrouter", 401, None): ("AuthenticationError", NO_RETRY),
    ("chat", "perplexity", 401, "invalid_api_key"): ("AuthenticationError", NO_RETRY),
    ("chat", "together", 401, "invalid_api_key"): ("AuthenticationError", NO_RETRY),
    ("cohere_v2_chat", "cohere", 401, None): ("AuthenticationError", NO_RETRY),
    ("cohere_v2_chat", "cohere", 404, None): ("ModelNotFound", NO_RETRY),
    ("converse", "bedrock", 400, None): ("BadRequest", NO_RETRY),
    ("converse", "bedrock", 400, "ValidationException"): ("BadRequest", NO_RETRY),
    ("converse", "bedrock", 403, "ExpiredTokenException"): ("AuthenticationError", NO_RETRY),
    ("converse", "bedrock", 404, "ResourceNotFoundException"): ("ModelNotFound", NO_RETRY),
    ("converse_stream", "bedrock", 400, "ValidationException"): ("ModelNotFound", NO_RETRY),
    ("embeddings", "azure-openai", 401, "401"): ("AuthenticationError", NO_RETRY),
    ("embeddings", "cohere", 404, None): ("ModelNotFound", NO_RETRY),
    ("embeddings", "doubleword", 400, "invalid_request_error"): ("BadRequest", NO_RETRY),
    ("embeddings", "doubleword", 404, "model_not_found"): ("ModelNotFound", NO_RETRY),
    ("embeddings", "gemini", 404, "NOT_FOUND"): ("ModelNotFound", NO_RETRY),
    ("embeddings", "llamacpp", 400, "invalid_request_error"): ("BadRequest", NO_RETRY),
    ("embeddings", "llamacpp", 501, "not_supported_error"): ("ServerError", NO_RETRY),
    ("embeddings", "mistral", 400, "invalid_model"): ("ModelNotFound", NO_RETRY),
    ("embeddings", "openai", 403, "invalid_request_error"): ("PermissionDenied", NO_RETRY),
    ("embeddings", "openai", 404, "model_not_found"): ("ModelNotFound", NO_RETRY),
    ("embeddings", "openrouter", 400, None): ("BadRequest", NO_RETRY),
    ("embeddings", "voyage", 400, None): ("BadRequest", NO_RETRY),
    ("generate_content", "gemini", 400, "API_KEY_INVALID"): ("AuthenticationError", NO_RETRY),
    ("generate_content", "gemini", 404, "NOT_FOUND"): ("ModelNotFound", NO_RETRY),
    ("generate_content", "gemini", 429, "RESOURCE_EXHAUSTED"): ("RateLimitError", RETRY),
    ("generate_content", "vertex", 400, "CONTEXT_LENGTH_EXCEEDED"): ("ContextLengthExceeded", NO_RETRY),
    ("generate_content", "vertex", 400, "INVALID_ARGUMENT"): ("BadRequest", NO_RETRY),
    ("generate_content", "vertex", 404, "NOT_FOUND"): ("ModelNotFound", NO_RETRY),
    ("invoke", "bedrock", 400, "ValidationException"): ("ModelNotFound", NO_RETRY),
    ("invoke", "bedrock", 403, "AccessDeniedException"): ("PermissionDenied", NO_RETRY),
    ("invoke_stream", "bedrock", 400, "ValidationException"): ("BadRequest", NO_RETRY),
    ("legacy_completions", "openai", 400, "invalid_request_error"): ("BadRequest", NO_RETRY),
    ("legacy_completions", "openai", 401, "invalid_api_key"): ("AuthenticationError", NO_RETRY),
    ("legacy_completions", "openai", 403, "invalid_request_error"): ("PermissionDenied", NO_RETRY),
    ("messages", "anthropic", 400, "invalid_request_error"): ("BadRequest", NO_RETRY),
    ("messages", "anthropic", 401, "authentication_error"): ("AuthenticationError", NO_RETRY),
    ("messages", "anthropic", 404, "not_found_error"): ("ModelNotFound", NO_RETRY),
    ("ollama_chat", "ollama", 404, None): ("ModelNotFound", NO_RETRY),
    ("responses", "openai", 400, "context_length_exceeded"): ("ContextLengthExceeded", NO_RETRY),
    ("responses", "openai", 400, "decimal_below_min_value"): ("BadRequest", NO_RETRY),
    ("responses", "openai", 400, "invalid_value"): ("BadRequest", NO_RETRY),
    ("responses", "openai", 400, "model_not_found"): ("ModelNotFound", NO_RETRY),
    ("responses", "openai", 400, "unsupported_file"): ("BadRequest", NO_RETRY),
    ("responses", "openai", 400, "unsupported_value"): ("BadRequest", NO_RETRY),
    ("responses", "openai", 401, "invalid_api_key"): ("AuthenticationError", NO_RETRY),
    # xAI gives a refused key and an unknown model the same status and no code: only its words would tell.
    ("responses", "xai", 400, None): ("BadRequest", NO_RETRY),
}
"""API, provider, status and code to class, and whether the same call may be tried again."""

BY_ITS_WORDS = {
    "maximum context length is": "ContextLengthExceeded",
    "prompt is too long": "ContextLengthExceeded",
    "Input Tokens Exceeded": "ContextLengthExceeded",
    "model identifier is invalid": "ModelNotFound",
}
"""Where status and code are those of any bad request and the declared patterns of failure.py or of the
dialect say more."""


class Recorded(NamedTuple):
    name: str
    api: str
    provider: str
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def dialect(self) -> str:
        return OF_EMBEDDINGS.get(self.provider, "openai_chat") if self.api == "embeddings" else DIALECTS[self.api]


@cache
def recorded() -> list[Recorded]:
    found = []
    for path in sorted((ROOT / "exchanges").glob("*/*.json")):
        text = path.read_text()
        if '"status": 4' not in text and '"status": 5' not in text:
            continue  # parsing all of them takes seconds
        data = json.loads(text)
        response = data["response"]
        if response["status"] < 400 or (data["api"] not in DIALECTS and data["api"] != "embeddings"):
            continue
        found.append(
            Recorded(
                name=f"{data['provider']}/{path.stem}",
                api=data["api"],
                provider=data["provider"],
                status=response["status"],
                headers={name.lower(): str(value) for name, value in (response.get("headers") or {}).items()},
                body=_bytes_of(response),
            )
        )
    return found


def _bytes_of(response: dict[str, Any]) -> bytes:
    if response.get("body_base64"):
        return base64.b64decode(response["body_base64"])
    body = response.get("body")
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def error_of(one: Recorded) -> ProviderError:
    return codecs.relayed(one.dialect).decode_error(one.status, one.headers, one.body)


def spoken() -> list[Recorded]:
    return [one for one in recorded() if one.dialect in codecs.OUTBOUND]


def each_error() -> Any:
    groups: dict[str, list[Recorded]] = {}
    for one in spoken():
        groups.setdefault(one.provider, []).append(one)
    return in_groups(groups)


@each_error()
def test_every_recorded_error_is_what_the_table_says(one: Recorded) -> None:
    error = error_of(one)
    kind, retryable = TABLE[one.api, one.provider, one.status, error.code]
    kind = next((kind for words, kind in BY_ITS_WORDS.items() if words in error.message), kind)
    assert (type(error).__name__, error.status_code, error.retryable) == (kind, one.status, retryable)
    assert error.message
    assert len(error.message) <= 2000


@each_error()
def test_an_unknown_model_or_key_lets_another_provider_answer_and_a_bad_request_does_not(one: Recorded) -> None:
    error = error_of(one)
    assert error.fallback == (type(error).__name__ not in ("BadRequest", "ContextLengthExceeded", "ContentFiltered"))


@each_error()
def test_a_request_id_that_was_told_is_on_the_error(one: Recorded) -> None:
    error = error_of(one)
    if told := {value for name, value in one.headers.items() if name.endswith(("request-id", "requestid"))}:
        assert error.request_id in told


def test_the_table_has_no_row_that_nothing_needs() -> None:
    if not recorded():
        pytest.skip(f"no recordings in {ROOT}")
    seen = {(one.api, one.provider, one.status, error_of(one).code) for one in spoken()}
    apis = {one.api for one in spoken() if one.api != "embeddings"}
    assert {key for key in TABLE if key[0] in apis} <= seen
