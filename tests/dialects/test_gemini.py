"""Gemini's dialect: what golden cases, laws and recordings do not show."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from recorded_exchanges import Exchange, each

from genai_spine.dialects import gemini_embed_content, gemini_embeddings, gemini_models, vectors, vertex_embeddings
from genai_spine.dialects.anthropic_messages import inbound as anthropic_inbound
from genai_spine.dialects.anthropic_messages import outbound as anthropic_outbound
from genai_spine.dialects.gemini import inbound, outbound, tap, vertex
from genai_spine.dialects.gemini.history import UNSIGNED
from genai_spine.dialects.gemini.safety import with_safety
from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.openai_chat import inbound as openai_inbound
from genai_spine.dialects.openai_chat import outbound as openai_outbound
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.content import Text, Thinking, ToolCall, ToolResult
from genai_spine.model.embedding import EmbeddingRequest
from genai_spine.model.errors import BadReply, InvalidRequest, ModelNotFound, ProviderError, StreamBroken
from genai_spine.model.events import MessageStart, PartDelta, PartEnd, PartStart
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import CompletionRequest, Message, Tool, ToolChoice
from genai_spine.model.response import CompletionResponse
from genai_spine.testing.strategies import mutated, values

TARGET = Target(card=ModelCard(id="gemini-3-flash-preview"))
QUICK = settings(max_examples=100, suppress_health_check=list(HealthCheck))


def asked(**options: Any) -> CompletionRequest:
    return CompletionRequest(messages=(Message(role="user", content=(Text(text="?"),)),), **options)


def body_of(request: CompletionRequest, target: Target = TARGET) -> Any:
    return json.loads(outbound.encode_request(request, target, stream=False).body)


# ---------------------------------------------------------------- where it goes


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-flash", "/models/gemini-2.5-flash:generateContent"),
        ("models/gemini-2.5-flash", "/models/gemini-2.5-flash:generateContent"),
        ("tunedModels/mine", "/tunedModels/mine:generateContent"),
        ("../../v1/x?key=1#", "/models/..%2F..%2Fv1%2Fx%3Fkey%3D1%23:generateContent"),
        ("models/../x", "/models/..%2Fx:generateContent"),
        ("ü", "/models/%C3%BC:generateContent"),
    ],
)
def test_the_path_holds_the_model_and_nothing_else_of_it(model: str, path: str) -> None:
    assert outbound.path(model, stream=False) == path
    assert outbound.path("m", stream=True) == "/models/m:streamGenerateContent?alt=sse"
    target = Target(card=ModelCard(id=model))
    assert outbound.encode_request(asked(), target, stream=False).path == path


def test_names_of_functions_fit_wherever_they_stand() -> None:
    """Dots are taken here; slashes and more than 64 letters are not."""
    for name in ("git.log", "mcp/git/log", "x" * 65):
        call = ToolCall(id="c", name=name, arguments="{}")
        result = ToolResult(call_id="c", content=(Text(text="ok"),))
        said = (Message(role="assistant", content=(call,)), Message(role="tool", content=(result,)))
        tools = (Tool(name=name, parameters={"type": "object", "properties": {}}),)
        body = body_of(CompletionRequest(messages=said, tools=tools, tool_choice=ToolChoice(mode="tool", name=name)))
        written = body["tools"][0]["functionDeclarations"][0]["name"]
        assert (written == name) == (name == "git.log")
        assert re.fullmatch(r"[a-zA-Z0-9_.:-]{1,64}", written)
        assert body["contents"][0]["parts"][0]["functionCall"]["name"] == written
        assert body["contents"][1]["parts"][0]["functionResponse"]["name"] == written
        assert body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == [written]


def test_what_stands_in_the_url_is_put_into_the_body() -> None:
    assert inbound.split_path("ollama/llama3.2:latest:streamGenerateContent") == (
        "ollama/llama3.2:latest",
        "streamGenerateContent",
    )
    body = inbound.addressed(b'{"contents": [{"parts": [{"text": "?"}]}], "model": "other"}', "m", stream=True)
    request = inbound.decode_request(body)
    assert (request.model, request.stream) == ("m", True)
    with pytest.raises(InvalidRequest, match="given twice"):
        inbound.addressed(b'{"contents": [], "contents": []}', "m", stream=False)


# ---------------------------------------------------------------- signatures


SIGNED_CALL = {"functionCall": {"id": "c1", "name": "f", "args": {"n": 1}}, "thoughtSignature": "c2lnbmVk"}
ANSWER = json.dumps(
    {
        "candidates": [{"content": {"role": "model", "parts": [SIGNED_CALL]}, "finishReason": "STOP", "index": 0}],
        "modelVersion": "gemini-3-flash-preview",
        "responseId": "r1",
    }
).encode()
STREAM = b"data: " + ANSWER + b"\r\n\r\n"


def sent_back(request: CompletionRequest) -> Any:
    """The assistant's part as it goes to Gemini."""
    (content,) = [each for each in body_of(request)["contents"] if each["role"] == "model"]
    return content["parts"][-1]


