"""The services that are simulated, as one table of paths: each row says how a request is read, answered and
refused in its dialect. A further dialect is a further row.

Everything is written by the dialects' own inbound halves, so what comes over the socket is what the gateway
would say, too. Must not know: sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.utils import formatdate
from types import ModuleType
from typing import Any, cast

import msgspec

from genai_spine.dialects import (
    cohere_embed,
    gemini_embed_content,
    gemini_embeddings,
    ollama_embed,
    ollama_embeddings,
    openai_embeddings,
)
from genai_spine.dialects.anthropic_messages import inbound as anthropic_messages
from genai_spine.dialects.failure import BY_STATUS
from genai_spine.dialects.gemini import inbound as gemini_content
from genai_spine.dialects.interface import Inbound
from genai_spine.dialects.ollama_chat import inbound as ollama_chat
from genai_spine.dialects.ollama_chat import inbound_generate as ollama_generate
from genai_spine.dialects.ollama_chat import models as ollama_models
from genai_spine.dialects.openai_chat import inbound as openai_chat
from genai_spine.dialects.openai_completions import inbound as openai_completions
from genai_spine.dialects.openai_responses import inbound as openai_responses
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Text
from genai_spine.model.errors import (
    AuthenticationError,
    BadRequest,
    ModelNotFound,
    ProviderError,
    ServerError,
    SpineError,
)
from genai_spine.model.events import MessageEnd, PartDelta, StreamEvent
from genai_spine.model.fold import replay
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage
from genai_spine.providers.simulated import (
    CREATED_S,
    MODELS,
    answer_to,
    card_of,
    check_signatures,
    embedding_to,
    events_of,
)
from genai_spine.providers.simulated_usage import input_tokens_of
from genai_spine.testing.simulator import bedrock, cohere, gemini, huggingface, ollama, replicate
from genai_spine.testing.simulator.answers import (
    HTML_PAGE,
    TEXT_LINE,
    Answer,
    EncodeError,
    Received,
    failure,
)
from genai_spine.testing.simulator.bill import Work
from genai_spine.testing.simulator.faults import Fault
from genai_spine.testing.simulator.routes import Asked, Route, Row, fixed

OLLAMA_VERSION = "0.40.0"


def find_route(received: Received) -> Route | None:
    """The row for a request."""
    path = received.path.rstrip("/") or "/"
    method = "GET" if received.method == "HEAD" else received.method
    if (exact := _EXACT.get((method, path))) is not None:
        return exact
    return next(
        (
            route
            for route in ROUTES
            if route.method == method and route.path.endswith("*") and path.startswith(route.path[:-1])
        ),
        None,
    )


def not_found(received: Received) -> Answer:
    """404, or 405 where the path is there for another method; in the shape of the nearest dialect."""
    path = received.path.rstrip("/") or "/"
    known = any(route.path == path for route in ROUTES)
    error = BadRequest(
        f"{received.method} {received.path}: " + ("wrong method" if known else "there is no such path"),
        status_code=405 if known else 404,
        code="method_not_allowed" if known else "not_found",
    )
    encode = next(encode for prefix, encode in _SHAPES if path.startswith(prefix))
    return failure(error, received.request_id, encode)


# ---------------------------------------------------------------- keys


def check_key(received: Received, key: str) -> None:
    """Raises: AuthenticationError, which repeats a part of the wrong key as OpenAI does."""
    given = received.header("x-api-key") or received.header("x-goog-api-key")
    if given is None and (authorization := received.header("authorization")):
        given = authorization.partition(" ")[2].strip()
    if given == key:
        return
    if not given:
        message = "You didn't provide an API key. Send it as Authorization: Bearer KEY, or as x-api-key."
        raise AuthenticationError(message, code="missing_api_key")
    shown = f"{given[:8]}{'*' * max(len(given) - 12, 0)}{given[-4:] if len(given) > 12 else ''}"
    raise AuthenticationError(f"Incorrect API key provided: {shown}.", code="invalid_api_key")


# ---------------------------------------------------------------- faults that are answers


def faulty_answer(fault: Fault, request_id: str, encode_error: EncodeError) -> Answer | None:
    """The answer that a fault puts in place of the real one; None where it leaves that alone."""
    if fault.redirect is not None:
        return Answer(status=fault.status or 302, headers=((b"location", fault.redirect.encode()),), pieces=(b"",))
    match fault.body:
        case "html":
            return Answer(status=fault.status or 502, content_type=b"text/html; charset=UTF-8", pieces=(HTML_PAGE,))
        case "text":
            return Answer(status=fault.status or 503, content_type=b"text/plain", pieces=(TEXT_LINE,))
        case "empty":
            return Answer(status=fault.status or 200, pieces=(b"",))
        case "error":
            answer = failure(fault_error(fault), request_id, encode_error)
            return msgspec.structs.replace(answer, status=fault.status or 200)
        case _:
            pass
    if fault.status is not None and fault.status >= 400 and fault.error_at is None:
        answer = failure(fault_error(fault), request_id, encode_error)
        return msgspec.structs.replace(answer, status=fault.status)
    return None


def fault_error(fault: Fault) -> ProviderError:
    """The error that a fault speaks of."""
    status = fault.status if fault.status is not None and fault.status >= 400 else 500
    kind = BY_STATUS.get(status, ServerError if status >= 500 else BadRequest)
    message = fault.message or f"This is a simulated error of status {status}."
    return kind(message, status_code=status, code=fault.code or _CODES.get(status))


_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded", 529: "overloaded_error"}


def fault_headers(fault: Fault, now_s: float) -> tuple[tuple[bytes, bytes], ...]:
    """What the fault says when to come again."""
    headers: list[tuple[bytes, bytes]] = []
    if (after := fault.retry_after) is not None:
        if after.startswith("date:") and after[5:].isdigit():
            after = formatdate(now_s + int(after[5:]), usegmt=True)
        headers.append((b"retry-after", after.encode()))
    if fault.retry_after_ms is not None:
        headers.append((b"retry-after-ms", fault.retry_after_ms.encode()))
    if fault.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if fault.should_retry else b"false"))
    return tuple(headers)


# ---------------------------------------------------------------- chat


def _chat(
    inbound: ModuleType,
    *,
    check: Callable[[CompletionRequest], None] | None = None,
    load: str | None = None,
) -> Callable[[Received], Asked]:
    """`load`: where a request without messages only loads the model (Ollama), the shape of the answer."""
    dialect = cast("Inbound", inbound)  # pyright takes a module's constants to be narrower than the protocol's

    def ask(received: Received) -> Asked:
        request = dialect.decode_request(received.body)
        if check is not None:
            check(request)

        def answer(model: str | None, fault: Fault, words: str | None) -> Answer:
            named = request if model == request.model else msgspec.structs.replace(request, model=model)
            if load is not None and not named.messages:
                return Answer(pieces=(ollama_models.encode_loaded(model or "", CREATED_S, shape=load),))
            made = answer_to(named)
            usage, response = made.usage or TokenUsage(), _changed(made, fault, words)
            if not named.stream or fault.body == "plain":
                return Answer(pieces=(dialect.encode_response(response, named),), work=Work(usage))
            events = events_of(response) if fault.huge is None else replay(response)
            frames, counts = _frames(dialect, named, events, usage.output_tokens or 0, is_whole=fault.huge is not None)
            work = Work(usage, counts)
            return Answer(pieces=frames, streamed=True, content_type=dialect.STREAM_CONTENT_TYPE, work=work)

        def error(failed: SpineError) -> bytes:
            return dialect.stream_encoder(request).error(failed, received.request_id)

        return Asked(model=request.model, answer=answer, error=error if request.stream else None)

    return ask


def _changed(response: CompletionResponse, fault: Fault, words: str | None) -> CompletionResponse:
    if fault.huge is not None:
        words = "x" * fault.huge
    if words is not None:
        response = msgspec.structs.replace(
            response, parts=(Text(text=words),), finish_reason=FinishReason.STOP, stop_sequence=None
        )
    return msgspec.structs.replace(response, usage=None) if fault.usage == "missing" else response


def _frames(
    dialect: Inbound, request: CompletionRequest, events: Iterable[StreamEvent], tokens: int, *, is_whole: bool
) -> tuple[list[bytes], list[int]]:
    """The stream event by event (one write of the encoder may hold several), and how many of its tokens each of them
    and those before it hold. With `is_whole` they are all in the first delta."""
    encoder = dialect.stream_encoder(request)
    end = b"\n" if b"ndjson" in dialect.STREAM_CONTENT_TYPE else b"\n\n"
    frames: list[bytes] = []
    counts: list[int] = []
    count = 0
    for event in events:
        if isinstance(event, PartDelta | MessageEnd):
            count = tokens if is_whole or isinstance(event, MessageEnd) else min(tokens, count + 1)
        written = encoder.encode(event)
        if written.count(end) < 2:
            if written:
                frames.append(written)
        else:
            frames.extend(frame + end for frame in written.split(end) if frame)
        new = len(frames) - len(counts)
        if new > 1 and isinstance(event, PartDelta):  # the words are in the last of them
            counts += [counts[-1] if counts else 0] * (new - 1)
        counts += [count] * (len(frames) - len(counts))
    return frames, counts


# ---------------------------------------------------------------- embeddings, models and the rest


def _embeddings(dialect: Any) -> Callable[[Received], Asked]:
    def ask(received: Received) -> Asked:
        request = dialect.decode_request(received.body)

        def answer(model: str | None, fault: Fault, words: str | None) -> Answer:
            named = msgspec.structs.replace(request, model=model)
            response = embedding_to(named)
            work = Work(response.usage) if response.usage is not None else None
            return Answer(pieces=(dialect.encode_response(response, named),), work=work)

        return Asked(model=request.model, answer=answer)

    return ask


def _count_tokens(received: Received) -> bytes:
    request = anthropic_messages.decode_count_request(received.body)
    return anthropic_messages.encode_count_response(input_tokens_of(request))


def _cards() -> list[ModelCard]:
    return [card_of(model) for model in MODELS]


def _is_anthropic(received: Received) -> bool:
    """Two SDKs ask the same path for their models; they differ in this header."""
    return received.header("anthropic-version") is not None


def _model_written(card: ModelCard, anthropic: bool) -> dict[str, Any]:
    if not anthropic:
        return {"id": card.id, "object": "model", "created": card.created_s, "owned_by": card.owned_by}
    created = datetime.fromtimestamp(card.created_s or 0, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "model", "id": card.id, "display_name": card.name, "created_at": created}


def _models(received: Received) -> bytes:
    if "page_size=" in received.query:  # Cohere's path is OpenAI's; only Cohere counts by pages
        return cohere.encode_models(_cards())
    if gemini.is_asked_by(received):
        return gemini.encode_models(received)
    anthropic = _is_anthropic(received)
    data = [_model_written(card, anthropic) for card in _cards()]
    if anthropic:
        page = {"data": data, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}
        return msgspec.json.encode(page)
    return msgspec.json.encode({"object": "list", "data": data})


def _model(received: Received) -> bytes:
    if gemini.is_asked_by(received):
        return gemini.encode_model(received)
    name = received.path.rpartition("/models/")[2]
    if name.startswith("no-such"):
        raise ModelNotFound(f"The model {name!r} does not exist.", code="model_not_found")
    return msgspec.json.encode(_model_written(card_of(name), _is_anthropic(received)))


def _front_page(received: Received) -> bytes:
    lines = "".join(f"{route.method:5}{route.path}\n" for route in ROUTES)
    return f"GenAI Spine's simulator: canned answers in real wire formats.\n\n{lines}".encode()


_OPENAI, _ANTHROPIC, _OLLAMA = (
    openai_chat.encode_error,
    anthropic_messages.encode_error,
    ollama_chat.encode_error,
)

_TABLE: tuple[Row, ...] = (
    ("POST", "/v1/chat/completions", _chat(openai_chat), _OPENAI),
    ("POST", "/chat/completions", _chat(openai_chat), _OPENAI),
    ("POST", "/v1/completions", _chat(openai_completions), _OPENAI),
    ("POST", "/completions", _chat(openai_completions), _OPENAI),
    ("POST", "/v1/responses", _chat(openai_responses), openai_responses.encode_error),
    ("POST", "/responses", _chat(openai_responses), openai_responses.encode_error),
    ("POST", "/v1/embeddings", _embeddings(openai_embeddings), _OPENAI),
    ("POST", "/embeddings", _embeddings(openai_embeddings), _OPENAI),
    ("GET", "/v1/models", fixed(_models), _OPENAI),
    ("GET", "/models", fixed(_models), _OPENAI),
    ("GET", "/v1/models/*", fixed(_model), _OPENAI),
    ("GET", "/models/*", fixed(_model), _OPENAI),
    ("POST", "/v2/chat", _chat(cohere), cohere.encode_error),
    ("POST", "/v2/embed", _embeddings(cohere_embed), cohere.encode_error),
    *cohere.ROWS,
    *gemini.rows(_chat(gemini_content), _embeddings(gemini_embeddings), _embeddings(gemini_embed_content)),
    ("POST", "/v1/messages", _chat(anthropic_messages, check=check_signatures), _ANTHROPIC),
    ("POST", "/v1/messages/count_tokens", fixed(_count_tokens), _ANTHROPIC),
    ("POST", "/api/chat", _chat(ollama_chat, load="message"), _OLLAMA),
    ("POST", "/api/generate", _chat(ollama_generate, load="response"), _OLLAMA),
    ("POST", "/api/embed", _embeddings(ollama_embed), _OLLAMA),
    ("POST", "/api/embeddings", _embeddings(ollama_embeddings), _OLLAMA),
    ("GET", "/api/tags", fixed(lambda _: ollama_models.encode_models(_cards())), _OLLAMA),
    *ollama.ROWS,
    *replicate.ROWS,
    *huggingface.ROWS,
    *bedrock.ROWS,
    ("GET", "/api/version", fixed(lambda _: ollama_models.encode_version(OLLAMA_VERSION)), _OLLAMA),
    ("GET", "/", fixed(_front_page, b"text/plain; charset=utf-8"), _OPENAI),
)
ROUTES = tuple(
    Route(method=method, path=path, ask=ask, encode_error=encode_error) for method, path, ask, encode_error in _TABLE
)

_EXACT = {(route.method, route.path): route for route in ROUTES}
_SHAPES: tuple[tuple[str, EncodeError], ...] = (
    ("/api/", _OLLAMA),
    ("/v1/messages", _ANTHROPIC),
    ("/model/", bedrock.encode_error),
    ("/v2/", cohere.encode_error),
    ("/v1beta/", gemini.encode_error),
    ("", _OPENAI),
)
