"""What each dialect can say, for the laws."""

from __future__ import annotations

import msgspec
from gemini_speech import GEMINI
from hypothesis import strategies as st

from genai_spine.dialects.anthropic_messages import inbound as anthropic_inbound
from genai_spine.dialects.anthropic_messages import outbound as anthropic_outbound
from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import keep
from genai_spine.dialects.ollama_chat import inbound as ollama_inbound
from genai_spine.dialects.ollama_chat import outbound as ollama_outbound
from genai_spine.dialects.openai_chat import inbound as openai_inbound
from genai_spine.dialects.openai_chat import outbound as openai_outbound
from genai_spine.dialects.openai_responses import inbound as responses_inbound
from genai_spine.dialects.openai_responses import outbound as responses_outbound
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.content import (
    Audio,
    CacheMark,
    Document,
    Image,
    Opaque,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from genai_spine.model.request import CompletionRequest, OutputSchema, ThinkingConfig, Tool
from genai_spine.model.response import FinishReason
from genai_spine.testing.laws import Speech
from genai_spine.testing.strategies import (
    arguments,
    base64,
    names,
    objects,
    schemas,
    texts,
    tool_calls,
    tool_choices,
    tools,
    values,
    words,
)

media = st.sampled_from(["image/png", "image/jpeg", "image/webp"])
seconds = st.integers(1, 4_000_000_000)
fractions = st.floats(0, 1, allow_nan=False)
stops = st.lists(texts.filter(str.strip), min_size=1, max_size=3).map(tuple)  # Claude takes none of white space
marks = st.none() | st.builds(CacheMark, ttl=st.sampled_from([None, "5m", "1h"]))


def own(dialect: str, **members: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Metadata of the dialect with one of these members, or none."""
    kept = [strategy.map(lambda value, name=name: keep(dialect, {name: value})) for name, strategy in members.items()]
    return st.one_of(st.none(), *kept)


# ---------------------------------------------------------------- openai_chat

some = values.filter(lambda value: value is not None)
painted = st.builds(Image, data=base64, media_type=media, provider_metadata=st.just(keep("openai_chat", {"index": 0})))

OPENAI_CHAT = Speech(
    name="openai_chat",
    inbound=openai_inbound,
    outbound=openai_outbound,
    target=Target(
        card=ModelCard(id="gpt"),
        quirks=Quirks(
            max_tokens_field="max_completion_tokens",
            developer_role=True,
            reasoning_field="reasoning_details",
            schema="strict",
            top_k=True,
            cache_marks="cache_control",
            tool_result_images=True,
            stream_usage="always",
        ),
    ),
    asked=CompletionRequest(messages=(), extra=keep("openai_chat", {"stream_options": {"include_usage": True}})),
    answer_parts={
        Thinking: st.builds(Thinking, text=texts, signature=st.none() | names)
        | st.builds(Thinking, redacted=names)
        | st.builds(Thinking, text=texts, provider_metadata=own("openai_chat", format=names)),
        Text: st.builds(
            Text, text=texts, provider_metadata=own("openai_chat", annotations=st.lists(objects, min_size=1))
        ),
        Refusal: st.builds(Refusal, text=texts),
        Image: painted,
        Audio: st.builds(Audio, id=names, data=base64, transcript=texts),
        ToolCall: tool_calls | st.builds(ToolCall, id=names, name=names, arguments=texts, kind=st.just("custom")),
    },
    repeated=frozenset({Thinking, ToolCall}),
    answer_fields={
        "id": names,
        "created_s": seconds,
        "extra": st.none() | st.builds(lambda value: keep("openai_chat", {"system_fingerprint": value}), some),
    },
    finishes=(
        (FinishReason.STOP, "stop"),
        (FinishReason.LENGTH, "length"),
        (FinishReason.CONTENT_FILTER, "content_filter"),
    ),
    finish_with_calls=(FinishReason.TOOL_CALLS, "tool_calls"),
    counts=(
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "audio_input_tokens",
        "audio_output_tokens",
    ),
    system_roles=("system", "developer"),
    user_parts={
        Text: st.builds(Text, text=texts, cache=marks),
        Image: st.builds(Image, data=base64, media_type=media, detail=st.none() | st.just("low"))
        | st.builds(Image, url=names.map("https://example.com/".__add__)),
        Audio: st.builds(Audio, data=base64, format=st.sampled_from(["wav", "mp3"])),
        Document: st.builds(Document, data=base64, media_type=st.just("application/pdf"), name=names)
        | st.builds(Document, file_id=names),
        Opaque: st.builds(
            lambda name: Opaque(
                dialect="openai_chat", kind="video_url", raw=keep("x", {"type": "video_url", "u": name})["x"]
            ),
            names,
        ),
    },
    assistant_parts={
        Thinking: st.builds(Thinking, text=texts, signature=st.none() | names),
        Text: st.builds(Text, text=texts),
        Refusal: st.builds(Refusal, text=texts),
        Image: painted,
        ToolCall: tool_calls,
    },
    result_parts={Text: st.builds(Text, text=texts), Image: st.builds(Image, data=base64, media_type=media)},
    options={
        "temperature": st.floats(0, 2),
        "top_p": fractions,
        "top_k": st.integers(0, 100),
        "max_tokens": st.integers(1, 10**6),
        "frequency_penalty": st.floats(-2, 2),
        "presence_penalty": st.floats(-2, 2),
        "seed": st.integers(-(2**63), 2**63 - 1),
        "stop": stops,
        "user": texts,
        "n": st.just(1),
        "tools": tools,
        "tool_choice": tool_choices,
        "parallel_tool_calls": st.booleans(),
        "cache": st.builds(CacheMark),
        "output_schema": st.builds(OutputSchema, schema=schemas, name=names, strict=st.none() | st.booleans())
        | st.just(OutputSchema()),
        "thinking": st.sampled_from(["none", "minimal", "low", "medium", "high"]).map(
            lambda effort: ThinkingConfig(enabled=effort != "none", effort=effort)
        ),
        "extra": st.builds(lambda name, value: keep("openai_chat", {f"x_{name}": value}), names, some),
    },
    losses=(
        "a message has one text, one refusal, one audio: several texts become one",
        "its fields have no order: thoughts come first, calls last",
        "a stop sequence is not named in an answer",
        "the error flag of a tool result, and marks on tool calls",
        "empty arguments of a call are written {}",
        "thoughts asked for in tokens are asked for as an effort (but by OpenRouter's `reasoning`)",
        "a stream says what it has no field for in its last chunk",
    ),
)

# ---------------------------------------------------------------- openai_responses


def item(**more: object) -> st.SearchStrategy[object]:
    """Metadata of a part that begins an item: every item of an answer has an id."""
    return names.map(
        lambda name: keep("openai_responses", {"item": {"id": name, "status": "completed"}, **more}),
    )


openais = names.map("openai:".__add__)
"""Signatures that OpenAI made."""

OPENAI_RESPONSES = Speech(
    name="openai_responses",
    inbound=responses_inbound,
    outbound=responses_outbound,
    target=Target(card=ModelCard(id="gpt"), quirks=Quirks(schema="strict")),
    answer_parts={
        Thinking: st.builds(Thinking, text=st.just("") | texts, signature=names | openais, provider_metadata=item())
        | st.builds(Thinking, text=texts, provider_metadata=item() | item(reasoning_text=True))
        | st.builds(Thinking, redacted=names, provider_metadata=item()),
        Text: st.builds(Text, text=texts, provider_metadata=item() | item(annotations=[{"type": "url_citation"}])),
        Refusal: st.builds(Refusal, text=texts, provider_metadata=item()),
        ToolCall: st.builds(ToolCall, id=names, name=names, arguments=arguments, provider_metadata=item())
        | st.builds(ToolCall, id=names, name=names, arguments=texts, kind=st.just("custom"), provider_metadata=item()),
        Opaque: names.map(
            lambda name: Opaque(
                dialect="openai_responses",
                kind="web_search_call",
                # One that opens a page: a search is counted, and an answer written anew has nobody's count.
                raw=keep("x", {"type": "web_search_call", "id": name, "action": {"type": "open_page"}})["x"],
            )
        ),
    },
    repeated=frozenset({Thinking, Text, Refusal, ToolCall, Opaque}),
    in_order=False,
    answer_fields={"id": names, "created_s": seconds},
    adds_extra=True,
    finishes=(
        (FinishReason.STOP, "completed"),
        (FinishReason.LENGTH, "max_output_tokens"),
        (FinishReason.CONTENT_FILTER, "content_filter"),
        (FinishReason.OTHER, "cancelled"),
    ),
    finish_with_calls=(FinishReason.TOOL_CALLS, "completed"),
    counts=("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    system_roles=("system", "developer"),
    user_parts={
        Text: st.builds(Text, text=texts),
        Image: st.builds(Image, data=base64, media_type=media, detail=st.none() | st.just("low"))
        | st.builds(Image, url=names.map("https://example.com/".__add__))
        | st.builds(Image, file_id=names),
        Document: st.builds(Document, data=base64, media_type=st.just("application/pdf"), name=names)
        | st.builds(Document, url=names.map("https://example.com/".__add__), name=st.none() | names)
        | st.builds(Document, file_id=names),
        Opaque: names.map(
            lambda name: Opaque(
                dialect="openai_responses",
                kind="input_audio",
                raw=keep("x", {"type": "input_audio", "u": name})["x"],
                provider_metadata=keep("openai_responses", {"in_message": True}),
            )
        ),
    },
    assistant_parts={
        Thinking: st.builds(Thinking, text=texts, signature=openais),
        Text: st.builds(Text, text=texts),
        Refusal: st.builds(Refusal, text=texts),
        ToolCall: tool_calls | st.builds(ToolCall, id=names, name=names, arguments=texts, kind=st.just("custom")),
    },
    result_parts={Text: st.builds(Text, text=texts), Image: st.builds(Image, data=base64, media_type=media)},
    options={
        "temperature": st.floats(0, 2),
        "top_p": fractions,
        "max_tokens": st.integers(16, 10**6),  # the least that is taken
        "user": texts,
        "tools": tools,
        "tool_choice": tool_choices,
        "parallel_tool_calls": st.booleans(),
        "output_schema": st.builds(OutputSchema, schema=schemas, name=names, strict=st.none() | st.booleans())
        | st.just(OutputSchema()),
        "thinking": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh"]).map(
            lambda effort: ThinkingConfig(enabled=effort != "none", effort=effort)
        ),
        "extra": st.builds(lambda name, value: keep("openai_responses", {f"x_{name}": value}), names, some),
    },
    losses=(
        "an item of an answer that has no id gets one",
        "stop sequences, seeds, penalties and top_k",
        "the error flag of a tool result, names of messages, and cache marks but OpenAI's own",
        "messages of the assistant that follow one another are one",
        "counts of cached and reasoning tokens are 0 where nobody counted",
        "an answer repeats what it was asked",
    ),
)

# ---------------------------------------------------------------- anthropic_messages


def closed(listed: tuple[Tool, ...]) -> tuple[Tool, ...]:
    """Strict tools take no more than they name, and the service demands that it is said."""
    no_more = {"additionalProperties": False}
    return tuple(
        msgspec.structs.replace(tool, parameters={**(tool.parameters or {}), **no_more}) if tool.strict else tool
        for tool in listed
    )


ANTHROPIC_MESSAGES = Speech(
    name="anthropic_messages",
    inbound=anthropic_inbound,
    outbound=anthropic_outbound,
    target=Target(card=ModelCard(id="claude", capabilities=Capabilities(thinking_style="budget"))),
    answer_parts={
        Thinking: st.builds(Thinking, text=texts, signature=names) | st.builds(Thinking, redacted=names),
        Text: st.builds(Text, text=texts),
        ToolCall: tool_calls,
    },
    repeated=frozenset({Thinking, Text, ToolCall}),
    in_order=False,
    answer_fields={"id": names.map("msg_".__add__)},
    finishes=((FinishReason.STOP, "end_turn"), (FinishReason.LENGTH, "max_tokens")),
    finish_with_calls=(FinishReason.TOOL_CALLS, "tool_use"),
    system_roles=(),
    user_parts={
        Text: st.builds(Text, text=words, cache=marks),
        Image: st.builds(Image, data=base64, media_type=media)
        | st.builds(Image, url=names.map("https://example.com/".__add__)),
        Document: st.builds(Document, data=base64, media_type=st.just("application/pdf"), name=st.none() | names)
        | st.builds(Document, text=texts, media_type=st.just("text/plain")),
    },
    assistant_parts={
        Thinking: st.builds(Thinking, text=texts, signature=names),
        Text: st.builds(Text, text=words),
        ToolCall: tool_calls,
    },
    result_parts={Text: st.builds(Text, text=words), Image: st.builds(Image, data=base64, media_type=media)},
    results_in="user",
    options={
        "max_tokens": st.integers(1, 10**6),
        "temperature": fractions,
        "top_p": fractions,
        "top_k": st.integers(0, 100),
        "stop": stops,
        "user": names,
        "tools": tools.map(closed),
        "tool_choice": tool_choices,
        "cache": st.builds(CacheMark),
        "extra": st.builds(lambda name, value: keep("anthropic_messages", {f"x_{name}": value}), names, some),
    },
    required=frozenset({"max_tokens"}),
    losses=("the time of an answer", "seeds and penalties", "a refusal is text"),
)

# ---------------------------------------------------------------- ollama_chat

OLLAMA_CHAT = Speech(
    name="ollama_chat",
    inbound=ollama_inbound,
    outbound=ollama_outbound,
    target=Target(card=ModelCard(id="llama")),
    answer_parts={
        Thinking: st.builds(Thinking, text=texts),
        Text: st.builds(Text, text=texts),
        ToolCall: st.builds(ToolCall, id=names, name=names, arguments=arguments),
    },
    repeated=frozenset({ToolCall}),
    answer_fields={"created_s": seconds},
    adds_extra=True,
    finishes=((FinishReason.STOP, "stop"), (FinishReason.LENGTH, "length")),
    finish_with_calls=(FinishReason.TOOL_CALLS, "stop"),
    user_parts={Text: st.builds(Text, text=texts)},
    most_parts=1,
    assistant_parts={
        Thinking: st.builds(Thinking, text=texts),
        Text: st.builds(Text, text=texts),
        ToolCall: st.builds(ToolCall, id=names, name=names, arguments=arguments),
    },
    result_parts={Text: st.builds(Text, text=texts)},
    results_are_named=True,
    options={
        "temperature": st.floats(0, 2),
        "top_p": fractions,
        "top_k": st.integers(0, 100),
        "max_tokens": st.integers(1, 10**6),
        "seed": st.integers(0, 2**31),
        "stop": stops,
        "tools": tools.map(lambda found: tuple(msgspec.structs.replace(tool, strict=None) for tool in found)),
    },
    losses=(
        "the id of an answer",
        "a message has one text, one thought, and calls after them",
        "what a tool choice says, and whether a tool is strict",
        "user ids",
        "durations are numbers: 0 where they are not known",
    ),
)

SPEECHES = (OPENAI_CHAT, ANTHROPIC_MESSAGES, OLLAMA_CHAT, OPENAI_RESPONSES, GEMINI)