def streamed(dialect: Any, response: CompletionResponse) -> bytes:
    encoder = dialect.stream_encoder(asked())
    return b"".join(encoder.encode(event) for event in replay(response))


def test_a_signature_makes_the_whole_trip_through_a_caller_of_openais_format() -> None:
    response = outbound.decode_response(ANSWER, TARGET)
    told = json.loads(openai_inbound.encode_response(response, asked()))["choices"][0]["message"]
    assert told["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "c2lnbmVk"}}
    decoder = openai_outbound.stream_decoder(TARGET)
    stream = streamed(openai_inbound, response)
    again = collect([*decoder.feed(stream), *decoder.close()])
    assert kept(again.parts[0].provider_metadata, "openai_chat")["extra_content"]["google"]["thought_signature"]
    asked_again = {
        "model": "m",
        "messages": [
            {"role": "user", "content": "?"},
            told,
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
        ],
    }
    request = openai_inbound.decode_request(json.dumps(asked_again).encode())
    assert sent_back(request) == SIGNED_CALL


def test_an_image_makes_the_trip_with_its_signature() -> None:
    """Editing goes on only with it: docs.cloud.google.com/vertex-ai/generative-ai/docs/thought-signatures (2026-11)."""
    image = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}, "thoughtSignature": "c2lnbmVk"}
    answer = json.loads(ANSWER)
    answer["candidates"][0]["content"]["parts"] = [image]
    response = outbound.decode_response(json.dumps(answer).encode(), TARGET)
    told = json.loads(openai_inbound.encode_response(response, asked()))["choices"][0]["message"]
    assert told["images"][0]["image_url"] == {"url": "data:image/png;base64,iVBORw0KGgo="}
    decoder = openai_outbound.stream_decoder(TARGET)
    again = collect([*decoder.feed(streamed(openai_inbound, response)), *decoder.close()])
    assert kept(again.parts[0].provider_metadata, "openai_chat")["extra_content"]["google"]["thought_signature"]
    messages = [{"role": "user", "content": "Paint"}, told, {"role": "user", "content": "Bluer"}]
    request = openai_inbound.decode_request(json.dumps({"model": "m", "messages": messages}).encode())
    assert sent_back(request) == image


def test_a_call_that_lost_its_signature_gets_the_documented_one() -> None:
    response = outbound.decode_response(ANSWER, TARGET)
    told = json.loads(anthropic_inbound.encode_response(response, asked()))
    left = [block for block in told["content"] if block["type"] != "redacted_thinking"]
    asked_again = {
        "model": "m",
        "max_tokens": 9,
        "messages": [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": left},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "1"}]},
        ],
    }
    request = anthropic_inbound.decode_request(json.dumps(asked_again).encode())
    assert sent_back(request) == {**SIGNED_CALL, "thoughtSignature": UNSIGNED}
    before = outbound.encode_request(request, Target(card=ModelCard(id="gemini-2.5-flash")), stream=False)
    assert UNSIGNED.encode() not in before.body


