"""Faults 30, 32, 33, 36–40: bodies that are too large, too slow, not JSON, or not what they should be."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from callers import (
    ANTHROPIC,
    DIALECTS,
    GENERATE,
    KEY,
    OLLAMA,
    OPENAI,
    Caller,
    Dialect,
    ask,
    http,
    peer,
    plain_settings,
    refused,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from genai_spine.testing.fixtures import RunningGateway, running_gateway
from genai_spine.testing.simulator import Simulator
from genai_spine.wire.json import top_level

each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)

ENDPOINTS: dict[str, Dialect] = {
    "/v1/chat/completions": OPENAI,
    "/chat/completions": OPENAI,
    "/v1/embeddings": OPENAI,
    "/embeddings": OPENAI,
    "/v1/messages": ANTHROPIC,
    "/v1/messages/count_tokens": ANTHROPIC,
    "/api/chat": OLLAMA,
    "/api/generate": OLLAMA,
    "/api/embed": OLLAMA,
    "/api/embeddings": OLLAMA,
    "/api/show": OLLAMA,
}
"""Everything that takes a body, and in whose shape its errors are."""
each_endpoint = pytest.mark.parametrize("path", ENDPOINTS)


# ── 30, 32, 33: size, speed, coding ───────────────────────────────────────────────────────────────


@each_endpoint
def test_fault_32_a_body_beyond_the_cap_is_413_before_it_is_read(gateway: RunningGateway, path: str) -> None:
    with Caller(gateway) as caller:
        caller.send("POST", path, headers={"content-length": "32000001"})
        answer = caller.answer()
    error = refused(ENDPOINTS[path], answer, 413)
    assert "32 MB" in error["message"]
    assert answer.is_closed


@each_dialect
def test_fault_32_a_chunked_body_beyond_the_cap_is_413_while_it_is_read(simulator: Simulator, dialect: Dialect) -> None:
    small: dict[str, Any] = {**plain_settings(simulator), "server": {"max_body_mb": 0.5}}
    with running_gateway(small) as gateway, Caller(gateway) as caller:
        caller.send("POST", dialect.path, headers={"transfer-encoding": "chunked"})
        chunk = b"%x\r\n%b\r\n" % (100_000, b" " * 100_000)
        sent = 0
        try:
            for _ in range(200):
                caller.sock.sendall(chunk)
                sent += 1
        except OSError:
            pass
        answer = caller.answer()
        refused(dialect, answer, 413)
        assert answer.is_closed
    assert not simulator.received


def test_fault_32_a_body_of_ten_megabytes_passes(simulator: Simulator, gateway: RunningGateway) -> None:
    image = "A" * 10_000_000
    content = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}]
    request = {"model": "oa/sim-x", "messages": [{"role": "user", "content": content}]}
    assert ask(gateway, OPENAI.path, request).status == 200
    assert image.encode() in simulator.received[-1].body
    assert ask(gateway, OPENAI.path, {**request, "model": "an/sim-x"}).status == 200
    assert image.encode() in simulator.received[-1].body


@each_endpoint
def test_fault_33_a_packed_body_is_415(gateway: RunningGateway, path: str) -> None:
    for coding in ("gzip", "br", "deflate, gzip", "identity, zstd"):
        answer = ask(gateway, path, b"\x1f\x8b", {"content-encoding": coding})
        refused(ENDPOINTS[path], answer, 415)
    assert ask(gateway, path, b"{", {"content-encoding": "identity"}).status == 400


@each_dialect
@pytest.mark.parametrize("sent", [b"", b'{"model":'], ids=["nothing", "a beginning"])
def test_fault_30_a_body_that_does_not_come_is_408(simulator: Simulator, dialect: Dialect, sent: bytes) -> None:
    slow: dict[str, Any] = {
        **plain_settings(simulator),
        "server": {"header_timeout": "200ms", "body_timeout": "300ms"},
    }
    with running_gateway(slow) as gateway, Caller(gateway) as caller:
        begun = time.monotonic()
        caller.send("POST", dialect.path, sent or None, {"content-length": "1000"})
        answer = caller.answer()
        assert time.monotonic() - begun < 10
        refused(dialect, answer, 408)
        assert answer.is_closed


# ── 36, 37: what is no JSON ───────────────────────────────────────────────────────────────────────

NOT_JSON: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "half": (b'{"model": "m", "messages": [', r"byte \d+"),
    "text": (b"model=m&stream=true", r"byte \d+"),
    "NaN": (b'{"model": "m", "x": NaN}', r"byte \d+"),
    "Infinity": (b'{"model": "m", "x": -Infinity}', r"byte \d+"),
    "two values": (b'{"model": "m"} {"model": "n"}', r"byte \d+"),
    "single quotes": (b"{'model': 'm'}", r"byte \d+"),
    "trailing comma": (b'{"model": "m",}', r"byte \d+"),
    "5,000 deep": (b'{"model": "m", "messages": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested deeper"),
    "5,000 deep, unclosed": (b'{"model": "m", "messages": ' + b"[" * 5000, r"nested deeper|byte \d+"),
    "bad UTF-8": (b'{"model": "m", "x": "\xff\xfe"}', r"UTF-8 at byte 21"),
    "overlong UTF-8": (b'{"model": "m", "x": "\xc0\xaf"}', r"UTF-8 at byte 21"),
    "surrogate in UTF-8": (b'{"model": "m", "x": "\xed\xa0\x80"}', r"UTF-8 at byte 21"),
    "BOM": (b'\xef\xbb\xbf{"model": "m"}', "byte order mark at byte 0"),
    "UTF-16": ('{"model": "m"}'.encode("utf-16"), r"UTF-8 at byte 0|byte \d+"),
    "lone surrogate": (b'{"model": "m", "x": "\\ud800"}', r"surrogate|byte \d+"),
    "lone surrogate as model": (b'{"model": "\\udfff", "messages": []}', r"surrogate|byte \d+"),
    "NUL": (b'{"model": "m"}\x00', r"byte \d+"),
    "raw control character": (b'{"model": "a\nb"}', r"byte \d+"),
    "array": (b"[]", "expected"),
    "string": (b'"model"', "expected"),
    "number": (b"1e999", r"expected|range|byte"),
    "null": (b"null", "expected"),
}


@each_endpoint
@pytest.mark.parametrize("case", NOT_JSON)
def test_fault_36_what_is_no_json_object_is_400_and_names_the_place(
    simulator: Simulator, gateway: RunningGateway, path: str, case: str
) -> None:
    body, words = NOT_JSON[case]
    error = refused(ENDPOINTS[path], ask(gateway, path, body), 400)
    assert re.search(words, error["message"]), error
    assert not simulator.received


@each_endpoint
def test_fault_37_a_member_given_twice_is_400(simulator: Simulator, gateway: RunningGateway, path: str) -> None:
    rest = b'"messages": [{"role": "user", "content": "x"}], "max_tokens": 9, "input": "x", "prompt": "x"'
    for twice in (
        b'{"model": "oa/a", %b, "model": "oa/b"}' % rest,
        b'{"model":"oa/a",%b,"model":"oa/a"}' % rest,
        b'{"mod\\u0065l": "oa/a", "model": "oa/b", %b}' % rest,
        b'{"model": "oa/a", "stream": false, %b, "stream": true}' % rest,
    ):
        error = refused(ENDPOINTS[path], ask(gateway, path, twice), 400)
        assert "given twice" in error["message"]
    assert not simulator.received


# ── 38, 39: what must not change ──────────────────────────────────────────────────────────────────

BIG = "123456789012345678901234567890"


def test_fault_38_big_numbers_in_tool_arguments_are_exact_both_ways() -> None:
    openai = {
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": f'{{"n":{BIG}}}'}}
                    ],
                },
            }
        ]
    }
    anthropic = (
        '{"type":"message","role":"assistant","model":"m","stop_reason":"tool_use","content":'
        '[{"type":"tool_use","id":"c1","name":"f","input":{"n":BIG}}],'
        '"usage":{"input_tokens":1,"output_tokens":1}}'
    )
    ollama = (
        '{"model":"m","done":true,"message":{"role":"assistant","content":"",'
        '"tool_calls":[{"function":{"name":"f","arguments":{"n":BIG}}}]}}'
    )
    requests: dict[str, Any] = {
        "openai": {"messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": f'{{"n":{BIG}}}'}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "y"},
        ]},
        "anthropic": {"max_tokens": 9, "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"n": int(BIG)}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "y"}]},
        ]},
        "ollama": {"stream": False, "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "", "tool_calls": [
                {"function": {"name": "f", "arguments": {"n": int(BIG)}}}]},
            {"role": "tool", "tool_name": "f", "content": "y"},
        ]},
    }  # fmt: skip
    with (
        peer(http(json.dumps(openai).encode())) as oa,
        peer(http(anthropic.replace("BIG", BIG).encode())) as an,
        peer(http(ollama.replace("BIG", BIG).encode())) as ol,
        running_gateway(
            {
                "oa": {"type": "openai_compatible", "base_url": oa.url},
                "an": {"type": "anthropic", "base_url": an.url, "api_key": KEY},
                "ol": {"type": "ollama", "base_url": ol.url, "dialect": "ollama_chat"},
            }
        ) as gateway,
    ):
        upstreams = {"oa": oa, "an": an, "ol": ol}
        for dialect in DIALECTS:
            for provider, upstream in upstreams.items():
                body = {"model": f"{provider}/m", **requests[dialect.name]}
                answer = ask(gateway, dialect.path, body)
                assert answer.status == 200, answer
                assert BIG.encode() in answer.body, (dialect.name, provider)
                assert BIG.encode() in upstream.requests[-1], (dialect.name, provider)


UNKNOWN = {
    "context_management": b'{"edits":[{"type":"clear_tool_uses_20250919"}]}',
    "zzz": b'[1.10,1E+2,-0.0,12345678901234567890,"\\u00e9\\/",{"a" : null}]',
    "metadata": b'{"user_id":"u 1","big":99999999999999999999}',
    "base_url": b'"http://169.254.169.254/"',
}


@each_dialect
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_fault_39_a_relay_changes_nothing_but_the_models_name(
    simulator: Simulator, gateway: RunningGateway, dialect: Dialect, stream: bool
) -> None:
    members = {
        name: json.dumps(value).encode()
        for name, value in dialect.request(f"{dialect.provider}/sim-x", stream=stream).items()
    }
    members |= UNKNOWN
    sent = b"{ " + b",\n  ".join(b'"%b" : %b' % (k.encode(), v) for k, v in members.items()) + b" }"
    assert ask(gateway, dialect.path, sent).status == 200
    got = {name: bytes(value) for name, value in top_level(simulator.received[-1].body).items()}
    assert got.pop("model") == b'"sim-x"'
    if dialect is OPENAI and stream:
        assert got.pop("stream_options") == b'{"include_usage":true}'
    expected = {name: value for name, value in members.items() if name != "model"}
    assert got == expected
    assert list(got) == list(expected)


def test_fault_39_our_own_fields_go_no_further(simulator: Simulator, gateway: RunningGateway) -> None:
    own = {"provider": None, "provider_hint": "cheapest", "cost_limit": 1.5, "fallbacks": ["oa/sim-x"]}
    for dialect in DIALECTS:
        for provider in ("oa", "an", "ol"):
            body = dialect.request(f"{provider}/sim-x", **{**own, "provider": provider})
            assert ask(gateway, dialect.path, body).status == 200
            assert own.keys().isdisjoint(simulator.received[-1].json())


@each_dialect
def test_fault_39_generate_is_relayed_to_ollama_with_all_it_has(
    simulator: Simulator, gateway: RunningGateway, dialect: Dialect
) -> None:
    body = {"model": "ol/sim-x", "prompt": "def f(", "suffix": "return x", "raw": True, "stream": False}
    assert ask(gateway, "/api/generate", body).status == 200
    assert simulator.received[-1].path == "/api/generate"
    assert simulator.received[-1].json() == {**body, "model": "sim-x"}
    elsewhere = ask(gateway, "/api/generate", {**body, "model": "an/sim-x"})
    assert elsewhere.status in (200, 400)
    if elsewhere.status == 200:
        assert "suffix" in (elsewhere.header("x-spine-notices") or ""), "nothing is dropped in silence"


# ── 40: wrong types ───────────────────────────────────────────────────────────────────────────────

_WRONG: tuple[Any, ...] = (None, True, -1, 0, 1.5, 1e9, "", "text", [], {}, [[]], [{}], [None], {"a": {"b": []}})
_USER = {"role": "user", "content": "x"}
_CHAT_FIELDS = (
    "model", "messages", "stream", "max_tokens", "temperature", "top_p", "stop", "tools", "tool_choice",
    "user", "metadata", "n", "seed", "response_format", "stream_options", "reasoning_effort", "thinking",
    "system", "stop_sequences", "top_k", "options", "format", "think", "keep_alive", "prompt", "images",
    "provider", "provider_hint", "cost_limit", "fallbacks", "input", "dimensions", "encoding_format",
    "truncate", "name", "verbose", "parallel_tool_calls", "output_config", "logit_bias", "functions",
)  # fmt: skip
_CONTENTS: tuple[Any, ...] = (
    None, 1, True, {}, [1], [None], [{}], [{"type": None}], [{"type": "text"}], [{"type": "text", "text": 1}],
    [{"type": "image"}], [{"type": "image", "source": 1}], [{"type": "image_url", "image_url": 5}],
    [{"type": "image_url", "image_url": {"url": "data:"}}], [{"type": "tool_use"}], [{"type": "nonsense"}],
    [{"type": "tool_result", "tool_use_id": 1}], [{"type": "thinking", "thinking": []}],
    [{"type": "document", "source": {"type": "base64"}}], [{"type": "input_audio", "input_audio": []}],
)  # fmt: skip
_MESSAGES: tuple[Any, ...] = (
    *([{"role": "user", "content": content}] for content in _CONTENTS),
    *([{"role": "assistant", "content": "", "tool_calls": calls}] for calls in (
        1, {}, [1], [{}], [{"function": 1}], [{"function": {"name": 1}}],
        [{"id": 1, "type": "function", "function": {"name": "f", "arguments": []}}],
        [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}],
    )),
    [{"role": 1}], [{"role": "nobody", "content": "x"}], [{"role": "tool", "content": "x"}],
    [{"content": "x"}], ["x"], [_USER, None], [{**_USER, "images": 5}], [{**_USER, "name": {}}],
)  # fmt: skip


def _malformed(path: str) -> list[Any]:
    base: dict[str, Any] = {"model": "m", "max_tokens": 9}
    match path.rpartition("/")[2]:
        case "embeddings" | "embed":
            base |= {"input": "x", "prompt": "x"}
        case "generate":
            base |= {"prompt": "x", "stream": False}
        case _:
            base |= {"messages": [_USER], "stream": False}
    found = [{**base, field: value} for field in _CHAT_FIELDS for value in _WRONG]
    if "messages" in base:
        found += [{**base, "messages": messages} for messages in _MESSAGES]
    found += [{name: value for name, value in base.items() if name != left_out} for left_out in base]
    return [*found, {}]


PROVIDERS = ("oa", "an", "ol")


@each_endpoint
@pytest.mark.parametrize("provider", PROVIDERS)
def test_fault_40_wrong_types_are_400_and_never_500(gateway: RunningGateway, path: str, provider: str) -> None:
    """Every body of an endpoint meets one of the providers."""
    answered_or_refused(gateway, path, provider, _malformed(path)[PROVIDERS.index(provider) :: len(PROVIDERS)])


@pytest.mark.slow
@each_endpoint
@pytest.mark.parametrize("provider", PROVIDERS)
def test_fault_40_wrong_types_are_400_whoever_is_asked(gateway: RunningGateway, path: str, provider: str) -> None:
    answered_or_refused(gateway, path, provider, _malformed(path))


def answered_or_refused(gateway: RunningGateway, path: str, provider: str, bodies: list[Any]) -> None:
    """On one connection, each body is answered, or refused in the dialect's own shape."""
    dialect = ENDPOINTS[path]
    with Caller(gateway, timeout_s=5) as caller:
        for body in bodies:
            if isinstance(body.get("model"), str) and body["model"]:
                body["model"] = f"{provider}/sim-{body['model']}"
            caller.send("POST", path, body)
            answer = caller.answer()
            assert answer.status < 500, (body, answer)
            if answer.status != 200:
                refused(dialect, answer, answer.status)
                assert answer.status in (400, 404), (body, answer)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
