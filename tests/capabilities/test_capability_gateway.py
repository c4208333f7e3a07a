"""Capabilities over HTTP, on real sockets: a gateway in front of a model that reads, or of the simulator."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from reading_model import ReadingModel, Reply, reading_model, text_of

from genai_spine.testing.fixtures import RunningGateway, running_gateway, wait_until
from genai_spine.testing.simulator import Simulator, Step, parse_fault

KEY = "sk-upstream-0123456789abcdef"
PLAIN_KEY = "nothing-that-looks-like-a-key"
SCHEMA = {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}


@contextmanager
def gateway_to(url: str, **server: Any) -> Iterator[RunningGateway]:
    table = {"type": "openai", "base_url": url, "api_key": KEY, "model": "gpt-4o-mini"}
    settings = {"providers": {"up": table}, "retry": {"max_retries": 0}, "server": server}
    with running_gateway(settings) as gateway:
        yield gateway


@contextmanager
def stage(reply: Reply | None = None, **server: Any) -> Iterator[tuple[ReadingModel, RunningGateway]]:
    with reading_model(reply=reply) as model, gateway_to(model.url, **server) as gateway:
        yield model, gateway


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.value: Any = json.loads(response.read())

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.value["error"]
        assert {"message", "type", "param", "code", "request_id"} <= error.keys()
        assert error["request_id"] == self.headers["x-request-id"]
        assert KEY not in json.dumps(self.value) and "127.0.0.1" not in json.dumps(self.value)
        return error


def ask(gateway: RunningGateway, path: str, body: Any = None, **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    try:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        fields = {"content-type": "application/json", **{name.replace("_", "-"): v for name, v in headers.items()}}
        connection.request("GET" if body is None else "POST", path, data, fields)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def test_a_summary() -> None:
    with stage() as (model, gateway):
        answer = ask(
            gateway, "/v1/summarize", {"content": "It is #1.", "provider_hint": "local_preferred", "length": 9}
        )
    assert answer.status == 200
    assert answer.value["summary"] == "It says #1"
    assert answer.value["parts"] == 1 and answer.value["calls"] == 1
    assert answer.value["usage"]["output_tokens"] == 3
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-spine-provider"] == answer.value["provider"] == "up"
    assert answer.headers["x-spine-model"] == answer.value["model"] == "gpt-4o-mini"
    assert answer.headers["x-spine-cost-usd"] == answer.value["cost_usd"] > "0.0000"
    assert answer.headers["x-spine-attempts"] == "1"
    assert "x-request-id" in answer.headers and "x-spine-notices" not in answer.headers
    assert text_of(model.prompts[0]) == "It is #1."


def test_data_and_labels() -> None:
    replies = ['{"total": "?"}', '{"total": 7}', '{"label": "b"}']
    with stage(lambda model, body: replies.pop(0)) as (_, gateway):
        data = ask(gateway, "/v1/extract", {"content": "Seven.", "schema": SCHEMA})
        labels = ask(gateway, "/v1/classify", {"content": "x", "labels": ["a", {"name": "b", "description": "bee"}]})
    assert (data.value["data"], data.value["repaired"]) == ({"total": 7}, True)
    assert data.headers["x-spine-attempts"] == "2"
    assert labels.value["labels"] == ["b"]


@pytest.mark.parametrize(
    ("path", "body", "param", "said"),
    [
        ("/v1/summarize", {"contents": "x"}, "contents", 'did you mean "content"'),
        ("/v1/summarize", {"content": ""}, "content", "empty"),
        ("/v1/summarize", {"content": "x", "stream": True}, "stream", "unknown field"),
        ("/v1/extract", {"content": "x"}, "schema", "required"),
        ("/v1/extract", {"content": "x", "schema": {"type": 3}}, "schema", "no JSON Schema"),
        ("/v1/classify", {"content": "x", "labels": []}, "labels", "length"),
        ("/v1/summarize", [], None, "expected object"),
        ("/v1/summarize", b"{", None, "not valid JSON"),
        ("/v1/summarize", {"content": "x", "model": 3}, "model", "expected str"),
    ],
)
def test_wrong_requests_are_400_with_the_member(path: str, body: Any, param: str | None, said: str) -> None:
    with stage() as (model, gateway):
        answer = ask(gateway, path, body)
    assert answer.status == 400
    assert answer.error["param"] == param and said in answer.error["message"]
    assert answer.error["type"] == "invalid_request_error"
    assert not model.received


def test_an_answer_that_does_not_fit_is_502_with_its_text() -> None:
    last = '{"total": "' + "much " * 200 + '"}'
    with stage(lambda model, body: last) as (model, gateway):
        answer = ask(gateway, "/v1/extract", {"content": "x", "schema": SCHEMA})
    assert answer.status == 502
    error = answer.error
    assert error["code"] == "unfit_answer"
    assert error["text"] == last
    assert error["problems"][0].startswith("at $.total: ")
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-spine-provider"] == "up"
    assert answer.headers["x-spine-attempts"] == "2"
    assert len(model.received) == 2


def test_a_text_that_repeats_a_secret_is_not_handed_on() -> None:
    with stage(lambda model, body: f"My key is {KEY}") as (_, gateway):
        answer = ask(gateway, "/v1/extract", {"content": "x", "schema": SCHEMA})
    assert answer.status == 502
    assert "[redacted]" in answer.error["text"]


def test_a_notice_of_a_refused_schema_tells_neither_key_nor_address() -> None:
    def choosy(model: ReadingModel, body: dict[str, Any]) -> str | tuple[int, dict[str, Any]]:
        if "response_format" not in body:
            return '{"total": 1}'
        return 400, {
            "error": {"message": f"no schemas for {PLAIN_KEY} at {model.url}", "type": "invalid_request_error"}
        }

    with reading_model(reply=choosy) as model:
        table = {"type": "openai", "base_url": model.url, "api_key": PLAIN_KEY, "model": "gpt-4o-mini"}
        with running_gateway({"providers": {"up": table}}) as gateway:
            answer = ask(gateway, "/v1/extract", {"content": "x", "schema": SCHEMA})
    assert (answer.status, answer.value["data"]) == (200, {"total": 1})
    (notice,) = (each for each in answer.value["notices"] if each["param"] == "schema")
    assert notice["message"].endswith("no schemas for [redacted] at http://[address]/v1")
    for told in (json.dumps(answer.value), answer.headers["x-spine-notices"]):
        assert PLAIN_KEY not in told and "127.0.0.1" not in told


def test_a_provider_that_fails_is_told_as_in_a_chat() -> None:
    with stage(lambda model, body: (500, {"error": {"message": "disk full"}})) as (_, gateway):
        answer = ask(gateway, "/v1/summarize", {"content": "x"})
        nobody = ask(gateway, "/v1/summarize", {"content": "x", "model": "nobody/x", "provider": "nobody"})
    assert answer.status == 500 and "disk full" in answer.error["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert nobody.status == 404


def test_bodies_are_bounded_as_elsewhere() -> None:
    with stage(max_body_mb=0.01) as (model, gateway):
        answer = ask(gateway, "/v1/summarize", {"content": "x" * 20_000})
    assert answer.status == 413 and "max_body_mb" in answer.error["message"]
    assert not model.received


def test_five_megabytes_in_one_request() -> None:
    content = ("Some words that make a sentence. " * 160_000)[:5_000_000]
    with stage(lambda model, body: "It says much") as (_, gateway):
        answer = ask(gateway, "/v1/summarize", {"content": content, "model": "up/gpt-4o-mini"})
    assert answer.status == 200
    assert answer.value["parts"] > 5


def test_keys_are_asked_for() -> None:
    with stage(api_keys=["sk-of-a-caller-01234567"]) as (model, gateway):
        assert ask(gateway, "/v1/summarize", {"content": "x"}).status == 401
        assert ask(gateway, "/v1/capabilities").status == 401
        assert not model.received
        allowed = ask(gateway, "/v1/summarize", {"content": "x"}, authorization="Bearer sk-of-a-caller-01234567")
    assert allowed.status == 200


def test_the_list_says_what_there_is() -> None:
    with stage() as (_, gateway):
        listed = ask(gateway, "/v1/capabilities").value
        wrong_method = ask(gateway, "/v1/summarize")
    assert listed["object"] == "list"
    assert [entry["id"] for entry in listed["data"]] == ["summarize", "extract", "classify"]
    assert [entry["path"] for entry in listed["data"]] == ["/v1/summarize", "/v1/extract", "/v1/classify"]
    request = listed["data"][0]["request"]["$defs"]["SummaryRequest"]
    assert request["required"] == ["content"] and request["additionalProperties"] is False
    assert wrong_method.status == 405 and wrong_method.headers["allow"] == "POST"


@pytest.mark.usefixtures("strangers")
def test_a_strangers_capability_is_served_and_listed() -> None:
    with stage(lambda model, body: "a\nb") as (_, gateway):
        answer = ask(gateway, "/v1/haiku", {"content": "rain"})
        wrong = ask(gateway, "/v1/haiku", {"content": "rain", "season": 3})
        broken = ask(gateway, "/v1/broken", {})
        listed = [entry["id"] for entry in ask(gateway, "/v1/capabilities").value["data"]]
        other_method = ask(gateway, "/v1/haiku")
    assert (answer.status, answer.value["lines"]) == (200, ["a", "b"])
    assert (wrong.status, wrong.error["param"]) == (400, "season")
    assert broken.status == 500 and "cannot be loaded" in broken.error["message"]
    assert listed == ["summarize", "extract", "classify", "haiku"]
    assert other_method.status == 405


def test_a_caller_who_leaves_ends_all_calls(simulator: Simulator) -> None:
    simulator.run(Step(fault=parse_fault("stall=head"), times="always"))
    content = "Some words that make a sentence. " * 6000
    body = json.dumps({"content": content, "model": "up/gpt-4"}).encode()
    with gateway_to(simulator.urls.openai) as gateway:
        with socket.create_connection(("127.0.0.1", gateway.port)) as caller:
            caller.sendall(b"POST /v1/summarize HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            wait_until(lambda: len(simulator.received) == 4)
        wait_until(lambda: all(received.outcome == "gone" for received in simulator.received))
    assert len(simulator.received) == 4


def test_a_deadline_is_for_the_whole(simulator: Simulator) -> None:
    simulator.run(Step(fault=parse_fault("stall=head"), times="always"))
    with gateway_to(simulator.urls.openai) as gateway:
        answer = ask(gateway, "/v1/summarize", {"content": "x"}, x_spine_timeout="0.3")
    assert answer.status == 504