def test_history_of_the_library_keeps_signatures() -> None:
    for response in (
        outbound.decode_response(ANSWER, TARGET),
        collect([*(decoder := outbound.stream_decoder(TARGET)).feed(STREAM), *decoder.close()]),
    ):
        request = CompletionRequest(
            messages=(*asked().messages, Message(role="assistant", content=response.parts), *asked().messages)
        )
        assert sent_back(request) == SIGNED_CALL


# ---------------------------------------------------------------- trips


ASKED_OF_GEMINI = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"text": "What?"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
        {"role": "model", "parts": [{"text": "A cat."}, {"functionCall": {"name": "f", "args": {"n": 1}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "two"}}}]},
    ],
    "tools": [
        {
            "functionDeclarations": [
                {"name": "f", "parameters": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}}}
            ]
        }
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
    "generationConfig": {"temperature": 0.5, "maxOutputTokens": 100, "stopSequences": ["END"]},
}


@pytest.mark.parametrize(
    ("theirs_in", "theirs_out"), [(openai_inbound, openai_outbound), (anthropic_inbound, anthropic_outbound)]
)
def test_a_request_comes_back_from_another_format_as_it_was(theirs_in: Any, theirs_out: Any) -> None:
    request = inbound.decode_request(json.dumps(ASKED_OF_GEMINI).encode())
    sent = theirs_out.encode_request(request, Target(card=ModelCard(id="m")), stream=False)
    assert sent.notices == ()
    again = body_of(theirs_in.decode_request(sent.body), Target(card=ModelCard(id="gemini-2.5-flash")))
    (function,) = ASKED_OF_GEMINI["tools"][0]["functionDeclarations"]  # type: ignore[index]
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    function = {"name": "f", "parametersJsonSchema": schema}
    assert again == {**ASKED_OF_GEMINI, "tools": [{"functionDeclarations": [function]}]}


@pytest.mark.parametrize(
    ("theirs_in", "theirs_out"), [(openai_inbound, openai_outbound), (anthropic_inbound, anthropic_outbound)]
)
def test_an_answer_comes_back_from_another_format_as_it_was(theirs_in: Any, theirs_out: Any) -> None:
    parts = (Text(text="Hm."), ToolCall(id="c1", name="f", arguments='{"n":1}'))
    theirs = CompletionResponse(model="m", id="msg_1", parts=parts, finish_reason="tool_calls")  # type: ignore[arg-type]
    read = theirs_out.decode_response(theirs_in.encode_response(theirs, asked()), TARGET)
    ours = outbound.decode_response(inbound.encode_response(read, asked()), TARGET)
    assert (ours.parts, ours.finish_reason, ours.model) == (parts, "tool_calls", "m")
    decoder = outbound.stream_decoder(TARGET)
    stream = streamed(inbound, read)
    assert collect([*decoder.feed(stream), *decoder.close()]).parts == parts


# ---------------------------------------------------------------- the hook, counting, the card's word


def test_a_providers_safety_settings_give_way_to_the_callers() -> None:
    own = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}]
    request = asked(extra={"gemini": {"safetySettings": own}})
    thresholds = {"HARM_CATEGORY_HARASSMENT": "BLOCK_NONE", "HARM_CATEGORY_HATE_SPEECH": "BLOCK_ONLY_HIGH"}
    more = {"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_ONLY_HIGH"}
    assert body_of(with_safety(request, thresholds))["safetySettings"] == [*own, more]
    assert with_safety(request, {}) is request


def test_instructions_and_tools_are_counted_where_the_service_looks_for_them() -> None:
    request = inbound.decode_request(json.dumps(ASKED_OF_GEMINI).encode())
    counted = {key: body_of(request)[key] for key in ("systemInstruction", "contents", "tools")}
    sent = outbound.encode_count_request(request, TARGET)
    assert sent.path == "/models/gemini-3-flash-preview:countTokens"
    inner = {"model": "models/gemini-3-flash-preview", **counted}
    assert json.loads(sent.body) == {"generateContentRequest": inner}
    assert json.loads(vertex.encode_count_request(request, TARGET).body) == counted
    assert outbound.decode_count_response(b"{}") == 0
    with pytest.raises(BadReply):
        outbound.decode_count_response(b'{"totalTokens": "many"}')


