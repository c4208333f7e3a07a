"""What the recorded traffic of real services says about tokens: a text, and how many its service counted.

Used by measure_tokens.py. A request is read into our own form by the dialect that we have for it, or, where we
read none, by the few lines here. Recordings stay where they are: in ../shared/wire, or GENAI_WIRE.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from genai_spine.dialects.anthropic_messages import inbound as anthropic_inbound
from genai_spine.dialects.openai_chat import inbound as openai_inbound
from genai_spine.model.content import Audio, Document, Image, Opaque, Text, Thinking, ToolResult
from genai_spine.model.errors import SpineError
from genai_spine.model.request import CompletionRequest, Message, ProviderTool, Tool

ROOT = Path(os.environ.get("GENAI_WIRE") or Path(__file__).resolve().parents[2] / "shared" / "wire")
ADDING = ("venice", "chatgpt-codex", "perplexity", "github-copilot", "heroku", "snowflake", "crusoe")
"""Services that put words of their own before a request: their counts say nothing about it."""

SERVER_SIDE = (
    *("mcp_servers", "web_search_options", "plugins", "search_parameters", "documents", "context_management"),
    *("conversation", "prompt", "store_context", "container", "cachedContent", "compound_custom"),
)
"""Members of a request that make the service add to it."""

APIS = ("chat", "messages", "generate_content", "cohere_v2_chat", "converse", "responses", "count_tokens")


class Sample(NamedTuple):
    """One thing that was counted. `kind` is "request" or "answer" (text alone, without a frame)."""

    name: str
    model: str
    kind: str
    content: CompletionRequest | str
    tokens: int

    @property
    def digest(self) -> str:
        content = self.content
        given = content if isinstance(content, str) else (content.messages, content.tools)
        return hashlib.sha256(msgspec.json.encode(given)).hexdigest()

    @property
    def group(self) -> int:
        """The same content is always in the same group, whoever was asked: 0 to 9."""
        return int(self.digest[:8], 16) % 10


def samples() -> Iterator[Sample]:
    for path in sorted((ROOT / "exchanges").glob("*/*.json")):
        recorded = json.loads(path.read_text(encoding="utf-8"))
        request, response = (recorded["request"] or {}).get("body"), recorded["response"]
        if recorded["api"] in APIS and response["status"] == 200 and isinstance(request, dict):
            if path.parent.name in ADDING or any(request.get(key) for key in SERVER_SIDE):
                continue
            yield from _samples(recorded["api"], f"{path.parent.name}/{path.stem}", recorded, request)


def _samples(api: str, name: str, recorded: dict[str, Any], asked: dict[str, Any]) -> Iterator[Sample]:
    answers = _answers(recorded["response"])
    model = next((m for a in answers if (m := a.get("model") or a.get("modelVersion"))), None)
    model = str(model or recorded.get("model") or asked.get("model") or name)
    usage = _usage(answers)
    request = read_request(api, asked)
    is_vertex = name.startswith("vertex/")  # it counts a third of what Gemini's own service counts for the same tools
    if request is not None and usage.get("input") and is_plain(request) and not (is_vertex and request.tools):
        yield Sample(name, model, "request", request, usage["input"])
    text = _answer_text(api, answers)
    if text and usage.get("output") and not usage.get("hidden"):
        yield Sample(name, model, "answer", text, usage["output"])


def _answers(response: dict[str, Any]) -> list[dict[str, Any]]:
    """The JSON objects of an answer: one, or those of a stream."""
    body = response.get("body")
    if response.get("body_base64"):
        body = base64.b64decode(response["body_base64"]).decode("utf-8", "replace")
    text = body if isinstance(body, str) else json.dumps(body)
    found = []
    for chunk in [text] if text.lstrip().startswith(("{", "[")) else text.splitlines():
        chunk = chunk.removeprefix("data:").strip()
        try:
            value = json.loads(chunk)
        except ValueError:
            continue
        found += value if isinstance(value, list) else [value]
    return [one for one in found if isinstance(one, dict)]


def _usage(answers: list[dict[str, Any]]) -> dict[str, int]:
    """Input and output tokens as the service counted them; `hidden` are those whose text is not shown."""
    found: dict[str, int] = {}
    for answer in answers:
        holders = (answer, answer.get("message"), answer.get("response"), answer.get("delta"))
        for holder in holders:
            if not isinstance(holder, dict):
                continue
            usage = holder.get("usage") or holder.get("usageMetadata") or {}
            if "input_tokens" in holder and "usage" not in holder:
                usage = holder
            if "totalTokens" in holder and "usageMetadata" not in holder:
                found["input"] = holder["totalTokens"]
            if not isinstance(usage, dict):
                continue
            usage = usage.get("billed_units") or usage
            cached = sum(usage.get(key) or 0 for key in ("cache_read_input_tokens", "cache_creation_input_tokens"))
            given = _first(usage, "prompt_tokens", "input_tokens", "promptTokenCount", "inputTokens")
            if given:
                found["input"] = int(given) + cached
            made = _first(usage, "completion_tokens", "output_tokens", "candidatesTokenCount", "outputTokens")
            if made:
                found["output"] = int(made)
            details = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
            if usage.get("thoughtsTokenCount") or details.get("reasoning_tokens") or details.get("audio_tokens"):
                found["hidden"] = 1
    return found


def _first(usage: dict[str, Any], *keys: str) -> Any:
    return next((usage[key] for key in keys if usage.get(key)), None)


# ------------------------------------------------------------ answers


def _answer_text(api: str, answers: list[dict[str, Any]]) -> str | None:
    """The text of an answer that is nothing but text; None where there is more, or less."""
    parts: list[str] = []
    for answer in answers:
        if api == "chat":
            if len(answer.get("choices") or ()) > 1:
                return None
            for choice in answer.get("choices") or ():
                said = choice.get("message") or choice.get("delta") or {}
                other = {key for key, value in said.items() if value and key not in ("role", "content", "annotations")}
                if other or not isinstance(said.get("content") or "", str):
                    return None
                parts.append(said.get("content") or "")
        elif api == "messages":
            blocks = [*(answer.get("content") or ()), answer.get("content_block") or {}, answer.get("delta") or {}]
            for block in blocks:
                if block.get("type") not in (None, "text", "text_delta"):
                    return None
                parts.append(block.get("text") or "")
        elif api == "generate_content":
            for candidate in answer.get("candidates") or ():
                for part in (candidate.get("content") or {}).get("parts") or ():
                    if set(part) - {"text"}:
                        return None
                    parts.append(part.get("text") or "")
        elif api == "cohere_v2_chat" and "message" in answer:
            for block in (answer["message"] or {}).get("content") or ():
                if block.get("type") != "text" or answer["message"].get("tool_plan"):
                    return None
                parts.append(block["text"])
        else:
            return None
    return "".join(parts)


# ------------------------------------------------------------ requests


def is_plain(request: CompletionRequest) -> bool:
    """Whether all that was counted can be seen: no media, no tool of the service's own, no tools put aside."""
    parts = [part for message in request.messages for part in message.content]
    inner = [part for result in parts if isinstance(result, ToolResult) for part in result.content]
    if any(isinstance(part, Image | Audio | Document | Opaque) for part in (*parts, *inner)):
        return False
    choice = request.tool_choice.mode if request.tool_choice is not None else None
    return choice != "none" and not any(isinstance(tool, ProviderTool) for tool in request.tools)


