"""Traces of a gateway, as a collector of OpenTelemetry gets them by OTLP over HTTP."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from spine_process import Place
from test_metrics_workers import url_of

from genai_spine.testing.fixtures import wait_until
from genai_spine.testing.simulator import Simulator

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ASK = {"messages": [{"role": "user", "content": "a secret of mine"}]}


class Collector:
    """Keeps what is sent to it."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.service = ""
        self.bodies = b""
        self.headers: dict[str, str] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.keep(self.path, dict(self.headers), body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def keep(self, path: str, headers: dict[str, str], body: bytes) -> None:
        assert path == "/v1/traces"
        self.bodies += body
        self.headers = headers
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.service = next(
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            )
            for scope in resource.scope_spans:
                self.spans += scope.spans


def facts(span: Any) -> dict[str, Any]:
    found = {}
    for each in span.attributes:
        kind = each.value.WhichOneof("value")
        value = getattr(each.value, kind)
        found[each.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever, daemon=True)
    thread.start()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()
    thread.join()


def settings(simulator: Simulator) -> str:
    return f"""
[providers.dead]
type = "openai"
base_url = "http://127.0.0.1:9/v1"
api_key = "k"
[providers.openai]
base_url = "{simulator.urls.openai}"
api_key = "k"
[routes.smart]
targets = ["dead/gpt-4o", "openai/gpt-4o-mini"]
strategy = "ordered"
[retry]
max_retries = 0
[logging]
observers = ["opentelemetry"]
"""


def test_a_call_is_a_span_below_the_callers_and_its_attempts_are_below_it(
    place: Place, simulator: Simulator, collector: Collector
) -> None:
    place.write(settings(simulator))
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20abc"}
    with place.started("serve", "--port", "0", **environ) as running:
        url = url_of(running)
        told = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-spine-tags": "night,eval"}
        with httpx2.Client(timeout=20) as client:  # one connection: what is said of one call is not said of the next
            answer = client.post(f"{url}/v1/chat/completions", json={"model": "smart", **ASK}, headers=told)
            assert answer.status_code == 200
            wanted = {"model": "openai/text-embedding-3-small", "input": "x"}
            assert client.post(f"{url}/v1/embeddings", json=wanted).status_code == 200
            bad = client.post(f"{url}/v1/messages", json={"model": "dead/gpt-4o", "max_tokens": 9, **ASK}, headers=told)
            assert bad.status_code >= 500
        running.signal(signal.SIGTERM)  # what is not sent yet is sent now
        assert running.wait() == 0
        assert "Traceback" not in running.err
    assert collector.service == "genai-spine"
    assert collector.headers["authorization"] == "Bearer abc"
    assert b"secret" not in collector.bodies

    by_id = {span.span_id: span for span in collector.spans}
    traced = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    whole, failed = (span for span in traced if span.parent_span_id.hex() == PARENT)
    assert (whole.name, whole.kind, whole.status.code) == ("chat smart", 2, 0)  # SERVER
    about = facts(whole)
    assert about["spine.request_id"] == answer.headers["x-request-id"]
    assert (about["spine.route"], about["spine.tags"], about["spine.attempts"]) == ("smart", ["night", "eval"], 2)
    assert (about["gen_ai.provider.name"], about["spine.dialect"]) == ("openai", "openai_chat")

    first, second = (span for span in traced if span.parent_span_id == whole.span_id)
    assert (first.name, first.kind, first.status.code) == ("chat gpt-4o", 3, 2)  # CLIENT, ERROR
    assert facts(first)["error.type"] and facts(first)["spine.status"] == "failed"
    assert (second.name, second.status.code) == ("chat gpt-4o-mini", 0)
    said, usage = facts(second), answer.json()["usage"]
    assert said["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert said["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    assert said["gen_ai.usage.cost"] > 0
    assert whole.start_time_unix_nano <= first.start_time_unix_nano <= second.start_time_unix_nano
    assert second.end_time_unix_nano <= whole.end_time_unix_nano + 5_000_000

    assert failed.status.code == 2 and facts(failed)["spine.dialect"] == "anthropic_messages"
    (vectors,) = (
        span for span in collector.spans if span.name == "embeddings text-embedding-3-small" and span.kind == 2
    )
    assert vectors.trace_id.hex() != TRACE and not vectors.parent_span_id
    assert facts(vectors)["gen_ai.operation.name"] == "embeddings"
    assert facts(vectors)["spine.dialect"] == "openai_embeddings"
    assert all(
        not span.parent_span_id or span.parent_span_id in by_id
        for span in collector.spans
        if span not in (whole, failed)
    )


def test_traces_come_while_the_gateway_runs_and_a_broken_traceparent_is_nobodys(
    place: Place, simulator: Simulator, collector: Collector
) -> None:
    place.write(settings(simulator))
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_SERVICE_NAME": "ours",
    }
    with place.started("serve", "--port", "0", **environ) as running:
        url = url_of(running)
        for told in ("nonsense", f"00-{'0' * 32}-{PARENT}-01", "\xff" * 500):
            headers = {"traceparent": told.encode("latin-1")}
            asked = {"model": "openai/gpt-4o-mini", "stream": True, **ASK}
            answer = httpx2.post(f"{url}/v1/chat/completions", json=asked, headers=headers, timeout=20)
            assert answer.status_code == 200 and "[DONE]" in answer.text
        wait_until(lambda: len(collector.spans) == 6)
        assert collector.service == "ours"
        streamed = [facts(span) for span in collector.spans if span.kind == 3]
        assert all(
            said["gen_ai.request.stream"] and said["gen_ai.response.time_to_first_chunk"] > 0 for said in streamed
        )
        assert sum(not span.parent_span_id for span in collector.spans) == 3


def test_without_a_collector_calls_are_answered_and_the_end_is_not_late(place: Place, simulator: Simulator) -> None:
    place.write(settings(simulator))
    with place.started("serve", "--port", "0", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9") as running:
        url = url_of(running)
        asked = {"model": "openai/gpt-4o-mini", **ASK}
        assert httpx2.post(f"{url}/v1/chat/completions", json=asked, timeout=20).status_code == 200
        running.signal(signal.SIGTERM)
        assert running.wait(15) == 0