def test_the_card_says_how_a_model_thinks_before_its_name_does() -> None:
    card = ModelCard(id="tuned", capabilities=Capabilities(thinking_style="budget"))
    config = body_of(asked(thinking="low"), Target(card=card))["generationConfig"]["thinkingConfig"]
    assert config == {"thinkingBudget": 1024, "includeThoughts": True}
    config = body_of(asked(thinking="low"), Target(card=ModelCard(id="gemini-flash-latest")))["generationConfig"]
    assert config["thinkingConfig"]["thinkingLevel"] == "LOW"


def told_of(request: CompletionRequest, target: Target = TARGET) -> list[tuple[str, str | None]]:
    notices = outbound.encode_request(request, target, stream=False).notices
    return [(notice.code, notice.param) for notice in notices]


def test_no_more_tokens_are_asked_for_than_the_model_writes() -> None:
    card = ModelCard(id="gemini-2.5-pro", max_output_tokens=65_535)
    for wanted, sent in ((None, None), (0, None), (10, 10), (65_535, 65_535), (128_000, 65_535)):
        request = asked(max_tokens=wanted)
        assert body_of(request, Target(card=card)).get("generationConfig", {}).get("maxOutputTokens") == sent
        assert told_of(request, Target(card=card)) == ([("changed", "max_tokens")] if wanted == 128_000 else [])
    assert body_of(asked(max_tokens=10**6))["generationConfig"] == {"maxOutputTokens": 10**6}


def test_penalties_are_left_out_where_the_model_takes_none() -> None:
    request = asked(frequency_penalty=0, presence_penalty=0.1)
    card = ModelCard(id="gemini-3-flash-preview", capabilities=Capabilities(penalties=False))
    assert body_of(request, Target(card=card))["generationConfig"] == {"frequencyPenalty": 0}
    assert told_of(request, Target(card=card)) == [("dropped", "presence_penalty")]
    assert body_of(request)["generationConfig"] == {"frequencyPenalty": 0, "presencePenalty": 0.1}
    assert told_of(request) == []


# ---------------------------------------------------------------- content


def test_media_in_the_alphabet_of_urls_reach_others_in_that_of_base64() -> None:
    """Google's Python client writes bytes so, and Google reads both."""
    blob = {"mimeType": "image/jpeg", "data": "_9j_4AAQ-w=="}
    result = {"name": "f", "response": {}, "parts": [{"inlineData": blob}]}
    contents = [
        {"role": "user", "parts": [{"inlineData": blob}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": result}]},
    ]
    request = inbound.decode_request(json.dumps({"contents": contents}).encode())
    for theirs in (openai_outbound, anthropic_outbound, outbound):
        sent = theirs.encode_request(request, TARGET, stream=False).body
        assert (sent.count(b"/9j/4AAQ+w=="), sent.count(b"_9j_")) == (2, 0)


def test_what_stands_alone_is_a_list_of_one() -> None:
    hi = {"text": "Hi"}
    alone = {
        "system_instruction": {"parts": {"text": "Be brief."}},
        "contents": {"parts": hi},
        "tools": {"function_declarations": {"name": "f"}},
    }
    listed = {
        "system_instruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"parts": [hi]}],
        "tools": [{"function_declarations": [{"name": "f"}]}],
    }
    assert inbound.decode_request(json.dumps(alone).encode()) == inbound.decode_request(json.dumps(listed).encode())
    one = gemini_embed_content.decode_request(json.dumps({"content": {"parts": hi}}).encode())
    batch = gemini_embeddings.decode_request(json.dumps({"requests": {"content": {"parts": hi}}}).encode())
    assert one.input == batch.input == ("Hi",)


@pytest.mark.parametrize("name", ["cachedContent", "cached_content"])
@pytest.mark.parametrize("theirs", [openai_outbound, anthropic_outbound])
def test_a_prompt_that_the_service_keeps_is_content_and_goes_to_no_other(name: str, theirs: Any) -> None:
    contents = [{"role": "user", "parts": [{"text": "What does it say?"}]}]
    request = inbound.decode_request(json.dumps({"contents": contents, name: "cachedContents/abc"}).encode())
    assert body_of(request) == {"contents": contents, "cachedContent": "cachedContents/abc"}
    assert told_of(request) == []
    with pytest.raises(InvalidRequest, match="can only be said in gemini"):
        theirs.encode_request(request, TARGET, stream=False)


FILES = "https://generativelanguage.googleapis.com/v1beta/files/"


def test_a_result_holds_data_and_files_that_google_keeps_and_its_text_is_its_response() -> None:
    content = [
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "all of it"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "image", "source": {"type": "url", "url": FILES + "abc"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
    ]
    messages = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "read", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": content}]},
    ]
    written = {"model": "m", "max_tokens": 9, "messages": messages}
    request = anthropic_inbound.decode_request(json.dumps(written).encode())
    result, *following = body_of(request)["contents"][-1]["parts"]
    assert result["functionResponse"]["response"] == {"output": "all of it"}
    assert result["functionResponse"]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
        {"fileData": {"fileUri": FILES + "abc"}},
    ]
    assert following == [{"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/a.png"}}]
    place = "messages[2].content[0]"
    assert told_of(request) == [("changed", f"{place}.content[0]"), ("changed", place)]
    before_3 = body_of(request, Target(card=ModelCard(id="gemini-2.5-flash")))["contents"][-1]["parts"]
    assert before_3[0]["functionResponse"]["response"] == {"output": "all of it"}
    assert [next(iter(part)) for part in before_3[1:]] == ["inlineData", "fileData", "fileData"]


