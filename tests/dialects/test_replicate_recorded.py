"""Replicate: every recorded exchange, and whatever else may come."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_exchanges import ROOT, Exchange, each

from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import kept
from genai_spine.dialects.replicate import inputs, outbound
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import BadReply, InvalidRequest, ModelNotFound, ProviderError, RateLimitError
from genai_spine.model.fold import collect
from genai_spine.model.request import CompletionRequest

MODEL = "meta/meta-llama-3-8b-instruct"
TARGET = Target(card=ModelCard(id=MODEL))

FINISHED: dict[str, str] = {
    "replicate/predictions-openllmetry-test-image-generation-test-replicate-image-generation-legacy-5": "an image",
}
"""The recorded predictions that are finished; none of them is of a language model."""


@each("predictions", "replicate")
def test_recorded_predictions_are_read(exchange: Exchange) -> None:
    prediction = outbound.decode_prediction(exchange.body)
    wire = json.loads(exchange.body)
    assert (prediction.id, prediction.status, prediction.output) == (wire["id"], wire["status"], wire.get("output"))
    assert prediction.is_finished is (exchange.name in FINISHED)
    with pytest.raises(BadReply, match="no text" if prediction.is_finished else "still"):
        outbound.decode_response(exchange.body, TARGET)
    if wire.get("metrics"):
        usage = outbound.usage_of(prediction)
        assert usage is not None
        assert usage.compute_s == wire["metrics"]["predict_time"]
    stream = (wire["urls"]).get("stream")
    assert (prediction.urls.stream if prediction.urls else None) == stream


@each("predictions", "replicate")
def test_recorded_requests_are_written_again(exchange: Exchange) -> None:
    wanted: Any = exchange.request
    if wanted is None:  # it was only asked for
        return
    model = wanted.get("version") or json.loads(exchange.body)["model"]
    request = CompletionRequest(messages=wanted["input"]["prompt"])  # type: ignore[arg-type]  # accept.py
    outgoing = outbound.encode_request(request, Target(card=ModelCard(id=model)), stream=bool(wanted.get("stream")))
    assert json.loads(outgoing.body) == wanted
    assert outgoing.path.endswith("/predictions")


def described() -> list[Path]:
    folder = ROOT / "exchanges" / "replicate"
    return [path for path in sorted(folder.glob("other-*.json")) if "openapi_schema" in path.read_text()]


@pytest.mark.parametrize("path", described(), ids=lambda path: path.stem)
def test_recorded_models_tell_their_inputs_and_that_they_make_files(path: Path) -> None:
    data = json.loads(path.read_text())
    body = data["response"]["body"]
    card = inputs.learned(
        ModelCard(id="stability-ai/sdxl"), body.encode() if isinstance(body, str) else json.dumps(body).encode()
    )
    told = kept(card.extra, "replicate")
    assert told["inputs"]["prompt"] == "string"
    assert told["makes_files"]
    with pytest.raises(InvalidRequest, match="makes files"):
        outbound.encode_request(CompletionRequest(messages="a cat"), Target(card=card), stream=False)  # type: ignore[arg-type]  # accept.py


@each("other", "replicate")
def test_recorded_errors_are_read(exchange: Exchange) -> None:
    if exchange.status < 400:
        return
    error = outbound.decode_error(exchange.status, {}, exchange.body)
    assert isinstance(error, ModelNotFound)
    assert json.loads(exchange.body)["detail"] in error.message


def test_a_throttled_call_waits_for_the_reset() -> None:
    error = outbound.decode_error(429, {"ratelimit-reset": "3"}, b'{"detail":"Request was throttled.","status":429}')
    assert isinstance(error, RateLimitError)
    assert error.retry_after_s == 3


@pytest.mark.parametrize(
    ("said", "retryable"),
    [
        ("Prediction interrupted; please retry (code: PA)", True),
        ("E8765: health check failed", True),
        ("E1001: out of memory", False),
        ("list index out of range", False),
        (None, False),
        ({"a": 1}, False),
    ],
)
def test_only_what_the_service_did_is_tried_again(said: Any, retryable: bool) -> None:
    body = json.dumps({"id": "a", "status": "failed", "error": said}).encode()
    with pytest.raises(ProviderError) as raised:
        outbound.decode_response(body, TARGET)
    assert raised.value.retryable is retryable


@pytest.mark.parametrize("name", ["", "x", "a/b/c", "../a", "a/b:latest", "a/../predictions", "a/b?c"])
def test_what_is_no_model(name: str) -> None:
    with pytest.raises(InvalidRequest, match="is no model of Replicate"):
        outbound.place_of(name)


def test_models_are_those_of_the_collection() -> None:
    body = b'{"slug":"language-models","models":[{"owner":"meta","name":"llama","description":"d","run_count":1}]}'
    (card,) = outbound.decode_models(body)
    assert (card.id, card.owned_by) == ("meta/llama", "meta")
    with pytest.raises(BadReply):
        outbound.decode_models(b'{"results":[]}')


STREAM = (
    b"event: output\nid: 1:0\ndata: Once\n\n: ping\n\nevent: output\nid: 1:1\ndata:  upon\ndata: a time\n\n"
    b"event: logs\nid: 1:2\ndata: x\n\nevent: done\nid: 1:3\ndata: {}\n\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_a_stream_cut_anywhere_is_the_same(cuts: list[int]) -> None:
    decoder = outbound.stream_decoder(TARGET)
    places = [0, *sorted(cuts), len(STREAM)]
    events = [event for a, b in pairwise(places) for event in decoder.feed(STREAM[a:b])]
    assert collect([*events, *decoder.close()]).content == "Once upon\na time"


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
shaped = st.fixed_dictionaries(
    {"id": st.just("a") | junk, "status": st.sampled_from(["succeeded", "failed"]) | junk},
    optional={
        "output": junk,
        "error": junk,
        "metrics": junk,
        "logs": junk,
        "urls": junk,
        "created_at": junk,
        "latest_version": junk,
        "openapi_schema": st.just({"components": {"schemas": {"Input": 1}}}) | junk,
    },
)


@given(st.binary(max_size=200) | (shaped | junk).map(lambda value: json.dumps(value).encode()))
def test_garbage_is_a_bad_reply_or_the_services_error(data: bytes) -> None:
    for read in (outbound.decode_response, lambda data, _: inputs.learned(ModelCard(id="a/b"), data)):
        try:
            read(data, TARGET)
        except ProviderError:
            pass
    assert isinstance(outbound.decode_error(500, {}, data), ProviderError)
    outbound.decode_embedded_error(data)


@given(
    st.binary(max_size=200)
    | st.lists(st.tuples(st.sampled_from(["output", "error", "done", "logs", "x"]), junk), max_size=4).map(
        lambda events: "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events).encode()
    )
)
def test_garbage_in_a_stream(data: bytes) -> None:
    decoder = outbound.stream_decoder(TARGET)
    try:
        decoder.feed(data)
        decoder.close()
    except ProviderError:
        pass
