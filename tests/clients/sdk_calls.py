"""Calls as users of OpenAI's and Ollama's SDKs write them, and beside each the request that we are given for the same.

What differs on the wire is declared with the case: `+` is what only we say, `-` what only the SDK says, `≠` what each
says otherwise, at a place of the body. REASONS tells why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import pydantic

from genai_spine.model.content import Image, Text, ToolCall, ToolResult
from genai_spine.model.embedding import EmbeddingRequest
from genai_spine.model.request import CompletionRequest, Message, OutputSchema, ThinkingConfig, Tool, ToolChoice

PIXEL = "iVBORw0KGgo="
URI = f"data:image/png;base64,{PIXEL}"
CITY: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class Place(pydantic.BaseModel):
    """Where it is."""

    city: str
    kind: Literal["town", "village"]


# ---------------------------------------------------------------- what we ask


def said(role: Any, *parts: Any) -> Message:
    return Message(role=role, content=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def asked(*messages: Message, **options: Any) -> CompletionRequest:
    return CompletionRequest(messages=messages or (said("user", "Hi"),), **options)


WEATHER = Tool(name="weather", description="Tells it.", parameters=CITY)
OSLO = ToolCall(id="call_1", name="weather", arguments='{"city":"Oslo"}')
SUNNY = ToolResult(call_id="call_1", content=(Text(text="sunny"),))
CALLED = (said("user", "Weather?"), said("assistant", OSLO), said("tool", SUNNY))
PICTURE = said("user", Image(data=PIXEL, media_type="image/png"), "What is this?")


class Case(NamedTuple):
    theirs: Callable[[Any], Any]
    ours: CompletionRequest | EmbeddingRequest
    differences: frozenset[str] = frozenset()


def case(theirs: Callable[[Any], Any], ours: CompletionRequest | EmbeddingRequest, *differences: str) -> Case:
    return Case(theirs, ours, frozenset(differences))


OPENAI_TOOL: dict[str, Any] = {"name": "weather", "description": "Tells it.", "parameters": CITY}

CHAT: dict[str, Case] = {
    "plain": case(
        lambda client: client.chat.completions.create(
            model="gpt-4.1",
            messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            temperature=0.5,
            top_p=0.9,
            max_completion_tokens=200,
            stop=["END"],
            seed=7,
            presence_penalty=0.1,
            frequency_penalty=0.2,
            n=1,
            user="u-1",
        ),
        asked(
            said("system", "Be brief."),
            said("user", "Hi"),
            model="gpt-4.1",
            temperature=0.5,
            top_p=0.9,
            max_tokens=200,
            stop=("END",),
            seed=7,
            presence_penalty=0.1,
            frequency_penalty=0.2,
            n=1,
            user="u-1",
        ),
    ),
    "stream": case(
        lambda client: list(
            client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "Hi"}], stream=True)
        ),
        asked(model="gpt-4.1", stream=True),
        "+stream_options",
    ),
    "tools": case(
        lambda client: client.chat.completions.create(
            model="gpt-4.1",
            messages=[
                {"role": "user", "content": "Weather?"},
                {
                    "role": "assistant",
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            ],
            tools=[{"type": "function", "function": OPENAI_TOOL}],
            tool_choice={"type": "function", "function": {"name": "weather"}},
            parallel_tool_calls=False,
        ),
        asked(
            *CALLED,
            model="gpt-4.1",
            tools=(WEATHER,),
            tool_choice=ToolChoice(mode="tool", name="weather"),
            parallel_tool_calls=False,
        ),
        "+messages[1].content",
    ),
    "image": case(
        lambda client: client.chat.completions.create(
            model="gpt-4.1",
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": URI}},
                        {"type": "text", "text": "What is this?"},
                    ],
                }
            ],
        ),
        asked(PICTURE, model="gpt-4.1"),
    ),
    "reasoning": case(
        lambda client: client.chat.completions.create(
            model="gpt-5", messages=[{"role": "user", "content": "Hi"}], reasoning_effort="high"
        ),
        asked(model="gpt-5", thinking=ThinkingConfig(effort="high")),
    ),
    "structured": case(
        lambda client: client.chat.completions.parse(
            model="gpt-4.1", messages=[{"role": "user", "content": "Where?"}], response_format=Place
        ),
        asked(said("user", "Where?"), model="gpt-4.1", output_schema=Place),
        "-response_format.json_schema.strict",
        "-response_format.json_schema.schema.additionalProperties",
        "-stream",
    ),
}

RESPONSES: dict[str, Case] = {
    "plain": case(
        lambda client: client.responses.create(
            model="gpt-4.1",
            instructions="Be brief.",
            input=[{"role": "user", "content": "Hi"}],
            temperature=0.5,
            top_p=0.9,
            max_output_tokens=200,
            user="u-1",
        ),
        asked(
            said("system", "Be brief."),
            said("user", "Hi"),
            model="gpt-4.1",
            temperature=0.5,
            top_p=0.9,
            max_tokens=200,
            user="u-1",
        ),
    ),
    "stream": case(
        lambda client: list(
            client.responses.create(model="gpt-4.1", input=[{"role": "user", "content": "Hi"}], stream=True)
        ),
        asked(model="gpt-4.1", stream=True),
    ),
    "tools": case(
        lambda client: client.responses.create(
            model="gpt-4.1",
            input=[
                {"role": "user", "content": "Weather?"},
                {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Oslo"}'},
                {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
            ],
            tools=[{"type": "function", **OPENAI_TOOL, "strict": False}],
            tool_choice={"type": "function", "name": "weather"},
            parallel_tool_calls=False,
        ),
        asked(
            *CALLED,
            model="gpt-4.1",
            tools=(WEATHER,),
            tool_choice=ToolChoice(mode="tool", name="weather"),
            parallel_tool_calls=False,
        ),
        "-tools[0].strict",
    ),
    "image": case(
        lambda client: client.responses.create(
            model="gpt-4.1",
            input=[
                {
                    "role": "user",
                    "content": [
                        {"type": "input_image", "image_url": URI},
                        {"type": "input_text", "text": "What is this?"},
                    ],
                }
            ],
        ),
        asked(PICTURE, model="gpt-4.1"),
    ),
    "reasoning": case(
        lambda client: client.responses.create(
            model="gpt-5",
            input=[{"role": "user", "content": "Hi"}],
            reasoning={"effort": "high", "summary": "auto"},
            include=["reasoning.encrypted_content"],
            store=False,
        ),
        asked(
            model="gpt-5",
            thinking=ThinkingConfig(effort="high", display="summarized"),
            extra={"openai_responses": {"store": False, "include": ["reasoning.encrypted_content"]}},
        ),
    ),
    "structured": case(
        lambda client: client.responses.parse(
            model="gpt-4.1", input=[{"role": "user", "content": "Where?"}], text_format=Place
        ),
        asked(said("user", "Where?"), model="gpt-4.1", output_schema=Place),
        "-text.format.strict",
        "-text.format.schema.additionalProperties",
    ),
}

OPENAI_VECTORS: dict[str, Case] = {
    "embeddings": case(
        lambda client: client.embeddings.create(
            model="text-embedding-3-small", input=["one", "two"], dimensions=256, user="u-1"
        ),
        EmbeddingRequest(model="text-embedding-3-small", input=("one", "two"), dimensions=256, user="u-1"),
        "-encoding_format",
    ),
    "floats": case(
        lambda client: client.embeddings.create(model="text-embedding-3-small", input=["one"], encoding_format="float"),
        EmbeddingRequest(model="text-embedding-3-small", input=("one",)),
        "-encoding_format",
    ),
}

OLLAMA: dict[str, Case] = {
    "plain": case(
        lambda client: client.chat(
            model="qwen3",
            messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            options={"temperature": 0.5, "top_p": 0.9, "top_k": 40, "num_predict": 200, "stop": ["END"], "seed": 7},
        ),
        asked(
            said("system", "Be brief."),
            said("user", "Hi"),
            model="qwen3",
            temperature=0.5,
            top_p=0.9,
            top_k=40,
            max_tokens=200,
            stop=("END",),
            seed=7,
        ),
        "-tools",
    ),
    "stream": case(
        lambda client: list(client.chat(model="qwen3", messages=[{"role": "user", "content": "Hi"}], stream=True)),
        asked(model="qwen3", stream=True),
        "-tools",
    ),
    "tools": case(
        lambda client: client.chat(
            model="qwen3",
            messages=[
                {"role": "user", "content": "Weather?"},
                {
                    "role": "assistant",
                    "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Oslo"}}}],
                },
                {"role": "tool", "content": "sunny", "tool_name": "weather"},
            ],
            tools=[{"type": "function", "function": OPENAI_TOOL}],
        ),
        asked(*CALLED, model="qwen3", tools=(WEATHER,)),
        "+messages[1].content",
        "+messages[1].tool_calls[0].id",
        "+messages[2].tool_call_id",
    ),
    "image": case(
        lambda client: client.chat(
            model="qwen3", messages=[{"role": "user", "content": "What is this?", "images": [PIXEL]}]
        ),
        asked(PICTURE, model="qwen3"),
        "-tools",
    ),
    "thinking": case(
        lambda client: client.chat(model="gpt-oss", messages=[{"role": "user", "content": "Hi"}], think="high"),
        asked(model="gpt-oss", thinking=ThinkingConfig(effort="high")),
        "-tools",
    ),
    "structured": case(
        lambda client: client.chat(model="qwen3", messages=[{"role": "user", "content": "Where?"}], format=CITY),
        asked(said("user", "Where?"), model="qwen3", output_schema=OutputSchema(schema=CITY)),
        "-tools",
    ),
    "embed": case(
        lambda client: client.embed(model="nomic-embed-text", input=["one", "two"], dimensions=256),
        EmbeddingRequest(model="nomic-embed-text", input=("one", "two"), dimensions=256),
    ),
}

REASONS: dict[str, str] = {
    "+stream_options": "what a stream has cost is asked for",
    "+messages[1].content": "OpenAI's schema wants null beside calls, and Ollama's an empty text",
    "-response_format.json_schema.strict": "`parse` makes a schema strict; we do where the caller says so",
    "-response_format.json_schema.schema.additionalProperties": "likewise",
    "-text.format.strict": "likewise",
    "-text.format.schema.additionalProperties": "likewise",
    "-stream": "`parse` says false",
    "-tools[0].strict": "the SDK's types want it said; we say it where the caller does",
    "-encoding_format": "the SDK asks for base64 of its own accord; we read both and leave it to the service",
    "-tools": "the SDK sends an empty list",
    "+messages[1].tool_calls[0].id": "Ollama takes ids; the SDK has no name for them",
    "+messages[2].tool_call_id": "likewise",
    "≠anthropic_version": "Anthropic's client says its newest version; Amazon documents bedrock-2023-05-31",
}
"""Why bodies may differ at a place."""
