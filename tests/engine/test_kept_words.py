"""A text as it is kept: no file in it, no secret, and no more of it than was said; and what remains is still JSON."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai_spine.engine.content.answers import told_of_stream
from genai_spine.engine.content.words import Words
from genai_spine.model.content import Audio, Image, Text, ToolCall
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.settings.ledger import ContentLevel, LedgerSettings, RedactSettings

WORDS = Words(LedgerSettings())
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(300)).decode()
WAV = base64.b64encode(b"RIFF\x00\x00\x00\x00WAVEfmt " + bytes(284)).decode()
KEY = "sk-proj-A1b2C3d4E5f6G7h8I9j0"


def kept(value: Any, level: ContentLevel = "full", words: Words = WORDS) -> Any:
    text, is_cut = words.of_json(json.dumps(value).encode(), level)
    assert not is_cut
    return json.loads(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            {"type": "image_url", "image_url": {"url": "<image/png, 308 bytes>"}},
        ),
        (
            {"source": {"type": "base64", "media_type": "application/pdf", "data": PNG}},
            {"source": {"type": "base64", "media_type": "application/pdf", "data": "<application/pdf, 308 bytes>"}},
        ),
        (
            {"inlineData": {"mimeType": "image/jpeg", "data": PNG}},
            {"inlineData": {"mimeType": "image/jpeg", "data": "<image/jpeg, 308 bytes>"}},
        ),
        ({"audio": {"data": WAV, "format": "wav"}}, {"audio": {"data": "<wav, 300 bytes>", "format": "wav"}}),
        ({"images": [PNG, WAV]}, {"images": ["<image/png, 308 bytes>", "<audio/wav, 300 bytes>"]}),
        ({"b64_json": base64.b64encode(bytes(99)).decode()}, {"b64_json": "<file, 99 bytes>"}),
        ({"anything": PNG}, {"anything": "<image/png, 308 bytes>"}),
        (
            f"see ![it](data:image/gif;base64,{PNG}) there",
            "see ![it](<image/gif, 308 bytes>) there",
        ),
    ],
)  # fmt: skip
def test_what_is_no_text_is_named_by_its_kind_and_size(value: Any, expected: Any) -> None:
    assert kept(value) == kept(value, "redacted") == expected


@pytest.mark.parametrize("text", ["x" * 500, "data " * 100, "data:text/plain,hello " * 10, "a" * 99])
def test_a_long_text_is_no_file(text: str) -> None:
    assert kept({"content": text, "text": text}) == {"content": text, "text": text}


def test_as_it_is_every_byte_is_kept() -> None:
    body = b'{ "model":"m",\n "temperature": 0.10, "seed": 123456789012345678901234567890, "a":1, "a":2 }'
    assert WORDS.of_json(body, "full") == (body.decode(), False)


def test_redacted_no_member_hides_behind_another_and_none_behind_an_escape() -> None:
    escaped = "".join(f"\\u{ord(char):04x}" for char in KEY)
    arguments = json.dumps(json.dumps({"key": KEY, "lines": f"a\n{KEY}"}))
    body = (
        f'{{"a":"{KEY}","a":1,"b":"{escaped}","{KEY}":2,"c":"x\\n{KEY}","arguments":{arguments},"n":4111111111111111}}'
    )
    text, is_cut = WORDS.of_json(body.encode(), "redacted")
    assert json.loads(text) == {
        "a": 1,
        "b": "[redacted key]",
        "[redacted key]": 2,
        "c": "x\n[redacted key]",
        "arguments": '{"key":"[redacted key]","lines":"a\\n[redacted key]"}',
        "n": "[redacted card]",
    }
    assert not is_cut


def test_what_is_no_json_is_not_kept_where_a_key_might_hide_in_it() -> None:
    assert WORDS.of_json(b'{"a": sk-', "redacted") == ("<9 bytes that are no JSON>", True)
    assert WORDS.of_json(b'{"a": sk-', "full") == ('{"a": sk-', False)


def test_two_names_that_are_alike_when_redacted_both_stay() -> None:
    assert kept({"a@example.org": 1, "b@example.org": 2}, "redacted") == {
        "[redacted e-mail]": 1,
        "[redacted e-mail] 1": 2,
    }


def test_rules_of_ones_own_are_kept_to() -> None:
    own = [
        RedactSettings(name="employee", pattern=r"EMP-\d{6}"),
        RedactSettings(name="x", pattern="Redbird", replacement=""),
    ]
    words = Words(LedgerSettings(redact=own))
    assert kept("EMP-123456 of Redbird", "redacted", words) == "[redacted employee] of "
    assert kept("EMP-123456 of Redbird", "full", words) == "EMP-123456 of Redbird"


@pytest.mark.parametrize("level", ["redacted", "full"])
def test_of_what_is_too_long_the_beginning_and_the_end_are_kept(level: ContentLevel) -> None:
    turns = [{"role": "user", "content": f"turn {number}: {'word ' * 1000}"} for number in range(60)]
    body = json.dumps({"model": "m", "messages": turns}).encode()
    text, is_cut = Words(LedgerSettings(content_max_kb=32)).of_json(body, level)
    assert is_cut and len(text.encode()) <= 32 * 1024
    messages = json.loads(text)["messages"]
    assert len(messages) == 60 and messages[0] == turns[0] and messages[-1] == turns[-1]
    assert messages[30] == {"role": "user", "content": "[… 5,009 letters …]"}


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_whatever_is_too_long_is_cut_to_what_there_is_room_for(value: Any) -> None:
    words = Words(LedgerSettings(content_max_kb=1))
    for more in (value, [value] * 50, {"a": "é" * 5000, "b": value}):
        body = json.dumps(more).encode()
        for level in ("redacted", "full"):
            text, is_cut = words.of_json(body, level)
            assert len(text.encode("utf-8", "replace")) <= 1024
            assert is_cut or json.loads(text) == more or level == "redacted"


PLACES = st.sampled_from(
    [
        lambda secret: {"messages": [{"role": "user", "content": secret}]},
        lambda secret: {"messages": [{"content": [{"type": "text", "text": secret}]}]},
        lambda secret: {secret: "value"},
        lambda secret: {"a": {secret: [secret]}},
        lambda secret: [[[secret]]],
        lambda secret: secret,
        lambda secret: {"arguments": json.dumps({"deep": [secret]})},
        lambda secret: {"arguments": json.dumps({"deep": json.dumps([secret])})},
        lambda secret: {"text": f"```json\n{json.dumps({'k': secret})}\n```"},
        lambda secret: {"a": "word " * 400, "b": secret, "c": "word " * 400},
    ]
)
EDGES = st.text(alphabet=" \n\t\"'`(){}[]<>,;:=|/\\äß€ ", max_size=30)


@given(PLACES, EDGES, EDGES, st.sampled_from([KEY, "ada.lovelace@example.org", "4111 1111 1111 1111", "192.168.17.34"]))
def test_a_secret_is_nowhere_in_what_is_kept(place: Any, before: str, behind: str, secret: str) -> None:
    body = json.dumps(place(before + secret + behind)).encode()
    for most in (1, 64):
        text, _ = Words(LedgerSettings(content_max_kb=most)).of_json(body, "redacted")
        for part in (secret, secret[4:-4]):
            assert part not in text


def test_a_programs_request_is_told_by_its_parts() -> None:
    message = Message(
        role="user",
        content=(Text(text=f"with {KEY}"), Image(data=PNG, media_type="image/png"), Audio(data=WAV, format="wav")),
    )
    called = Message(role="assistant", content=(ToolCall(id="c", name="f", arguments='{"to":"ada@example.org"}'),))
    text, is_cut = WORDS.of_value(CompletionRequest(messages=(message, called), model="m"), "redacted")
    told = json.loads(text)
    assert not is_cut and told["model"] == "m"
    assert told["messages"][0]["content"] == [
        {"type": "text", "text": "with [redacted key]"},
        {"type": "image", "data": "<image/png, 308 bytes>", "media_type": "image/png"},
        {"type": "audio", "data": "<wav, 300 bytes>", "format": "wav"},
    ]
    assert told["messages"][1]["content"][0]["arguments"] == '{"to":"[redacted e-mail]"}'


def test_a_stream_that_broke_tells_what_came_and_what_broke_it() -> None:
    def chunk(delta: dict[str, str]) -> bytes:
        data = {"id": "c", "model": "m", "created": 1, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        return b"data: " + json.dumps({"object": "chat.completion.chunk", **data}).encode() + b"\n\n"

    came = [chunk({"role": "assistant", "content": "Hel"}), chunk({"content": "lo"})]
    error = b'data: {"error": {"message": "the provider went away", "type": "server_error", "code": "x"}}\n\n'
    broken = told_of_stream("openai_chat", [*came, error], is_whole=True)
    assert [part.text for part in broken["parts"]] == ["Hello"]
    assert "the provider went away" in broken["error"]["message"]
    assert "finish_reason" not in broken
    left = told_of_stream("openai_chat", came, is_whole=False)
    assert [part.text for part in left["parts"]] == ["Hello"] and "error" not in left
    ended_early = told_of_stream("openai_chat", came, is_whole=True)
    assert ended_early["error"]["type"] == "StreamBroken"
