"""What an answer is drawn from: read in every dialect, and told to callers of every other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import msgspec
import pytest
from bedrock_exchanges import BedrockExchange
from bedrock_exchanges import exchanges as bedrock_exchanges
from recorded_exchanges import exchanges

from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import kept
from genai_spine.gateway.inbounds import inbound
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Citation, Part, Text, Thinking, ToolCall
from genai_spine.model.errors import InvalidRequest, ProviderError
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.model.response import CompletionResponse, FinishReason
from genai_spine.providers import codecs

TARGET = Target(card=ModelCard(id="m"))
ASKED = CompletionRequest(model="m", messages=(Message(role="user", content="Hello"),))

SPOKEN = {
    "messages": "anthropic_messages",
    "chat": "openai_chat",
    "responses": "openai_responses",
    "generate_content": "gemini",
    "cohere_v2_chat": "cohere_chat",
}
"""The dialect of a recorded API."""

CALLERS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")


def read(dialect: str, body: bytes, target: Target = TARGET) -> CompletionResponse:
    codec = codecs.outbound(dialect)
    if body.lstrip()[:1] in (b"{", b"["):
        return codec.decode_response(body, target)
    decoder = codec.stream_decoder(target)
    return collect([*decoder.feed(body), *decoder.close()])


class Cited(NamedTuple):
    name: str
    dialect: str
    answer: CompletionResponse


@cache
def recorded() -> list[Cited]:
    return list(_recorded())


def _recorded() -> Iterator[Cited]:
    for api, dialect in SPOKEN.items():
        for exchange in exchanges(api):
            if exchange.status == 200:
                try:
                    answer = read(dialect, exchange.body)
                except (ProviderError, InvalidRequest):
                    continue
                if answer.citations:
                    yield Cited(exchange.name, dialect, answer)


def answered(*parts: Part) -> CompletionResponse:
    return CompletionResponse(model="m", id="a1", parts=parts, finish_reason=FinishReason.STOP)


def told(dialect: str, answer: CompletionResponse) -> tuple[CompletionResponse, CompletionResponse]:
    """The answer as a caller of this dialect reads it: plain, and streamed."""
    ours, theirs = inbound(dialect), codecs.outbound(dialect)
    encoder, decoder = ours.stream_encoder(ASKED), theirs.stream_decoder(TARGET)
    streamed = [event for sent in replay(answer) for event in decoder.feed(encoder.encode(sent))]
    plain = theirs.decode_response(ours.encode_response(answer, ASKED), TARGET)
    return plain, collect([*streamed, *decoder.close()])


def sources(answer: CompletionResponse) -> list[tuple[str | None, str | None]]:
    """What each citation names, and the words that are drawn from it."""
    found = []
    for part in answer.parts:
        for citation in part.citations if isinstance(part, Text) else ():
            words = part.text if citation.start is None else part.text[citation.start : citation.end]
            found.append((citation.url, words))
    return found


# ---------------------------------------------------------------- recordings


def test_services_cite_in_the_recordings() -> None:
    if not exchanges("chat"):
        pytest.skip("the recordings are not here")
    by = {dialect: sum(cited.dialect == dialect for cited in recorded()) for dialect in SPOKEN.values()}
    assert by == {
        "anthropic_messages": 24,
        "openai_chat": 23,
        "openai_responses": 26,
        "gemini": 22,
        "cohere_chat": 18,
    }


def test_a_recorded_place_is_within_its_text() -> None:
    for cited in recorded():
        for part in cited.answer.parts:
            for citation in part.citations if isinstance(part, Text) else ():
                if citation.start is not None and citation.end is not None:
                    assert 0 <= citation.start < citation.end <= len(part.text), cited.name


def test_recorded_words_are_those_that_the_service_says_it_cites() -> None:
    for cited in recorded():
        if cited.dialect == "cohere_chat":
            said = _cohere_words(cited.answer)
        elif cited.dialect == "gemini":
            said = _gemini_words(cited.answer)
        else:
            continue
        for part in cited.answer.parts:
            for citation in part.citations if isinstance(part, Text) else ():
                if citation.start is not None:
                    assert part.text[citation.start : citation.end] in said, cited.name


def _cohere_words(answer: CompletionResponse) -> set[str]:
    own = [kept(part.provider_metadata, "cohere_chat") for part in answer.parts]
    return {citation["text"] for members in own for citation in members.get("citations", ())}


def _gemini_words(answer: CompletionResponse) -> set[str]:
    candidate = kept(answer.extra, "gemini")["candidate"]
    supports = candidate.get("groundingMetadata", {}).get("groundingSupports") or []
    return {support["segment"]["text"] for support in supports}


@pytest.mark.parametrize("caller", CALLERS)
def test_every_recorded_page_reaches_callers_of_other_dialects(caller: str) -> None:
    for cited in recorded():
        if cited.dialect == caller:
            continue
        pages = [(url, words) for url, words in sources(cited.answer) if url]
        for again in told(caller, cited.answer):
            if caller == "anthropic_messages":  # the whole block is what is drawn from a source
                wanted = [url for url, _ in pages]
                assert [url for url, _ in sources(again) if url in set(wanted)] == wanted, cited.name
            elif caller == "gemini":  # by page
                assert {page for page in sources(again) if page[0]} == set(pages), cited.name
            else:
                assert [page for page in sources(again) if page[0]] == pages, cited.name
            assert again.content == cited.answer.content, cited.name


def test_bedrock_cites_documents() -> None:
    talks = bedrock_exchanges("converse", "converse_stream")
    found = [_bedrock(exchange) for exchange in talks if exchange.status == 200]
    cited = [answer for answer in found if answer is not None and answer.citations]
    if not found:
        pytest.skip("the recordings are not here")
    assert {citation.title for answer in cited for citation in answer.citations} >= {"company_policy", "Ruby Facts"}


def _bedrock(exchange: BedrockExchange) -> CompletionResponse | None:
    codec = codecs.outbound("bedrock_converse")
    try:
        if not exchange.streamed:
            return codec.decode_response(exchange.body, exchange.target)
        decoder = codec.stream_decoder(exchange.target)
        return collect([*decoder.feed(exchange.body), *decoder.close()])
    except ProviderError:
        return None


# ---------------------------------------------------------------- places


PAGE = Citation(url="https://e.org/a", title="A", cited_text="It rains.", start=3, end=7)
MIXED = answered(
    Thinking(text="Hm."),
    Text(text="Ünd "),
    Text(text="es 🌧egnet.", citations=(PAGE, Citation(url="https://e.org/b"))),
    ToolCall(id="c1", name="f", arguments="{}"),
)


@pytest.mark.parametrize("caller", ["openai_chat", "gemini"])
def test_places_are_those_of_the_joined_text_where_texts_are_one(caller: str) -> None:
    """In letters for OpenAI, and in bytes for Gemini, whose clients join the texts."""
    codec = inbound(caller)
    encoder = codec.stream_encoder(ASKED)
    plain = json.loads(codec.encode_response(MIXED, ASKED))
    frames = b"".join(encoder.encode(event) for event in replay(MIXED)).replace(b"\r\n", b"\n").split(b"\n\n")
    chunks = [json.loads(frame[6:]) for frame in frames if frame.startswith(b"data: {")]
    if caller == "openai_chat":
        expected: Any = [
            {
                "type": "url_citation",
                "url_citation": {
                    "url": "https://e.org/a",
                    "title": "A",
                    "start_index": 7,
                    "end_index": 11,
                    "content": "It rains.",
                },
            },
            {
                "type": "url_citation",
                "url_citation": {
                    "url": "https://e.org/b",
                    "title": "https://e.org/b",
                    "start_index": 4,
                    "end_index": 14,
                },
            },
        ]
        assert "Ünd es 🌧egnet."[7:11] == "🌧egn"
        assert plain["choices"][0]["message"]["annotations"] == expected
        assert [delta["annotations"] for delta in _deltas(chunks) if "annotations" in delta] == [expected]
        return
    grounding = plain["candidates"][0]["groundingMetadata"]
    assert chunks[-1]["candidates"][0]["groundingMetadata"] == grounding
    assert [chunk["web"]["uri"] for chunk in grounding["groundingChunks"]] == ["https://e.org/a", "https://e.org/b"]
    for support, words in zip(grounding["groundingSupports"], ("🌧egn", "es 🌧egnet."), strict=True):
        segment = support["segment"]
        joined = "Ünd es 🌧egnet.".encode()
        assert joined[segment["startIndex"] : segment["endIndex"]].decode() == segment["text"] == words


def _deltas(chunks: list[Any]) -> list[Any]:
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


def test_clients_of_responses_hear_of_each_annotation() -> None:
    encoder = inbound("openai_responses").stream_encoder(ASKED)
    stream = b"".join(encoder.encode(event) for event in replay(MIXED))
    assert stream.count(b"event: response.output_text.annotation.added") == 2
    assert (
        b'"annotation":{"type":"url_citation","url":"https://e.org/a","title":"A","start_index":3,"end_index":7}'
        in stream
    )


def test_a_document_is_a_file_or_a_name() -> None:
    answer = answered(Text(text="So.", citations=(Citation(title="Notes"), Citation(file_id="f1", title="a.pdf"))))
    for again in told("anthropic_messages", answer):
        assert [(each.url, each.title) for each in again.citations] == [("Notes", "Notes"), ("f1", "a.pdf")]
    for again in told("openai_responses", answer):
        assert [(each.file_id, each.title) for each in again.citations] == [("f1", "a.pdf")]
    for again in told("openai_chat", answer):
        assert again.citations == ()


@pytest.mark.parametrize("caller", CALLERS)
def test_an_answer_without_sources_says_nothing_of_any(caller: str) -> None:
    answer = answered(Text(text="So."))
    for again in told(caller, answer):
        assert again.citations == ()


# ---------------------------------------------------------------- what services say


def test_geminis_sources_may_come_after_the_text_has_ended() -> None:
    grounding = {"groundingChunks": [{"web": {"uri": "https://e.org", "title": "E"}}], "groundingSupports": []}
    call = {"functionCall": {"name": "f", "args": {}}}
    chunks = [
        {"candidates": [{"content": {"parts": [{"text": "Rain."}]}}]},
        {"candidates": [{"content": {"parts": [call]}}]},
        {"candidates": [{"content": {"parts": []}, "finishReason": "STOP", "groundingMetadata": grounding}]},
    ]
    decoder = codecs.outbound("gemini").stream_decoder(TARGET)
    stream = b"".join(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks)
    answer = collect([*decoder.feed(stream), *decoder.close()])
    assert answer.content == "Rain."
    assert answer.citations == (Citation(url="https://e.org", title="E"),)


@pytest.mark.parametrize(
    "segment",
    [{"startIndex": 0, "endIndex": 99}, {"startIndex": 5, "endIndex": 2}, {"endIndex": 4, "text": "Snow"}, {}, "x"],
)
def test_a_place_that_cannot_be_is_none(segment: Any) -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://e.org"}}, "odd", {"web": 1}],
        "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0, 7, "1"]}, 3],
    }
    candidate = {"content": {"parts": [{"text": "Rain."}]}, "finishReason": "STOP", "groundingMetadata": grounding}
    answer = read("gemini", json.dumps({"candidates": [candidate]}).encode())
    assert answer.citations == (Citation(url="https://e.org"),)


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic_messages", "cohere_chat"])
def test_sources_of_an_odd_shape_are_none(dialect: str) -> None:
    own: list[Any] = [1, "a", None, {}, {"type": 3}]
    bodies: dict[str, Any] = {
        "openai_chat": {"choices": [{"message": {"content": "So.", "annotations": own}, "finish_reason": "stop"}]},
        "anthropic_messages": {"content": [{"type": "text", "text": "So.", "citations": own}]},
        "cohere_chat": {"message": {"content": [{"type": "text", "text": "So."}], "citations": own}},
    }
    answer = read(dialect, json.dumps(bodies[dialect]).encode())
    assert (answer.content, answer.citations) == ("So.", ())


def test_a_library_user_reads_them_of_the_answer() -> None:
    answer = answered(Text(text="a", citations=(PAGE,)), Text(text="b", citations=(PAGE,)))
    assert answer.citations == (PAGE, PAGE)
    assert collect(replay(answer)) == answer
    assert msgspec.json.decode(msgspec.json.encode(answer), type=CompletionResponse) == answer
