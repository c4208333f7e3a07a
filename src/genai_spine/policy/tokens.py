"""How many tokens a text or a request will be, before it is sent, and how far the number can be trusted.

A provider that counts is asked (providers/http_provider.py). Where none does, text for OpenAI's models is counted
with their own vocabulary if `genai-spine[tokens]` is installed (exact_tokens.py), and all else is estimated: what
is in the text (text_features.py) by weights that scripts/measure_tokens.py has fitted to recorded traffic, a set
for each family of models. docs/tokens.md shows by how much they are off. Nothing here raises, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Literal

import msgspec

from genai_spine.catalog.names import plain
from genai_spine.model import accept
from genai_spine.model.content import (
    Audio,
    Document,
    Image,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from genai_spine.model.request import CompletionRequest, ProviderTool, Tool
from genai_spine.policy import exact_tokens
from genai_spine.policy.media_tokens import audio_tokens, document_tokens, image_tokens
from genai_spine.policy.text_features import features

Method = Literal["exact", "provider", "estimate"]
"""With the model's own vocabulary, by the provider itself, or by rule of thumb."""

FAMILIES = {
    "gpt_oss": r"gpt-?oss",
    "openai_cl100k": r"gpt-4(?!o|\.)|gpt-3\.5|text-embedding",
    "openai": r"gpt|chatgpt|codex|^o\d",
    "claude_new": r"claude-(opus-4-[789]|(opus|sonnet|haiku|fable|mythos)-[5-9])",
    "claude": r"claude",
    "gemini": r"gemini|gemma",
    "mistral": r"mi[sx]tral|ministral|codestral|magistral|pixtral|devstral|voxtral",
    "cohere": r"command|c4ai|^embed-",
    "deepseek": r"deepseek",
    "qwen_new": r"qwen-?3\.[5-9]|qwen-?[4-9]",
    "qwen": r"qwen|qwq",
    "llama_new": r"llama-?[4-9]",
    "llama": r"llama",
    "grok_new": r"grok-4\.[2-9]|grok-[5-9]",
    "grok": r"grok",
    "glm": r"glm",
    "nova": r"nova",
}
"""What in a model's plain name tells its family; the first that fits. The others are counted as OpenAI's."""

_LONG = 20_000


class TokenCount(int):
    """A number of tokens that knows where it is from: `method`, and the `family` of an estimate."""

    method: Method
    family: str | None

    def __new__(cls, tokens: int, method: Method, family: str | None = None) -> TokenCount:
        self = super().__new__(cls, tokens)
        self.method, self.family = method, family
        return self

    def __repr__(self) -> str:
        return f"{int(self)} tokens ({self.method})"


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """What a family's models spend beyond the text: tokens for each of these, and for those of `*_text` of them.

    `text` is by how much the family's own vocabulary exceeds the one its text is measured by.
    """

    text: float = 1.0
    request: float = 3.0
    message: float = 4.0
    tools: float = 0.0
    tool: float = 8.0
    tool_text: float = 1.0
    call: float = 8.0
    thinks: float = 0.0
    thinking_text: float = 1.0
    schema_text: float = 1.0


class _Fitted(msgspec.Struct, frozen=True, kw_only=True):
    vocabularies: dict[str, tuple[float, ...]]
    families: dict[str, Weights]


@cache
def load_weights() -> _Fitted:
    return msgspec.json.decode(
        resources.files("genai_spine.policy").joinpath("token_weights.json").read_bytes(), type=_Fitted
    )


def family_of(model: str | None) -> str:
    """The family of a model; for one that no name tells, OpenAI's."""
    return _told_family(model) or "openai"


@lru_cache(4096)
def _told_family(model: str | None) -> str | None:
    name = plain(model or "")
    return next((family for family, pattern in FAMILIES.items() if re.search(pattern, name)), None)


def vocabulary_of(family: str) -> str:
    """The vocabulary by which a family's text is measured; for OpenAI's it is their own."""
    return "cl100k_base" if family == "openai_cl100k" else "o200k_base"


