"""A thought's proof is sent to the maker that gave it, as it was, and to no other: whatever callers it goes through."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import keep
from genai_spine.dialects.openai_chat.thoughts import detail_of_thinking, thinking_of_detail
from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.signatures import ANTHROPIC, OPENAI, is_proven_by, named, split
from genai_spine.gateway.inbounds import inbound
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Text, Thinking, ToolCall
from genai_spine.model.events import PartDelta, StreamEvent
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse
from genai_spine.providers import codecs

CALLERS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")
TARGET = Target(card=ModelCard(id="m"), quirks=Quirks(reasoning_field="reasoning_details"))
ANSWERS: dict[str, Any] = {
    "anthropic_messages": {
        "content": [
            {"type": "thinking", "thinking": "Hm", "signature": "Q2xhdWRl"},
            {"type": "redacted_thinking", "data": "Q2xhdWRlcw=="},
            {"type": "text", "text": "Hello"},
        ],
        "stop_reason": "end_turn",
    },
    "openai_responses": {
        "status": "completed",
        "output": [
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "Hm"}],
                "encrypted_content": "gAAAAOpenAI",
            },
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]},
        ],
    },
}
PROOFS = {"anthropic_messages": (b'"Q2xhdWRl"', b'"Q2xhdWRlcw=="'), "openai_responses": (b'"gAAAAOpenAI"',)}
ALSO_CLAUDE = ("bedrock_converse", "vertex_anthropic")
MARKS = (b'"openai:', b'"anthropic:', b'"redacted:')


def brought_back(caller: str, response: CompletionResponse) -> Iterator[CompletionRequest]:
    """The next request of a caller who got this answer, plain and streamed, and sends it back as it came."""
    ways, asked = codecs.outbound(caller), CompletionRequest(messages=())
    encoder, decoder = inbound(caller).stream_encoder(asked), ways.stream_decoder(TARGET)
    stream = b"".join(encoder.encode(event) for event in replay(response))
    plain = ways.decode_response(inbound(caller).encode_response(response, asked), TARGET)
    for seen in (plain, collect([*decoder.feed(stream), *decoder.close()])):
        answer = json.loads(inbound(caller).encode_response(seen, asked))
        yield inbound(caller).decode_request(json.dumps(_next(caller, answer)).encode())


def _next(caller: str, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer as a turn of the next request."""
    hello, again = {"role": "user", "content": "Hi"}, {"role": "user", "content": "So?"}
    match caller:
        case "openai_chat":
            return {"messages": [hello, answer["choices"][0]["message"], again]}
        case "openai_responses":
            return {"input": [hello, *answer["output"], again]}
        case "gemini":
            ask = {"parts": [{"text": "Hi"}]}
            return {"contents": [ask, answer["candidates"][0]["content"], ask]}
        case _:
            said = {"role": "assistant", "content": answer["content"]}
            return {"max_tokens": 99, "messages": [hello, said, again]}


@pytest.mark.parametrize("maker", ANSWERS)
@pytest.mark.parametrize("caller", CALLERS)
def test_a_proof_goes_back_to_its_maker_as_it_was_and_to_no_other(caller: str, maker: str) -> None:
    response = codecs.outbound(maker).decode_response(json.dumps(ANSWERS[maker]).encode(), TARGET)
    for request in brought_back(caller, response):
        for provider in ("anthropic_messages", "openai_responses"):
            sent = codecs.outbound(provider).encode_request(request, TARGET, stream=False)
            assert not any(mark in sent.body for mark in MARKS)
            omitted = [notice for notice in sent.notices if notice.code == "omitted_thinking"]
            if provider == maker:
                assert all(proof in sent.body for proof in PROOFS[maker])
                assert omitted == []
            else:
                assert not any(proof.strip(b'"') in sent.body for proof in PROOFS[maker])
                assert len(omitted) == len(PROOFS[maker])
        for provider in ALSO_CLAUDE:
            body = codecs.outbound(provider).encode_request(request, TARGET, stream=False).body
            assert (PROOFS["anthropic_messages"][0] in body) is (maker == "anthropic_messages")
            assert PROOFS["openai_responses"][0] not in body


