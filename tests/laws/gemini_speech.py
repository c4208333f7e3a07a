"""What Gemini's dialect can say, for the laws."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

from genai_spine.dialects.gemini import inbound, outbound
from genai_spine.dialects.gemini.parts import signed_metadata
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.metadata import keep
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Audio, Document, Image, Opaque, Text, Thinking, ToolCall
from genai_spine.model.request import OutputSchema, ThinkingConfig
from genai_spine.model.response import FinishReason
from genai_spine.testing.laws import Speech
from genai_spine.testing.strategies import arguments, base64, names, schemas, texts, tool_choices, tools, values

media = st.sampled_from(["image/png", "image/jpeg", "image/webp"])
some = values.filter(lambda value: value is not None)
signatures = base64.map(lambda signature: {"thoughtSignature": signature})
signed = st.none() | signatures.map(lambda members: keep("gemini", members))
calls = st.builds(
    ToolCall,
    id=names,
    name=names,
    arguments=arguments,
    provider_metadata=st.none() | signatures.map(signed_metadata),
)


def opaque(code: str) -> Opaque:
    part = {"executableCode": {"language": "PYTHON", "code": code}}
    return Opaque(dialect="gemini", kind="executableCode", raw=msgspec.Raw(msgspec.json.encode(part)))


def arrived(outgoing: Outgoing) -> bytes:
    model, method = inbound.split_path(outgoing.path.partition("?")[0].removeprefix("/models/"))
    return inbound.addressed(outgoing.body, model, stream=method == "streamGenerateContent")


GEMINI = Speech(
    name="gemini",
    inbound=inbound,
    outbound=outbound,
    target=Target(card=ModelCard(id="gemini-2.5-flash")),
    arrives=arrived,
    answer_parts={
        Thinking: st.builds(Thinking, text=texts, provider_metadata=signed),
        Opaque: st.builds(opaque, texts),
        Text: st.builds(Text, text=texts, provider_metadata=signed),
        Image: st.builds(Image, data=base64, media_type=media),
        ToolCall: calls,
    },
    repeated=frozenset({Opaque, Image, ToolCall}),
    answer_fields={
        "id": names,
        "created_s": st.integers(1, 4_000_000_000),
        "extra": st.none() | some.map(lambda value: keep("gemini", {"candidate": {"groundingMetadata": value}})),
    },
    finishes=(
        (FinishReason.STOP, "STOP"),
        (FinishReason.LENGTH, "MAX_TOKENS"),
        (FinishReason.CONTENT_FILTER, "SAFETY"),
    ),
    finish_with_calls=(FinishReason.TOOL_CALLS, "STOP"),
    counts=("input_tokens", "output_tokens", "cache_read_tokens"),
    user_parts={
        Text: st.builds(Text, text=texts),
        Image: st.builds(Image, data=base64, media_type=media)
        | st.builds(Image, url=names.map("https://example.com/".__add__), media_type=media),
        Audio: st.builds(Audio, data=base64, format=st.sampled_from(["wav", "mp3"])),
        Document: st.builds(Document, data=base64, media_type=st.sampled_from(["application/pdf", "video/mp4"]))
        | st.builds(Document, url=names.map("gs://bucket/".__add__), media_type=st.just("application/pdf")),
        Opaque: st.builds(opaque, texts),
    },
    assistant_parts={
        Thinking: st.builds(Thinking, text=texts, provider_metadata=signed),
        Text: st.builds(Text, text=texts, provider_metadata=signed),
        ToolCall: calls,
    },
    result_parts={Text: st.builds(Text, text=texts)},
    results_in="user",
    results_are_named=True,
    options={
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(0, 100),
        "max_tokens": st.integers(1, 10**6),
        "frequency_penalty": st.floats(-2, 2),
        "presence_penalty": st.floats(-2, 2),
        "seed": st.integers(-(2**31), 2**31 - 1),
        "stop": st.lists(texts, min_size=1, max_size=3).map(tuple),
        "n": st.just(1),
        "tools": tools.map(lambda found: tuple(msgspec.structs.replace(tool, strict=None) for tool in found)),
        "tool_choice": tool_choices,
        "output_schema": st.builds(OutputSchema, schema=schemas) | st.just(OutputSchema()),
        "thinking": st.builds(ThinkingConfig, budget_tokens=st.integers(1, 24576))
        | st.sampled_from(
            [
                ThinkingConfig(enabled=False),
                ThinkingConfig(adaptive=True),
                ThinkingConfig(display="summarized"),
                ThinkingConfig(adaptive=True, display="omitted"),
            ]
        ),
        "extra": names.map(lambda name: keep("gemini", {"labels": {"team": name}})),
    },
    losses=(
        "the signature of another service's thought, and thoughts that only it can read",
        "texts next to each other become one in a stream, unless they are signed",
        "cache marks, user ids, names of messages, whether a tool is strict",
        "a refusal is text",
        "the order of texts and media within a tool result",
    ),
)