def read_request(api: str, body: dict[str, Any]) -> CompletionRequest | None:
    """A recorded request in our own form; None where it holds what these lines do not read."""
    try:
        match api:
            case "chat" | "cohere_v2_chat":
                if body.get("documents"):
                    return None
                return openai_inbound.decode_request(json.dumps(body).encode())
            case "messages" | "count_tokens" if "messages" in body and "contents" not in body:
                return anthropic_inbound.decode_request(json.dumps({"max_tokens": 1, **body}).encode())
            case "generate_content" | "count_tokens" if "contents" in body:
                return _gemini(body)
            case "converse" if isinstance(body.get("messages"), list):
                return _converse(body)
            case "responses" if not body.get("previous_response_id"):
                return _responses(body)
    except (SpineError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return None


def _gemini(body: dict[str, Any]) -> CompletionRequest | None:
    system = body.get("systemInstruction") or body.get("system_instruction")
    turns = [*([{"role": "system", **system}] if system else ()), *body["contents"]]
    if body.get("cachedContent"):
        return None
    messages = []
    for turn in turns:
        if any("text" not in part or set(part) - {"text", "thought", "thoughtSignature"} for part in turn["parts"]):
            return None
        content = [Thinking(text=p["text"]) if p.get("thought") else Text(text=p["text"]) for p in turn["parts"]]
        role = {"model": "assistant", None: "user"}.get(turn.get("role"), turn.get("role"))
        messages.append(Message(role=role, content=tuple(content)))
    declared = []
    for tool in body.get("tools") or ():
        if set(tool) - {"functionDeclarations", "function_declarations"}:
            return None
        declared += tool.get("functionDeclarations") or tool.get("function_declarations") or []
    tools = tuple(
        Tool(
            name=one["name"],
            description=one.get("description"),
            parameters=one.get("parameters") or one.get("parametersJsonSchema") or one.get("parameters_json_schema"),
        )
        for one in declared
    )
    config = body.get("generationConfig") or {}
    schema = config.get("responseSchema") or config.get("responseJsonSchema")
    return CompletionRequest(messages=tuple(messages), tools=tools, output_schema=schema)


def _converse(body: dict[str, Any]) -> CompletionRequest | None:
    if body.get("outputConfig") or body.get("guardrailConfig"):
        return None
    turns = [*([{"role": "system", "content": body["system"]}] if body.get("system") else ()), *body["messages"]]
    messages = []
    for turn in turns:
        if any(set(block) != {"text"} for block in turn["content"]):
            return None
        messages.append(Message(role=turn["role"], content=tuple(Text(text=b["text"]) for b in turn["content"])))
    specs = [tool["toolSpec"] for tool in (body.get("toolConfig") or {}).get("tools") or ()]
    tools = tuple(
        Tool(name=one["name"], description=one.get("description"), parameters=one["inputSchema"]["json"])
        for one in specs
    )
    return CompletionRequest(messages=tuple(messages), tools=tools)


def _responses(body: dict[str, Any]) -> CompletionRequest | None:
    given = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if body.get("instructions"):
        items = [{"role": "system", "content": body["instructions"]}, *items]
    messages = []
    for item in items:
        content = item.get("content")
        blocks = [{"text": content, "type": "input_text"}] if isinstance(content, str) else content
        if item.get("type") not in (None, "message") or any(
            block["type"] not in ("input_text", "output_text") for block in blocks
        ):
            return None
        texts = tuple(Text(text=block["text"]) for block in blocks)
        messages.append(Message(role=item["role"], content=texts))
    tools = tuple(
        Tool(name=one["name"], description=one.get("description"), parameters=one.get("parameters"))
        for one in body.get("tools") or ()
        if one["type"] == "function"
    )
    reasoning = body.get("reasoning") or {}
    shape = (body.get("text") or {}).get("format") or {}
    if len(tools) != len(body.get("tools") or ()) or shape.get("schema") or reasoning.get("mode"):
        return None
    return CompletionRequest(messages=tuple(messages), tools=tools, thinking=reasoning.get("effort"))
