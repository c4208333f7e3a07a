"""How a provider's OpenAI chat differs from OpenAI's: a closed struct, not `if provider ==`.

A quirk is a fact about a service, written in its row of catalog/providers.toml with source and date, and
may be overridden in the settings (`providers.<id>.quirks`). The defaults are the plainest reading of the
format, what a small compatible server takes. At most fifteen fields: a sixteenth is a sign that a
dialect of its own is meant.

Must not know: any provider's name, the catalog, the settings.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, cache_hash=True):
    """What this service wants said differently."""

    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The field for the output limit. OpenAI's reasoning models refuse `max_tokens`; small servers know
    no other."""

    developer_role: bool = False
    """Whether a message may have the role `developer`; where not, it is sent as `system`, its old name."""

    reasoning_field: Literal["reasoning_content", "reasoning", "reasoning_details", "thinking_chunks"] | None = None
    """The field of an assistant message in which its earlier thinking is sent back; `thinking_chunks` are entries of
    its content, Mistral's form. None: it is left out with a Notice, since most services refuse or ignore a field
    that they do not know."""

    effort: Literal["reasoning_effort", "reasoning", "thinking"] | None = "reasoning_effort"
    """How a request for thinking is said: OpenAI's word, OpenRouter's object, or DeepSeek's and Z.ai's switch
    (`{"type": "enabled"}`, with `reasoning_effort` beside it). None: it cannot be said; left out with a
    Notice."""

    stream_usage: Literal["option", "always", "never"] = "option"
    """Whether a stream must be asked for its usage: `option` sends `stream_options.include_usage`; `always`
    and `never` send nothing, because the service counts unasked, or refuses the option."""

    schema: Literal["strict", "json_schema", "json_object", "none"] = "json_schema"
    """The most that `response_format` may ask for: a strict schema, a schema, any JSON object, or nothing."""

    tool_choice_any: str = "required"
    """The word for "call some tool, whichever". Mistral's own is `any`."""

    seed_field: Literal["seed", "random_seed"] = "seed"
    """The field for the seed. Mistral, which refuses unknown fields, calls it `random_seed`."""

    top_k: bool = False
    """Whether `top_k` is taken, which OpenAI's own format does not have; where not, it is left out with a Notice."""

    drop: tuple[str, ...] = ()
    """Request fields that the service answers with 400 or 422; left out with a Notice. `messages[].name`
    stands for the `name` of every message, `tool_calls[].extra_content` for what Gemini signs calls with."""

    cache_marks: Literal["prompt_cache_breakpoint", "cache_control"] | None = None
    """How the end of a cacheable prompt is marked on a part: OpenAI's word (gpt-5.6 and later), or Anthropic's,
    which OpenRouter takes. None: the marks are left out with a Notice."""

    image_urls: bool = True
    """Whether an image may be given as an http(s) URL; where not, only as a `data:` URL."""

    tool_result_images: bool = False
    """Whether a tool message may hold images. OpenAI's schema allows text only there."""

    message_form: Literal["openai", "openai_strict", "mistral"] = "openai"
    """Whose messages. `openai_strict` is OpenAI's form as its own service reads it, which refuses tool call ids of more
    than 40 letters, and users and names of tools of more than 64. Mistral's: tool call ids of nine letters or digits,
    `prefix` on a last assistant message, documents as `document_url`, and no member beyond its own
    (`openai_chat/mistral.py`)."""

    temperature_max: float | None = None
    """The highest temperature taken, where it is below OpenAI's 2; a higher one is lowered, with a Notice."""
