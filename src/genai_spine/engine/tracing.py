"""The observer `opentelemetry`: each call is a span, and each of its attempts a span below it.

Where the program has set up OpenTelemetry itself, spans go there. Else they go by OTLP over HTTP to where the
variables of OpenTelemetry say (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME,
OTEL_TRACES_SAMPLER …), and without them to a collector at http://localhost:4318. A span's parent is the span within
which a program makes the call, or the one that the caller of a gateway names in the header `traceparent`.

Names: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ (gen_ai.*), and ours (spine.*).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from genai_spine import __version__
from genai_spine.engine.observers import TRACEPARENT, Observed
from genai_spine.ledger.entry import NANO, Call, Tokens
from genai_spine.ledger.matching import Attempt
from genai_spine.model.errors import ConfigError

try:
    from opentelemetry import trace
    from opentelemetry.context import Context, get_current
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import ProxyTracerProvider, Span, SpanKind, StatusCode, Tracer
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise ConfigError(
        f"the observer \"opentelemetry\" needs the extra: pip install 'genai-spine[opentelemetry]' ({error})"
    ) from error

_FLUSHED_MS = 5_000

_PROVIDERS = {
    "azure": "azure.ai.openai", "bedrock": "aws.bedrock", "gemini": "gcp.gemini", "mistral": "mistral_ai",
    "vertex": "gcp.vertex_ai", "xai": "x_ai",
}  # fmt: skip
"""What the conventions call them, where that is not our name."""

Attributes = dict[str, Any]


class OpenTelemetry:
    """Called with what was observed, in one thread; `context` in any."""

    def __init__(self) -> None:
        self._propagator = TraceContextTextMapPropagator()
        self._tracer: Tracer | None = None
        self._own: TracerProvider | None = None

    def context(self) -> Context | None:
        """Within which a call is made; None where in nothing."""
        if trace.get_current_span().get_span_context().is_valid:
            return get_current()
        header = TRACEPARENT.get()
        return self._propagator.extract({"traceparent": header}) if header is not None else None

    def __call__(self, observed: Observed) -> None:
        call, tracer = observed.call, self._opened()
        operation = call.operation or "chat"
        whole = tracer.start_span(
            f"{operation} {call.route or call.model or ''}".strip(),
            observed.context or Context(),
            SpanKind.SERVER if call.dialect is not None else SpanKind.INTERNAL,
            {"gen_ai.operation.name": operation, **_of_call(call)},
            start_time=_ns(call.at - call.duration_s),
        )
        within = trace.set_span_in_context(whole, Context())
        for attempt in observed.attempts:
            begun = attempt.begun
            span = tracer.start_span(
                f"{operation} {begun.model}".strip(),
                within,
                SpanKind.CLIENT,
                {"gen_ai.operation.name": operation, **_of_attempt(attempt)},
                start_time=_ns(begun.at),
            )
            _end(span, attempt.ended.status == "failed", begun.at + attempt.ended.duration_s)
        _end(whole, call.status == "failed", call.at)

    def close(self) -> None:
        """Sends what is left."""
        own, self._own, self._tracer = self._own, None, None
        if own is not None:
            own.force_flush(_FLUSHED_MS)
            own.shutdown()

    def _opened(self) -> Tracer:
        if self._tracer is None:
            provider = trace.get_tracer_provider()
            if isinstance(provider, ProxyTracerProvider):  # the program has set up none
                provider = self._own = _exporting()
            self._tracer = provider.get_tracer("genai_spine", __version__)
        return self._tracer


def _exporting() -> TracerProvider:
    """As OpenTelemetry's own variables say."""
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):  # they do not say
        resource = resource.merge(Resource({SERVICE_NAME: "genai-spine"}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _end(span: Span, has_failed: bool, at: float) -> None:
    if has_failed:
        span.set_status(StatusCode.ERROR)
    span.end(_ns(at))


def _of_call(call: Call) -> Attributes:
    said = {
        "gen_ai.provider.name": _PROVIDERS.get(call.provider or "", call.provider),
        "gen_ai.request.model": call.model,
        "spine.request_id": call.id,
        "spine.status": call.status,
        "spine.attempts": call.attempts,
        "spine.key": call.caller,
        "spine.route": call.route,
        "spine.agent": call.agent,
        "spine.tags": call.tags or None,
        "spine.dialect": call.dialect,
        "spine.cached": call.is_cached or None,
        "spine.saved_usd": _usd(call.saved_nanousd),
        "error.type": call.error_type,
    }
    return {name: value for name, value in said.items() if value is not None}


def _of_attempt(attempt: Attempt) -> Attributes:
    begun, ended = attempt.begun, attempt.ended
    said = {
        "gen_ai.provider.name": _PROVIDERS.get(begun.provider, begun.provider),
        "gen_ai.request.model": begun.model or None,
        "gen_ai.request.stream": begun.is_stream,
        "gen_ai.response.model": ended.model or begun.model or None,
        "gen_ai.response.time_to_first_chunk": ended.first_s,
        "gen_ai.usage.cost": _usd(ended.cost_nanousd),
        "http.response.status_code": ended.status_code,
        "spine.status": ended.status,
        "spine.hedge": begun.is_hedge or None,
        "error.type": ended.error_type,
    }
    said |= dict(_of_tokens(ended.tokens)) if ended.tokens is not None else {}
    return {name: value for name, value in said.items() if value is not None}


def _of_tokens(tokens: Tokens) -> Iterator[tuple[str, int | None]]:
    yield "gen_ai.usage.input_tokens", tokens.input
    yield "gen_ai.usage.output_tokens", tokens.output
    yield "gen_ai.usage.cache_read.input_tokens", tokens.cache_read
    yield "gen_ai.usage.cache_creation.input_tokens", tokens.cache_write
    yield "gen_ai.usage.reasoning.output_tokens", tokens.reasoning


def _usd(nanousd: int | None) -> float | None:
    return nanousd / NANO if nanousd is not None else None


def _ns(seconds: float) -> int:
    return int(seconds * NANO)
