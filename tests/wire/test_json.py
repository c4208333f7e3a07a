"""Strict JSON: what is refused, how it is said, and that every byte of a value survives."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from genai_spine.model.errors import BadReply, InvalidRequest
from genai_spine.wire.json import (
    ANY,
    decode_frame,
    decode_inbound,
    decode_outbound,
    depth,
    join_object,
    member,
    merge,
    replace_member,
    top_level,
)


class Message(msgspec.Struct):
    role: str
    content: str | list[Any]


class Body(msgspec.Struct):
    messages: list[Message] = []
    n: int | None = None
    counts: dict[str, int] = {}


BODY = msgspec.json.Decoder(Body)

# FAULTS 36: name, bytes, what the message says
MALFORMED = {
    "nan": (b'{"a":NaN}', "invalid character at byte 5"),
    "infinity": (b'{"a":Infinity}', "invalid character at byte 5"),
    "minus infinity": (b'{"a":-Infinity}', "invalid character at byte 6"),
    "five thousand deep": (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested deeper than 128 levels"),
    "five thousand arrays": (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "nested deeper than 128 levels"),
    "endless openers": (b'{"a":' + b"[" * 1_000_000, "nested deeper than 128 levels"),
    "bad utf-8": (b'{"a":"\xff"}', "not UTF-8 at byte 6"),
    "bad utf-8 in a name": (b'{"\xff":1}', "not UTF-8 at byte 2"),
    "a surrogate in utf-8": (b'{"a":"\xed\xa0\x80"}', "not UTF-8 at byte 6"),
    "byte order mark": (b"\xef\xbb\xbf{}", "a byte order mark at byte 0"),
    "half a surrogate pair": (b'{"a":"\\ud800 and some more text"}', "half a surrogate pair at byte 6"),
    "half a surrogate pair at the end": (b'{"a":"so \\uD83d"}', "half a surrogate pair at byte 9; was a text cut"),
    "half a surrogate pair, another letter": (b'{"a":"\\ud800\\u0041"}', "half a surrogate pair at byte 6"),
    "half a surrogate pair behind a backslash": (b'{"a":"\\\\\\ud800"}', "half a surrogate pair at byte 8"),
    "cut, with the name of half a pair": (b'{"a":"\\\\ud800', "it ends too early, at byte 13"),
    "cut, with a whole pair": (b'{"a":"\\ud83d\\ude00"', "it ends too early, at byte 19"),
    "lone low surrogate": (b'{"a":"\\udc00"}', "surrogate pair at byte"),
    "control character": (b'{"a":"\x01"}', "invalid character at byte 6"),
    "trailing comma": (b'{"a":1,}', "trailing comma in object at byte 7"),
    "trailing characters": (b"{} x", "trailing characters at byte 4"),
    "leading zero": (b'{"a":01}', "invalid number at byte 6"),
    "cut": (b'{"a":1', "it ends too early, at byte 6"),
    "empty": (b"", "empty, expected JSON"),
    "blank": (b" \n", "empty, expected JSON"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_fault_36_malformed_json_is_refused_and_the_position_named(name: str) -> None:
    body, reason = MALFORMED[name]
    for read in (top_level, lambda body: decode_inbound(body, ANY)):
        with pytest.raises(InvalidRequest) as caught:
            read(body)
        assert reason in caught.value.message
        assert caught.value.status_code == 400
    if name in MENDED:
        return
    with pytest.raises(BadReply, match="cannot be read") as reply:
        decode_outbound(body, ANY)
    assert reason in reply.value.message


MENDED = {
    "half a surrogate pair": "\ufffd and some more text",
    "half a surrogate pair at the end": "so \ufffd",
    "half a surrogate pair, another letter": "\ufffdA",
    "half a surrogate pair behind a backslash": "\\\ufffd",
    "lone low surrogate": "\ufffd",
}


@pytest.mark.parametrize("name", MENDED)
def test_half_a_surrogate_pair_that_a_provider_sent_is_a_replacement_character(name: str) -> None:
    body = MALFORMED[name][0]
    for decode in (decode_outbound, decode_frame):
        assert decode(body, ANY) == {"a": MENDED[name]}
        whole = b'{"a":"\\ud83d\\ude00\\ud83d\\ud83d\\ude00 \\\\ud83d \\n"}'
        assert decode(whole, ANY) == {"a": "\U0001f600\ufffd\U0001f600 \\ud83d \n"}
        with pytest.raises(BadReply, match="it ends too early"):
            decode(body[:-1], ANY)


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        (
            b'{"messages":[{"role":"user","content":5}]}',
            "messages[0].content: expected str or array, got int",
            "messages[0].content",
        ),
        (
            b'{"messages":[{"role":"user"}]}',
            "messages[0].content: required, and missing",
            "messages[0].content",
        ),
        (b'{"messages":{}}', "messages: expected array, got object", "messages"),
        (b'{"n":1.5}', "n: expected int or null, got float", "n"),
        (b'{"counts":{"a":"b"}}', "counts[...]: expected int, got str", "counts[...]"),
        (b"[]", "request body: expected object, got array", None),
    ],
)
def test_a_wrong_type_is_named_by_its_path(body: bytes, message: str, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_inbound(body, BODY)
    assert (caught.value.message, caught.value.param) == (message, param)
    with pytest.raises(BadReply) as reply:
        decode_outbound(body, BODY)
    assert message.removeprefix("request body: ") in reply.value.message


def test_a_message_is_short_and_on_one_line_whatever_the_caller_wrote() -> None:
    class Strict(msgspec.Struct, forbid_unknown_fields=True):
        a: int = 0

    body = json.dumps({"x\n\0\x1b[31m" + "y" * 5000: 1}).encode()
    with pytest.raises(InvalidRequest) as caught:
        decode_inbound(body, msgspec.json.Decoder(Strict))
    assert len(caught.value.message) <= 300
    assert caught.value.message.isprintable()


def test_good_json_is_decoded_from_either_side() -> None:
    assert decode_inbound(b' {"a":[1,"\xc3\xa9"]}\n', ANY) == {"a": [1, "é"]}
    assert decode_outbound(b'{"n":3}', BODY).n == 3


@given(st.binary(max_size=100))
def test_arbitrary_bytes_raise_only_our_errors(data: bytes) -> None:
    attempts: list[Callable[[], Any]] = [
        lambda: decode_inbound(data, ANY),
        lambda: decode_inbound(data, BODY),
        lambda: decode_outbound(data, ANY),
        lambda: top_level(data),
    ]
    for attempt in attempts:
        with suppress(InvalidRequest, BadReply):
            attempt()


# ── depth ─────────────────────────────────────────────────────────────────────────────────────────


def depth_of(value: Any) -> int:
    match value:
        case dict():
            return 1 + max(map(depth_of, value.values()), default=0)
        case list():
            return 1 + max(map(depth_of, value), default=0)
        case _:
            return 0


texts = st.text(st.sampled_from('[]{}"\\/bfnrtu é\n'), max_size=8)
values = st.recursive(
    texts | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=40,
)


@given(values)
@settings(max_examples=100)
def test_depth_counts_brackets_outside_of_strings(value: Any) -> None:
    assert depth(json.dumps(value).encode()) == depth_of(value)
    assert depth(json.dumps(value, ensure_ascii=False, indent=1).encode()) == depth_of(value)


@pytest.mark.parametrize("wide", [b"", b'{"x":"]]]"},' * 300], ids=["narrow", "wide"])
@pytest.mark.parametrize(
    ("opener", "closer", "levels"), [(b'{"a":', b"}", 1), (b"[", b"]", 1), (b'[0,{"b":"[","a":', b"},0]", 2)]
)
def test_nesting_ends_at_128_levels(opener: bytes, closer: bytes, levels: int, wide: bytes) -> None:
    def body(depth: int) -> bytes:
        times = (depth - 2) // levels
        return b'{"model":"m","messages":[' + wide + opener * times + b"0" + closer * times + b"]}"

    assert depth(body(128)) == 128
    assert list(top_level(body(128))) == ["model", "messages"]
    assert decode_inbound(body(128), ANY)
    for read in (top_level, lambda body: decode_inbound(body, ANY)):
        with pytest.raises(InvalidRequest, match="nested deeper than 128"):
            read(body(128 + levels))


@given(
    st.lists(st.tuples(st.integers(0, 130), st.sampled_from(("[]", "{}")), st.integers(0, 300)), max_size=12),
    st.integers(0, 3),
    st.booleans(),
)
@settings(max_examples=200)
def test_wherever_it_stands_what_nests_too_deep_is_found(
    items: list[tuple[int, str, int]], around: int, hidden: bool
) -> None:
    """Beside others, short and long, within lists and objects; also where a member given twice hides it."""
    written = []
    for levels, kind, length in items:
        text = json.dumps("[{" * length)
        opener, closer = ("[", "]") if kind == "[]" else ('{"a":', "}")
        written.append(f'{{"text":{text},"deep":{opener * levels}{text}{closer * levels}}}')
    body = f"[{','.join(written)}]"
    for _ in range(around):
        body = f'{{"a":{body},"a":0}}' if hidden else f'{{"a":[0],"b":{body}}}'
    if depth(body.encode()) <= 128:
        decode_inbound(body.encode(), ANY)
    else:
        with pytest.raises(InvalidRequest, match="nested deeper than 128"):
            decode_inbound(body.encode(), ANY)


def test_brackets_within_text_are_no_nesting() -> None:
    body = json.dumps({"model": "m", "messages": [{"content": '[{"\\' * 5000}]}).encode()
    assert decode_inbound(body, ANY)
    assert top_level(body)


# ── members ───────────────────────────────────────────────────────────────────────────────────────

EXACT = (
    b'{"model":"m","n":123456789012345678901234567890,"t":0.10,"e":1e400,"z":-0.0,'
    b'"s":{ "a" :  [1,\n2 ] },"u":"\\u00e9\\/"}'
)


def test_fault_38_values_survive_byte_for_byte() -> None:
    assert join_object(top_level(EXACT)) == EXACT


def test_members_are_the_bytes_of_their_values_in_order() -> None:
    members = top_level(b'{"b" : [1, 2] , "a":"x"}')
    assert list(members) == ["b", "a"]
    assert bytes(members["b"]) == b"[1, 2]"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","model":"a"}',
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"mod\\u0065l":"a","\\u006dodel":"b"}',
        b'{"model":1,"x":0,"model":12}',
        b'{"model":12,"x":0,"model":1}',
        b'{ "x" : 0, "model" : "a" , "model" : "b" }',
        b'{"model":"a","messages":[{"model":"x"}],"model":"b"}',
        b'{"model":"a","messages":[{"model":"x"}],"model":{"model":"x"},"y":1}',
    ],
)
def test_fault_37_a_member_given_twice_is_refused_however_it_is_spelled(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="given twice") as caught:
        top_level(body)
    assert caught.value.param == "model"


def test_a_repeated_member_is_named() -> None:
    for body in (
        b'{"a":1,"b":2,"a":3}',
        b'{"a":1, "b":2, "a":1}',
        b'{"b":2,"a":1,"a":11}',
        b'{"a":1,"a":1,"b":1}',
    ):
        with pytest.raises(InvalidRequest, match="a: given twice"):
            top_level(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","MODEL":"b"}',
        b'{"Model":"a","stream":true,"model":"b"}',
        b'{"model":"a", "\\u004dodel": "b"}',
        '{"max_tokens":5,"max_to\u212aens":6}'.encode(),  # the Kelvin sign
        '{"\u017ftream":true,"stream":false}'.encode(),  # the long s
    ],
)
def test_a_member_given_in_two_cases_is_given_twice(body: bytes) -> None:
    # Servers in Go take both for the same, and the last of them: the model would not be the one that was allowed.
    with pytest.raises(InvalidRequest, match="given twice, as"):
        top_level(body)


def test_one_member_may_have_capitals() -> None:
    assert list(top_level(b'{"generationConfig":{},"Model":"a","model_":1}')) == ["generationConfig", "Model", "model_"]


def test_a_name_that_comes_again_deeper_down_is_no_repetition() -> None:
    body = b'{"model":"a", "tools":[{"parameters":{"model":{"type":"string"}}}],"\\u0061":"model"}'
    assert list(top_level(body)) == ["model", "tools", "a"]


names = st.text(st.sampled_from('abé"\\\n😀'), max_size=3)


@given(st.lists(st.tuples(names, values), max_size=5), st.booleans(), st.sampled_from([None, 1]))
def test_exactly_the_objects_with_a_repeated_name_are_refused(
    pairs: list[tuple[str, Any]], ascii_only: bool, indent: int | None
) -> None:
    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, indent=indent)

    body = ("{" + ",".join(f"{text(name)}:{text(value)}" for name, value in pairs) + "}").encode()
    if len(dict(pairs)) == len(pairs):
        members = top_level(body)
        assert {name: json.loads(bytes(value)) for name, value in members.items()} == dict(pairs)
        assert json.loads(join_object(members)) == dict(pairs)
    else:
        with pytest.raises(InvalidRequest, match="given twice"):
            top_level(body)


def test_one_member_is_read_and_named_when_it_is_wrong() -> None:
    members = top_level(b'{"model":[],"deep":{"messages":[{"role":1}]},"n":null}')
    assert member(members, "absent", ANY) is None
    assert member(members, "n", ANY) is None
    with pytest.raises(InvalidRequest, match=r"^model: expected str, got array$") as caught:
        member(members, "model", msgspec.json.Decoder(str))
    assert caught.value.param == "model"
    with pytest.raises(InvalidRequest, match=r"^deep\.messages\[0\]\.role: expected str, got int$"):
        member(members, "deep", BODY)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (b'{"a":1}', b'{"b":0.10}', b'{"a":1,"b":0.10}'),
        (b"{}", b'{"b":1e400}', b'{"b":1e400}'),
        (b'{"a":1}', b" { } ", b'{"a":1}'),
        (b"{}", b"{}", b"{}"),
        (b'{"a":1}', None, b'{"a":1}'),
        (b'{"a":1}', Raw(b'\n{ "b" : [ ] }'), b'{"a":1,"b" : [ ]}'),
    ],
)
def test_two_objects_are_spliced(one: bytes, other: bytes | Raw | None, both: bytes) -> None:
    assert merge(one, other) == both


def test_a_member_is_replaced_at_its_place_or_added_at_the_end() -> None:
    assert replace_member(b'{"a":1.0,"b":2}', "a", b'"x"') == b'{"a":"x","b":2}'
    assert replace_member(Raw(b'{"a":1.0}'), "b", Raw(b"true")) == b'{"a":1.0,"b":true}'
