"""A prediction's request, and the prediction: `{"id": …, "status": "succeeded", "output": ["Once", " upon"], …}`.

`output` is a text, or the list of texts that it came in. `metrics` counts the tokens where the model does, and in
`predict_time` the seconds for which models without a price per token are charged. `logs`, `metrics` and the rest
are kept in the answer's `extra`. Must not know: how often a prediction is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from genai_spine.dialects import rfc3339
from genai_spine.dialects.foreign import check_thread
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.lenient import count_of
from genai_spine.dialects.metadata import keep, unknown
from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.replicate import failures, inputs
from genai_spine.dialects.replicate.decoder import ReplicateStreamDecoder
from genai_spine.dialects.turns import Writer
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Metadata, Text
from genai_spine.model.errors import BadReply, InvalidRequest, ProviderError, ServerError
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage
from genai_spine.wire import json

DIALECT = inputs.DIALECT
PATH = "/predictions"

decode_error = failures.decode_error

FAILED = frozenset({"failed", "canceled", "aborted"})
FINISHED = FAILED | {"succeeded"}


# ---------------------------------------------------------------- which model

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_VERSION = r"[0-9a-f]{64}"
_MODEL = re.compile(rf"(?:(?P<owner>{_PART})/(?P<name>{_PART}))?(?::?(?P<version>{_VERSION}))?")
_DEPLOYMENT = re.compile(rf"deployments/({_PART})/({_PART})")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model's predictions are made, and where it is described; `version` goes into the body."""

    path: str
    version: str | None = None
    about: str | None = None


def place_of(model: str) -> Place:
    """`owner/name`, `owner/name:version`, a version alone, or `deployments/owner/name`.

    Raises: InvalidRequest for what is none of them.
    """
    if (found := _DEPLOYMENT.fullmatch(model)) is not None:
        return Place(path=f"/deployments/{found[1]}/{found[2]}/predictions")
    found = _MODEL.fullmatch(model)
    if found is None or not (found["owner"] or found["version"]):
        raise InvalidRequest(
            f"{model!r} is no model of Replicate: owner/name, owner/name:version or deployments/owner/name",
            param="model",
        )
    home = f"/models/{quote(found['owner'])}/{quote(found['name'])}" if found["owner"] else None
    if (version := found["version"]) is not None:
        return Place(path=PATH, version=version, about=f"{home}/versions/{version}" if home else None)
    return Place(path=f"{home}/predictions", about=home)


# ---------------------------------------------------------------- request


def encode_request(request: CompletionRequest, target: Target, *, stream: bool) -> Outgoing:
    """The request that creates a prediction; one that is not streamed is waited for, as long as Replicate does.

    Raises: InvalidRequest for content that this model cannot be told.
    """
    check_thread(DIALECT, request)
    place = place_of(target.model)
    known = inputs.inputs_of(target.card)
    writer = Writer("Replicate", takes_images=inputs.takes_images(known))
    body: dict[str, Any] = {"input": inputs.written(request, known, writer)}
    if place.version is not None:
        body["version"] = place.version
    if stream:
        body["stream"] = True
    headers = () if stream else (("prefer", "wait"),)
    return Outgoing(path=place.path, body=json.encode(body), headers=headers, notices=tuple(writer.notices))


# ---------------------------------------------------------------- prediction


class Urls(msgspec.Struct):
    stream: str | None = None


class Prediction(msgspec.Struct):
    id: str
    status: str
    model: str | None = None
    output: Any = None
    error: Any = None
    logs: str | None = None
    metrics: dict[str, Any] | None = None
    created_at: str | None = None
    urls: Urls | None = None

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED


_prediction = msgspec.json.Decoder(Prediction)
_SAID = ("id", "status", "output", "error", "created_at", "input", "urls", "model")
_FILE = re.compile(r"https://(?:[a-z0-9-]+\.)*replicate\.delivery/\S+$")  # where files come out (recorded)
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")


