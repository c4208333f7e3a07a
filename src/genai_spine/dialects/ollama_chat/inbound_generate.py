"""Answering a caller of Ollama's `/api/generate`: a prompt in, a text out, otherwise the chat.

What only this endpoint has (`raw`, `template`, `suffix`, `context`) is kept as metadata of a dialect of
its own: a chat cannot say it, so it comes back as a Notice and not as a field that a server ignores.
"""

from __future__ import annotations

from genai_spine.dialects.metadata import keep
from genai_spine.dialects.ollama_chat import inbound
from genai_spine.dialects.ollama_chat.encoder import OllamaStreamEncoder, answer, generate_shape
from genai_spine.dialects.reading import Reader
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.model.response import CompletionResponse
from genai_spine.wire import json

DIALECT = "ollama_generate"
STREAM_CONTENT_TYPE = inbound.STREAM_CONTENT_TYPE
FORWARDED_HEADERS = inbound.FORWARDED_HEADERS
KEEP_ALIVE = inbound.KEEP_ALIVE

_OWN = ("raw", "template", "suffix", "context")

encode_error = inbound.encode_error
shows = inbound.shows


def decode_request(body: bytes) -> CompletionRequest:
    """A request without a prompt only loads the model, as in the chat.

    Raises: InvalidRequest, naming the place.
    """
    request = Reader(json.decode_inbound(body, json.ANY), "")
    content = inbound.content_of(request.text("prompt"), request)
    system = request.text("system")
    messages: list[Message] = []
    if content:
        if system:
            messages.append(Message(role="system", content=system))
        messages.append(Message(role="user", content=content))
    own = {name: value for name in _OWN if (value := request.take(name)) not in (None, "", False, [])}
    return inbound.completion_request(request, tuple(messages), (), keep(DIALECT, own) or {})


def encode_response(response: CompletionResponse, request: CompletionRequest) -> bytes:
    return answer(response, generate_shape)


def stream_encoder(request: CompletionRequest) -> OllamaStreamEncoder:
    return OllamaStreamEncoder(generate_shape)
