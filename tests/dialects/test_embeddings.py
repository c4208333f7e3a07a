"""Embeddings of OpenAI's and Ollama's shape: what the golden cases do not show, and every recording."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_exchanges import Exchange, each

from genai_spine.catalog.cards import card_of
from genai_spine.dialects import (
    cohere_embed,
    gemini_embed_content,
    gemini_embeddings,
    ollama_embed,
    ollama_embeddings,
    openai_embeddings,
    vectors,
    vertex_embeddings,
)
from genai_spine.dialects.interface import Target
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.card import ModelCard
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import BadReply, InvalidRequest, ModelNotFound
from genai_spine.model.response import TokenUsage
from genai_spine.policy.cost import priced

TARGET = Target(card=ModelCard(id="m"))
OPENAI_SHAPED = (
    "azure-openai",
    "doubleword",
    "llamacpp",
    "mistral",
    "openai",
    "openrouter",
    "venice",
    "voyage",
)

REFUSED = {
    "perplexity/embeddings-ruby-llm-embedding-perplexity-int8-embeddings-"
    "perplexity-pplx-embed-v1-0-6b-handles-multiple-texts-with-custo": "base64 of int8, not of float32: "
    "Perplexity's own encoding, which nobody asked for",
}


def body(*vectors: Any, **more: Any) -> bytes:
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return json.dumps({"object": "list", "data": data, "model": "m", **more}).encode()


# ---------------------------------------------------------------- recordings


@each("embeddings", *OPENAI_SHAPED)
def test_recorded_openai_shaped(exchange: Exchange) -> None:
    if exchange.status != 200:
        error = openai_embeddings.decode_error(exchange.status, {}, exchange.body)
        assert error.message
        assert error.status_code == exchange.status
        return
    request = openai_embeddings.decode_request(json.dumps(exchange.request).encode())
    response = openai_embeddings.decode_response(exchange.body, TARGET)
    recorded = json.loads(exchange.body)
    assert vectors.matched(response, request).notices == ()
    assert response.model == recorded["model"]
    assert response.usage is not None
    assert response.usage.input_tokens == recorded["usage"].get("prompt_tokens", recorded["usage"]["total_tokens"])
    for item, vector in zip(recorded["data"], response.embeddings, strict=True):
        if isinstance(item["embedding"], list):
            assert list(vector) == item["embedding"]
        assert 0.3 < math.hypot(*vector) < 300
    written = json.loads(openai_embeddings.encode_response(response, request))
    assert [type(item["embedding"]) for item in written["data"]] == [
        str if exchange.request.get("encoding_format") == "base64" else list
    ] * len(recorded["data"])
    sent = openai_embeddings.encode_request(request, Target(card=ModelCard(id=request.model or "m")))
    before = {name: value for name, value in exchange.request.items() if value is not None}
    if isinstance(before["input"], str):
        before["input"] = [before["input"]]  # one text is sent as a list of one
    assert json.loads(sent.body) == before


@each("embeddings", "perplexity")
def test_recorded_vectors_of_another_type_are_refused(exchange: Exchange) -> None:
    assert exchange.name in REFUSED
    with pytest.raises(BadReply):
        openai_embeddings.decode_response(exchange.body, TARGET)


@each("embeddings", "ollama")
def test_recorded_ollama(exchange: Exchange) -> None:
    request = ollama_embeddings.decode_request(json.dumps(exchange.request).encode())
    assert request.input == (exchange.request["prompt"],)
    assert request.extra is None
    response = vectors.matched(ollama_embed.decode_response(exchange.body, TARGET), request)
    written = json.loads(ollama_embeddings.encode_response(response, request))
    assert written == json.loads(exchange.body)


# ---------------------------------------------------------------- vectors


@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), min_size=1, max_size=4))
def test_vectors_come_back_the_same(numbers: list[list[float]]) -> None:
    response = EmbeddingResponse(model="m", embeddings=tuple(map(tuple, numbers)), usage=TokenUsage(input_tokens=7))
    request = EmbeddingRequest(input=("a",) * len(numbers))
    in_base64 = openai_embeddings.decode_request(
        json.dumps({"input": ["a"] * len(numbers), "encoding_format": "base64"}).encode()
    )
    for dialect, asked in (
        (openai_embeddings, request),
        (openai_embeddings, in_base64),
        (ollama_embed, request),
    ):
        read = dialect.decode_response(dialect.encode_response(response, asked), TARGET)
        assert msgspec.structs.replace(read, extra=None) == response


@pytest.mark.parametrize(
    ("vector", "why"),
    [
        ([[0.1], [0.2]], "one vector a token"),
        ([[]], "one vector a token"),
        ([], "empty"),
        ([0.1, None], "no list of numbers"),
        ([0.1, "0.2"], "no list of numbers"),
        (None, "no list of numbers"),
        ({"0": 1}, "no list of numbers"),
        ("!!!", "not base64"),
        ("AAAA", "not float32"),
        ("AADAfw==", "not finite"),
        ("AACAfw==", "not finite"),
        ("f39/fg==", "beyond all measure"),
        ([1e300], "beyond all measure"),
    ],
)
def test_what_is_no_vector_is_refused(vector: Any, why: str) -> None:
    with pytest.raises(BadReply, match=why):
        openai_embeddings.decode_response(body(vector), TARGET)
    with pytest.raises(BadReply, match=why):
        ollama_embed.decode_response(json.dumps({"embeddings": [vector]}).encode(), TARGET)


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"1e999"])
def test_numbers_that_json_does_not_know_are_refused(literal: bytes) -> None:
    with pytest.raises(BadReply):
        openai_embeddings.decode_response(b'{"data":[{"index":0,"embedding":[%s]}]}' % literal, TARGET)


def test_whole_numbers_are_numbers() -> None:
    response = openai_embeddings.decode_response(body([1, -2]), TARGET)
    assert response.embeddings == ((1.0, -2.0),)


@pytest.mark.parametrize("indices", [[0, 0], [1, 2], [0, None], [0, 2]])
def test_an_index_must_tell_the_input(indices: list[int | None]) -> None:
    data = [{"index": index, "embedding": [0.1]} for index in indices]
    with pytest.raises(BadReply, match="index"):
        openai_embeddings.decode_response(json.dumps({"data": data}).encode(), TARGET)


def test_vectors_without_any_index_are_in_order() -> None:
    data = json.dumps({"data": [{"embedding": [0.1]}, {"embedding": [0.2]}]}).encode()
    assert openai_embeddings.decode_response(data, TARGET).embeddings == ((0.1,), (0.2,))


def test_fewer_vectors_than_inputs_are_refused() -> None:
    response = openai_embeddings.decode_response(body([0.1]), TARGET)
    with pytest.raises(BadReply, match="1 vectors for 2 inputs"):
        vectors.matched(response, EmbeddingRequest(input=("a", "b")))


def test_vectors_of_different_lengths_are_refused() -> None:
    response = openai_embeddings.decode_response(body([0.1], [0.1, 0.2]), TARGET)
    with pytest.raises(BadReply, match="different lengths"):
        vectors.matched(response, EmbeddingRequest(input=("a", "b")))


def test_dimensions_that_were_not_honoured_give_a_notice() -> None:
    response = openai_embeddings.decode_response(body([0.1, 0.2]), TARGET)
    (notice,) = vectors.matched(response, EmbeddingRequest(input=("a",), dimensions=1)).notices
    assert (notice.code, notice.param) == ("changed", "dimensions")
    assert vectors.matched(response, EmbeddingRequest(input=("a",), dimensions=2)).notices == ()


def test_an_answer_without_vectors_is_none() -> None:
    with pytest.raises(BadReply):
        openai_embeddings.decode_response(b"{}", TARGET)
    with pytest.raises(BadReply):
        ollama_embed.decode_response(b"{}", TARGET)


# ---------------------------------------------------------------- requests


def asked(**body: Any) -> EmbeddingRequest:
    return openai_embeddings.decode_request(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
        (["a", [1]], ("a", (1,))),
    ],
)
def test_inputs_are_texts_or_token_ids(given: Any, read: Any) -> None:
    assert asked(input=given).input == read


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": 3}, "input"),
        ({"input": [[]]}, "input[0]"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": [[1.5]]}, "input[0]"),
        ({"input": [True]}, "input[0]"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "user": 3}, "user"),
    ],
)
def test_what_cannot_be_read_is_named(body: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        asked(**body)
    assert raised.value.param == place


def test_base64_is_asked_for_only_where_the_caller_did() -> None:
    plain, packed = asked(input="a"), asked(input="a", encoding_format="base64")
    assert "encoding_format" not in json.loads(openai_embeddings.encode_request(plain, TARGET).body)
    assert json.loads(openai_embeddings.encode_request(packed, TARGET).body)["encoding_format"] == "base64"


def test_the_callers_format_does_not_depend_on_the_provider() -> None:
    request = asked(input="a", encoding_format="base64", user="u")
    outgoing = ollama_embed.encode_request(request, TARGET)
    assert json.loads(outgoing.body) == {"model": "m", "input": ["a"]}
    assert [notice.param for notice in outgoing.notices] == ["user"]
    response = ollama_embed.decode_response(b'{"embeddings":[[1.0]]}', TARGET)
    written = json.loads(openai_embeddings.encode_response(response, request))
    assert written["data"][0]["embedding"] == "AACAPw=="


def test_ollama_takes_no_token_ids() -> None:
    with pytest.raises(InvalidRequest, match=r"input\[1\]"):
        ollama_embed.encode_request(asked(input=["a", [1]]), TARGET)


def test_another_dialects_members_give_notices() -> None:
    request = ollama_embed.decode_request(b'{"input":"a","truncate":true,"keep_alive":0}')
    outgoing = openai_embeddings.encode_request(request, TARGET)
    assert json.loads(outgoing.body) == {"model": "m", "input": ["a"]}
    assert {notice.param for notice in outgoing.notices} == {"truncate", "keep_alive"}


def test_fields_that_a_service_refuses_are_left_out_with_a_notice() -> None:
    target = Target(card=ModelCard(id="m"), quirks=Quirks(drop=("user",)))
    outgoing = openai_embeddings.encode_request(asked(input="a", user="u"), target)
    assert "user" not in json.loads(outgoing.body)
    assert [notice.param for notice in outgoing.notices] == ["user"]


def test_what_an_answer_used_is_said_in_openais_words() -> None:
    response = EmbeddingResponse(model="m", embeddings=((1.0,),), usage=TokenUsage(input_tokens=3))
    written = json.loads(openai_embeddings.encode_response(response, asked(input="a")))
    assert written["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert written["data"] == [{"object": "embedding", "index": 0, "embedding": [1.0]}]


def test_durations_are_always_said_in_ollamas_words() -> None:
    response = EmbeddingResponse(model="m", embeddings=((1.0,),))
    written = json.loads(ollama_embed.encode_response(response, EmbeddingRequest(input=("a",))))
    assert written == {"model": "m", "embeddings": [[1.0]], "total_duration": 0, "load_duration": 0}


def test_errors_are_the_chats() -> None:
    error = ollama_embed.decode_error(404, {}, b'{"error":"model \\"x\\" not found"}')
    assert isinstance(error, ModelNotFound)
    assert "ollama pull x" in str(error)


def test_a_prompt_is_needed_by_the_older_endpoint() -> None:
    with pytest.raises(InvalidRequest, match="prompt"):
        ollama_embeddings.decode_request(b'{"model":"m"}')


# ---------------------------------------------------------------- Gemini's contents


def test_the_parts_of_a_content_reach_gemini_as_they_came() -> None:
    """As google-genai 3.4.0 sends `embed_content("gemini-embedding-2", contents=["a", "b"])`: one vector of both."""
    contents = [{"parts": [{"text": "a"}, {"text": "b"}]}, {"parts": [{"text": "c"}]}]
    body = json.dumps({"requests": [{"content": content} for content in contents]}).encode()
    request = gemini_embeddings.decode_request(body)
    assert request.input == ("a\nb", "c")
    sent = json.loads(gemini_embeddings.encode_request(request, TARGET).body)
    assert [each["content"] for each in sent["requests"]] == contents
    single = gemini_embed_content.decode_request(json.dumps({"content": contents[0]}).encode())
    (one,) = json.loads(gemini_embeddings.encode_request(single, TARGET).body)["requests"]
    assert one["content"] == contents[0]
    for dialect in (openai_embeddings, vertex_embeddings):
        outgoing = dialect.encode_request(request, TARGET)
        assert b"a\\nb" in outgoing.body and b"parts" not in outgoing.body
        assert [notice.param for notice in outgoing.notices] == ["parts"]


def test_parts_of_more_contents_than_a_batch_holds_are_refused() -> None:
    request = gemini_embeddings.decode_request(
        json.dumps({"requests": [{"content": {"parts": [{"text": "a"}, {"text": "b"}]}}] * 3}).encode()
    )
    with pytest.raises(InvalidRequest, match="at most 100"):
        gemini_embeddings.encode_request(msgspec.structs.replace(request, input=request.input[:2]), TARGET)


# ---------------------------------------------------------------- what images cost


@pytest.mark.parametrize(
    ("billed", "tokens", "cost"),
    [
        ({"input_tokens": 1000}, 1000, "0.00012"),
        ({"image_tokens": 1000}, 1000, "0.00047"),
        ({"input_tokens": 10, "image_tokens": 1000}, 1010, "0.0004712"),
        ({"images": 1}, None, None),
    ],
)
def test_coheres_images_have_a_price_of_their_own(billed: dict[str, int], tokens: int | None, cost: str | None) -> None:
    card = card_of("cohere", "cohere", "embed-v4.0")
    reply = json.dumps({"id": "1", "embeddings": {"float": [[0.1]]}, "meta": {"billed_units": billed}}).encode()
    usage = cohere_embed.decode_response(reply, Target(card=card)).usage
    assert usage is not None and usage.input_tokens == tokens
    assert priced(usage, card.price).cost_usd == (None if cost is None else Decimal(cost))