# ---------------------------------------------------------------- errors


def test_a_retry_delay_is_heard_and_the_header_before_it() -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "48.9s"}
    body = json.dumps({"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": [info]}})
    assert outbound.decode_error(429, {}, body.encode()).retry_after_s == 48.9
    assert outbound.decode_error(429, {"retry-after": "3"}, body.encode()).retry_after_s == 3


# ---------------------------------------------------------------- relay


def tapped(*pieces: bytes) -> tuple[bytes, Any]:
    reader = tap.open_tap()
    out = b"".join(reader.feed(piece) for piece in pieces)
    return out + reader.close(), reader


def chunk(**members: Any) -> bytes:
    return b"data: " + json.dumps(members).encode() + b"\r\n\r\n"


def test_a_relayed_stream_is_the_callers_byte_for_byte_and_counted() -> None:
    data = chunk(candidates=[{"content": {"parts": [{"text": "a"}]}}], usageMetadata={"totalTokenCount": 1})
    data += chunk(candidates=[{"finishReason": "STOP"}], usageMetadata={"totalTokenCount": 9}, modelVersion="m")
    for cut in range(len(data) + 1):
        out, reader = tapped(data[:cut], data[cut:])
        assert out == data
        assert (reader.finish_reason, reader.model) == ("STOP", "m")
        assert json.loads(bytes(reader.usage)) == {"totalTokenCount": 9}


def test_a_relayed_stream_that_breaks_is_not_taken_for_a_whole_one() -> None:
    begun = chunk(candidates=[{"content": {"parts": [{"text": "a"}]}}])
    with pytest.raises(StreamBroken):
        tapped(begun)
    error = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    for last in (chunk(**error), json.dumps(error).encode() + b"\r\n\r\n"):
        with pytest.raises(StreamBroken, match="overloaded"):
            tapped(begun, last)
    blocked = chunk(promptFeedback={"blockReason": "SAFETY"})
    assert tapped(blocked)[0] == blocked


def test_an_error_that_no_blank_line_ends_is_heard() -> None:
    begun = chunk(candidates=[{"content": {"parts": [{"text": "a"}]}}])
    error = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    for before in (b"", begun):
        with pytest.raises(StreamBroken, match="overloaded"):
            tapped(before, json.dumps(error, indent=2).encode())


def test_a_relayed_stream_that_ends_as_openais_do_is_whole() -> None:
    data = chunk(candidates=[{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}])
    out, reader = tapped(data, b"data: [DONE]\r\n\r\n")
    assert (out, reader.finish_reason) == (data, "STOP")


