"""Anthropic's Messages over Bedrock's InvokeModel: `POST {base_url}/model/{modelId}/invoke`, and
`/invoke-with-response-stream`, whose event stream holds Anthropic's events in base64.

    :event-type chunk, {"bytes": "eyJ0eXBlIjoibWVzc2FnZV9zdGFydCIs…", "p": "abc"}

All that Claude takes is said here as to Anthropic itself, also what Converse has no word for. Errors are
Bedrock's. Outbound only.

Sources (read 2026-11): docs.aws.amazon.com/bedrock/latest/userguide/
model-parameters-anthropic-claude-messages.html, and as anthropic_hosted.py.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from copy import copy
from typing import Any

import msgspec

from genai_spine.dialects.anthropic_hosted import betas_of, hosted_body
from genai_spine.dialects.anthropic_messages import outbound as anthropic
from genai_spine.dialects.anthropic_messages.schema import DIALECT as ANTHROPIC
from genai_spine.dialects.bedrock_converse import errors
from genai_spine.dialects.bedrock_converse import outbound as converse
from genai_spine.dialects.bedrock_converse.blocks import decoded
from genai_spine.dialects.bedrock_ids import bare_id, path_of
from genai_spine.dialects.frame_decoder import FrameDecoder
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.errors import ProviderError
from genai_spine.model.events import MessageEnd, StreamEvent
from genai_spine.model.request import CompletionRequest
from genai_spine.wire import json
from genai_spine.wire.eventstream import EventMessage, EventStreamParser
from genai_spine.wire.sse import encode_event

DIALECT = "bedrock_invoke"
PATH = "/model/{model}/invoke"
"""Nothing is relayed: the body of Anthropic's callers is not the one that goes."""
VERSION = "bedrock-2023-05-31"

_METRICS = "amazon-bedrock-invocationMetrics"

decode_response = anthropic.decode_response
decode_usage = anthropic.decode_usage
decode_error = errors.decode_error
decode_count_response = converse.decode_count_response


def encode_request(request: CompletionRequest, target: Target, *, stream: bool) -> Outgoing:
    """Raises: InvalidRequest, as to Anthropic itself."""
    outgoing = anthropic.encode_request(request, target, stream=stream)
    path = path_of(target.model, "invoke-with-response-stream" if stream else "invoke")
    return Outgoing(path=path, body=_body_of(outgoing), notices=outgoing.notices)


def _body_of(outgoing: Outgoing) -> bytes:
    members = hosted_body(outgoing, VERSION, without=("model", "stream"))
    if betas := betas_of(outgoing):
        members["anthropic_beta"] = msgspec.Raw(json.encode(betas))
    return json.join_object(members)


def encode_count_request(request: CompletionRequest, target: Target) -> Outgoing:
    """As Converse's: the model itself is asked, and not a profile of it."""
    body = _body_of(anthropic.encode_request(request, target, stream=False))
    asked = {"input": {"invokeModel": {"body": base64.b64encode(body).decode()}}}
    return Outgoing(path=path_of(bare_id(target.model), "count-tokens"), body=json.encode(asked))


def decode_embedded_error(body: bytes) -> ProviderError | None:
    return errors.decode_embedded_error(body) or anthropic.decode_embedded_error(body)


def concerns(members: Mapping[str, msgspec.Raw], quirks: Quirks) -> bool:
    return True


class _Chunk(msgspec.Struct):
    bytes: str


_chunk = msgspec.json.Decoder(_Chunk)


class InvokeStreamDecoder(FrameDecoder):
    """Anthropic's decoder, fed with what Bedrock's messages hold."""

    def __init__(self, target: Target) -> None:
        self._parser = EventStreamParser()
        self._inner = anthropic.stream_decoder(target)
        self._metrics: Any = None

    def _read(self, data: bytes, events: list[StreamEvent]) -> None:
        for message in self._parser.feed(data):
            events += self._events(checked_chunk(message))
            if self._inner.failure is not None:
                raise copy(self._inner.failure)

    def _end_of_body(self, events: list[StreamEvent]) -> None:
        self._parser.close()
        events += self._with_metrics(self._inner.close())

    def _events(self, event: bytes | None) -> list[StreamEvent]:
        if event is None:
            return []
        if _METRICS.encode() in event and isinstance(members := _any(event), dict):
            self._metrics = members.get(_METRICS)
        return self._with_metrics(self._inner.feed(encode_event(event)))

    def _with_metrics(self, events: list[StreamEvent]) -> list[StreamEvent]:
        """Bedrock's own counters and latencies come with the last event; they are kept with the answer."""
        if self._metrics is None or not events or not isinstance(last := events[-1], MessageEnd):
            return events
        extra = keep(ANTHROPIC, {**kept(last.extra, ANTHROPIC), _METRICS: self._metrics})
        return [*events[:-1], msgspec.structs.replace(last, extra=extra)]


def checked_chunk(message: EventMessage) -> bytes | None:
    """The model's own event; None for a message of another kind. Raises: the provider's error."""
    if errors.checked(message).text(":event-type") != "chunk":
        return None
    return decoded(json.decode_outbound(message.payload, _chunk).bytes)


def _any(event: bytes) -> Any:
    try:
        return json.ANY.decode(event)
    except json.UNREADABLE as error:
        raise json.bad_reply(error, event) from None


def stream_decoder(target: Target) -> InvokeStreamDecoder:
    return InvokeStreamDecoder(target)
