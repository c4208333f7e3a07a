"""Calls as users of Anthropic's SDK and of Amazon's write them, and beside each the request that we are given for the
same. How differences are told: sdk_calls.py."""

from __future__ import annotations

import base64
import json
from typing import Any

from sdk_calls import CITY, OSLO, PICTURE, PIXEL, WEATHER, Case, asked, case, said

from genai_spine.model.content import Image, Text, Thinking, ToolResult
from genai_spine.model.request import OutputSchema, ThinkingConfig, ToolChoice
from genai_spine.providers.simulated import signature_of

SIGNATURE = signature_of("Hm.")
PIXEL_BYTES = base64.b64decode(PIXEL)
NOVA = "us.amazon.nova-lite-v1:0"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"

CLAUDE_TOOL: dict[str, Any] = {"name": "weather", "description": "Tells it.", "input_schema": CITY}
CLAUDE_CALLED: list[Any] = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": SIGNATURE},
            {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Oslo"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "call_1",
                "is_error": True,
                "content": [
                    {"type": "text", "text": "no weather"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                ],
            }
        ],
    },
]
NO_WEATHER = ToolResult(
    call_id="call_1", content=(Text(text="no weather"), Image(data=PIXEL, media_type="image/png")), is_error=True
)
THOUGHT = Thinking(text="Hm.", signature=SIGNATURE)

MESSAGES: dict[str, Case] = {
    "plain": case(
        lambda client: client.messages.create(
            model="claude-sonnet-4-6",
            system="Be brief.",
            messages=[{"role": "user", "content": "Hi"}],
            max_tokens=200,
            stop_sequences=["END"],
            metadata={"user_id": "u-1"},
            extra_body={"temperature": 0.5, "top_k": 40},  # it has had no names for them since 2.0
        ),
        asked(
            said("system", "Be brief."),
            said("user", "Hi"),
            model="claude-sonnet-4-6",
            max_tokens=200,
            temperature=0.5,
            top_k=40,
            stop=("END",),
            user="u-1",
        ),
    ),
    "stream": case(
        lambda client: list(
            client.messages.create(
                model="claude-sonnet-4-6", messages=[{"role": "user", "content": "Hi"}], max_tokens=200, stream=True
            )
        ),
        asked(model="claude-sonnet-4-6", max_tokens=200, stream=True),
    ),
    "tools and thoughts": case(
        lambda client: client.messages.create(
            model="claude-haiku-4-5",
            messages=CLAUDE_CALLED,
            max_tokens=4000,
            tools=[CLAUDE_TOOL],
            tool_choice={"type": "auto", "disable_parallel_tool_use": True},
            thinking={"type": "enabled", "budget_tokens": 2000},
        ),
        asked(
            said("user", "Weather?"),
            said("assistant", THOUGHT, OSLO),
            said("user", NO_WEATHER),
            model="claude-haiku-4-5",
            max_tokens=4000,
            tools=(WEATHER,),
            tool_choice=ToolChoice(mode="auto"),
            parallel_tool_calls=False,
            thinking=ThinkingConfig(enabled=True, budget_tokens=2000),
        ),
    ),
    "adaptive thinking": case(
        lambda client: client.messages.create(
            model="claude-opus-4-7",
            messages=[{"role": "user", "content": "Hi"}],
            max_tokens=4000,
            thinking={"type": "adaptive"},
            output_config={"effort": "high"},
        ),
        asked(model="claude-opus-4-7", max_tokens=4000, thinking=ThinkingConfig(adaptive=True, effort="high")),
    ),
    "image": case(
        lambda client: client.messages.create(
            model="claude-sonnet-4-6",
            max_tokens=9,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                        {"type": "text", "text": "What is this?"},
                    ],
                }
            ],
        ),
        asked(PICTURE, model="claude-sonnet-4-6", max_tokens=9),
    ),
    "structured": case(
        lambda client: client.messages.create(
            model="claude-sonnet-4-6",
            messages=[{"role": "user", "content": "Where?"}],
            max_tokens=99,
            output_config={"format": {"type": "json_schema", "schema": {**CITY, "additionalProperties": False}}},
        ),
        asked(
            said("user", "Where?"),
            model="claude-sonnet-4-6",
            max_tokens=99,
            output_schema=OutputSchema(schema={**CITY, "additionalProperties": False}),
        ),
    ),
}

CLAUDE_COUNTS: dict[str, Case] = {
    "count_tokens": case(
        lambda client: client.messages.count_tokens(
            model="claude-sonnet-4-6", system="Be brief.", messages=CLAUDE_CALLED, tools=[CLAUDE_TOOL]
        ),
        asked(
            said("system", "Be brief."),
            said("user", "Weather?"),
            said("assistant", THOUGHT, OSLO),
            said("user", NO_WEATHER),
            model="claude-sonnet-4-6",
            tools=(WEATHER,),
        ),
    ),
}