@pytest.mark.parametrize("kind", [Text, Thinking])
def test_what_others_keep_of_a_text_does_not_hold_it_back(kind: type[Text | Thinking]) -> None:
    encoder = inbound.stream_encoder(asked())
    encoder.encode(MessageStart(model="m"))
    encoder.encode(PartStart(index=0, part=kind(text="", provider_metadata=keep("openai_responses", {"id": "msg_1"}))))
    assert b'"text":"Hi"' in encoder.encode(PartDelta(0, "Hi"))
    assert encoder.encode(PartEnd(index=0)) == b""


def test_a_relayed_answer_says_what_it_used() -> None:
    said = tap.tap_answer(ANSWER)
    assert (said.model, said.finish_reason, said.usage) == ("gemini-3-flash-preview", "STOP", None)
    for wrong in (b"{}", b'{"error": {"message": "x"}}', b"<html>", b"[]"):
        with pytest.raises(BadReply):
            tap.tap_answer(wrong)


# ---------------------------------------------------------------- embeddings


OF_AN_IMAGE = "gemini-embedding-2-embeds-an-image-alongside-text"
"""One recording embeds an image; the middle's requests for vectors hold texts only."""


@each("embeddings", "gemini")
def test_recorded_embeddings(exchange: Exchange) -> None:
    target = Target(card=ModelCard(id="gemini-embedding-001"))
    if exchange.status != 200:
        assert isinstance(gemini_embeddings.decode_error(exchange.status, {}, exchange.body), ModelNotFound)
        return
    is_one = "requests" not in exchange.request
    dialect: Any = gemini_embed_content if is_one else gemini_embeddings
    if exchange.name.endswith(OF_AN_IMAGE):
        with pytest.raises(InvalidRequest, match="only text"):
            dialect.decode_request(json.dumps(exchange.request).encode())
        return
    request = dialect.decode_request(json.dumps(exchange.request).encode())
    response = vectors.matched(dialect.decode_response(exchange.body, target), request)
    recorded = json.loads(exchange.body)
    found = [recorded["embedding"]] if is_one else recorded["embeddings"]
    assert [list(vector) for vector in response.embeddings] == [each["values"] for each in found]
    assert dialect.decode_response(dialect.encode_response(response, request), target) == response
    sent = json.loads(dialect.encode_request(request, target).body)["requests"]
    assert len(sent) == len(found)
    first = exchange.request if is_one else exchange.request["requests"][0]
    dimensions = first.get("outputDimensionality", first.get("output_dimensionality"))
    for entry in sent:
        assert entry["model"] == "models/gemini-embedding-001"
        assert entry.get("taskType") == first.get("taskType", first.get("task_type"))
        assert entry.get("outputDimensionality") == dimensions


@each("embeddings", "vertex")
def test_recorded_embeddings_of_vertex(exchange: Exchange) -> None:
    recorded = json.loads(exchange.body)
    response = vertex_embeddings.decode_response(exchange.body, TARGET)
    assert [list(v) for v in response.embeddings] == [p["embeddings"]["values"] for p in recorded["predictions"]]
    counts = [p["embeddings"]["statistics"]["token_count"] for p in recorded["predictions"]]
    assert response.usage is not None
    assert response.usage.input_tokens == sum(counts)
    given = exchange.request
    task = given["instances"][0].get("task_type")
    request = EmbeddingRequest(
        input=tuple(instance["content"] for instance in given["instances"]),
        dimensions=given.get("parameters", {}).get("outputDimensionality"),
        extra={"gemini_embeddings": {"taskType": task}} if task else None,
    )
    sent = vertex_embeddings.encode_request(request, TARGET)
    assert sent.path.endswith(":predict")
    assert json.loads(sent.body) == given


