"""OpenAI's older completions: what a prompt may be, what a conversation becomes, what a caller is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genai_spine.dialects.anthropic_messages import outbound as anthropic
from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_chat import outbound as openai_chat
from genai_spine.dialects.openai_completions import inbound, outbound
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Image, Opaque, Refusal, Text, Thinking, ToolCall
from genai_spine.model.errors import BadReply, InvalidRequest, ProviderError, StreamBroken
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import CompletionRequest, Message, OutputSchema, ThinkingConfig, Tool
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage
from genai_spine.testing import laws, strategies
from genai_spine.testing.strategies import mutated

TARGET = Target(card=ModelCard(id="m"))
ASKED = inbound.decode_request(b'{"prompt":"Hi","stream_options":{"include_usage":true}}')
ANSWER = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1_700_000_000,
    "model": "served",
    "choices": [{"index": 0, "text": " there", "logprobs": {"tokens": [" there"]}, "finish_reason": "length"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
SPEECH = laws.Speech(
    name="openai_completions",
    inbound=inbound,
    outbound=outbound,
    target=TARGET,
    answer_parts={Text: st.builds(Text, text=strategies.texts)},
    answer_fields={"id": strategies.names, "created_s": st.integers(1, 4_000_000_000)},
    finishes=((FinishReason.STOP, "stop"), (FinishReason.LENGTH, "length")),
    finish_with_calls=(FinishReason.STOP, "stop"),
    user_parts={},
    assistant_parts={},
    result_parts={},
    options={},
    asked=ASKED,
)
MANY = settings(max_examples=100)


def read(**members: Any) -> CompletionRequest:
    return inbound.decode_request(json.dumps(members).encode())


def sent(request: CompletionRequest, target: Target = TARGET, stream: bool = False) -> tuple[Any, list[str]]:
    """The body and the notices."""
    outgoing = outbound.encode_request(request, target, stream=stream)
    assert outgoing.path == "/completions"
    return json.loads(outgoing.body), [notice.message for notice in outgoing.notices]


def streamed(*chunks: Any, end: bytes = b"data: [DONE]\n\n") -> CompletionResponse:
    decoder = outbound.stream_decoder(TARGET)
    data = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + end
    return collect([*decoder.feed(data), *decoder.close()])


# ---------------------------------------------------------------- prompts


@pytest.mark.parametrize("prompt", ["def f():", ["def f():"]])
def test_one_prompt_is_what_a_user_says(prompt: Any) -> None:
    request = read(model="m", prompt=prompt, max_tokens=5, temperature=0, stop="\n", n=1, seed=7, user="u", stream=True)
    assert request.messages == (Message(role="user", content=(Text(text="def f():"),)),)
    assert (request.model, request.max_tokens, request.temperature, request.stop) == ("m", 5, 0, ("\n",))
    assert (request.seed, request.user, request.stream) == (7, "u", True)


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2], [[1], [2, 3]], "", [""]])
def test_other_prompts_go_on_as_they_came_and_to_no_chat(prompt: Any) -> None:
    request = read(prompt=prompt)
    assert isinstance(request.messages[0].content[0], Opaque)
    assert sent(request)[0]["prompt"] == prompt
    for codec in (openai_chat, anthropic):
        with pytest.raises(InvalidRequest, match=r"^prompt: .*send one prompt") as raised:
            codec.encode_request(request, TARGET, stream=False)
        assert raised.value.param == "prompt"


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        (None, "missing"),
        (5, "got a number"),
        ({"id": "p"}, "got an object"),
        ([], "got an array"),
        (["a", 1], "other things"),
        ([[]], "other things"),
        ([[True]], "other things"),
    ],
)
def test_what_is_no_prompt_is_refused_with_its_place(prompt: Any, why: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^prompt: .*{why}") as raised:
        read(prompt=prompt)
    assert raised.value.param == "prompt"


def test_no_limit_may_be_said_so() -> None:
    assert read(prompt="x", max_tokens=-1).max_tokens is None
    with pytest.raises(InvalidRequest, match="max_tokens"):
        read(prompt="x", max_tokens=-2)


def test_whoever_can_only_chat_says_what_became_of_it() -> None:
    request = read(prompt="x", suffix="y", echo=True, logprobs=3, best_of=2, stream_options={"include_usage": True})
    notices = openai_chat.encode_request(request, TARGET, stream=True).notices
    assert [(notice.code, notice.param) for notice in notices] == [
        ("changed", "prompt"),
        ("dropped", "suffix"),
        ("dropped", "echo"),
        ("dropped", "logprobs"),
        ("dropped", "best_of"),
    ]
    assert notices[0].message == "a bare prompt is sent as a user's message"


# ---------------------------------------------------------------- requests of ours


def test_a_conversation_is_written_as_turns() -> None:
    messages = (
        Message(role="system", content=(Text(text="Be brief."),)),
        Message(role="user", content=(Text(text="Hi"),)),
        Message(role="assistant", content=(Text(text="Ho"),)),
        Message(role="user", content=(Text(text="Hey"),)),
    )
    body, notices = sent(CompletionRequest(messages=messages, max_tokens=5, stop=("X",)), stream=True)
    assert body == {
        "model": "m",
        "prompt": "Be brief.\n\nUser: Hi\n\nAssistant: Ho\n\nUser: Hey\n\nAssistant:",
        "max_tokens": 5,
        "stop": ["X"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert [notice.partition(":")[0] for notice in notices] == [
        "the conversation is sent as one prompt of labelled turns",
        "there is no system prompt here",
    ]


def test_what_a_prompt_cannot_hold_is_refused_or_told() -> None:
    says = Message(role="user", content=(Text(text="Hi"),))
    with pytest.raises(InvalidRequest, match="tools: text completion takes none"):
        sent(CompletionRequest(messages=(says,), tools=(Tool(name="f"),)))
    with pytest.raises(InvalidRequest, match="takes no images"):
        sent(CompletionRequest(messages=(Message(role="user", content=(Image(url="https://a.org/i.png"),)),)))
    asked = CompletionRequest(
        messages=(says,), output_schema=OutputSchema(), thinking=ThinkingConfig(effort="low"), top_k=3
    )
    assert sent(asked)[1] == [
        "the provider takes no top_k",
        "text completion has no output_schema",
        "text completion has no thinking",
    ]


def test_quirks_of_the_service_are_kept() -> None:
    quirks = Quirks(top_k=True, stream_usage="always", drop=("logit_bias",))
    body, notices = sent(
        read(prompt="x", top_k=3, logit_bias={"5": 1}), Target(card=ModelCard(id="m"), quirks=quirks), stream=True
    )
    assert body == {"model": "m", "prompt": "x", "top_k": 3, "stream": True}
    assert notices == ["the provider refuses logit_bias"]
    assert outbound.concerns({"logit_bias": None}, quirks) and outbound.concerns({"stream_options": None}, quirks)  # type: ignore[dict-item]
    assert not outbound.concerns({"prompt": None, "suffix": None}, quirks)  # type: ignore[dict-item]


# ---------------------------------------------------------------- answers


def test_an_answer_is_read_with_what_we_have_no_name_for() -> None:
    answer = {**ANSWER, "system_fingerprint": "fp", "choices": [*ANSWER["choices"], {"index": 1, "text": "!"}]}  # type: ignore[misc]
    response = outbound.decode_response(json.dumps(answer).encode(), TARGET)
    assert (response.text, response.finish_reason, response.model) == (" there", FinishReason.LENGTH, "served")
    assert response.usage == TokenUsage(input_tokens=1, output_tokens=1)
    assert json.loads(inbound.encode_response(response, ASKED)) == answer


@pytest.mark.parametrize(
    ("body", "raised", "message"),
    [
        (b"{}", BadReply, "without choices"),
        (b'{"choices":[]}', BadReply, "without choices"),
        (b'{"choices":[{"message":{"content":"a chat"}}]}', BadReply, "without text"),
        (b'{"error":{"message":"no such model","code":404}}', ProviderError, "no such model"),
        (b"<html>", BadReply, "JSON"),
    ],
)
def test_what_is_no_answer_is_an_error(body: bytes, raised: type[Exception], message: str) -> None:
    with pytest.raises(raised, match=message):
        outbound.decode_response(body, TARGET)


def test_a_stream_may_end_without_its_mark_but_not_without_its_reason() -> None:
    begun = {"id": "c", "choices": [{"index": 0, "text": "a", "finish_reason": None}]}
    ended = {"id": "c", "choices": [{"index": 0, "text": "b", "finish_reason": "stop"}]}
    whole = streamed(begun, {"choices": [{"index": 1, "text": "another"}]}, ended, end=b"")
    assert (whole.text, whole.finish_reason, whole.id) == ("ab", FinishReason.STOP, "c")
    with pytest.raises(StreamBroken):
        streamed(begun, end=b"")
    with pytest.raises(BadReply, match="without an answer"):
        streamed()
    with pytest.raises(ProviderError, match="too much"):
        streamed(begun, {"error": {"message": "too much", "code": 503}})


def test_a_chats_answer_is_shown_as_text_alone() -> None:
    parts = (Thinking(text="Hm"), Text(text="a"), Refusal(text="b"), ToolCall(id="c", name="f", arguments="{}"))
    response = CompletionResponse(
        model="m",
        parts=parts,
        finish_reason=FinishReason.TOOL_CALLS,
        usage=TokenUsage(input_tokens=1, output_tokens=2),
    )
    written = json.loads(inbound.encode_response(response, ASKED))
    assert written["choices"][0] == {"index": 0, "text": "ab", "logprobs": None, "finish_reason": "stop"}
    encoder = inbound.stream_encoder(ASKED)
    again = outbound.stream_decoder(TARGET)
    events = again.feed(b"".join(encoder.encode(event) for event in replay(response)))
    assert collect([*events, *again.close()]).text == "ab"
    assert [inbound.shows(part) for part in parts] == [False, True, True, False]


def test_the_other_answers_of_a_chat_are_shown() -> None:
    chat = {"choices": [{"message": {"content": text}, "finish_reason": "stop"} for text in ("a", "b")]}
    response = openai_chat.decode_response(json.dumps(chat).encode(), TARGET)
    written = json.loads(inbound.encode_response(response, ASKED))["choices"]
    assert [(choice["index"], choice["text"], choice["finish_reason"]) for choice in written] == [
        (0, "a", "stop"),
        (1, "b", "stop"),
    ]
    odd: list[Any] = [{"message": None}, {"message": {"content": [{"type": "text"}]}}, {}]
    response = openai_chat.decode_response(json.dumps({"choices": [*chat["choices"], *odd]}).encode(), TARGET)
    written = json.loads(inbound.encode_response(response, ASKED))["choices"]
    assert [(choice["text"], choice["finish_reason"]) for choice in written[2:]] == [("", None)] * 3


def test_usage_is_streamed_to_who_asks_for_it() -> None:
    response = CompletionResponse(model="m", parts=(Text(text="a"),), usage=TokenUsage(input_tokens=1, output_tokens=2))
    for request, has_usage in ((ASKED, True), (read(prompt="Hi"), False)):
        encoder = inbound.stream_encoder(request)
        stream = b"".join(encoder.encode(event) for event in replay(response))
        assert (b'"usage"' in stream) is has_usage
        assert stream.endswith(b"data: [DONE]\n\n")


# ---------------------------------------------------------------- laws


@MANY
@given(strategies.responses(SPEECH))
def test_the_stream_and_the_plain_answer_say_the_same(response: CompletionResponse) -> None:
    laws.assert_answers_survive(SPEECH, response)
    laws.assert_cut_anywhere(SPEECH, laws.written_stream(SPEECH, response), most_cuts=100)


@MANY
@given(mutated(ANSWER) | mutated({"model": "m", "prompt": ["a", "b"], "max_tokens": 5, "logit_bias": {"5": 1}}))
def test_any_body_is_read_or_refused(value: Any) -> None:
    laws.assert_refused_politely(SPEECH, json.dumps(value).encode())


@MANY
@given(st.binary(max_size=300), mutated([ANSWER, ANSWER]))
def test_any_stream_is_read_or_refused(data: bytes, chunks: Any) -> None:
    laws.assert_stream_refused_politely(SPEECH, b"data: " + data + b"\n\n", cut=len(data) // 2)
    frames = b"".join(
        b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in (chunks if isinstance(chunks, list) else [chunks])
    )
    laws.assert_stream_refused_politely(SPEECH, frames + b"data: [DONE]\n\n", cut=len(data))
