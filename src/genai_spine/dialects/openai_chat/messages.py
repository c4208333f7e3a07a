"""The messages of a request as a provider's OpenAI chat takes them.

Must not know which provider it is: what differs between services is a quirk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from genai_spine.dialects.foreign import cannot_be_said
from genai_spine.dialects.media_types import sniffed
from genai_spine.dialects.metadata import extend, kept
from genai_spine.dialects.openai_chat import mistral
from genai_spine.dialects.openai_chat import schema as wire
from genai_spine.dialects.openai_chat.images import images_written, is_of_images, url_of
from genai_spine.dialects.openai_chat.schema import DIALECT
from genai_spine.dialects.openai_chat.thoughts import chunk_of_thinking, detail_of_thinking
from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.shortened import Renaming
from genai_spine.dialects.text_documents import text_of
from genai_spine.model.content import (
    Audio,
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
)
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.request import Message
from genai_spine.model.response import Notice


class MessageWriter:
    """Writes the messages of one request; adds to `notices` what cannot be said."""

    def __init__(self, quirks: Quirks, notices: list[Notice]) -> None:
        self.quirks = quirks
        self.notices = notices
        # Other services take longer ids, such as their own (recorded); what Mistral takes is in mistral.py.
        self.names = Renaming(wire.LONGEST_CALL_ID if quirks.message_form == "openai_strict" else None, self.notice)

    def notice(self, code: str, message: str, param: str | None = None) -> None:
        self.notices.append(Notice(code=code, message=message, param=param))

    def messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Tool results are messages of their own here, and all of a turn's come before anything else: what a
        tool message cannot hold (`moved`) waits for the last of them."""
        written: list[dict[str, Any]] = []
        moved: list[Part] = []
        moved_from = ""
        for index, message in enumerate(messages):
            path = f"messages[{index}]"
            if message.role not in ("user", "tool"):
                if moved:
                    written.append({"role": "user", "content": self.content(moved, moved_from)})
                    moved = []
                is_assistant = message.role == "assistant"
                written.append(self.assistant(message, path) if is_assistant else self.system(message, path))
                continue
            rest: list[Part] = []
            for part in message.content:
                if isinstance(part, ToolResult):
                    written.append(self.tool_result(part, path, moved))
                    moved_from = path
                else:
                    rest.append(part)
            if rest or (message.role == "user" and not _has_results(message)):
                written.append(self.plain(message, path, "user", [*moved, *rest]))
                moved = []
        if moved:
            written.append({"role": "user", "content": self.content(moved, moved_from)})
        if self.quirks.message_form == "mistral":
            mistral.fit(written, self.notice)
        return written

    def system(self, message: Message, path: str) -> dict[str, Any]:
        is_old = message.role == "developer" and not self.quirks.developer_role
        return self.plain(message, path, "system" if is_old else message.role, message.content)

    def plain(self, message: Message, path: str, role: str, parts: Sequence[Part]) -> dict[str, Any]:
        written: dict[str, Any] = {"role": role, "content": self.content(parts, path)}
        if message.name is not None:
            written["name"] = message.name
        return extend(written, message.provider_metadata, DIALECT)

    def tool_result(self, result: ToolResult, path: str, moved: list[Part]) -> dict[str, Any]:
        content = result.content
        if not self.quirks.tool_result_images and not all(isinstance(part, Text) for part in content):
            moved.extend(part for part in content if not isinstance(part, Text))
            content = tuple(part for part in content if isinstance(part, Text))
            self.notice("changed", "images of a tool result follow in a message of the user", path)
        if result.is_error:
            self.notice("dropped", "a tool result has no error flag here; its text stays", f"{path}.is_error")
        if result.cache is not None:
            content = self.with_mark(content, result.cache)
        written: dict[str, Any] = {
            "role": "tool",
            "tool_call_id": self.names.call_id(result.call_id),
            "content": self.content(content, path),
        }
        if result.name is not None:
            written["name"] = self.names.tool(result.name)
        return extend(written, result.provider_metadata, DIALECT)

    def with_mark(self, content: tuple[Part, ...], mark: CacheMark) -> tuple[Part, ...]:
        """A mark on a tool result is one on the last of its parts."""
        if not content:
            self.notice("dropped", "a cache mark on an empty tool result has no place here", "cache_control")
            return content
        return (*content[:-1], msgspec.structs.replace(content[-1], cache=mark))

    def assistant(self, message: Message, path: str) -> dict[str, Any]:
        written: dict[str, Any] = {"role": "assistant"}
        shown: list[Part] = []
        thoughts: list[Thinking] = []
        refusals: list[str] = []
        calls: list[dict[str, Any]] = []
        painted: list[Image] = []
        for part in message.content:
            match part:
                case ToolCall():
                    calls.append(self.tool_call(part))
                case Thinking(redacted=None) if self.quirks.reasoning_field == "thinking_chunks":
                    shown.append(part)
                case Thinking():
                    thoughts.append(part)
                case Refusal():
                    refusals.append(part.text)
                case Audio(id=str(audio_id)):
                    written["audio"] = {"id": audio_id}
                case Image() if is_of_images(part):
                    painted.append(part)
                case Text() if annotations := kept(part.provider_metadata, DIALECT).get("annotations"):
                    # They are the message's, as in the answer that they came from.
                    written["annotations"] = annotations
                    shown.append(msgspec.structs.replace(part, provider_metadata=None))
                case _:
                    shown.append(part)
        if refusals:
            written["refusal"] = "".join(refusals)
        self.thoughts(thoughts, written, path)
        if painted:
            written["images"] = images_written(painted)
        if shown or not (calls or refusals or painted or "audio" in written):
            written["content"] = self.content(shown, path)
        else:
            written["content"] = None
        if calls:
            written["tool_calls"] = calls
        if message.name is not None:
            written["name"] = message.name
        return extend(written, message.provider_metadata, DIALECT)

    def tool_call(self, call: ToolCall) -> dict[str, Any]:
        if call.cache is not None:
            self.notice("dropped", "a cache mark on a tool call has no place here", "cache_control")
        if wire.has_empty_arguments(call, None):
            call = msgspec.structs.replace(call, arguments="{}")
        call_id, name = self.names.call_id(call.id), self.names.tool(call.name)
        if call_id != call.id or name != call.name:
            call = msgspec.structs.replace(call, id=call_id, name=name)
        return wire.tool_call_written(call)

    def thoughts(self, thoughts: Sequence[Thinking], written: dict[str, Any], path: str) -> None:
        if not thoughts:
            return
        match self.quirks.reasoning_field:
            case "thinking_chunks":  # the others stand in the content
                self.notice("omitted_thinking", "redacted thoughts cannot be sent here", path)
            case None:
                # Services that do not take thoughts back would refuse or ignore them.
                self.notice("omitted_thinking", "the provider does not take earlier thoughts back", path)
            case "reasoning_details":
                written["reasoning_details"] = [detail_of_thinking(part, index) for index, part in enumerate(thoughts)]
            case field:
                if text := "".join(part.text for part in thoughts):
                    written[field] = text
                if any(part.redacted is not None for part in thoughts):
                    self.notice("omitted_thinking", "redacted thoughts cannot be sent here", path)

    # ------------------------------------------------------------ parts

    def content(self, parts: Sequence[Part], path: str) -> str | list[Any]:
        """A string where one plain text is all there is, a list of parts otherwise."""
        if not parts:
            return ""
        if len(parts) == 1 and isinstance(only := parts[0], Text) and not self.is_marked(only):
            if only.cache is not None:
                self.no_marks()
            return only.text
        return [self.part(part, f"{path}.content[{index}]") for index, part in enumerate(parts)]

    def is_marked(self, part: Text) -> bool:
        """Whether there is more to say of a text than its words."""
        of_dialect = part.provider_metadata is not None and DIALECT in part.provider_metadata
        return of_dialect or (part.cache is not None and self.quirks.cache_marks is not None)

    def no_marks(self) -> None:
        self.notice("dropped", "the provider takes no cache marks", "cache_control")

    def part(self, part: Part, path: str) -> dict[str, Any] | msgspec.Raw:
        if isinstance(part, Opaque):
            if part.dialect == DIALECT:
                return part.raw
            raise cannot_be_said(part, path)
        if isinstance(part, Thinking) and self.quirks.reasoning_field == "thinking_chunks":
            return chunk_of_thinking(part)
        written = extend(self.bare_part(part, path), part.provider_metadata, DIALECT)
        if part.cache is not None:
            match self.quirks.cache_marks:
                case None:
                    self.no_marks()
                case "prompt_cache_breakpoint":
                    written["prompt_cache_breakpoint"] = {"mode": "explicit"}
                case "cache_control":
                    written["cache_control"] = control_of(part.cache)
        return written

    def bare_part(self, part: Part, path: str) -> dict[str, Any]:
        match part:
            case Text():
                return {"type": "text", "text": part.text}
            case Refusal():
                return {"type": "refusal", "refusal": part.text}
            case Image():
                return {"type": "image_url", "image_url": self.image_url(part, path)}
            case Document():
                return self.document(part, path)
            case Audio(data=str(data)):
                return {"type": "input_audio", "input_audio": {"data": data, "format": part.format or "wav"}}
        raise InvalidRequest(f"{path}: a part of type {type(part).__name__} cannot be said here", param=path)

    def image_url(self, image: Image, path: str) -> dict[str, Any]:
        if (url := url_of(image)) is None:
            raise InvalidRequest(f"{path}: an image known only by its file id cannot be said here", param=path)
        if image.data is None and not self.quirks.image_urls:
            raise InvalidRequest(f"{path}: the provider takes images as base64 only, not by URL", param=path)
        return {"url": url} if image.detail is None else {"url": url, "detail": image.detail}

    def document(self, document: Document, path: str) -> dict[str, Any]:
        name = {"filename": document.name} if document.name is not None else {}
        if document.file_id is not None:
            return {"type": "file", "file": {**name, "file_id": document.file_id}}
        if (text := text_of(document)) is not None:
            self.notice("changed", "a text document is sent as text", path)
            return {"type": "text", "text": text}
        if document.data is not None:
            kind = document.media_type or sniffed(document.data) or "application/pdf"
            data = f"data:{kind};base64,{document.data}"
            if self.quirks.message_form == "mistral":
                return mistral.document_url(data, document.name)
            return {"type": "file", "file": {"filename": document.name or "document.pdf", "file_data": data}}
        if document.url is not None and self.quirks.message_form == "mistral":
            return mistral.document_url(document.url, document.name)
        if document.url is not None and "file" in kept(document.provider_metadata, DIALECT):
            return {"type": "file", "file": name}
        raise InvalidRequest(f"{path}: a document by URL cannot be said here; send its bytes", param=path)


def control_of(mark: CacheMark) -> dict[str, Any]:
    """Anthropic's `cache_control`, which OpenRouter takes on texts, on tools and for the whole request."""
    return {"type": "ephemeral"} if mark.ttl is None else {"type": "ephemeral", "ttl": mark.ttl}


def _has_results(message: Message) -> bool:
    return any(isinstance(part, ToolResult) for part in message.content)
