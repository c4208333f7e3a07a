"""Items to parts: the input of a request and the output of an answer, which have one form.

    {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
     "content": [{"type": "output_text", "text": "Hi", "annotations": []}]}
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}], "encrypted_content": "gA"}
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
    {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}

Everything else, from web_search_call to what is yet to come, is kept as it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from genai_spine.dialects.metadata import keep
from genai_spine.dialects.openai_responses.citations import citations_of
from genai_spine.dialects.openai_responses.namespaces import name_of
from genai_spine.dialects.openai_responses.schema import (
    CONTINUES,
    DIALECT,
    IN_MESSAGE,
    ITEM,
    OURS,
    REASONING_TEXT,
    REDACTED,
    signature_of,
)
from genai_spine.dialects.reading import Reader, kind_of
from genai_spine.model.content import (
    CacheMark,
    Document,
    Image,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    split_data_url,
)

CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""The items that call a tool of the caller, and the member that says with what."""

OUTPUTS = {"function_call_output": "function", "custom_tool_call_output": "custom"}
"""The items that answer one, and the kind of call."""

REFERENCE, _THOUGHT = "item_reference", "rs_"
"""An item that the service keeps, by its id. That of a thought tells which it is, and is left out where thoughts are;
the Vercel AI SDK sends it in loops of tools where nobody said `store: false`. Any other stands for content."""

_P = TypeVar("_P", Text, Refusal, Image, Document, Opaque, Thinking, ToolCall, Part)


def is_message(item: Reader) -> bool:
    """A message may leave its type out; so do most clients."""
    return item.peek("type") in ("message", None) and item.has("role")


def parts_of_item(item: Reader) -> list[Part]:
    """The parts of one item; the first carries what else the item says.

    Raises: InvalidRequest, naming the place.
    """
    if is_message(item):
        return _message(item)
    kind = item.text("type", required=True)
    if kind == "reasoning":
        return _reasoning(item)
    if kind in CALLS:
        return [_call(item, kind)]
    if kind == REFERENCE and str(item.peek("id")).startswith(_THOUGHT):
        return [Thinking(provider_metadata=keep(DIALECT, {ITEM: dict(sorted(item.members.items()))}))]
    return [Opaque(dialect=DIALECT, kind=kind, raw=_raw(item))]


def _rest(item: Reader) -> dict[str, Any]:
    """What is left of an item, in one order whoever wrote it: metadata is compared by its bytes."""
    return dict(sorted(item.rest().items()))


def _raw(reader: Reader) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(reader.members))


def with_members(part: _P, members: dict[str, Any]) -> _P:
    """The part with these members in front of those that it has."""
    own = part.provider_metadata or {}
    if DIALECT in own:
        members = {**members, **msgspec.json.decode(own[DIALECT])}
    return msgspec.structs.replace(part, provider_metadata=keep(DIALECT, members)) if members else part


# ---------------------------------------------------------------- messages


def _message(item: Reader) -> list[Part]:
    item.take("type")
    item.take("role")
    parts = content_of(item, "content")
    rest = _rest(item)
    if not rest:
        return parts
    return [with_members(parts[0] if parts else Text(text=""), {ITEM: rest}), *parts[1:]]


def content_of(reader: Reader, key: str) -> list[Part]:
    """A string, or content parts: of a message, or of what a tool returned."""
    value = reader.peek(key)
    if value is None or isinstance(value, str):
        reader.take(key)
        return [Text(text=value)] if value else []
    return [_content_part(item) for item in reader.objects(key)]


def _content_part(part: Reader) -> Part:
    kind = part.text("type", required=True)
    read = _CONTENT.get(kind)
    if read is None:
        metadata = keep(DIALECT, {IN_MESSAGE: True})
        return Opaque(dialect=DIALECT, kind=kind, raw=_raw(part), provider_metadata=metadata)
    decoded = read(part)
    rest = {key: value for key, value in part.rest().items() if value != [] and key not in OURS}
    if not rest:
        return decoded
    if isinstance(decoded, Text):
        decoded = msgspec.structs.replace(decoded, citations=citations_of(rest.get("annotations")))
    mark = CacheMark() if "prompt_cache_breakpoint" in rest else None
    return msgspec.structs.replace(decoded, cache=mark, provider_metadata=keep(DIALECT, rest))


