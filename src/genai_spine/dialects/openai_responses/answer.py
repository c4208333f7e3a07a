"""Answers as they are written for a caller: items, and the response object around them, plain and in streams.

Parts of any origin go out as messages, reasoning and calls, for that is what this dialect's clients read. Clients
tell items apart by their ids: those that have none get one.
"""

from __future__ import annotations

from typing import Any, TypeAlias
from zlib import crc32

import msgspec

from genai_spine.dialects.metadata import kept
from genai_spine.dialects.openai_chat.schema import has_empty_arguments
from genai_spine.dialects.openai_responses import schema as wire
from genai_spine.dialects.openai_responses.citations import annotations_written
from genai_spine.dialects.openai_responses.grouping import (
    Group,
    Kind,
    Piece,
    call_item,
    call_kind,
    grouped,
    reasoning_item,
)
from genai_spine.dialects.openai_responses.history import HistoryWriter
from genai_spine.dialects.openai_responses.namespaces import placed
from genai_spine.dialects.openai_responses.options import OptionsWriter
from genai_spine.dialects.openai_responses.schema import DIALECT
from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.searches import shown_in
from genai_spine.dialects.signed_calls import with_proofs
from genai_spine.model.content import Audio, Image, Opaque, Part, Refusal, Text, Thinking, ToolCall
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse

Item: TypeAlias = dict[str, Any] | msgspec.Raw

PREFIXES: dict[str, str] = {"message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc"}
"""How the ids of items begin; the service refuses others when they come back (recorded 400s)."""


def minted_id(kind: str, response_id: str | None, position: int) -> str:
    """An id for an item that has none: the same for the stream and the plain answer."""
    return f"{PREFIXES[kind]}_{response_id or 'unnamed'}_{position}"


def shown(part: Part) -> Part | None:
    """The part as clients of this dialect could show it; None where they could not."""
    match part:
        case Audio(transcript=str(transcript)):
            return Text(text=transcript)
        case Image(data=str(data)):
            return _image(data)
        case Opaque(dialect=dialect):
            return part if dialect == DIALECT else None
        case Text() | Refusal() | Thinking() | ToolCall():
            return part
        case _:
            return None


def _image(data: str) -> Opaque:
    item_id = f"ig_{crc32(data.encode()):08x}"
    image = {"type": "image_generation_call", "id": item_id, "status": "completed", "result": data}
    return Opaque(dialect=DIALECT, kind="image_generation_call", raw=msgspec.Raw(msgspec.json.encode(image)))


# ---------------------------------------------------------------- items


def content_written(part: Part, more: dict[str, Any]) -> Item:
    match part:
        case Text(text=text):
            cited = annotations_written(part.citations, len(text)) if part.citations else []
            return {"type": "output_text", "text": text, "annotations": cited, "logprobs": [], **more}
        case Refusal(text=text):
            return {"type": "refusal", "refusal": text, **more}
        case Opaque(raw=raw):
            return raw
        case _:
            raise AssertionError(f"{type(part).__name__} is no content of a message")


def item_written(
    kind: Kind, pieces: list[Piece], members: dict[str, Any] | None, item_id: str, status: str
) -> dict[str, Any]:
    """A message, a thought or a call, with its id; `status` is written where the item does not say its own."""
    if kind == "message":
        content = [content_written(piece.part, piece.more) for piece in pieces]
        item: dict[str, Any] = {"type": "message", "status": status, "role": "assistant", "content": content}
    elif kind == "reasoning":
        item = reasoning_item(pieces)
    else:
        call = pieces[0].part
        assert isinstance(call, ToolCall)
        item = {"type": "", "status": status, **call_item(call)}
    return {"id": item_id, **item, **{key: value for key, value in (members or {}).items() if key != "id"}}


def items_written(response: CompletionResponse, request: CompletionRequest) -> list[Item]:
    said = with_proofs(shown_in(DIALECT, response, request))
    parts = [placed(sayable, request) for part in said if (sayable := shown(part)) is not None]
    groups = grouped(parts)
    is_cut = wire.is_cut(response.finish_reason)
    written: list[Item] = []
    for position, group in enumerate(groups):
        status = "incomplete" if is_cut and position == len(groups) - 1 else "completed"
        written.append(_item(group, response, position, status))
    return written


def _item(group: Group, response: CompletionResponse, position: int, status: str) -> Item:
    first = group.pieces[0]
    if group.kind == "other":
        assert isinstance(first.part, Opaque)
        return first.part.raw
    kind: str = group.kind
    if isinstance(first.part, ToolCall):
        kind = call_kind(first.part)
        if has_empty_arguments(first.part, response.finish_reason):
            group.pieces[0] = Piece(msgspec.structs.replace(first.part, arguments="{}"), first.at, first.own)
    item_id = wire.text_of((group.members or {}).get("id")) or minted_id(kind, response.id, position)
    return item_written(group.kind, group.pieces, group.members, item_id, status)


# ---------------------------------------------------------------- the response


def repeated(request: CompletionRequest) -> dict[str, Any]:
    """What an answer repeats of its request. Nothing is stored here, whatever was asked for."""
    body: dict[str, Any] = {}
    OptionsWriter(request, _AS_ASKED, lambda code, message, param: None).write(body)
    history = HistoryWriter(_AS_ASKED, lambda code, message, param: None)
    history.items(request.messages[:1] if request.messages and request.messages[0].role == "system" else ())
    for name in ("include", "stream_options"):
        body.pop(name, None)
    return {
        "instructions": history.instructions,
        "max_output_tokens": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        **body,
        "background": False,
        "store": False,
    }


_AS_ASKED = Quirks(schema="strict")


def response_written(
    head: dict[str, Any],
    ending: dict[str, Any],
    output: list[Item],
    usage: dict[str, Any] | None,
    more: dict[str, Any],
) -> dict[str, Any]:
    """`head` is id, time and model; `more` what is repeated of the request, and what the service said beside."""
    return {
        "id": head["id"],
        "object": "response",
        "created_at": head["created_at"],
        **ending,
        "model": head["model"],
        "output": output,
        "usage": usage,
        **more,
    }


def head_of(response_id: str | None, created_s: int | None, model: str) -> dict[str, Any]:
    return {"id": response_id or "resp_unnamed", "created_at": created_s or 0, "model": model}


def answer_written(response: CompletionResponse, request: CompletionRequest) -> dict[str, Any]:
    return response_written(
        head_of(response.id, response.created_s, response.model),
        wire.ending_written(response.finish_reason, response.raw_finish_reason),
        items_written(response, request),
        wire.usage_written(response.usage),
        {**repeated(request), **kept(response.extra, DIALECT)},
    )
