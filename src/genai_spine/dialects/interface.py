"""What a dialect is.

Outbound, we speak to a provider; inbound, a caller speaks to us. A dialect is two modules (or one, where
it is outbound only) whose module-level names satisfy these protocols: there is no class to inherit from
and no state but that of one stream.

The laws that every dialect keeps are in `genai_spine.testing.laws`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.relay import Answer, StreamTap
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Part
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import ProviderError, SpineError
from genai_spine.model.events import StreamEvent
from genai_spine.model.request import CompletionRequest
from genai_spine.model.rerank import RerankRequest, RerankResponse
from genai_spine.model.response import CompletionResponse, Notice, TokenUsage
from genai_spine.wire.http import Headers


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Whom we speak to: the model by the provider's own name, its card, and the provider's quirks."""

    card: ModelCard
    quirks: Quirks = Quirks()

    @property
    def model(self) -> str:
        return self.card.id


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it is written: `path` is relative to the provider's base URL."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    notices: tuple[Notice, ...] = ()


class StreamDecoder(Protocol):
    """One stream's bytes to events.

    `feed` takes bytes cut anywhere. `close` is called at the end of the body: it returns what is left,
    or raises StreamBroken where the stream's own ending never came. Both raise BadReply for bytes that
    the wire format forbids, and the provider's error, classified, where it sent one inside the stream.
    What stood before an error in the same piece is returned first: the error is then `failure`, and raised
    by whatever is called next. `frame_decoder.FrameDecoder` does all that.
    """

    failure: ProviderError | None

    def feed(self, data: bytes) -> list[StreamEvent]: ...
    def close(self) -> list[StreamEvent]: ...


class Relayed(Protocol):
    """What sending a caller's own bytes on needs, which decodes no more than it must."""

    PATH: str
    """Where requests go, relative to the provider's base URL."""

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """The error that an answer of this status is; never raises, whatever the bytes are."""
        ...

    def decode_embedded_error(self, body: bytes) -> ProviderError | None:
        """The error that stands in an answer of status 200 or in a stream; None where it is none."""
        ...

    def decode_usage(self, raw: msgspec.Raw) -> TokenUsage | None:
        """What a provider counted, as `StreamTap.usage` holds it."""
        ...

    def concerns(self, members: Mapping[str, msgspec.Raw], quirks: Quirks) -> bool:
        """Whether a quirk changes a request with these top-level members: it is then not relayed."""
        ...


class Particular(Protocol):
    """The module `particular` of a dialect whose models differ in what they take."""

    def refused(self, members: Mapping[str, msgspec.Raw], target: Target) -> bool:
        """Whether this model is known to refuse a request with these top-level members: it is then not relayed."""
        ...

    def with_headers(self, request: CompletionRequest, headers: Headers) -> CompletionRequest:
        """The request with the caller's own headers of the dialect, which go on where it is not relayed, too."""
        ...


class InUrl(Protocol):
    """A dialect whose URL says the model and whether to stream."""

    def path(self, model: str, *, stream: bool) -> str:
        """In place of `Relayed.PATH`."""
        ...


class Tapping(Protocol):
    """Reading along with what is relayed: the module `tap` of a dialect that both ends speak."""

    def open_tap(self, *, model: str = "", strip_usage: bool = False) -> StreamTap:
        """For one stream of `model`. `strip_usage` takes out what `rewrite(force_usage=True)` caused."""
        ...

    def tap_answer(self, body: bytes) -> Answer:
        """Read a whole answer of status 200 before it is forwarded.

        Raises: BadReply, for an error that came with status 200 (FAULTS 15) and for an empty body, a page of
        HTML or any JSON that is no answer of the dialect (FAULTS 16). The message tells no more of the body
        than the error's own text; `body` is the error's bytes, for the dialect's `decode_error`.
        """
        ...


class Outbound(Relayed, Protocol):
    """We speak to a provider."""

    def encode_request(self, request: CompletionRequest, target: Target, *, stream: bool) -> Outgoing:
        """Raises: InvalidRequest for content that this dialect cannot say."""
        ...

    def decode_response(self, body: bytes, target: Target) -> CompletionResponse:
        """Raises: BadReply."""
        ...

    def stream_decoder(self, target: Target) -> StreamDecoder: ...


class Counting(Protocol):
    """An outbound dialect whose service counts the tokens of a request."""

    def encode_count_request(self, request: CompletionRequest, target: Target) -> Outgoing: ...
    def decode_count_response(self, body: bytes) -> int: ...


class ModelList(Protocol):
    """A list of models, both ends."""

    def decode_models(self, body: bytes) -> tuple[ModelCard, ...]:
        """Raises: BadReply."""
        ...

    def encode_models(self, cards: Sequence[ModelCard]) -> bytes: ...


class StreamEncoder(Protocol):
    """One stream's events to bytes.

    `encode` may return b"" for an event that the dialect does not show. `error` writes the end of a
    stream that went wrong. Nothing is written after MessageEnd or an error.
    """

    def encode(self, event: StreamEvent) -> bytes: ...
    def error(self, error: SpineError, request_id: str) -> bytes: ...


class Inbound(Protocol):
    """A caller speaks to us."""

    STREAM_CONTENT_TYPE: bytes
    FORWARDED_HEADERS: frozenset[bytes]
    """Request headers that belong to the dialect and go on to a provider that speaks it (relay)."""
    KEEP_ALIVE: bytes
    """What may stand between two events of a stream and tells its clients nothing; empty where they all stumble."""

    def decode_request(self, body: bytes) -> CompletionRequest:
        """Raises: InvalidRequest, naming the place."""
        ...

    def encode_response(self, response: CompletionResponse, request: CompletionRequest) -> bytes: ...

    def stream_encoder(self, request: CompletionRequest) -> StreamEncoder: ...

    def shows(self, part: Part) -> bool:
        """Whether clients of this dialect are shown this part of an answer: they know nothing of another service's
        searches, for one."""
        ...

    def encode_error(self, error: SpineError, request_id: str) -> tuple[int, bytes]:
        """Status and body, in the shape that this dialect's clients read."""
        ...


class Embeddings(Protocol):
    """The same two ends for vectors."""

    def encode_request(self, request: EmbeddingRequest, target: Target) -> Outgoing: ...
    def decode_response(self, body: bytes, target: Target) -> EmbeddingResponse: ...
    def decode_request(self, body: bytes) -> EmbeddingRequest: ...
    def encode_response(self, response: EmbeddingResponse, request: EmbeddingRequest) -> bytes: ...


class Splitting(Protocol):
    """A dialect of embeddings whose services take so many inputs a request and no more."""

    def most_inputs(self, target: Target) -> int: ...


class Reranking(Protocol):
    """A service that orders texts by how well they answer a query."""

    def encode_request(self, request: RerankRequest, target: Target) -> Outgoing: ...
    def decode_response(self, body: bytes, target: Target) -> RerankResponse:
        """The results as they came. Raises: BadReply."""
        ...
