"""The models that a simulated Ollama keeps: pulled with progress, shown, copied and deleted, none of it in earnest.

Every model is there but those whose name begins with `no-such`. A pull of one of those fails as the real
service fails, with a line of its own after status 200; other failures come by fault:

    sim-echo+error_at=2; message=write /models/x: no space left on device     reset=3     end=2

Source: docs.ollama.com/api/pull, /show, /ps, /copy, /delete (2026-11).
"""

from __future__ import annotations

from typing import Any

from genai_spine.dialects.ollama_chat import inbound as ollama_chat
from genai_spine.dialects.ollama_chat import models as ollama_models
from genai_spine.dialects.reading import Reader
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import ModelNotFound, SpineError
from genai_spine.providers.simulated import MODELS, card_of
from genai_spine.testing.simulator.answers import Answer, Received
from genai_spine.testing.simulator.faults import Fault, split_model
from genai_spine.testing.simulator.routes import Asked, Row, fixed
from genai_spine.wire import json

ABSENT = "no-such"
_DIGEST = "sha256:" + "5ca1ab1e" * 8
_TOTAL = 2_019_377_376
_FAR_AWAY = "2099-01-01T00:00:00Z"


def _known(name: str) -> str:
    """Raises: ModelNotFound, in Ollama's words."""
    name = split_model(name)[0]
    if name.startswith(ABSENT):
        raise ModelNotFound(f"model '{name}' not found")
    return name


def _steps(model: str) -> list[dict[str, Any]]:
    pulling = {"status": f"pulling {_DIGEST[7:19]}", "digest": _DIGEST, "total": _TOTAL}
    if model.startswith(ABSENT):
        return [{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}]
    return [
        {"status": "pulling manifest"},
        pulling,  # without `completed` until the first bytes are here
        *({**pulling, "completed": _TOTAL * tenth // 10} for tenth in (1, 4, 7, 10)),
        {"status": "verifying sha256 digest"},
        {"status": "writing manifest"},
        {"status": "success"},
    ]


def _pull(received: Received) -> Asked:
    request = Reader(json.decode_inbound(received.body, json.ANY), "")
    name = ollama_models.decode_model_name(received.body)
    streams = request.boolean("stream") is not False

    def answer(model: str | None, fault: Fault, words: str | None) -> Answer:
        steps = _steps(model or name)
        if streams:
            lines = [json.encode(step) + b"\n" for step in steps]
            return Answer(pieces=lines, streamed=True, content_type=b"application/x-ndjson")
        return Answer(pieces=(json.encode(steps[-1]),), status=500 if "error" in steps[-1] else 200)

    def error(failed: SpineError) -> bytes:
        return json.encode({"error": failed.message}) + b"\n"

    return Asked(model=name, answer=answer, error=error if streams else None)


def _show(received: Received) -> bytes:
    return ollama_models.encode_show(card_of(_known(ollama_models.decode_model_name(received.body))))


def _delete(received: Received) -> bytes:
    _known(ollama_models.decode_model_name(received.body))
    return b""


def _copy(received: Received) -> bytes:
    request = Reader(json.decode_inbound(received.body, json.ANY), "")
    _known(request.text("source", required=True))
    request.text("destination", required=True)
    return b""


def _running(received: Received) -> bytes:
    loaded: list[ModelCard] = [card_of(MODELS[0])]
    return ollama_models.encode_running(loaded, _FAR_AWAY)


ROWS: tuple[Row, ...] = (
    ("POST", "/api/pull", _pull, ollama_chat.encode_error),
    ("POST", "/api/show", fixed(_show), ollama_chat.encode_error),
    ("GET", "/api/ps", fixed(_running), ollama_chat.encode_error),
    ("POST", "/api/copy", fixed(_copy), ollama_chat.encode_error),
    ("DELETE", "/api/delete", fixed(_delete), ollama_chat.encode_error),
)
