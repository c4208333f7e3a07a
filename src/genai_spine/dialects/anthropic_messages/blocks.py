"""Content blocks: of an answer to parts, and parts to blocks.

`input` of a tool call goes through as the bytes that the model wrote. A block that the middle has no
part for is `Opaque`: server tools and their results, container uploads, compaction, and all to come.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec

from genai_spine.dialects.anthropic_messages import schema as wire
from genai_spine.dialects.anthropic_messages.citations import citations_of, citations_written
from genai_spine.dialects.media_types import spelled
from genai_spine.dialects.metadata import extend, keep, kept
from genai_spine.model.content import Document, Image, Metadata, Opaque, Part, Text, Thinking, ToolCall
from genai_spine.model.errors import BadReply
from genai_spine.wire import json

DIALECT = wire.DIALECT

Block: TypeAlias = dict[str, Any] | msgspec.Raw

_Members: TypeAlias = Mapping[str, msgspec.Raw]
_TEXT = msgspec.json.Decoder(str | None)


# ---------------------------------------------------------------- blocks of an answer


class _PlainText(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    text: str
    type: str = ""


_plain_text = msgspec.json.Decoder(_PlainText)
_BEGINS_AS_TEXT = (b'{"type":"text"', b'{"type": "text"')


def part_of_block(raw: msgspec.Raw) -> Part:
    """One block of an answer, or as it stands at its start in a stream.

    Raises: BadReply.
    """
    if bytes(raw).startswith(_BEGINS_AS_TEXT):
        try:
            return Text(text=_plain_text.decode(raw).text)
        except json.UNREADABLE:
            pass  # it says more: citations, or what is wrong
    members = json.read_kept(raw, json.OBJECT)
    kind = _text(members, "type")
    reader = _READERS.get(kind)
    if reader is None:
        return Opaque(dialect=DIALECT, kind=kind, raw=raw.copy())
    return reader(members)


def _text_part(members: _Members) -> Part:
    cited = citations_of(json.read_kept(members["citations"], json.ANY)) if "citations" in members else ()
    return Text(text=_text(members, "text"), citations=cited, provider_metadata=_rest(members, "text"))


def _thinking_part(members: _Members) -> Part:
    # `display: omitted` leaves the text empty; services that copy the format leave the signature empty.
    return Thinking(
        text=_text(members, "thinking", ""),
        signature=_text(members, "signature", "") or None,
        provider_metadata=_rest(members, "thinking", "signature"),
    )


def _redacted_part(members: _Members) -> Part:
    return Thinking(redacted=_text(members, "data"), provider_metadata=_rest(members, "data"))


def _tool_call_part(members: _Members) -> Part:
    arguments = bytes(members.get("input", b"null"))
    if (value := json.read_kept(arguments, json.ANY)) is None:
        arguments = b"{}"
    elif not isinstance(value, dict):
        raise BadReply("a tool_use block whose input is not an object")
    return ToolCall(
        id=_text(members, "id"),
        name=_text(members, "name"),
        arguments=arguments.decode(),
        provider_metadata=_rest(members, "id", "name", "input"),
    )


_READERS: dict[str, Callable[[_Members], Part]] = {
    "text": _text_part,
    "thinking": _thinking_part,
    "redacted_thinking": _redacted_part,
    "tool_use": _tool_call_part,
}


def _text(members: _Members, key: str, default: str | None = None) -> str:
    raw = members.get(key)
    value = default if raw is None else json.read_kept(raw, _TEXT)
    if value is None:
        raise BadReply(f"a content block without {key}")
    return value


def _rest(members: _Members, *known: str) -> Metadata | None:
    """What else is in a block and says something: not null and not an empty list (`citations`)."""
    rest = {}
    for key, raw in members.items():
        if key != "type" and key not in known and (value := json.read_kept(raw, json.ANY)) not in (None, []):
            rest[key] = value
    return keep(DIALECT, rest)


# ---------------------------------------------------------------- parts to blocks

_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")


def call_id(name: str) -> str:
    """The id of a tool call; other services use characters that are refused here (400, published schema)."""
    return _NOT_IN_IDS.sub("_", name) or "_"


def finished(block: dict[str, Any], part: Part) -> dict[str, Any]:
    """The block with its cache mark and what its author said beside."""
    if part.cache is not None:
        block["cache_control"] = wire.cache_control(part.cache)
    return extend(block, part.provider_metadata, DIALECT)


def text_block(text: str, part: Part) -> dict[str, Any]:
    own = kept(part.provider_metadata, DIALECT)
    if (instead := _stands_for(own)) is None:
        return finished({"type": "text", "text": text}, part)
    return finished({**instead, **own}, msgspec.structs.replace(part, provider_metadata=None))


def cited_block(part: Text) -> dict[str, Any]:
    """A text of an answer, with what it is drawn from, whoever said so."""
    block = text_block(part.text, part)
    if part.citations and "citations" not in block:
        block["citations"] = citations_written(part.citations)
    return block


def _stands_for(own: dict[str, Any]) -> dict[str, Any] | None:
    """The block that a text says in words where nobody knows it; taken out of the text's members."""
    if (found := own.pop("search_result", None)) is not None:
        return {"type": "search_result", **found}
    for kind in wire.IN_WORDS.keys() & own.keys():
        name = own.pop(kind)
        tool = {"tool_name": name} if kind == "tool_reference" else {"tool": {"type": "tool_reference", "name": name}}
        return {"type": kind, **tool}
    return None


def thinking_block(part: Thinking) -> dict[str, Any]:
    if part.redacted is not None:
        return finished({"type": "redacted_thinking", "data": part.redacted}, part)
    # The SDKs require a signature to be there.
    return finished({"type": "thinking", "thinking": part.text, "signature": part.signature or ""}, part)


def tool_use_block(call: ToolCall, arguments: msgspec.Raw) -> dict[str, Any]:
    return finished({"type": "tool_use", "id": call_id(call.id), "name": call.name, "input": arguments}, call)


def image_source(image: Image) -> dict[str, Any] | None:
    if image.data is not None:
        return {"type": "base64", "media_type": image.media_type or "image/png", "data": image.data}
    if image.url is not None:
        return {"type": "url", "url": image.url}
    return {"type": "file", "file_id": image.file_id} if image.file_id is not None else None


def document_source(document: Document) -> dict[str, Any] | None:
    """PDFs go as base64, text as it is (…/build-with-claude/pdf-support, 2026-11); None for anything else."""
    kind = spelled(document.media_type)
    if document.text is not None:
        return {"type": "text", "media_type": "text/plain", "data": document.text}
    if document.data is not None and kind in (None, "application/pdf"):
        return {"type": "base64", "media_type": "application/pdf", "data": document.data}
    if document.data is not None:
        return None
    if document.url is not None:
        return {"type": "url", "url": document.url}
    return {"type": "file", "file_id": document.file_id} if document.file_id is not None else None
