"""What the bench's provider answers: bytes in the wire formats of OpenAI, Anthropic, Gemini and Bedrock Converse.

Every plain answer has `MARKER` in it, every stream is 100 events with `LAST_WORD` in the last piece of text.
Must not know: the project, servers. The formats are the published ones: OpenAI's chat completions, Anthropic's
Messages, Gemini's generateContent (events with CRLF, as the service sends them), Bedrock's Converse and
ConverseStream (AWS's binary event stream, its messages padded as the service pads them).
"""

from __future__ import annotations

import json
import struct
from typing import Any
from urllib.parse import quote
from zlib import crc32

OPENAI_MODEL = "gpt-4o-mini"
MODELS = {
    "openai": OPENAI_MODEL,
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-3.5-flash",
    "bedrock": "amazon.nova-lite-v1:0",
}
EVENTS = 100
MARKER = "tide-gauge"  # in every plain answer, whatever dialect it ends in
LAST_WORD = "w095"  # in the last piece of text of every stream
TEXT = (
    "The tide-gauge reads higher at new and full moon, because sun and moon then pull along one line. "
    "Halfway between, they pull at right angles and the range is smallest."
)

# Bytes that a caller sends. Usage is asked for, so that a relay has nothing to add to the request.
QUESTION = "Why are some tides higher than others? Answer in two sentences."
SYSTEM = "You are a harbour master who answers briefly."


def chat_request(model: str, *, stream: bool, is_long: bool = False) -> bytes:
    """An OpenAI chat request: `{"model": …, "messages": [system, user], "max_tokens": 256, …}`; a long one is an
    agent's in the middle of its work."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}],
        "max_tokens": 256,
        "temperature": 0.2,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if is_long:
        body["messages"] += [message for turn in range(TURNS) for message in _turn(turn)]
        body["tools"] = [_tool(number) for number in range(TOOLS)]
    return json.dumps(body).encode()


TURNS, TOOLS = 20, 12  # some 45 KB together, which nginx keeps in memory
SOURCE = """
def depth(tides: list[dict[str, float]], at: float) -> float | None:
    \"\"\"Metres at a time; None where the file has no reading. See the image in docs/tides.pdf.\"\"\"
    for tide in tides:
        if tide["begins"] <= at < tide["ends"]:
            return {"low": 0.5, "high": 4.5}[tide["kind"]] + tide["offset"]
    return None
