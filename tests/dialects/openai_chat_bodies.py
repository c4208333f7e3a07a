"""Bodies of OpenAI's chat with everything in them, which fuzzing takes apart."""

from __future__ import annotations

from typing import Any

REQUEST: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "a", "name": "n"},
        {"role": "developer", "content": [{"type": "text", "text": "b", "prompt_cache_breakpoint": {}}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "c", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
                {"type": "file", "file": {"filename": "f.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "video_url", "video_url": {"url": "u"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "t",
            "reasoning_details": [{"type": "reasoning.text", "text": "t", "signature": "s", "index": 0}],
            "refusal": "r",
            "audio": {"id": "a"},
            "function_call": {"name": "f", "arguments": "{}"},
            "tool_calls": [
                {"id": "i", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}, "x": 1},
                {"id": "j", "type": "custom", "custom": {"name": "g", "input": "x"}},
            ],
        },
        {"role": "tool", "tool_call_id": "i", "content": [{"type": "text", "text": "d"}]},
        {"role": "tool", "tool_call_id": "j", "content": [{"type": "image_url", "image_url": {"url": "u"}}]},
        {"role": "function", "name": "f", "content": "e"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}},
        {"type": "custom", "custom": {"name": "g", "format": {"type": "text"}}},
        {"type": "web_search"},
    ],
    "functions": [{"name": "h"}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "function_call": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}, "strict": True, "x": 1}},
    "reasoning_effort": "low",
    "reasoning": {"effort": "low", "max_tokens": 5, "exclude": True},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "temperature": 0.5,
    "top_p": 1,
    "top_k": 4,
    "n": 1,
    "seed": 3,
    "stop": ["x"],
    "user": "u",
    "max_tokens": 5,
    "stream_options": {"include_usage": True},
    "cache_control": {"type": "ephemeral"},
    "provider": {"order": ["x"]},
    "cost_limit": 1,
    "fallbacks": ["y"],
}

USAGE: dict[str, Any] = {
    "prompt_tokens": 9,
    "completion_tokens": 5,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 1, "x": 1},
    "completion_tokens_details": {"reasoning_tokens": 3},
    "cost": {"total_cost": 0.1},
    "prompt_cache_hit_tokens": 2,
}

ANSWER: dict[str, Any] = {
    "id": "c",
    "object": "chat.completion",
    "created": 5,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "t"}]},
                    {"type": "text", "text": "a"},
                    {"type": "reference", "reference_ids": [1]},
                ],
                "refusal": "r",
                "reasoning": "t",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "t", "signature": "s", "index": 0},
                    {"type": "reasoning.summary", "summary": "s", "index": 1},
                    {"type": "reasoning.encrypted", "data": "d", "index": 2},
                ],
                "annotations": [{"type": "url_citation"}],
                "audio": {"id": "a", "data": "AAAA", "transcript": "t", "expires_at": 5},
                "tool_calls": [
                    {"id": "i", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}, "x": 1},
                    {"id": "j", "type": "custom", "custom": {"name": "g", "input": "x"}},
                ],
                "function_call": {"name": "f", "arguments": "{}"},
            },
            "logprobs": {"content": [{"token": "a"}], "refusal": None},
            "finish_reason": "stop",
        },
        {"index": 1, "message": {"content": "b"}},
    ],
    "usage": USAGE,
    "system_fingerprint": "f",
}


def _chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": {"content": [{"token": "a"}]}}
    return {"id": "c", "created": 5, "model": "m", "choices": [choice], **more}


def _call(**more: Any) -> dict[str, Any]:
    return _chunk({"tool_calls": [more]})


CHUNKS: list[dict[str, Any]] = [
    {"id": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
    _chunk({"role": "assistant", "content": ""}),
    _chunk({"reasoning_content": "t"}, usage=USAGE),
    _chunk({"reasoning": "u", "reasoning_details": [{"type": "reasoning.text", "text": "u", "index": 0}]}),
    _chunk({"reasoning_details": [{"type": "reasoning.text", "signature": "s", "index": 0}]}),
    _chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "d", "index": 1}]}),
    _chunk({"content": "a"}),
    _chunk(
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "b"}]}
    ),
    _chunk({"content": "c", "annotations": [{"type": "url_citation"}], "refusal": "r"}),
    _chunk({"audio": {"id": "a", "data": "AA"}}),
    _chunk({"audio": {"data": "AA", "transcript": "t", "expires_at": 5}}),
    _call(index=0, id="i", type="function", function={"name": "f", "arguments": ""}, x=1),
    _call(index=0, function={"arguments": '{"a":'}),
    _call(index=1, id="j", custom={"name": "g", "input": "x"}),
    _call(index=0, function={"arguments": "1}"}),
    _chunk({"function_call": {"name": "h", "arguments": "{}"}}),
    {"choices": [{"index": 1, "delta": {"content": "other"}}]},
    _chunk({}, "stop", system_fingerprint="f"),
    {"choices": [], "usage": USAGE},
]

ERROR: dict[str, Any] = {"error": {"message": "m", "type": "t", "code": "c", "param": None}, "detail": [{"msg": "x"}]}