CONVERSE_TALK: list[Any] = [
    {"role": "user", "content": [{"text": "Weather?"}]},
    {
        "role": "assistant",
        "content": [
            {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": SIGNATURE}}},
            {"toolUse": {"toolUseId": "call_1", "name": "weather", "input": {"city": "Oslo"}}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "toolResult": {
                    "toolUseId": "call_1",
                    "status": "error",
                    "content": [{"text": "no weather"}, {"image": {"format": "png", "source": {"bytes": PIXEL_BYTES}}}],
                }
            }
        ],
    },
]

CONVERSE: dict[str, Case] = {
    "plain": case(
        lambda client: client.converse(
            modelId=NOVA,
            system=[{"text": "Be brief."}],
            messages=[{"role": "user", "content": [{"text": "Hi"}]}],
            inferenceConfig={"maxTokens": 200, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
        ),
        asked(
            said("system", "Be brief."),
            said("user", "Hi"),
            model=NOVA,
            max_tokens=200,
            temperature=0.5,
            top_p=0.9,
            stop=("END",),
        ),
    ),
    "stream": case(
        lambda client: list(
            client.converse_stream(modelId=CLAUDE, messages=[{"role": "user", "content": [{"text": "Hi"}]}])["stream"]
        ),
        asked(model=CLAUDE, stream=True),
    ),
    "tools and thoughts": case(
        lambda client: client.converse(
            modelId=CLAUDE,
            messages=CONVERSE_TALK,
            inferenceConfig={"maxTokens": 4000},
            toolConfig={
                "tools": [{"toolSpec": {"name": "weather", "description": "Tells it.", "inputSchema": {"json": CITY}}}],
                "toolChoice": {"auto": {}},
            },
            additionalModelRequestFields={"thinking": {"type": "enabled", "budget_tokens": 2000}},
        ),
        asked(
            said("user", "Weather?"),
            said("assistant", THOUGHT, OSLO),
            said("user", NO_WEATHER),
            model=CLAUDE,
            max_tokens=4000,
            tools=(WEATHER,),
            tool_choice=ToolChoice(mode="auto"),
            thinking=ThinkingConfig(enabled=True, budget_tokens=2000),
        ),
    ),
    "image": case(
        lambda client: client.converse(
            modelId=NOVA,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"image": {"format": "png", "source": {"bytes": PIXEL_BYTES}}},
                        {"text": "What is this?"},
                    ],
                }
            ],
        ),
        asked(PICTURE, model=NOVA),
    ),
}

INVOKE: dict[str, Case] = {
    "plain": case(
        lambda client: client.invoke_model(
            modelId=CLAUDE,
            contentType="application/json",
            body=json.dumps(
                {
                    "anthropic_version": "bedrock-2023-05-31",
                    "messages": [{"role": "user", "content": "Hi"}],
                    "max_tokens": 200,
                }
            ),
        ),
        asked(model=CLAUDE, max_tokens=200),
    ),
    "stream": case(
        lambda client: list(
            client.invoke_model_with_response_stream(
                modelId=CLAUDE,
                contentType="application/json",
                body=json.dumps(
                    {
                        "anthropic_version": "bedrock-2023-05-31",
                        "messages": [{"role": "user", "content": "Hi"}],
                        "max_tokens": 200,
                    }
                ),
            )["body"]
        ),
        asked(model=CLAUDE, max_tokens=200, stream=True),
    ),
}


# Anthropic's own client for Bedrock.
HOSTED: dict[str, Case] = {
    "tools and thoughts": case(
        lambda client: client.messages.create(
            model=CLAUDE,
            messages=CLAUDE_CALLED,
            max_tokens=4000,
            tools=[CLAUDE_TOOL],
            thinking={"type": "enabled", "budget_tokens": 2000},
        ),
        asked(
            said("user", "Weather?"),
            said("assistant", THOUGHT, OSLO),
            said("user", NO_WEATHER),
            model=CLAUDE,
            max_tokens=4000,
            tools=(WEATHER,),
            thinking=ThinkingConfig(enabled=True, budget_tokens=2000),
        ),
        "≠anthropic_version",
    ),
    "stream": case(
        lambda client: list(
            client.messages.create(
                model=CLAUDE, messages=[{"role": "user", "content": "Hi"}], max_tokens=200, stream=True
            )
        ),
        asked(model=CLAUDE, max_tokens=200, stream=True),
        "≠anthropic_version",
    ),
}