def decode_prediction(body: bytes) -> Prediction:
    """As it stands, finished or not. Raises: BadReply, also for an id that could not stand in a path."""
    prediction = json.decode_outbound(body, _prediction)
    if not _ID.fullmatch(prediction.id):
        raise BadReply("a prediction whose id is none")
    return prediction


def decode_response(body: bytes, target: Target) -> CompletionResponse:
    """A finished prediction as an answer.

    Raises: BadReply for one that is not finished, or whose output is no text; its error where it failed.
    """
    prediction = decode_prediction(body)
    if prediction.status != "succeeded":
        raise failure_of(prediction)
    text = text_of(prediction.output)
    return CompletionResponse(
        id=prediction.id,
        model=target.model,  # the prediction names the model's internal home
        created_s=rfc3339.seconds_of(prediction.created_at),
        parts=(Text(text=text),) if text else (),
        finish_reason=FinishReason.STOP,
        raw_finish_reason=prediction.status,
        usage=usage_of(prediction),
        extra=extra_of(body),
        raw=msgspec.Raw(body),
    )


def text_of(output: Any) -> str:
    """Raises: BadReply for an output that is no text: a model of another kind."""
    if output is None:
        return ""
    pieces = output if isinstance(output, list) else [output]
    if all(isinstance(piece, str) for piece in pieces) and not (pieces and all(map(_FILE.match, pieces))):
        return "".join(pieces)
    raise BadReply("the prediction's output is no text: is this a language model?", retryable=False)


def usage_of(prediction: Prediction) -> TokenUsage | None:
    metrics = prediction.metrics or {}
    usage = TokenUsage(
        input_tokens=count_of(metrics.get("input_token_count")),
        output_tokens=count_of(metrics.get("output_token_count")),
        compute_s=_seconds(metrics.get("predict_time")),
    )
    return None if usage == TokenUsage() else usage


def extra_of(body: bytes) -> Metadata | None:
    """Logs, metrics, version, times: whatever the answer has no name for."""
    members: dict[str, Any] = json.decode_outbound(body, json.ANY)
    return keep(DIALECT, {name: value for name, value in unknown(members, _SAID).items() if value != ""})


def _seconds(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and 0 <= value < 10**9 else None


def stream_decoder(target: Target) -> ReplicateStreamDecoder:
    return ReplicateStreamDecoder(target)


# ---------------------------------------------------------------- errors


def failure_of(prediction: Prediction) -> ProviderError:
    """Why a prediction has no output."""
    if prediction.status in ("canceled", "aborted"):
        return ServerError(f"the prediction was {prediction.status}", code=prediction.status, retryable=False)
    if not prediction.is_finished:
        return BadReply(f"the prediction is still {prediction.status}")
    return failures.model_failed(prediction.error)


def decode_embedded_error(body: bytes) -> ProviderError | None:
    try:
        prediction = _prediction.decode(body)
    except json.UNREADABLE:
        return None
    return failure_of(prediction) if prediction.status in FAILED else None


def decode_usage(raw: msgspec.Raw) -> TokenUsage | None:
    """The metrics of a whole prediction."""
    try:
        return usage_of(_prediction.decode(raw))
    except json.UNREADABLE:
        return None


def concerns(members: Mapping[str, msgspec.Raw], quirks: Quirks) -> bool:
    """No quirk is about this dialect."""
    return False


# ---------------------------------------------------------------- models


class ListedModel(msgspec.Struct):
    owner: str
    name: str
    description: str | None = None


class Listed(msgspec.Struct):
    """`GET /collections/language-models`; `GET /models` would be all models of everybody."""

    models: list[ListedModel]


_listed = msgspec.json.Decoder(Listed)


def decode_models(body: bytes) -> tuple[ModelCard, ...]:
    """Raises: BadReply."""
    models = json.decode_outbound(body, _listed).models
    return tuple(
        ModelCard(
            id=f"{model.owner}/{model.name}",
            owned_by=model.owner,
            extra=keep(DIALECT, {"description": model.description} if model.description else {}),
        )
        for model in models
    )
