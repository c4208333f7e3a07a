"""Content blocks: of an answer to parts, and parts to blocks.

A block is an object of one member, whose name is its type: {"text": "…"}, {"toolUse": {…}}. Bytes are base64
in JSON. A block that the middle has no part for is `Opaque`: guarded content, video, the service's own tools
and their results, search results, and all to come.

What a model's thought hides (`redactedContent`) is bytes here and text in Anthropic's own format, where it is
those bytes read as text; the middle holds the text, so that such thoughts go to either service.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec

from genai_spine.dialects.bedrock_converse import schema as wire
from genai_spine.dialects.citations import citation_of, named
from genai_spine.dialects.metadata import extend, keep, kept, unknown
from genai_spine.dialects.shortened import shortened
from genai_spine.model.content import Audio, Citation, Document, Image, Opaque, Part, Text, Thinking, ToolCall
from genai_spine.model.errors import BadReply
from genai_spine.wire import json

DIALECT = wire.DIALECT

Block: TypeAlias = dict[str, Any] | msgspec.Raw

SERVER_TOOL = "server_tool_use"
"""`type` of a call that the service itself answers."""

_MEDIA_TYPES = {format: media_type for media_type, format in wire.IMAGE_FORMATS.items()}


# ---------------------------------------------------------------- blocks of an answer


def part_of_block(raw: msgspec.Raw) -> Part:
    """One block of an answer. Raises: BadReply."""
    members = json.read_kept(raw, json.OBJECT)
    for kind, value in members.items():
        if (reader := _READERS.get(kind)) is not None and (part := reader(value)) is not None:
            return part
    if not members:
        raise BadReply("a content block without content")
    return Opaque(dialect=DIALECT, kind=next(iter(members)), raw=raw.copy())


def _text_part(raw: msgspec.Raw) -> Part:
    return Text(text=json.read_kept(raw, _TEXT))


class _CitedText(msgspec.Struct):
    text: str = ""


class _Cited(msgspec.Struct):
    content: list[_CitedText] = []


def _cited_part(raw: msgspec.Raw) -> Part:
    """Text and what it is drawn from: {"content": [{"text": "…"}], "citations": [{…}]}."""
    content = json.read_kept(raw, _CITED).content
    members = unknown(json.read_kept(raw, json.ANY), ("content",))
    return Text(
        text="".join(piece.text for piece in content),
        citations=citations_of(members.get("citations")),
        provider_metadata=keep(DIALECT, members),
    )


def citations_of(citations: Any) -> tuple[Citation, ...]:
    """[{"title": "…", "source": "https://…", "sourceContent": [{"text": "…"}], "location": {"web": {"url": "…"}}}]"""
    return named(
        citation_of(
            url=_address_of(citation.get("location")) or citation.get("source"),
            title=citation.get("title"),
            cited_text=_words_of(citation.get("sourceContent")),
        )
        for citation in (citations if isinstance(citations, list) else ())
        if isinstance(citation, dict)
    )


def _address_of(location: Any) -> Any:
    web = location.get("web") if isinstance(location, dict) else None
    return web.get("url") if isinstance(web, dict) else None


def _words_of(content: Any) -> str:
    pieces = content if isinstance(content, list) else []
    return "".join(str(piece.get("text") or "") for piece in pieces if isinstance(piece, dict))


class _ReasoningText(msgspec.Struct):
    text: str = ""
    signature: str | None = None


class _Reasoning(msgspec.Struct):
    reasoningText: _ReasoningText | None = None
    redactedContent: str | None = None


def _thinking_part(raw: msgspec.Raw) -> Part:
    reasoning = json.read_kept(raw, _REASONING)
    if reasoning.redactedContent is not None:
        return Thinking(redacted=redacted_of(decoded(reasoning.redactedContent)))
    text = reasoning.reasoningText or _ReasoningText()
    return Thinking(text=text.text, signature=text.signature or None)


class _ToolUse(msgspec.Struct):
    toolUseId: str
    name: str
    input: msgspec.Raw = msgspec.Raw(b"{}")
    type: str | None = None


def _tool_call_part(raw: msgspec.Raw) -> Part | None:
    call = json.read_kept(raw, _TOOL_USE)
    if call.type == SERVER_TOOL:
        return None
    arguments = bytes(call.input)
    if json.read_kept(arguments, json.ANY) is None:
        arguments = b"{}"
    return ToolCall(id=call.toolUseId, name=call.name, arguments=arguments.decode())


class _Source(msgspec.Struct):
    bytes: str | None = None


class _Picture(msgspec.Struct):
    format: str | None = None
    source: _Source | None = None


def _image_part(raw: msgspec.Raw) -> Part | None:
    picture = json.read_kept(raw, _PICTURE)
    if picture.source is None or picture.source.bytes is None:
        return None
    return Image(data=picture.source.bytes, media_type=_MEDIA_TYPES.get(picture.format or ""))


_TEXT = msgspec.json.Decoder(str)
_CITED = msgspec.json.Decoder(_Cited)
_REASONING = msgspec.json.Decoder(_Reasoning)
_TOOL_USE = msgspec.json.Decoder(_ToolUse)
_PICTURE = msgspec.json.Decoder(_Picture)

_READERS: dict[str, Callable[[msgspec.Raw], Part | None]] = {
    "text": _text_part,
    "citationsContent": _cited_part,
    "reasoningContent": _thinking_part,
    "toolUse": _tool_call_part,
    "image": _image_part,
}
"""None is a block that stays opaque."""


def decoded(text: str) -> bytes:
    """Raises: BadReply for what is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadReply("bytes that are not base64") from None