def estimate(content: str | CompletionRequest, model: str | None = None) -> TokenCount:
    """Input tokens of a text or a request: exact where that can be, else an estimate; `method` says which."""
    family = family_of(model or (content.model if isinstance(content, CompletionRequest) else None))
    if isinstance(content, str):
        is_openais = (_told_family(model) or "").startswith("openai")
        if is_openais and (known := exact_tokens.count(content, vocabulary_of(family))):
            return TokenCount(known, "exact", family)
        return TokenCount(_round(_text_tokens(content, family)), "estimate", family)
    spent = quantities(content, family)
    weights = load_weights().families.get(family, Weights())
    tokens = sum(getattr(weights, name) * number for name, number in spent.items())
    return TokenCount(_round(tokens), "estimate", family)


def takes_long(content: str | CompletionRequest, model: str | None = None) -> bool:
    """Whether counting is better done in a thread: it is much, or a vocabulary may have to be loaded."""
    if isinstance(content, str):
        return len(content) > _LONG or (exact_tokens.is_installed() and family_of(model).startswith("openai"))
    length = 0
    for part in _parts(part for message in content.messages for part in message.content):
        length += len(getattr(part, "text", None) or getattr(part, "arguments", None) or "")
        length += len(getattr(part, "data", None) or "") // 100
        if length > _LONG:
            return True
    return len(content.tools) > 100


def quantities(request: CompletionRequest, family: str) -> dict[str, float]:
    """What there is of each thing that `Weights` weighs. Texts are in tokens of the family's vocabulary."""
    vocabulary = vocabulary_of(family)
    text = thinking = media = 0.0
    calls = 0
    for part in _parts(part for message in request.messages for part in message.content):
        match part:
            case Text() | Refusal():
                text += _measure(part.text, vocabulary)
            case Thinking():
                thinking += _measure(part.text, vocabulary)
            case ToolCall():
                calls += 1
                text += _measure(part.name, vocabulary) + _measure(part.arguments, vocabulary)
            case ToolResult():
                calls += 1
            case Image():
                media += image_tokens(part, family)
            case Audio():
                media += audio_tokens(part)
            case Document():
                media += document_tokens(part) + _measure(part.text or "", vocabulary)
            case Opaque():
                text += _measure(bytes(part.raw).decode("utf-8", "replace"), vocabulary)
    schema = request.output_schema.schema if request.output_schema is not None else None
    weights = load_weights().families.get(family, Weights())
    return {
        "text": text + media / (weights.text or 1.0),
        "request": 1,
        "message": len(request.messages),
        "tools": 1 if request.tools else 0,
        "tool": len(request.tools),
        "tool_text": sum(_measure(piece, vocabulary) for tool in request.tools for piece in _tool_texts(tool)),
        "call": calls,
        "thinks": 1 if _thinks(request) else 0,
        "thinking_text": thinking,
        "schema_text": _measure(_json(schema), vocabulary) if schema else 0,
    }


def _thinks(request: CompletionRequest) -> bool:
    """Whether the model is told to think: some services then add instructions to the request."""
    wanted = request.thinking
    return wanted is not None and wanted.enabled is not False and wanted.effort != "none"


def _parts(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts, and those in tool results."""
    for part in parts:
        yield part
        if isinstance(part, ToolResult):
            yield from _parts(part.content)


def _tool_texts(tool: Tool | ProviderTool) -> tuple[str, ...]:
    if isinstance(tool, ProviderTool):
        return (bytes(tool.raw).decode("utf-8", "replace"),)
    return (tool.name, tool.description or "", _json(tool.parameters) if tool.parameters else "")


def _json(value: Any) -> str:
    return accept.encoded(value).decode()


def _text_tokens(text: str, family: str) -> float:
    weights = load_weights().families.get(family, Weights())
    return weights.text * _measure(text, vocabulary_of(family))


def _measure(text: str, vocabulary: str) -> float:
    """A text's length in the tokens of a vocabulary, by its features."""
    if not text:
        return 0.0
    weights = load_weights().vocabularies[vocabulary]
    return max(1.0, sum(weight * number for weight, number in zip(weights, features(text), strict=True)))


def _round(tokens: float) -> int:
    return max(0, round(tokens))
