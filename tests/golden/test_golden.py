"""Golden cases: `golden/<dialect>/<case>/`, each named for the behaviour that it holds fast.

Wire files are as they stand on the wire; each is optional:
    request.json     what a caller sends, and, sent on, what a provider gets
    response.json    a plain answer
    stream.*         a streamed answer, in the framing that its ending names; it is cut at every place
    error.json       the body of an answer that is not 200
expected.json says what they are, in the middle's own words (msgspec's JSON):
    request, response    the CompletionRequest, the CompletionResponse
    sent, notices        what goes to a provider where it is not request.json byte for byte in value
    not_sendable         a part of InvalidRequest's message, where nothing goes
    refused              a part of the message of the error that reading the answer raises, and its class
    error                class, message and status of error.json's error; `status` is the answer's
"""

from __future__ import annotations

import base64
import json
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest

from genai_spine.dialects.interface import Target
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import InvalidRequest, ProviderError
from genai_spine.model.fold import collect

HERE = Path(__file__).parent
CASES = sorted(path.parent for path in HERE.glob("*/*/expected.json"))
ELSEWHERE = {
    "ollama_generate": (
        "genai_spine.dialects.ollama_chat.inbound_generate",
        "genai_spine.dialects.ollama_chat.outbound",
    ),
    "bedrock_converse": (
        "genai_spine.testing.simulator.bedrock_requests",
        "genai_spine.dialects.bedrock_converse.outbound",
    ),
}


def ends(dialect: str) -> tuple[Any, Any]:
    """The dialect's inbound and outbound module; one module may be both."""
    if dialect in ELSEWHERE:
        inbound, outbound = ELSEWHERE[dialect]
        return import_module(inbound), import_module(outbound)
    module = import_module(f"genai_spine.dialects.{dialect}")
    if not hasattr(module, "__path__"):
        return module, module
    inbound = f"{module.__name__}.inbound"  # not there where we only speak to providers
    return (import_module(inbound) if find_spec(inbound) else None), import_module(f"{module.__name__}.outbound")


def told(value: Any) -> Any:
    """A value of the middle as plain JSON, without the raw answer."""
    if getattr(value, "raw", None) is not None:
        value = msgspec.structs.replace(value, raw=None)
    return json.loads(msgspec.json.encode(value))


class Case:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.inbound, self.outbound = ends(path.parent.name)
        self.expected = json.loads((path / "expected.json").read_text())
        self.target = Target(card=ModelCard(id=self.expected.get("model", "asked-model")))

    def wire(self, pattern: str) -> bytes:
        (path,) = self.path.glob(pattern)
        data = path.read_bytes()
        # Binary frames, one a line, so that a change of one shows.
        return b"".join(map(base64.b64decode, data.split())) if path.suffix == ".base64" else data


def each_with(pattern: str) -> Any:
    """Runs a test once for each case that has such a file."""
    cases = [path for path in CASES if list(path.glob(pattern))]
    ids = [f"{path.parent.name}/{path.name}" for path in cases]
    return pytest.mark.parametrize("case", [Case(path) for path in cases], ids=ids)


def read_stream(case: Case, *pieces: bytes) -> Any:
    decoder = case.outbound.stream_decoder(case.target)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return told(collect([*events, *decoder.close()]))


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_file_of_a_case_is_read(path: Path) -> None:
    known = re.compile(r"(request|response|error|expected)\.json|stream\.\w+")
    names = {file.name for file in path.iterdir()}
    assert all(known.fullmatch(name) for name in names)
    assert names != {"expected.json"}


@each_with("request.json")
def test_request_is_read(case: Case) -> None:
    assert told(case.inbound.decode_request(case.wire("request.json"))) == case.expected["request"]


@each_with("request.json")
def test_request_is_written(case: Case) -> None:
    body = case.wire("request.json")
    request = case.inbound.decode_request(body)
    card = ModelCard(id=request.model or "asked-model")
    stream = {"stream": request.stream} if hasattr(request, "stream") else {}
    if (why := case.expected.get("not_sendable")) is not None:
        with pytest.raises(InvalidRequest, match=re.escape(why)):
            case.outbound.encode_request(request, Target(card=card), **stream)
        return
    sent = case.outbound.encode_request(request, Target(card=card), **stream)
    assert json.loads(sent.body) == case.expected.get("sent", json.loads(body))
    assert told(list(sent.notices)) == case.expected.get("notices", [])


@each_with("response.json")
def test_plain_answer_is_read(case: Case) -> None:
    body = case.wire("response.json")
    if (refused := case.expected.get("refused")) is not None:
        with pytest.raises(ProviderError, match=re.escape(refused["message"])) as raised:
            case.outbound.decode_response(body, case.target)
        assert type(raised.value).__name__ == refused["class"]
        return
    assert told(case.outbound.decode_response(body, case.target)) == case.expected["response"]


@each_with("stream.*")
def test_stream_is_read_however_it_is_cut(case: Case) -> None:
    data = case.wire("stream.*")
    if (refused := case.expected.get("refused")) is not None:
        with pytest.raises(ProviderError, match=re.escape(refused["message"])) as raised:
            read_stream(case, data)
        assert type(raised.value).__name__ == refused["class"]
        return
    # Each cut reads the whole stream: a long one is cut in two at some 600 places, and below at every one at once.
    for cut in range(0, len(data) + 1, 1 + len(data) // 600):
        assert read_stream(case, data[:cut], data[cut:]) == case.expected["response"], f"cut at {cut}"
    bytewise = [data[place : place + 1] for place in range(len(data))]
    assert read_stream(case, *bytewise) == case.expected["response"]


@each_with("error.json")
def test_error_is_read(case: Case) -> None:
    error = case.outbound.decode_error(case.expected.get("status", 400), {}, case.wire("error.json"))
    assert {
        "class": type(error).__name__,
        "message": error.message,
        "status": error.status_code,
    } == case.expected["error"]