def redacted_of(data: bytes) -> str:
    """A hidden thought as the middle holds it. One character a byte, so that any bytes come back as they were."""
    return data.decode("latin-1")


# ---------------------------------------------------------------- parts to blocks


def text_block(text: str, part: Part) -> Block:
    """Text; with its citations, where this service gave it with some."""
    members = kept(part.provider_metadata, DIALECT)
    return {"citationsContent": {"content": [{"text": text}], **members}} if members else {"text": text}


def thinking_block(part: Thinking) -> Block:
    if part.redacted is not None:
        try:
            data = part.redacted.encode("latin-1")
        except UnicodeEncodeError:
            data = part.redacted.encode()
        return {"reasoningContent": {"redactedContent": base64.b64encode(data).decode()}}
    text = {"text": part.text} | ({"signature": part.signature} if part.signature is not None else {})
    return {"reasoningContent": {"reasoningText": text}}


def tool_use_block(call: ToolCall, arguments: msgspec.Raw) -> Block:
    use = {"toolUseId": call_id(call.id), "name": call.name, "input": arguments}
    return {"toolUse": extend(use, call.provider_metadata, DIALECT)}


_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_.:-]")
_LONGEST_ID = 64


def call_id(name: str) -> str:
    """The id of a tool call in the characters and the length that are taken here; the same each time."""
    if len(name) > _LONGEST_ID:
        return shortened(name, _LONGEST_ID)
    return _NOT_IN_IDS.sub("_", name) or "_"


def image_block(image: Image) -> Block | None:
    """None where it cannot be said: an image of another kind, or one that stands elsewhere than in S3."""
    format = wire.IMAGE_FORMATS.get(image.media_type or "image/png")
    source = _source(image.data, image.url)
    if source is None or format is None:
        return None
    return {"image": extend({"format": format, "source": source}, image.provider_metadata, DIALECT)}


def document_block(document: Document, name: str) -> Block | None:
    """None where it cannot be said. Text goes as the bytes of a text file, which every model takes."""
    data, format = document.data, _document_format(document)
    if document.text is not None:
        data, format = base64.b64encode(document.text.encode()).decode(), "txt"
    source = _source(data, document.url)
    if source is None or format is None:
        return None
    block = {"format": format, "name": name, "source": source}
    return {"document": extend(block, document.provider_metadata, DIALECT)}


def audio_block(audio: Audio) -> Block | None:
    if audio.data is None or audio.format not in wire.AUDIO_FORMATS:
        return None
    block = {"format": audio.format, "source": {"bytes": audio.data}}
    return {"audio": extend(block, audio.provider_metadata, DIALECT)}


def _source(data: str | None, url: str | None) -> dict[str, Any] | None:
    if data is not None:
        return {"bytes": data}
    return {"s3Location": {"uri": url}} if url is not None and url.startswith("s3://") else None


def _document_format(document: Document) -> str | None:
    """By its media type, else by the ending of its name; what tells nothing is taken for a PDF."""
    if document.media_type is not None:
        return wire.DOCUMENT_FORMATS.get(document.media_type.partition(";")[0].strip().lower())
    ending = (document.name or document.url or "").rpartition(".")[2].lower()
    return ending if ending in wire.DOCUMENT_FORMATS.values() else "pdf"


_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9\s\-()\[\]]+")
_LONGEST_NAME = 200


def document_name(name: str | None, taken: Mapping[str, Any]) -> str:
    """A name of the characters allowed (…/API_runtime_DocumentBlock): letters and digits, hyphens, brackets, single
    spaces; and one of its own, since two documents of one name are refused."""
    allowed = re.sub(r"\s+", " ", _NOT_IN_NAMES.sub("-", name or "document")).strip(" -") or "document"
    allowed, number = allowed[:_LONGEST_NAME], 1
    unique = allowed
    while unique in taken:
        number += 1
        unique = f"{allowed[: _LONGEST_NAME - 6]} ({number})"
    return unique