_BODIES = st.fixed_dictionaries(
    {}, optional={name: _JSON for name in _CHAT_FIELDS if name not in ("model", "messages", "provider")}
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(body=_BODIES, provider=st.sampled_from(["oa", "an", "ol"]), path=st.sampled_from(list(ENDPOINTS)))
def test_fault_40_whatever_a_body_holds_the_fault_is_not_ours(
    gateway: RunningGateway, body: dict[str, Any], provider: str, path: str
) -> None:
    body = {"messages": [_USER], "input": "x", **body, "model": f"{provider}/sim-x"}
    try:
        raw = json.dumps(body).encode()
    except ValueError:
        return
    answer = ask(gateway, path, raw)
    assert answer.status < 500, answer
    if answer.status != 200:
        refused(ENDPOINTS[path], answer, answer.status)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(body=st.binary(max_size=200), path=st.sampled_from(list(ENDPOINTS)))
def test_fault_36_random_bytes_are_400(gateway: RunningGateway, body: bytes, path: str) -> None:
    assume(body.strip() != b"{}")  # with which an Ollama loads its model
    refused(ENDPOINTS[path], ask(gateway, path, body), 400)


def test_a_model_that_nobody_has_is_404_in_every_dialect() -> None:
    two = {
        "a": {"type": "openai_compatible", "base_url": "http://127.0.0.1:9"},
        "b": {"type": "openai_compatible", "base_url": "http://127.0.0.1:9"},
    }
    with running_gateway(two) as gateway:
        for dialect in (*DIALECTS, GENERATE):
            error = refused(dialect, ask(gateway, dialect.path, dialect.request("nobody-has-this")), 404)
            assert "nobody-has-this" in error["message"]
            error = refused(dialect, ask(gateway, dialect.path, dialect.request("m", provider="none")), 404)
            assert "none" in error["message"]
