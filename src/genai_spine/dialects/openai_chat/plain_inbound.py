"""A caller's request that is roles and texts and the few members that most have: read at once, by its types.

    {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 100}

All else, and what is wrong, is for inbound.py, which keeps what it does not know and names what it refuses. Both make
the same of what is read here (tests/dialects/test_openai_plain_inbound.py).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from genai_spine.model.content import Text
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.wire import json

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[str, msgspec.Meta(min_length=1)]


class _Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    model: str
    messages: list[_Message]
    temperature: int | float | None = None
    top_p: int | float | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    stream: bool | None = None


_request = msgspec.json.Decoder(_Request)


def read(body: bytes) -> CompletionRequest | None:
    """None for any other request, and for what is none."""
    try:
        json.check_utf8(body)
        plain = _request.decode(body)
    except json.UNREADABLE:
        return None
    newer, older = plain.max_completion_tokens, plain.max_tokens
    return CompletionRequest(
        messages=tuple([Message(role=said.role, content=(Text(text=said.content),)) for said in plain.messages]),
        model=plain.model,
        temperature=plain.temperature,
        top_p=plain.top_p,
        max_tokens=newer if newer is not None else older,
        stream=plain.stream or False,
    )