def test_what_a_caller_holds_of_another_service_is_not_relayed() -> None:
    for caller, maker in (("anthropic_messages", "openai_responses"), ("openai_responses", "anthropic_messages")):
        asked = CompletionRequest(messages=())
        for provider, is_translated in ((maker, True), (caller, False)):
            response = codecs.outbound(provider).decode_response(json.dumps(ANSWERS[provider]).encode(), TARGET)
            body = _next(caller, json.loads(inbound(caller).encode_response(response, asked)))
            members = {key: json.dumps(value).encode() for key, value in body.items()}
            assert codecs.relayed(caller).concerns(members, Quirks()) is is_translated  # type: ignore[arg-type]


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_caller_of_gemini_brings_claudes_thoughts_back_with_a_tools_result(is_streamed: bool) -> None:
    """Google's clients keep each chunk of a stream as a content of its own, and write base64 as in URLs."""
    parts = (
        Thinking(text="Let me look. Then tell.", signature="EqQB+/=="),
        Thinking(redacted="EroC+/=="),
        Text(text="Looking."),
        ToolCall(id="toolu_1", name="look", arguments='{"at":"sky"}'),
    )
    response, asked = CompletionResponse(model="m", parts=parts), CompletionRequest(messages=())
    caller = inbound("gemini")
    if is_streamed:
        encoder = caller.stream_encoder(asked)
        events: list[StreamEvent] = []
        for event in replay(response):
            halves = [event.text[:9], event.text[9:]] if isinstance(event, PartDelta) else []
            events += [PartDelta(event.index, half) for half in halves] if isinstance(event, PartDelta) else [event]
        chunks = b"".join(encoder.encode(event) for event in events).decode().split("data: ")[1:]
        said = [json.loads(chunk)["candidates"][0]["content"] for chunk in chunks]
    else:
        said = [json.loads(caller.encode_response(response, asked))["candidates"][0]["content"]]
    for part in (part for content in said for part in content["parts"] if "thoughtSignature" in part):
        part["thoughtSignature"] = base64.urlsafe_b64encode(base64.b64decode(part["thoughtSignature"])).decode()
    call = next(part["functionCall"] for content in said for part in content["parts"] if "functionCall" in part)
    result = {"functionResponse": {"id": call["id"], "name": "look", "response": {"output": "blue"}}}
    body = {"contents": [{"role": "user", "parts": [{"text": "?"}]}, *said, {"role": "user", "parts": [result]}]}
    request = caller.decode_request(json.dumps(body).encode())
    sent = codecs.outbound("anthropic_messages").encode_request(request, TARGET, stream=False)
    assistant = [message for message in json.loads(sent.body)["messages"] if message["role"] == "assistant"]
    blocks = [block for message in assistant for block in message["content"] if isinstance(message["content"], list)]
    assert blocks[0] == {"type": "thinking", "thinking": "Let me look. Then tell.", "signature": "EqQB+/=="}
    assert {"type": "redacted_thinking", "data": "EroC+/=="} in blocks
    assert [block["type"] for block in blocks if block["type"] in ("thinking", "tool_use")] == ["thinking", "tool_use"]
    assert not any(notice.code == "omitted_thinking" for notice in sent.notices)
    members = {"contents": json.dumps(body["contents"]).encode()}
    assert codecs.relayed("gemini").concerns(members, Quirks())  # type: ignore[arg-type]  # bytes, as Raw is
    there = codecs.outbound("gemini").encode_request(request, TARGET, stream=False)
    assert b"Z2VuYWkt" not in there.body, "Google would refuse it"


@pytest.mark.parametrize("signature", ["Z2VuYWktc3BpbmU6", "Z2VuYWktc3BpbmU6!!", "Z2VuYWktc3BpbmU6eDp5Ono=", "CpQB"])
def test_any_other_signature_is_googles(signature: str) -> None:
    part = {"text": "Hm", "thought": True, "thoughtSignature": signature}
    body = {"contents": [{"role": "model", "parts": [part]}, {"parts": [{"text": "?"}]}]}
    request = inbound("gemini").decode_request(json.dumps(body).encode())
    sent = codecs.outbound("gemini").encode_request(request, TARGET, stream=False)
    assert json.loads(sent.body)["contents"][0]["parts"] == [part]


def test_openrouter_says_the_maker_as_a_format() -> None:
    for name, maker in (
        ("anthropic-claude-v1", ""),
        ("openai-responses-v1", "openai:"),
        ("xai-responses-v1", "xai:"),
        ("google-gemini-v1", "google:"),
        (None, ""),
    ):
        detail = {"type": "reasoning.text", "text": "Hm", "signature": "sig", "index": 0}
        detail |= {"format": name} if name else {}
        thought = thinking_of_detail(detail)
        assert thought.signature == f"{maker}sig"
        assert detail_of_thinking(thought, 0) == detail
        hidden = {**detail, "type": "reasoning.encrypted", "data": "x"}
        assert thinking_of_detail(hidden).redacted == f"{maker}x"
        assert is_proven_by(ANTHROPIC, thought) is (maker == "")


def test_a_format_is_written_for_a_proof_that_came_from_elsewhere() -> None:
    detail = detail_of_thinking(Thinking(text="Hm", signature="openai:gAAA"), 0)
    assert (detail["signature"], detail["format"]) == ("gAAA", "openai-responses-v1")
    own = Thinking(
        text="Hm", signature="openai:gAAA", provider_metadata=keep("openai_chat", {"format": "azure-openai"})
    )
    assert detail_of_thinking(own, 0)["format"] == "azure-openai"


def test_names() -> None:
    assert split(named(OPENAI, "gAAA")) == (OPENAI, "gAAA")
    assert named(ANTHROPIC, "EqkW") == "EqkW"
    assert split("EqkW") == split(named(ANTHROPIC, "EqkW")) == (ANTHROPIC, "EqkW")
    assert split("data: openai:x") == (ANTHROPIC, "data: openai:x")
    assert not is_proven_by(ANTHROPIC, Thinking(text="unsigned"))
