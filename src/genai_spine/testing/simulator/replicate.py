"""A simulated Replicate: predictions that are created, asked for, streamed and cancelled.

The last part of a model's name says what it does, as everywhere (`someone/sim-long-50`), and besides
    sim-fail   fails, as a model that ran out of memory     sim-paint   makes files
    sim-slow   goes on until it is cancelled                sim-mute    does not stream
A prediction is finished when it was waited for, streamed, or asked for the second time.

Source: replicate.com/docs/reference/http and /docs/topics/predictions/streaming (2026-11).
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import count
from typing import Any

from genai_spine.dialects.failure import status_for_caller
from genai_spine.dialects.reading import Reader
from genai_spine.model.content import Text
from genai_spine.model.errors import BadRequest, ModelNotFound, SpineError
from genai_spine.model.events import PartDelta
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.model.response import CompletionResponse
from genai_spine.providers.simulated import answer_to, events_of
from genai_spine.testing.simulator.answers import Answer, Received
from genai_spine.testing.simulator.faults import Fault
from genai_spine.testing.simulator.routes import Asked, Row, fixed
from genai_spine.wire import json, sse

BASE = "/replicate/v1"
_MOST_KEPT = 1000
_numbers = count(1)
_kept: OrderedDict[str, _Prediction] = OrderedDict()

_INPUTS = {
    "prompt": {"type": "string"},
    "system_prompt": {"type": "string", "default": ""},
    "max_tokens": {"type": "integer", "minimum": 1},
    "temperature": {"type": "number"},
    "top_p": {"type": "number"},
    "top_k": {"type": "integer"},
    "stop_sequences": {"type": "string"},
    "seed": {"type": "integer"},
    "image": {"type": "string", "format": "uri"},
}


class _Prediction:
    """One prediction as it stands."""

    def __init__(self, model: str, version: str | None, given: dict[str, Any], root: str, streams: bool) -> None:
        self.id = f"sim{next(_numbers):020d}"
        self.model = model
        self.version = version
        self.input = given
        self.status = "starting"
        self.root = root
        self.streams = streams and self.name != "sim-mute"

    @property
    def name(self) -> str:
        return self.model.rpartition("/")[2]

    def go_on(self, *, to_the_end: bool = False) -> None:
        """One step nearer to the end."""
        if self.status in ("starting", "processing") and self.name != "sim-slow":
            is_last = to_the_end or self.status == "processing"
            self.status = ("failed" if self.name == "sim-fail" else "succeeded") if is_last else "processing"

    def answer(self) -> CompletionResponse:
        said = [Message(role="user", content=(Text(text=str(self.input.get("prompt", ""))),))]
        if system := self.input.get("system_prompt"):
            said.insert(0, Message(role="system", content=(Text(text=str(system)),)))
        limit = self.input.get("max_tokens")
        wanted = CompletionRequest(
            messages=tuple(said), model=self.name, max_tokens=limit if isinstance(limit, int) else None
        )
        return answer_to(wanted)

    def pieces(self) -> list[str]:
        return [event.text for event in events_of(self.answer()) if isinstance(event, PartDelta)]

    def written(self) -> bytes:
        urls = {verb: f"{self.root}{BASE}/predictions/{self.id}{tail}" for verb, tail in _URLS.items()}
        if self.streams:
            urls["stream"] = f"{self.root}{BASE}/streams/{self.id}"
        members: dict[str, Any] = {
            "id": self.id,
            "model": self.model,
            "version": self.version or "hidden",
            "input": self.input,
            "logs": "",
            "output": None,
            "error": None,
            "status": self.status,
            "created_at": "2026-01-01T12:00:00.000Z",
            "urls": urls,
        }
        if self.status == "succeeded":
            usage = self.answer().usage
            counted = (
                {"input_token_count": usage.input_tokens, "output_token_count": usage.output_tokens} if usage else {}
            )
            members |= {
                "output": self.pieces(),
                "logs": "Random seed: 7\n",
                "metrics": {"predict_time": 0.5, **counted},
            }
        if self.status == "failed":
            members |= {"error": _OUT_OF_MEMORY, "metrics": {"predict_time": 0.25}}
        return json.encode(members)

    def frames(self) -> list[bytes]:
        events: list[tuple[str, str]] = [("logs", "Random seed: 7")]
        if self.status == "failed":
            events += [("error", json.encode({"detail": _OUT_OF_MEMORY}).decode()), ("done", '{"reason":"error"}')]
        else:
            events += [*(("output", piece) for piece in self.pieces()), ("done", "{}")]
        return [_frame(index, name, data) for index, (name, data) in enumerate(events)]


_URLS = {"get": "", "cancel": "/cancel"}
_OUT_OF_MEMORY = "E1001: the model ran out of memory"


def _frame(index: int, name: str, data: str) -> bytes:
    lines = sse.encode_event(data.encode())
    return f"event: {name}\nid: 1690212292:{index}\n".encode() + lines


def encode_error(error: SpineError, request_id: str) -> tuple[int, bytes]:
    status = status_for_caller(error)
    return status, json.encode({"title": type(error).__name__, "detail": error.message, "status": status})


def _create(received: Received) -> Asked:
    body = Reader(json.decode_inbound(received.body, json.ANY), "")
    given = body.mapping("input")
    if given is None or not isinstance(given.get("prompt"), str):
        raise BadRequest("- input: prompt is required\n", status_code=422)
    version = body.text("version")
    owner_and_name = received.path.removeprefix(f"{BASE}/models/").removesuffix("/predictions")
    model = "simulated/sim-echo" if version is not None else owner_and_name
    _check(model)
    root = f"http://{received.header('host')}"
    waits = (received.header("prefer") or "").startswith("wait")

    def answer(model: str | None, fault: Fault, words: str | None) -> Answer:
        prediction = _Prediction(model or "", version, given, root, body.boolean("stream") is True)
        _kept[prediction.id] = prediction
        if len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)
        if waits:
            prediction.go_on(to_the_end=True)
        return Answer(status=201, pieces=(prediction.written(),))

    return Asked(model=model, answer=answer)


def _find(received: Received, before: str = "predictions") -> _Prediction:
    """Raises: ModelNotFound, which is 404."""
    id = received.path.removeprefix(f"{BASE}/{before}/").removesuffix("/cancel")
    if (found := _kept.get(id)) is None:
        raise ModelNotFound("The requested resource could not be found.")
    return found


def _get(received: Received) -> bytes:
    prediction = _find(received)
    prediction.go_on()
    return prediction.written()


def _cancel(received: Received) -> bytes:
    prediction = _find(received)
    if prediction.status in ("starting", "processing"):
        prediction.status = "canceled"
    return prediction.written()


def _stream(received: Received) -> Asked:
    prediction = _find(received, "streams")
    prediction.go_on(to_the_end=True)

    def error(failed: SpineError) -> bytes:
        return _frame(0, "error", json.encode({"detail": failed.message}).decode())

    def answer(model: str | None, fault: Fault, words: str | None) -> Answer:
        return Answer(pieces=prediction.frames(), streamed=True, content_type=b"text/event-stream")

    return Asked(model=prediction.model, answer=answer, error=error)


def _check(model: str) -> None:
    if model.rpartition("/")[2].startswith("no-such"):
        raise ModelNotFound("The requested resource could not be found.")


def _describe(received: Received) -> bytes:
    model = received.path.removeprefix(f"{BASE}/models/").partition("/versions/")[0]
    _check(model)
    text = {"type": "array", "items": {"type": "string"}, "x-cog-array-display": "concatenate"}
    files = {"type": "array", "items": {"type": "string", "format": "uri"}}
    schemas = {"Input": {"properties": _INPUTS}, "Output": files if model.endswith("sim-paint") else text}
    version = {"id": "5" * 64, "openapi_schema": {"components": {"schemas": schemas}}}
    owner, _, name = model.partition("/")
    whole = {"owner": owner, "name": name, "latest_version": version}
    return json.encode(version if "/versions/" in received.path else whole)


def _list(received: Received) -> bytes:
    models = [{"owner": "simulated", "name": name, "description": None} for name in ("sim-echo", "sim-long-50")]
    return json.encode({"name": "Language models", "slug": "language-models", "models": models})


ROWS: tuple[Row, ...] = (
    ("GET", f"{BASE}/collections/language-models", fixed(_list), encode_error),
    ("GET", f"{BASE}/models/*", fixed(_describe), encode_error),
    ("POST", f"{BASE}/models/*", _create, encode_error),
    ("POST", f"{BASE}/predictions", _create, encode_error),
    ("GET", f"{BASE}/predictions/*", fixed(_get), encode_error),
    ("POST", f"{BASE}/predictions/*", fixed(_cancel), encode_error),
    ("GET", f"{BASE}/streams/*", _stream, encode_error),
)