def test_a_batch_asks_the_same_of_all() -> None:
    content = {"content": {"parts": [{"text": "a"}]}}
    for requests in ([content, {**content, "taskType": "X"}], [], [{"content": {"parts": [{"inlineData": {}}]}}]):
        with pytest.raises(InvalidRequest):
            gemini_embeddings.decode_request(json.dumps({"requests": requests}).encode())
    with pytest.raises(InvalidRequest, match=r"requests\[1\]: asks") as refused:
        gemini_embeddings.decode_request(json.dumps({"requests": [content, {**content, "title": "X"}]}).encode())
    assert refused.value.param == "requests[1]"
    with pytest.raises(InvalidRequest, match="token ids"):
        gemini_embeddings.encode_request(EmbeddingRequest(input=((1, 2),)), TARGET)


# ---------------------------------------------------------------- garbage


PIECES: list[Any] = [
    {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "willContinue": True}}]}}]},
    {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {
                            "functionCall": {
                                "partialArgs": [{"jsonPath": "$.a[0].b", "stringValue": "x"}],
                                "willContinue": True,
                            }
                        }
                    ]
                }
            }
        ]
    },
    {"candidates": [{"content": {"parts": [{"functionCall": {}}]}}]},
    {"candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": "STOP"}]},
]
EMBED = {"requests": [{"model": "models/m", "content": {"parts": [{"text": "a"}]}, "taskType": "X"}], "provider": "p"}
VECTORS = {"embeddings": [{"values": [0.1, 0.2]}], "usageMetadata": {"promptTokenCount": 1}}
PREDICTED = {"predictions": [{"embeddings": {"values": [0.1], "statistics": {"token_count": 1, "truncated": True}}}]}
MODELS = {"models": [{"name": "models/m", "inputTokenLimit": 1, "thinking": True}], "nextPageToken": "t"}


@QUICK
@given(mutated(PIECES))
def test_arguments_in_pieces_are_read_or_a_bad_reply(pieces: Any) -> None:
    data = b"".join(
        b"data: " + json.dumps(piece).encode() + b"\n\n" for piece in (pieces if isinstance(pieces, list) else [])
    )
    with contextlib.suppress(ProviderError):
        decoder = outbound.stream_decoder(TARGET)
        collect([*decoder.feed(data), *decoder.close()])


@QUICK
@given(mutated(EMBED) | values, mutated(VECTORS) | values, mutated(PREDICTED) | values, mutated(MODELS) | values)
def test_vectors_and_lists_are_read_or_refused(embed: Any, found: Any, predicted: Any, models: Any) -> None:
    for inbound_dialect in (gemini_embeddings, gemini_embed_content):
        with contextlib.suppress(InvalidRequest):
            request = inbound_dialect.decode_request(json.dumps(embed).encode())
            gemini_embeddings.encode_request(request, TARGET)
            vertex_embeddings.encode_request(request, TARGET)
    with contextlib.suppress(ProviderError):
        gemini_embeddings.encode_response(
            gemini_embeddings.decode_response(json.dumps(found).encode(), TARGET), EmbeddingRequest(input=("a",))
        )
    with contextlib.suppress(ProviderError):
        vertex_embeddings.decode_response(json.dumps(predicted).encode(), TARGET)
    with contextlib.suppress(ProviderError):
        gemini_models.encode_models(gemini_models.decode_models(json.dumps(models).encode()))
        gemini_models.next_page(json.dumps(models).encode())


@QUICK
@given(mutated(ASKED_OF_GEMINI))
def test_a_request_to_count_is_read_or_refused(body: Any) -> None:
    for asked_of in (body, {"generateContentRequest": body}):
        with contextlib.suppress(InvalidRequest):
            request = inbound.decode_count_request(json.dumps(asked_of).encode())
            outbound.encode_count_request(request, TARGET)
            vertex.encode_count_request(request, TARGET)


def test_a_deep_answer_is_refused() -> None:
    deep = b'{"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {"a": %b}}}]}}]}'
    with pytest.raises(BadReply):
        outbound.decode_response(deep % (b"[" * 200 + b"]" * 200), TARGET)
    with pytest.raises(BadReply):
        outbound.stream_decoder(TARGET).feed(b"data: " + deep % (b"[" * 900 + b"]" * 900) + b"\n\n")
    assert msgspec.json.decode(ANSWER)
