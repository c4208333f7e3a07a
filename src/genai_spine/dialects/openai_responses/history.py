"""A conversation as `instructions` and `input` items.

The leading system message is written as `instructions`, unless its author, speaking this dialect, put it among the
items. Must not know which provider it is: what differs between services is a quirk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from genai_spine.dialects.foreign import cannot_be_said
from genai_spine.dialects.media_types import sniffed
from genai_spine.dialects.metadata import kept
from genai_spine.dialects.openai_chat.schema import has_empty_arguments
from genai_spine.dialects.openai_responses.grouping import Group, Piece, bare, call_item, grouped, reasoning_item
from genai_spine.dialects.openai_responses.items import REFERENCE
from genai_spine.dialects.openai_responses.schema import DIALECT, FOREIGN, IN_MESSAGE, STATE
from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.shortened import Renaming
from genai_spine.dialects.written import kind_named, shortest
from genai_spine.model.content import (
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
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.request import Message

Item: TypeAlias = dict[str, Any] | msgspec.Raw
Notify = Callable[[str, str, str | None], None]


class HistoryWriter:
    """Writes the messages of one request. `instructions` and `state` are members of it beside the items."""

    def __init__(self, quirks: Quirks, notice: Notify, names: Renaming | None = None) -> None:
        self.quirks = quirks
        self.notice = notice
        self.names = names or Renaming(None, notice)
        self.instructions: str | None = None
        self.state: dict[str, Any] = {}
        self.custom_calls: set[str] = set()

    def items(self, messages: Sequence[Message]) -> list[Item]:
        written: list[Item] = []
        for index, message in enumerate(messages):
            path = f"messages[{index}]"
            if message.name is not None:
                self.notice("dropped", "messages have no name here", f"{path}.name")
            match message.role:
                case "assistant":
                    written.extend(self.assistant(message, path))
                case "user" | "tool":
                    written.extend(self.caller(message, path))
                case _ if index == 0 and (text := _as_instructions(message)) is not None:
                    self.instructions = text
                case _:
                    content = self.content(list(enumerate(message.content)), path)
                    written.append(_message(message.role, content, message))
        return written

    # ------------------------------------------------------------ the caller's side

    def caller(self, message: Message, path: str) -> list[Item]:
        """Results of tools are items of their own, where they stand."""
        written: list[Item] = []
        content: list[tuple[int, Part]] = []

        def close() -> None:
            if content:
                written.append(_message("user", self.content(content, path), message))
                content.clear()

        for index, part in enumerate(message.content):
            at = f"{path}.content[{index}]"
            if isinstance(part, ToolResult):
                close()
                written.append(self.tool_result(part, at))
            elif isinstance(part, Opaque) and part.dialect == DIALECT and not _is_in_message(part):
                if part.kind in STATE:
                    self.state.update(msgspec.json.decode(part.raw))
                else:
                    close()
                    written.append(part.raw)
            else:
                content.append((index, part))
        close()
        if message.role == "user" and not message.content:
            written.append(_message("user", "", message))
        return written

    def tool_result(self, result: ToolResult, path: str) -> dict[str, Any]:
        if result.is_error:
            self.notice("dropped", "a tool result has no error flag here; its text stays", f"{path}.is_error")
        if result.cache is not None:
            self.notice("dropped", "a cache mark on a tool result has no place here", "cache_control")
        own = kept(result.provider_metadata, DIALECT)
        kind = "custom_tool_call_output" if result.call_id in self.custom_calls else "function_call_output"
        written = {
            "type": own.pop("type", kind),
            "call_id": self.names.call_id(result.call_id),
            "output": self.content(list(enumerate(result.content)), path),
        }
        return {**written, **own}

    # ------------------------------------------------------------ the assistant's side

    def assistant(self, message: Message, path: str) -> list[Item]:
        written = [item for group in grouped(message.content) if (item := self.item(group, path)) is not None]
        return written or ([_message("assistant", "", message)] if not message.content else [])

    def item(self, group: Group, path: str) -> Item | None:
        first = group.pieces[0]
        at = f"{path}.content[{first.at}]"
        match first.part:
            case Thinking():
                return self.thought(group, at)
            case ToolCall() as call:
                return {**self.call(call), **(group.members or {})}
            case _ if group.kind == "message":
                content = [self.said(piece, path) for piece in group.pieces]
                if not group.members:
                    return {"role": "assistant", "content": shortest(content)}
                return {"type": "message", "role": "assistant", "content": content, **group.members}
            case Opaque(dialect=dialect, raw=raw) if dialect == DIALECT:
                return raw
            case part:
                raise InvalidRequest(f"{at}: {kind_named(part)} cannot be said here", param=at)

    def thought(self, group: Group, path: str) -> dict[str, Any] | None:
        """A thought goes back where the service can tell that it is its own: by what it encrypted, or by an id."""
        if group.members is not None and group.members.get("type") == REFERENCE:
            return dict(group.members)
        item = reasoning_item(group.pieces)
        encrypted = item.get("encrypted_content")
        if (group.members is None and encrypted is None) or (encrypted or "").startswith(FOREIGN):
            self.notice("omitted_thinking", "thoughts of another service are not taken here", path)
            return None
        return {**item, **(group.members or {})}

    def call(self, call: ToolCall) -> dict[str, Any]:
        if call.cache is not None:
            self.notice("dropped", "a cache mark on a tool call has no place here", "cache_control")
        if call.kind == "custom":
            self.custom_calls.add(call.id)
        if has_empty_arguments(call, None):
            call = msgspec.structs.replace(call, arguments="{}")
        return {**call_item(call), "call_id": self.names.call_id(call.id), "name": self.names.tool(call.name)}

    def said(self, piece: Piece, path: str) -> Item:
        match piece.part:
            case Text(text=text):
                return {"type": "output_text", "text": text, **piece.more}
            case Refusal(text=text):
                return {"type": "refusal", "refusal": text, **piece.more}
            case part:
                return self.part(part, f"{path}.content[{piece.at}]")

    # ------------------------------------------------------------ content parts

    def content(self, parts: Iterable[tuple[int, Part]], path: str) -> str | list[Item]:
        return shortest([self.part(part, f"{path}.content[{index}]") for index, part in parts])

    def part(self, part: Part, path: str) -> Item:
        if isinstance(part, Opaque):
            if part.dialect == DIALECT:
                return part.raw
            raise cannot_be_said(part, path)
        written = {**bare(kept(part.provider_metadata, DIALECT)), **self.bare_part(part, path)}
        if part.cache is not None and "prompt_cache_breakpoint" not in written:
            if self.quirks.cache_marks == "prompt_cache_breakpoint":
                written["prompt_cache_breakpoint"] = {"mode": "explicit"}
            else:
                self.notice("dropped", "the provider takes no cache marks", "cache_control")
        return written

    def bare_part(self, part: Part, path: str) -> dict[str, Any]:
        match part:
            case Text(text=text) | Refusal(text=text):
                return {"type": "input_text", "text": text}
            case Image():
                return self.image(part, path)
            case Document():
                return self.document(part, path)
            case _:
                raise InvalidRequest(f"{path}: {kind_named(part)} cannot be said here", param=path)

    def image(self, image: Image, path: str) -> dict[str, Any]:
        detail = {"detail": image.detail} if image.detail is not None else {}
        if image.data is not None:
            kind = image.media_type or sniffed(image.data) or "image/png"
            return {"type": "input_image", "image_url": f"data:{kind};base64,{image.data}", **detail}
        if image.url is not None and not self.quirks.image_urls:
            raise InvalidRequest(f"{path}: the provider takes images as base64 only, not by URL", param=path)
        if image.url is not None:
            return {"type": "input_image", "image_url": image.url, **detail}
        return {"type": "input_image", "file_id": image.file_id, **detail}

    def document(self, document: Document, path: str) -> dict[str, Any]:
        name = {"filename": document.name} if document.name is not None else {}
        if document.text is not None:
            self.notice("changed", "a text document is sent as text", path)
            return {"type": "input_text", "text": document.text}
        if document.data is not None:
            kind = document.media_type or sniffed(document.data) or "application/pdf"
            data = f"data:{kind};base64,{document.data}"
            return {"type": "input_file", "filename": document.name or "document.pdf", "file_data": data}
        if document.url is not None:
            return {"type": "input_file", **name, "file_url": document.url}
        return {"type": "input_file", **name, "file_id": document.file_id}


def _as_instructions(message: Message) -> str | None:
    """The text of a system message that can be said as `instructions`: one plain text, and nothing beside."""
    if message.role != "system" or DIALECT in (message.provider_metadata or {}) or len(message.content) != 1:
        return None
    only = message.content[0]
    is_plain = isinstance(only, Text) and only.cache is None and DIALECT not in (only.provider_metadata or {})
    return only.text or None if is_plain and isinstance(only, Text) else None


def _message(role: str, content: str | list[Item], message: Message) -> dict[str, Any]:
    members = kept(message.provider_metadata, DIALECT)
    kind = {"type": "message"} if "id" in members else {}  # clients leave the type out, but not where it has an id
    return {**kind, "role": role, "content": content, **members}


def _is_in_message(part: Opaque) -> bool:
    return IN_MESSAGE in kept(part.provider_metadata, DIALECT)
