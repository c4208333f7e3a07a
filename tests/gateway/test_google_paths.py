"""Google's paths of the gateway, asked as its clients ask."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from genai_spine.testing.fixtures import running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator

KEY = "gw-key-0123456789"
HI = {"contents": [{"parts": [{"text": "Hi"}]}]}


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Simulator, str]]:
    with running_simulator() as simulator:
        urls = {"gemini": simulator.urls.gemini, "anthropic": simulator.urls.anthropic, "openai": simulator.urls.openai}
        providers = {name: {"api_key": "k-of-upstream", "base_url": url} for name, url in urls.items()}
        with running_gateway({"providers": providers, "server": {"api_keys": [KEY]}}) as gateway:
            yield simulator, gateway.url


@pytest.fixture
def url(running: tuple[Simulator, str]) -> str:
    simulator, url = running
    simulator.received.clear()
    return url


def ask(url: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    """Status, headers, and the body: JSON, or of a stream its bytes."""
    data = None if body is None else json.dumps(body).encode()
    sent = {"content-type": "application/json", "x-goog-api-key": KEY}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request(url, data, {name: value for name, value in sent.items() if value})
    try:
        with urlopen(request, timeout=10) as answer:
            status, head, said = answer.status, answer.headers, answer.read()
    except HTTPError as error:
        status, head, said = error.code, error.headers, error.read()
    return status, head, said if head["content-type"].startswith("text/event-stream") else json.loads(said)


def text_of(said: Any) -> str:
    return "".join(part["text"] for part in said["candidates"][0]["content"]["parts"])


@pytest.mark.parametrize("base", ["/v1beta/models", "/v1/models", "/v1beta"])
@pytest.mark.parametrize("model", ["gemini/sim-echo", "anthropic/sim-echo", "openai/sim-echo"])
def test_any_model_answers(url: str, base: str, model: str) -> None:
    status, head, said = ask(f"{url}{base}/{model}:generateContent", HI)
    assert (status, head["x-spine-provider"]) == (200, model.partition("/")[0])
    assert text_of(said) == "You said: Hi"
    assert said["candidates"][0]["finishReason"] == "STOP"
    assert said["usageMetadata"] == {"promptTokenCount": 1, "candidatesTokenCount": 3, "totalTokenCount": 4}
    assert said["modelVersion"] == "sim-echo"


@pytest.mark.parametrize("model", ["gemini/sim-echo", "anthropic/sim-echo", "models%2Fgemini/sim-echo"])
def test_any_model_streams(url: str, model: str) -> None:
    status, _, said = ask(f"{url}/v1beta/models/{model}:streamGenerateContent?alt=sse", HI)
    assert status == 200
    chunks = [json.loads(line[6:]) for line in said.decode().split("\n") if line.startswith("data: ")]
    assert "".join(map(text_of, chunks)) == "You said: Hi"
    assert len(chunks) == 4
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    assert chunks[-1]["usageMetadata"]["totalTokenCount"] == 4


def test_a_stream_that_breaks_ends_with_an_error(url: str) -> None:
    _, _, said = ask(f"{url}/v1beta/models/gemini/sim-long-50+error_at=6,rate=50:streamGenerateContent?alt=sse", HI)
    last = json.loads(said.decode().rstrip().rpartition("data: ")[2])
    assert (last["error"]["code"], last["error"]["status"]) == (500, "INTERNAL")


@pytest.mark.parametrize("query", ["", "?alt=json", "?$alt=json;enum-encoding=int"])
@pytest.mark.parametrize("model", ["gemini/sim-echo", "anthropic/sim-echo"])
def test_without_alt_sse_a_stream_is_an_array(url: str, model: str, query: str) -> None:
    _, head, chunks = ask(f"{url}/v1beta/models/{model}:streamGenerateContent{query}", HI)
    assert head["content-type"].startswith("application/json")
    assert "".join(map(text_of, chunks)) == "You said: Hi"
    assert len(chunks) == 4
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"


def test_an_array_comes_element_by_element(url: str) -> None:
    path = f"{url}/v1beta/models/gemini/sim-long-50+stall=6:streamGenerateContent"
    with urlopen(Request(path, json.dumps(HI).encode(), {"x-goog-api-key": KEY}), timeout=10) as answer:
        first = answer.readline()
    assert first.startswith(b'[{"candidates"') and first.endswith(b"}\n")


def test_errors_without_alt_sse_stand_in_an_array(url: str) -> None:
    _, _, said = ask(f"{url}/v1beta/models/gemini/sim-long-50+error_at=6,rate=50:streamGenerateContent", HI)
    assert (said[0]["candidates"][0]["content"]["role"], said[-1]["error"]["code"]) == ("model", 500)
    status, _, said = ask(f"{url}/v1beta/models/gemini/sim-echo+status=429:streamGenerateContent", HI)
    assert (status, [each["error"]["status"] for each in said]) == (429, ["RESOURCE_EXHAUSTED"])


def test_an_array_that_is_asked_for_again_is_the_same(url: str, running: tuple[Simulator, str]) -> None:
    path = f"{url}/v1beta/models/gemini/sim-echo:streamGenerateContent"
    answers = [ask(path, HI, idempotency_key="again")[2] for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(running[0].received) == 1


@pytest.mark.parametrize("query", ["", "?alt=sse"])
def test_the_simulators_stream_is_an_array_unless_asked_otherwise(running: tuple[Simulator, str], query: str) -> None:
    base = running[0].urls.gemini
    _, head, said = ask(f"{base}/models/sim-echo:streamGenerateContent{query}", HI)
    if query:
        assert head["content-type"].startswith("text/event-stream")
    else:
        assert "".join(map(text_of, said)) == "You said: Hi"
        _, _, said = ask(f"{base}/models/sim-long-50+error_at=6,rate=50:streamGenerateContent", HI)
        assert said[-1]["error"]["code"] == 500


def test_the_key_may_stand_in_the_query_of_these_paths_only(url: str) -> None:
    path = f"{url}/v1beta/models/gemini/sim-echo:generateContent"
    assert ask(f"{path}?key={KEY}", HI, x_goog_api_key="")[0] == 200
    assert ask(f"{url}/v1beta/models?key={KEY}", x_goog_api_key="")[0] == 200
    for address in (path, f"{path}?key=wrong-key-0123456789", f"{path}?key="):
        status, _, said = ask(address, HI, x_goog_api_key="")
        assert (status, said["error"]["status"]) == (401, "UNAUTHENTICATED")
    openai = {"model": "openai/sim-echo", "messages": [{"role": "user", "content": "Hi"}]}
    assert ask(f"{url}/v1/chat/completions?key={KEY}", openai, x_goog_api_key="")[0] == 401


def test_keys_stay_where_they_belong(url: str, running: tuple[Simulator, str]) -> None:
    ask(f"{url}/v1beta/models/gemini/sim-echo:generateContent?key={KEY}", HI)
    (received,) = running[0].received
    assert received.header("x-goog-api-key") == "k-of-upstream"
    assert KEY not in received.query
    assert received.path == "/v1beta/models/sim-echo:generateContent"
    assert json.loads(received.body) == HI


def test_what_cannot_be_read_is_named(url: str) -> None:
    path = f"{url}/v1beta/models/gemini/sim-echo:generateContent"
    for body, why in (
        ({}, "contents: missing"),
        ({"contents": [{"role": "robot", "parts": []}]}, "contents[0].role"),
        (
            {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png"}}]}]},
            "contents[0].parts[0].inlineData.data",
        ),
    ):
        status, _, said = ask(path, body)
        assert (status, said["error"]["code"], said["error"]["status"]) == (400, 400, "INVALID_ARGUMENT")
        assert why in said["error"]["message"]


def test_methods_that_are_not_offered(url: str) -> None:
    for path, status in (
        ("/v1beta/models/gemini/sim-echo:predict", 404),
        ("/v1beta/models/gemini/sim-echo", 404),
        ("/v1beta/models/:generateContent", 404),
        ("/v1beta/files", 404),
        ("/v1beta/models/nobody/x:generateContent", 404),
        ("/v1beta/nobody/x:generateContent", 404),
        ("/v1beta/files:upload", 404),
    ):
        answer = ask(url + path, HI)
        assert (answer[0], answer[2]["error"]["status"]) == (status, "NOT_FOUND"), path


def test_tokens_are_counted_by_a_service_that_counts(url: str) -> None:
    status, head, said = ask(f"{url}/v1beta/models/gemini/sim-echo:countTokens", HI)
    assert (status, said, head["x-spine-notices"]) == (200, {"totalTokens": 1}, None)
    _, head, said = ask(f"{url}/v1beta/models/openai/sim-echo:countTokens", {"generateContentRequest": HI})
    assert said["totalTokens"] > 0
    assert head["x-spine-notices"].startswith("estimated")


def test_vectors_of_one_text_and_of_many(url: str) -> None:
    content = {"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 3}
    _, _, one = ask(f"{url}/v1beta/models/openai/sim-embed:embedContent", content)
    assert len(one["embedding"]["values"]) == 3
    _, _, many = ask(f"{url}/v1beta/models/openai/sim-embed:batchEmbedContents", {"requests": [content, content]})
    assert [len(each["values"]) for each in many["embeddings"]] == [3, 3]


def test_models_are_listed_in_the_callers_shape(url: str) -> None:
    _, _, ours = ask(f"{url}/v1beta/models")
    assert "models/anthropic/sim-think" in [model["name"] for model in ours["models"]]
    assert ask(f"{url}/v1beta/models/openai/sim-embed")[2]["name"] == "models/openai/sim-embed"
    assert "models" in ask(f"{url}/v1/models", x_goog_api_client="google-genai-sdk/3.4.0")[2]
    authorization = {"authorization": f"Bearer {KEY}", "x_goog_api_key": ""}
    assert "data" in ask(f"{url}/v1/models", **authorization)[2]
    assert "data" in ask(f"{url}/v1/models", **authorization, anthropic_version="2023-06-01")[2]


@pytest.mark.parametrize("stream", [False, True])
def test_where_google_answers_the_callers_bytes_go_through(
    running: tuple[Simulator, str], url: str, stream: bool
) -> None:
    simulator, _ = running
    method = "streamGenerateContent" if stream else "generateContent"
    body = {**HI, "aMemberOfTomorrow": {"exact": 0.10}}
    status, _, said = ask(f"{url}/v1beta/models/gemini/sim-echo:{method}{'?alt=sse' if stream else ''}", body)
    assert status == 200 and b"You" in (said if stream else json.dumps(said).encode())
    (received,) = simulator.received
    assert received.path.endswith(f"/models/sim-echo:{method}")
    assert json.loads(received.body) == body


@pytest.mark.parametrize("model", ["openai/sim-echo", "anthropic/sim-echo"])
def test_notices_name_what_is_lost_of_an_object_and_nothing_that_is_not(url: str, model: str) -> None:
    """As pydantic-ai (responseModalities, VALIDATED) and LangChain (an empty safetySettings) ask."""
    config: dict[str, Any] = {"responseModalities": ["TEXT"], "temperature": 0.5, "maxOutputTokens": 50}
    _, head, _ = ask(
        f"{url}/v1beta/models/{model}:generateContent", {**HI, "safetySettings": [], "generationConfig": config}
    )
    assert head["x-spine-notices"] is None
    choice = {"functionCallingConfig": {"mode": "VALIDATED"}}
    config |= {"speechConfig": {"languageCode": "de-DE"}, "responseModalities": ["TEXT", "AUDIO"]}
    _, head, _ = ask(
        f"{url}/v1beta/models/{model}:generateContent", {**HI, "toolConfig": choice, "generationConfig": config}
    )
    assert head["x-spine-notices"].split("; ") == [
        f"dropped {name}: {name} is known to gemini only"
        for name in (
            "toolConfig.functionCallingConfig",
            "generationConfig.responseModalities",
            "generationConfig.speechConfig",
        )
    ]


@pytest.mark.parametrize("kind", ["text/plain", "Text/CSV; charset=utf-8", "application/json"])
def test_a_file_of_text_is_text_where_files_are_pdfs(running: tuple[Simulator, str], url: str, kind: str) -> None:
    """As `Part.from_bytes` of google-genai and pydantic-ai's `BinaryContent` send it."""
    simulator, _ = running
    text = {"mimeType": kind, "data": b64encode("grüß".encode()).decode()}
    parts: list[dict[str, Any]] = [{"text": "Sum up"}, {"inlineData": text}]
    _, head, _ = ask(f"{url}/v1beta/models/openai/sim-echo:generateContent", {"contents": [{"parts": parts}]})
    sent = simulator.received[-1].json()["messages"][-1]["content"]
    assert sent == [{"type": "text", "text": "Sum up"}, {"type": "text", "text": "grüß"}]
    assert head["x-spine-notices"].endswith("a text document is sent as text")
    parts[1] = {"inlineData": {"mimeType": kind, "data": b64encode(bytes([0xFF, 0xFE])).decode()}}
    ask(f"{url}/v1beta/models/openai/sim-echo:generateContent", {"contents": [{"parts": parts}]})
    assert simulator.received[-1].json()["messages"][-1]["content"][1]["type"] == "file", "no text, whatever its type"
