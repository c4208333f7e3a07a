"""The keyword arguments of a call, for type checkers and editors: of the request, and of the call itself."""

from __future__ import annotations

from genai_spine.engine.record import CallRecord
from genai_spine.model.embedding import EmbeddingKeywords
from genai_spine.model.request import CompletionKeywords
from genai_spine.model.rerank import RerankKeywords


class StreamCall(CompletionKeywords, total=False):
    timeout: float | None
    cache_control: str | None
    record: CallRecord | None


class CompleteCall(StreamCall, total=False):
    raise_errors: bool


class EmbedCall(EmbeddingKeywords, total=False):
    timeout: float | None
    cache_control: str | None
    record: CallRecord | None


class RerankCall(RerankKeywords, total=False):
    timeout: float | None
    record: CallRecord | None
