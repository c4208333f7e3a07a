"""Bodies of OpenAI's Responses with a bit of everything, by hand, in the shape of the wire."""

from __future__ import annotations

from typing import Any

PNG = "iVBORw0KGgo="

REQUEST: dict[str, Any] = {
    "model": "gpt-5.1",
    "instructions": "Be brief.",
    "input": [
        {"role": "developer", "content": "Use metric units."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "low"},
                {"type": "input_file", "file_id": "file_1"},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "A cat."}, {"type": "summary_text", "text": "Or a dog."}],
            "encrypted_content": "gAAAAA1",
        },
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "I look.", "annotations": [{"type": "file_path", "file_id": "f"}]},
                {"type": "refusal", "refusal": "Not this."},
            ],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": '{"at":1}'},
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_2", "name": "run", "input": "ls -l"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "cat"}},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "fur"}] * 2},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "total 0"},
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
        {"type": "item_reference", "id": "msg_0"},
        {"role": "user", "content": "So?"},
    ],
    "tools": [
        {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": True},
        {"type": "custom", "name": "run", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}},
        {"type": "web_search", "search_context_size": "low"},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "look"}]},
    "parallel_tool_calls": False,
    "reasoning": {"effort": "low", "summary": "detailed"},
    "text": {
        "format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True},
        "verbosity": "low",
    },
    "max_output_tokens": 500,
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "metadata": {"job": "1"},
    "prompt_cache_key": "k",
    "service_tier": "flex",
    "truncation": "auto",
    "safety_identifier": "s",
    "stream": True,
}

OUTPUT: list[dict[str, Any]] = [
    {
        "id": "rs_2",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "Hm."}],
        "content": [{"type": "reasoning_text", "text": "Let me see."}],
        "encrypted_content": "gAAAAA2",
    },
    {"id": "ws_2", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "cat"}},
    {
        "id": "msg_2",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [
            {
                "type": "output_text",
                "text": "A cat, says ",
                "annotations": [{"type": "url_citation", "url": "https://e.org", "start_index": 0, "end_index": 5}],
            },
            {"type": "output_text", "text": "e.org.", "annotations": []},
            {"type": "refusal", "refusal": "No more."},
        ],
    },
    {"id": "fc_2", "type": "function_call", "status": "completed", "arguments": '{"at":2}', "call_id": "call_3",
     "name": "look"},
    {"id": "ctc_2", "type": "custom_tool_call", "status": "completed", "input": "pwd", "call_id": "call_4",
     "name": "run"},
]  # fmt: skip

ANSWER: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1763474589,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "model": "gpt-5.1-2025-11-13",
    "output": OUTPUT,
    "service_tier": "default",
    "usage": {
        "input_tokens": 90,
        "input_tokens_details": {"cached_tokens": 64},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 12},
        "total_tokens": 120,
    },
}

ERROR: dict[str, Any] = {
    "error": {
        "message": "Your input exceeds the context window of this model.",
        "type": "invalid_request_error",
        "param": "input",
        "code": "context_length_exceeded",
    }
}


def _text(text: str, **place: Any) -> list[dict[str, Any]]:
    return [{"delta": text[start : start + 5], **place} for start in range(0, len(text), 5)]


def events() -> list[dict[str, Any]]:
    """ANSWER as a stream, with the progress of the search in it, and an event that nobody knows."""
    begun = {**ANSWER, "status": "in_progress", "output": [], "usage": None}
    written: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for at, item in enumerate(OUTPUT):
        place = {"output_index": at, "item_id": item["id"]}
        empty = {key: "" if key in ("arguments", "input") else value for key, value in item.items()}
        empty |= {key: [] for key in ("content", "summary") if key in item}
        written.append({"type": "response.output_item.added", "output_index": at, "item": empty})
        for index, part in enumerate(item.get("summary", ())):
            inner = {**place, "summary_index": index}
            begin = {**inner, "part": {"type": "summary_text", "text": ""}}
            written.append({"type": "response.reasoning_summary_part.added", **begin})
            name = "response.reasoning_summary_text.delta"
            written += [{"type": name, **delta} for delta in _text(part["text"], **inner)]
            written.append({"type": "response.reasoning_summary_part.done", **inner, "part": part})
        for index, part in enumerate(item.get("content", ())):
            inner = {**place, "content_index": index}
            field = "refusal" if part["type"] == "refusal" else "text"
            written.append({"type": "response.content_part.added", **inner, "part": {**part, field: ""}})
            written += [{"type": f"response.{part['type']}.delta", **delta} for delta in _text(part[field], **inner)]
            written.append({"type": "response.content_part.done", **inner, "part": part})
        for field, name in (("arguments", "function_call_arguments"), ("input", "custom_tool_call_input")):
            if field in item:
                written += [{"type": f"response.{name}.delta", **delta} for delta in _text(item[field], **place)]
        if item["type"] == "web_search_call":
            written.append({"type": "response.web_search_call.searching", **place})
            written.append({"type": "response.of_times_to_come", "output_index": "x", "delta": {"a": 1}})
        written.append({"type": "response.output_item.done", "output_index": at, "item": item})
    written.append({"type": "response.completed", "response": ANSWER})
    return [{**event, "sequence_number": number} for number, event in enumerate(written)]