"""


def _turn(number: int) -> list[dict[str, Any]]:
    """An agent reads a file: its call, and what it got."""
    call = {"id": f"call_{number}", "type": "function"}
    call["function"] = {"name": "tool_0", "arguments": json.dumps({"path": f"src/tides_{number}.py"})}
    return [
        {"role": "assistant", "content": "Let me look at the file.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": SOURCE * 4},
    ]


def _tool(number: int) -> dict[str, Any]:
    properties = {f"p{at}": {"type": "string", "description": "The path of a file, from the root."} for at in range(5)}
    parameters = {"type": "object", "properties": properties, "required": ["p0"], "additionalProperties": False}
    description = "Reads a file, an image too, and says what is in it, line by line. " * 5
    return {
        "type": "function",
        "function": {"name": f"tool_{number}", "description": description, "parameters": parameters},
    }


def openai_plain() -> bytes:
    """A chat completion of about 0.7 KB with usage, all counters included."""
    return json.dumps(
        {
            "id": "chatcmpl-bench0000000000000000000",
            "object": "chat.completion",
            "created": 1760000000,
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": TEXT, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": 34,
                "completion_tokens": 41,
                "total_tokens": 75,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
            "service_tier": "default",
            "system_fingerprint": "fp_bench",
        }
    ).encode()


def openai_chunk(delta: dict[str, Any], finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    """One `chat.completion.chunk` as an SSE event; the usage chunk has no choices."""
    chunk = {
        "id": "chatcmpl-bench0000000000000000000",
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": "gpt-4o-mini-2024-07-18",
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
        "choices": [] if usage else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        "usage": usage,
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def openai_events() -> list[bytes]:
    """100 events: the role, 97 words, the finish reason, the usage; then `data: [DONE]` as one more frame."""
    words = [f" w{number:03}" for number in range(EVENTS - 3)]
    words[-1] = f" {LAST_WORD}"
    usage = {"prompt_tokens": 34, "completion_tokens": len(words), "total_tokens": 34 + len(words)}
    return [
        openai_chunk({"role": "assistant", "content": "", "refusal": None}),
        *(openai_chunk({"content": word}) for word in words),
        openai_chunk({}, finish="stop"),
        openai_chunk({}, usage=usage),
        b"data: [DONE]\n\n",
    ]


def anthropic_plain() -> bytes:
    """A Messages answer of about 0.6 KB with usage."""
    return json.dumps(
        {
            "id": "msg_bench000000000000000000",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5-20250929",
            "content": [{"type": "text", "text": TEXT}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 34,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                "output_tokens": 41,
                "service_tier": "standard",
            },
        }
    ).encode()


def _anthropic_event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


def anthropic_events() -> list[bytes]:
    """100 events: start, block start, 95 text deltas, block stop, message delta, message stop."""
    words = [f" w{number:03}" for number in range(EVENTS - 5)]
    words[-1] = f" {LAST_WORD}"
    message = json.loads(anthropic_plain())
    message |= {"content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    return [
        _anthropic_event("message_start", message=message),
        _anthropic_event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(
            _anthropic_event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
            for word in words
        ),
        _anthropic_event("content_block_stop", index=0),
        _anthropic_event(
            "message_delta",
            delta={"stop_reason": "end_turn", "stop_sequence": None},
            usage={"output_tokens": len(words)},
        ),
        _anthropic_event("message_stop"),
    ]


def _gemini_chunk(text: str, counted: int, finish: str | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}}
    if finish is not None:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate | {"index": 0}],
        "usageMetadata": {
            "promptTokenCount": 34,
            "candidatesTokenCount": counted,
            "totalTokenCount": 34 + counted,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 34}],
        },
        "modelVersion": MODELS["gemini"],
        "responseId": "bench000000000000000000",
    }


def gemini_plain() -> bytes:
    """An answer of generateContent of about 0.7 KB with usage, set out in lines."""
    return json.dumps(_gemini_chunk(TEXT, 41, "STOP"), indent=2).encode()


def gemini_events() -> list[bytes]:
    """100 events with CRLF, each a piece of text with the counts so far; the last with the finish reason."""
    words = [f" w{number:03}" for number in range(EVENTS)]
    words[-1] = f" {LAST_WORD}"
    return [
        b"data: " + json.dumps(_gemini_chunk(word, number, "STOP" if number == EVENTS else None)).encode() + b"\r\n\r\n"
        for number, word in enumerate(words, 1)
    ]


_PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def _bedrock_usage(counted: int) -> dict[str, int]:
    return {"inputTokens": 34, "outputTokens": counted, "totalTokens": 34 + counted}


def bedrock_plain() -> bytes:
    """An answer of Converse of about 0.35 KB with usage."""
    message = {"content": [{"text": TEXT}], "role": "assistant"}
    answer = {
        "metrics": {"latencyMs": 612},
        "output": {"message": message},
        "stopReason": "end_turn",
        "usage": _bedrock_usage(41),
    }
    return json.dumps(answer, separators=(",", ":")).encode()


def _bedrock_message(kind: str, payload: dict[str, Any]) -> bytes:
    """One message: lengths, their CRC-32, headers (all strings: type 7), payload, CRC-32 of all before."""
    headers = b""
    for name, value in ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event")):
        headers += struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
    body = json.dumps(payload, separators=(",", ":")).encode()
    lengths = struct.pack("!II", 16 + len(headers) + len(body), len(headers))
    message = lengths + struct.pack("!I", crc32(lengths)) + headers + body
    return message + struct.pack("!I", crc32(message))


def bedrock_events() -> list[bytes]:
    """100 messages: start, 96 pieces of text, block stop, message stop, metadata; each with padding in `p`."""
    words = [f" w{number:03}" for number in range(EVENTS - 4)]
    words[-1] = f" {LAST_WORD}"
    payloads: list[tuple[str, dict[str, Any]]] = [
        ("messageStart", {"role": "assistant"}),
        *(("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}}) for word in words),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"metrics": {"latencyMs": 612}, "usage": _bedrock_usage(len(words))}),
    ]
    return [
        _bedrock_message(kind, payload | {"p": _PADDING[: number * 7 % len(_PADDING) + 1]})
        for number, (kind, payload) in enumerate(payloads)
    ]


PLAIN = {
    "openai": openai_plain,
    "anthropic": anthropic_plain,
    "gemini": gemini_plain,
    "bedrock": bedrock_plain,
}
STREAMS = {
    "openai": openai_events,
    "anthropic": anthropic_events,
    "gemini": gemini_events,
    "bedrock": bedrock_events,
}


def path_of(dialect: str, *, stream: bool) -> str:
    """Where the dialect's service takes requests; Gemini's and Bedrock's URLs say the model, and whether to stream."""
    match dialect:
        case "openai":
            return "/v1/chat/completions"
        case "anthropic":
            return "/v1/messages"
        case "gemini":
            method = "streamGenerateContent?alt=sse" if stream else "generateContent"
            return f"/v1beta/models/{MODELS[dialect]}:{method}"
        case _:
            return f"/model/{quote(MODELS[dialect], safe='')}/{'converse-stream' if stream else 'converse'}"
