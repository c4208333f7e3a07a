"""The messages of a request as Cohere takes them.

Must not know the rest of the request, but for one thing: whether documents may stand beside the messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from genai_spine.dialects.cohere_chat.schema import DIALECT, PLAN
from genai_spine.dialects.foreign import cannot_be_said
from genai_spine.dialects.metadata import extend, kept
from genai_spine.dialects.text_documents import text_of
from genai_spine.dialects.written import shortest
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
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.request import Message

Written = dict[str, Any] | msgspec.Raw


class MessageWriter:
    """Writes the messages of one request. `notice(code, message, param)` hears what cannot be said.

    `documents` collects the texts that a user's message gives as documents: Cohere takes them beside the messages,
    where the model can cite them. With `documents_apart` False they are said as text, where they stand.
    """

    def __init__(self, notice: Callable[[str, str, str | None], None], *, documents_apart: bool) -> None:
        self.notice = notice
        self.documents_apart = documents_apart
        self.documents: list[Written] = []

    def messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Tool results are messages of their own here, and all of a turn's come before anything else: their
        images (`moved`) wait for the last of them."""
        written: list[dict[str, Any]] = []
        moved: list[Part] = []
        for index, message in enumerate(messages):
            path = f"messages[{index}]"
            if message.name is not None:
                self.notice("dropped", "a message has no name here", f"{path}.name")
            results = [part for part in message.content if isinstance(part, ToolResult)]
            rest = [part for part in message.content if not isinstance(part, ToolResult)]
            if message.role == "assistant":
                self.say_moved(moved, written)
                written.append(self.assistant(message, path))
                continue
            written.extend(self.result(part, moved, path) for part in results)
            if rest or not results:
                self.say_moved(moved, written)
                role = "system" if message.role in ("system", "developer") else "user"
                said: dict[str, Any] = {"role": role, "content": self.content(rest, path)}
                written.append(extend(said, message.provider_metadata, DIALECT))
        self.say_moved(moved, written)
        return written

    def say_moved(self, moved: list[Part], written: list[dict[str, Any]]) -> None:
        if moved:
            written.append({"role": "user", "content": self.content(moved, "tool results")})
            moved.clear()

    def result(self, result: ToolResult, moved: list[Part], path: str) -> dict[str, Any]:
        """Texts and documents; the model cites either."""
        if result.is_error:
            self.notice("dropped", "a tool result has no error flag here; its text stays", f"{path}.is_error")
        self.cache_mark(result)
        images = [part for part in result.content if isinstance(part, Image)]
        if images:
            self.notice("changed", "images of a tool result follow in a message of the user", path)
            moved.extend(images)
        parts = [part for part in result.content if not isinstance(part, Image)]
        content: Any = [
            {"type": "document", "document": document_of(part)} if is_text(part) else self.part(part, path)
            for part in parts
        ]
        if not parts:
            content = ""
        elif len(parts) == 1 and isinstance(only := parts[0], Text) and is_plain(only):
            content = only.text
        written = {"role": "tool", "tool_call_id": result.call_id, "content": content}
        return extend(written, result.provider_metadata, DIALECT)

    def assistant(self, message: Message, path: str) -> dict[str, Any]:
        content: list[Any] = []
        plans: list[str] = []
        calls: list[dict[str, Any]] = []
        citations: list[Any] = []
        for index, part in enumerate(message.content):
            own = kept(part.provider_metadata, DIALECT)
            citations.extend(own.get("citations") or ())
            match part:
                case ToolCall():
                    calls.append(self.tool_call(part))
                case Thinking(redacted=str()):
                    self.notice("omitted_thinking", "redacted thoughts cannot be sent here", path)
                case Thinking() if own.get(PLAN):
                    plans.append(part.text)
                case _:
                    content.append(self.part(part, f"{path}.content[{index}]"))
        written: dict[str, Any] = {"role": "assistant"}
        if content or not (calls or plans):
            written["content"] = shortest(content)
        if plans:
            written["tool_plan"] = "".join(plans)
        if calls:
            written["tool_calls"] = calls
        if citations:
            written["citations"] = citations
        return extend(written, message.provider_metadata, DIALECT)

    def tool_call(self, call: ToolCall) -> dict[str, Any]:
        self.cache_mark(call)
        function = {"name": call.name, "arguments": call.arguments or "{}"}
        written = {"id": call.id, "type": "function", "function": function}
        return extend(written, call.provider_metadata, DIALECT)

    # ------------------------------------------------------------ parts

    def content(self, parts: Sequence[Part], path: str) -> str | list[Any]:
        content: list[Any] = []
        # A message of documents alone would have nothing left to say.
        apart = self.documents_apart and not all(map(is_text, parts))
        for index, part in enumerate(parts):
            place = f"{path}.content[{index}]"
            if apart and is_text(part):
                self.notice("changed", "a document is sent beside the messages, among `documents`", place)
                self.cache_mark(part)
                self.documents.append(document_of(part))
            else:
                content.append(self.part(part, place))
        return shortest(content)

    def part(self, part: Part, path: str) -> Written:
        if isinstance(part, Opaque):
            if part.dialect == DIALECT:
                return part.raw
            raise cannot_be_said(part, path)
        self.cache_mark(part)
        own = kept(part.provider_metadata, DIALECT)
        own.pop("citations", None)  # they are the message's
        # What is known of a document is not known of its text.
        return self.bare_part(part, path) if isinstance(part, Document) else {**own, **self.bare_part(part, path)}

    def bare_part(self, part: Part, path: str) -> dict[str, Any]:
        match part:
            case Text():
                return {"type": "text", "text": part.text}
            case Thinking():
                return {"type": "thinking", "thinking": part.text}
            case Image():
                return {"type": "image_url", "image_url": _image_url(part, path)}
            case Document() if (text := text_of(part)) is not None:
                self.notice("changed", "a document is sent as text", path)
                return {"type": "text", "text": text}
            case Refusal():
                self.notice("changed", "a refusal is sent as text", path)
                return {"type": "text", "text": part.text}
            case _:
                raise InvalidRequest(f"{path}: {_refused(part)}", param=path)

    def cache_mark(self, part: Part) -> None:
        if part.cache is not None:
            self.notice("dropped", "Cohere caches by itself and takes no cache marks", "cache_control")


def is_plain(text: Text) -> bool:
    """Whether there is no more to say of a text than its words."""
    return text.cache is None and (text.provider_metadata is None or DIALECT not in text.provider_metadata)


def is_text(part: Part) -> bool:
    return isinstance(part, Document) and part.text is not None


def document_of(part: Part) -> dict[str, Any]:
    """{"id": "doc-1", "data": {"title": …, "text": …}}; what Cohere knows of it beside is in its metadata."""
    assert isinstance(part, Document)
    title = {"title": part.name} if part.name is not None else {}
    return extend({"data": {**title, "text": part.text}}, part.provider_metadata, DIALECT)


def _image_url(image: Image, path: str) -> dict[str, Any]:
    if image.data is not None:
        url = f"data:{image.media_type or 'image/png'};base64,{image.data}"
    elif image.url is not None:
        url = image.url
    else:
        raise InvalidRequest(f"{path}: an image known only by its file id cannot be said here", param=path)
    return {"url": url} if image.detail is None else {"url": url, "detail": image.detail}


def _refused(part: Part) -> str:
    match part:
        case Document():
            return "Cohere takes documents as text only; send their text"
        case Audio():
            return "Cohere takes no audio; send a transcript"
        case _:
            return f"a part of type {type(part).__name__} cannot be said here"
