"""Hugging Face beside its OpenAI dialect: text generation and feature extraction, against the published schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_exchanges import ROOT, Exchange, each

from genai_spine.catalog.rows import load_rows
from genai_spine.dialects import hf_feature_extraction, hf_text_generation, tgi_generate
from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_chat import outbound as openai_chat
from genai_spine.model.card import ModelCard
from genai_spine.model.embedding import EmbeddingRequest
from genai_spine.model.errors import BadReply, InvalidRequest, ProviderError
from genai_spine.model.fold import collect
from genai_spine.model.request import CompletionRequest, Message, OutputSchema, Tool
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.settings import ProviderSettings, Secret
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Simulator

TARGET = Target(card=ModelCard(id="sentence-transformers/all-MiniLM-L6-v2"))


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@cache
def schema(name: str) -> Any:
    path = ROOT / "schemas" / f"huggingface.{name}.json"
    if not path.exists():
        pytest.skip(f"no {path}: the published schemas are not part of the project")
    found = json.loads(path.read_text())
    found["$schema"] = "http://json-schema.org/draft-06/schema#"
    _mend(found)
    return found


def _mend(node: Any) -> None:
    """The published schemas say `nullable` and give a bound twice, which draft 6 reads as impossible."""
    if isinstance(node, list):
        for item in node:
            _mend(item)
    elif isinstance(node, dict):
        if node.get("exclusiveMinimum") in (True, False):
            node.pop("exclusiveMinimum")
        if "oneOf" in node:
            node["anyOf"] = node.pop("oneOf")
        node.pop("discriminator", None)
        for value in node.values():
            _mend(value)


def is_valid(value: bytes, name: str) -> Any:
    members = json.loads(value)
    jsonschema.validate(members, schema(name))
    return members


def talk(**fields: Any) -> CompletionRequest:
    return CompletionRequest(messages=(Message(role="user", content="Hi"),), **fields)  # type: ignore[arg-type]  # accept.py


# ---------------------------------------------------------------- text generation


def test_everything_that_can_be_said() -> None:
    request = talk(
        max_tokens=20,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        seed=7,
        frequency_penalty=0.1,
        stop=("a", "b"),
        output_schema=OutputSchema(schema={"type": "object"}),
        extra={"hf_text_generation": {"parameters": {"truncate": 9}}},
    )
    outgoing = hf_text_generation.encode_request(request, TARGET, stream=True)
    assert outgoing.path == "/"
    assert outgoing.notices == ()
    assert is_valid(outgoing.body, "text-generation.input") == {
        "inputs": "Hi",
        "parameters": {
            "details": True,
            "return_full_text": False,
            "max_new_tokens": 20,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 3,
            "frequency_penalty": 0.1,
            "seed": 7,
            "stop": ["a", "b"],
            "truncate": 9,
            "grammar": {"type": "json", "value": {"type": "object"}},
        },
        "stream": True,
    }


def test_tgis_own_paths() -> None:
    whole = tgi_generate.encode_request(talk(), TARGET, stream=False)
    streamed = tgi_generate.encode_request(talk(), TARGET, stream=True)
    assert (whole.path, streamed.path) == ("/generate", "/generate_stream")
    assert whole.body == streamed.body
    assert "stream" not in is_valid(whole.body, "text-generation.input")


def test_what_is_refused_where_it_is_said_is_left_unsaid() -> None:
    outgoing = hf_text_generation.encode_request(talk(temperature=0, top_p=1), TARGET, stream=False)
    assert json.loads(outgoing.body)["parameters"] == {"details": True, "return_full_text": False}
    assert outgoing.notices == ()


def test_what_cannot_be_said_is_told() -> None:
    request = talk(presence_penalty=1, user="me", stop=tuple("abcde"), extra={"openai_chat": {"store": True}})
    outgoing = hf_text_generation.encode_request(request, TARGET, stream=False)
    is_valid(outgoing.body, "text-generation.input")
    assert [notice.param for notice in outgoing.notices] == ["stop", "presence_penalty", "user", "store"]
    for wrong in (talk(tools=(Tool(name="look"),)), talk(n=2)):
        with pytest.raises(InvalidRequest):
            hf_text_generation.encode_request(wrong, TARGET, stream=False)


def test_a_system_prompt_stands_before_the_prompt() -> None:
    messages = (Message(role="system", content="Be brief."), Message(role="user", content="Hi"))  # type: ignore[arg-type]  # accept.py
    outgoing = hf_text_generation.encode_request(CompletionRequest(messages=messages), TARGET, stream=False)
    assert json.loads(outgoing.body)["inputs"] == "Be brief.\n\nHi"
    assert [notice.code for notice in outgoing.notices] == ["changed"]


@each("other", "huggingface")
def test_recorded_task_answers_are_read(exchange: Exchange) -> None:
    wire = json.loads(exchange.body)
    if "generated_text" not in wire[0]:  # a task that is no text generation
        with pytest.raises(BadReply):
            hf_text_generation.decode_response(exchange.body, TARGET)
        return
    answer = hf_text_generation.decode_response(exchange.body, TARGET)
    details = wire[0]["details"]
    assert answer.content == wire[0]["generated_text"]
    assert answer.raw_finish_reason == details["finish_reason"]
    assert answer.usage is not None
    assert answer.usage.output_tokens == details["generated_tokens"]


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
shaped = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("generated_text", "details", "token", "error", "error_type", "estimated_time"), junk)
)


@given(st.binary(max_size=100) | (shaped | junk).map(lambda value: json.dumps(value).encode()))
def test_garbage_is_a_bad_reply_or_the_services_error(data: bytes) -> None:
    for read in (hf_text_generation.decode_response, hf_feature_extraction.decode_response):
        try:
            read(data, TARGET)
        except ProviderError:
            pass
    decoder = hf_text_generation.stream_decoder(TARGET)
    try:
        decoder.feed(b"data:" + data + b"\n\n")
        decoder.close()
    except ProviderError:
        pass
    assert isinstance(hf_text_generation.decode_error(500, {}, data), ProviderError)
    try:
        hf_feature_extraction.decode_request(data)
    except InvalidRequest:
        pass


# ---------------------------------------------------------------- feature extraction


def test_texts_to_vectors() -> None:
    request = EmbeddingRequest(input=("a", "b"), dimensions=3, extra={"hf_feature_extraction": {"normalize": True}})  # type: ignore[dict-item]  # accept.py
    outgoing = hf_feature_extraction.encode_request(request, TARGET)
    path = "/hf-inference/models/sentence-transformers/all-MiniLM-L6-v2/pipeline/feature-extraction"
    assert outgoing.path == path
    assert is_valid(outgoing.body, "feature-extraction.input") == {"inputs": ["a", "b"], "normalize": True}
    assert [notice.param for notice in outgoing.notices] == ["dimensions"]
    with pytest.raises(InvalidRequest, match="not token ids"):
        hf_feature_extraction.encode_request(EmbeddingRequest(input=((1, 2),)), TARGET)


@pytest.mark.parametrize("model", ["BAAI/../../models/someone/else", "BAAI/..", "./BAAI/bge", ".."])
def test_no_models_name_leads_to_another_path(model: str) -> None:
    """A key that may use `hf/BAAI/*` may use no more than that."""
    with pytest.raises(InvalidRequest, match="no model is called"):
        hf_feature_extraction.encode_request(EmbeddingRequest(input=("a",)), Target(card=ModelCard(id=model)))
    dotted = Target(card=ModelCard(id="BAAI/bge-m3..v1.5"))
    assert hf_feature_extraction.encode_request(EmbeddingRequest(input=("a",)), dotted).path.endswith(
        "-m3..v1.5/pipeline/feature-extraction"
    )


# ---------------------------------------------------------------- over sockets


def provider(row: str, simulator: Simulator, base_url: str = "", **settings: Any) -> HttpProvider:
    url = base_url or simulator.urls.openai
    return HttpProvider(row, ProviderSettings(base_url=url, api_key=Secret("hf_test-key"), **settings))


@pytest.mark.parametrize(
    ("row", "dialect"), [("tgi", "tgi_generate"), ("huggingface_endpoint", "hf_text_generation"), ("tgi", None)]
)
async def test_a_text_streamed_and_whole(simulator: Simulator, row: str, dialect: str | None) -> None:
    base_url = simulator.urls.root if dialect == "hf_text_generation" else ""
    found = provider(row, simulator, base_url, dialect=dialect, model="sim-echo")
    whole = await found.complete("hello")
    streamed = collect([event async for event in found.stream("hello")])
    assert whole.content == streamed.content == "You said: hello"
    paths = [received.path for received in simulator.received]
    expected = {"tgi_generate": ["/generate", "/generate_stream"], "hf_text_generation": ["/", "/"]}
    assert paths == expected.get(dialect or "", ["/v1/chat/completions"] * 2)
    await found.close()


async def test_the_router_takes_a_model_with_its_provider(simulator: Simulator) -> None:
    found = provider("huggingface", simulator)
    await found.complete("hello", model="openai/gpt-oss-20b:groq")
    assert simulator.received[0].path == "/v1/chat/completions"
    assert simulator.received[0].json()["model"] == "openai/gpt-oss-20b:groq"
    assert simulator.received[0].header("authorization") == "Bearer hf_test-key"
    vectors = await found.embed(["a", "b"], model="BAAI/bge-small-en-v1.5")
    assert len(vectors.embeddings) == 2
    assert simulator.received[1].path == "/hf-inference/models/BAAI/bge-small-en-v1.5/pipeline/feature-extraction"
    with pytest.raises(BadReply, match="one vector a token: name a model that pools"):
        await found.embed(["a"], model="x/sim-tokens")
    await found.close()


async def test_errors_are_classified(simulator: Simulator) -> None:
    found = provider("tgi", simulator, dialect="tgi_generate", model="sim-echo")
    simulator.run("error_at=2")
    with pytest.raises(ProviderError, match="simulated error"):
        collect([event async for event in found.stream("hello")])
    await found.close()


def test_requests_for_the_router_are_those_of_its_schema() -> None:
    request = talk(
        model="m",
        max_tokens=5,
        temperature=0.5,
        top_p=0.5,
        seed=1,
        stop=("x",),
        tools=(Tool(name="look", parameters={"type": "object"}),),
        tool_choice="auto",
        output_schema=OutputSchema(schema={"type": "object"}),
        top_k=3,
    )
    target = Target(card=ModelCard(id="m"), quirks=load_rows()["huggingface"].quirks)
    outgoing = openai_chat.encode_request(request, target, stream=True)
    members = is_valid(outgoing.body, "chat-completion.input")
    assert set(members) <= set(schema("chat-completion.input")["properties"])
    assert [notice.param for notice in outgoing.notices] == ["top_k"]