def _text(part: Reader) -> Part:
    return Text(text=part.text("text") or "")


def _refusal(part: Reader) -> Part:
    return Refusal(text=part.text("refusal") or "")


def _image(part: Reader) -> Part:
    url, detail = part.text("image_url"), part.text("detail")
    if url is None:
        return Image(file_id=part.text("file_id", required=True), detail=detail)
    if split := split_data_url(url):
        return Image(media_type=split[0], data=split[1], detail=detail)
    if url.startswith("data:"):
        raise part.wrong("image_url", "a data: URL must be data:<type>;base64,<data>")
    return Image(url=url, detail=detail)


def _file(part: Reader) -> Part:
    name, url, data = part.text("filename"), part.text("file_url"), part.text("file_data")
    if url is not None:
        return Document(url=url, name=name)
    if data is not None:
        media_type, encoded = split_data_url(data) or (None, data)
        return Document(data=encoded, media_type=media_type, name=name)
    return Document(file_id=part.text("file_id", required=True), name=name)


_CONTENT: dict[str, Callable[[Reader], Part]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,  # written by older clients
    "refusal": _refusal,
    "input_image": _image,
    "input_file": _file,
}


# ---------------------------------------------------------------- thoughts


def _reasoning(item: Reader) -> list[Part]:
    """One part for each summary, then for each text of the thought; the encrypted thought, which the service checks
    when it comes back, is the last one's signature."""
    pieces = [Thinking(text=text) for inner in item.objects("summary") if (text := inner.text("text"))]
    full = [inner.text("text") or "" for inner in item.objects("content")]
    metadata = keep(DIALECT, {REASONING_TEXT: True})
    pieces.extend(Thinking(text=text, provider_metadata=metadata) for text in full if text)
    encrypted = item.text("encrypted_content") or None
    rest = _rest(item)
    if encrypted is not None and encrypted.startswith(REDACTED):
        return [with_members(Thinking(redacted=encrypted.removeprefix(REDACTED)), {ITEM: rest} if rest else {})]
    first, *others = pieces or [Thinking()]
    # Without a word of its own and nothing encrypted, it is still this dialect's.
    own = {ITEM: rest} if rest or encrypted is None else {}
    parts = [with_members(first, own), *(with_members(piece, {CONTINUES: True}) for piece in others)]
    if encrypted is not None:
        parts[-1] = msgspec.structs.replace(parts[-1], signature=signature_of(encrypted))
    return [*parts]


# ---------------------------------------------------------------- calls and what came of them


def _call(item: Reader, kind: str) -> Part:
    call_id, own_name = item.text("call_id", required=True), item.text("name", required=True)
    arguments = item.text(CALLS[kind]) or ""
    name = name_of(item.members)
    part = ToolCall(
        id=call_id, name=name, arguments=arguments, kind="custom" if kind == "custom_tool_call" else "function"
    )
    if name != own_name:
        item.put_back("name")
    rest = _rest(item)
    return with_members(part, {ITEM: rest}) if rest else part


def result_of(item: Reader, custom_calls: set[str]) -> ToolResult:
    """The answer to a tool call. `custom_calls` are the calls seen that took free text: for any other such answer
    its own type must be kept.

    Raises: InvalidRequest, naming the place.
    """
    kind = item.text("type", required=True)
    call_id = item.text("call_id", required=True)
    value = item.peek("output")
    if not isinstance(value, str | list):
        raise item.wrong("output", f"expected a string or an array, got {kind_of(value)}")
    content = content_of(item, "output")
    rest = item.rest()
    if OUTPUTS[kind] == "custom" and call_id not in custom_calls:
        rest = {"type": kind, **rest}
    return ToolResult(call_id=call_id, content=tuple(content), provider_metadata=keep(DIALECT, rest))
