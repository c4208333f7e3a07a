"""A conversation as Gemini's `systemInstruction` and `contents`.

What the service demands, and what is done about it here:
- instructions stand beside the contents; later system messages are said as the user's text;
- the results of one turn's calls are one content, and each names its function (…/docs/function-calling);
- the first call of a turn of Gemini 3 and later must be signed (…/docs/thought-signatures). Where another service
  made it, the documented `skip_thought_signature_validator` stands in for the signature; both the Gemini API and
  Vertex take it;
- a function's response holds media from Gemini 3 on, though not by any URL; what it cannot hold follows it as the
  user's parts.
Read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

from genai_spine.dialects.foreign import own_bytes
from genai_spine.dialects.gemini.parts import (
    call_part,
    finished,
    is_kept,
    media_part,
    response_written,
    text_part,
    thought_part,
)
from genai_spine.dialects.gemini.schema import CACHED, DIALECT, is_minted, is_since_3
from genai_spine.dialects.metadata import extend, kept
from genai_spine.dialects.shortened import Renaming
from genai_spine.dialects.written import input_of, kind_named
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
from genai_spine.wire import json

Written: TypeAlias = dict[str, Any] | msgspec.Raw

UNSIGNED = "skip_thought_signature_validator"
_SYSTEM_ROLES = ("system", "developer")


class HistoryWriter:
    def __init__(self, model: str, notice: Callable[[str, str, str | None], None], names: Renaming) -> None:
        self.model = model
        self.notice = notice
        self.names = names
        self.is_since_3 = is_since_3(model)
        self.call_names: dict[str, str] = {}
        self.call_order: dict[str, int] = {}
        self.unnamed: dict[int, int] = {}
        """By the identity of a result without an id, of which call it is: it is told by its place alone."""
        self.media_of_results: list[Written] = []
        self.cached: dict[str, Any] = {}

    def written(self, messages: Sequence[Message]) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        """`systemInstruction`, None where there is none, and `contents`."""
        leading = 0
        while leading < len(messages) and messages[leading].role in _SYSTEM_ROLES:
            leading += 1
        system = self.instructions(messages[:leading])
        contents = self.contents(messages, leading)
        if not contents:
            if system is None:
                raise InvalidRequest("messages: at least one message with content is required", param="messages")
            self.notice("changed", "a conversation of system messages only is sent as the user's", "messages")
            return None, [{"role": "user", "parts": system["parts"]}]
        return system, contents

    def instructions(self, messages: Sequence[Message]) -> dict[str, Any] | None:
        instruction: dict[str, Any] = {}
        parts: list[Written] = []
        for index, message in enumerate(messages):
            parts.extend(self.system_parts(message, f"messages[{index}]"))
            extend(instruction, message.provider_metadata, DIALECT)
        return {**instruction, "parts": parts} if parts else None

    def contents(self, messages: Sequence[Message], leading: int) -> list[dict[str, Any]]:
        contents: list[dict[str, Any]] = []
        results: list[Written] | None = None  # of the turn that the messages of role `tool` are about
        for index, message in enumerate(messages[leading:], leading):
            path = f"messages[{index}]"
            if cached := _cached(message):
                self.cached = cached
                continue
            if message.name is not None:
                self.notice("dropped", "messages have no names here", f"{path}.name")
            if message.role != "tool" and results is not None:
                self.close(results)
                results = None
            role, parts = self.content(message, path)
            if not parts:
                self.notice("dropped", "a message without content", path)
            elif results is not None:
                results.extend(parts)
            else:
                contents.append(extend({"role": role, "parts": parts}, message.provider_metadata, DIALECT))
                if message.role == "tool":
                    results = parts
                else:
                    self.close(parts)
        if results is not None:
            self.close(results)
        return contents

    def close(self, parts: list[Written]) -> None:
        """What results hold beside text comes after all results of the turn, where they cannot hold it themselves.
        Results without ids stand in the order of their calls, by which the service tells them."""
        places = [place for place, part in enumerate(parts) if id(part) in self.unnamed]
        ordered = sorted((parts[place] for place in places), key=lambda part: self.unnamed[id(part)])
        for place, part in zip(places, ordered, strict=True):
            parts[place] = part
        parts.extend(self.media_of_results)
        self.media_of_results.clear()

    def content(self, message: Message, path: str) -> tuple[str, list[Written]]:
        if message.role == "assistant":
            return "model", self.model_parts(message, path)
        if message.role in _SYSTEM_ROLES:
            return "user", self.wrapped(message, path)
        written: list[Written] = []
        for part, at in _placed(message, path):
            written.append(self.result(part, at) if isinstance(part, ToolResult) else self.user_part(part, at))
        return "user", written

    # ------------------------------------------------------------ system

    def system_parts(self, message: Message, path: str) -> list[Written]:
        written: list[Written] = []
        for part, at in _placed(message, path):
            if isinstance(part, Opaque) and part.dialect == DIALECT:
                written.append(part.raw)
            elif isinstance(part, Text | Refusal):
                written.append(text_part(part.text, part))
            else:
                raise InvalidRequest(f"{at}: a system message holds text only", param=at)
        return written

    def wrapped(self, message: Message, path: str) -> list[Written]:
        self.notice("changed", "a system message amid the conversation is sent as text of the user", path)
        written = self.system_parts(message, path)
        for part in written:
            if isinstance(part, dict):
                part["text"] = f"<system>\n{part['text']}\n</system>"
        return written

    # ------------------------------------------------------------ model

    def model_parts(self, message: Message, path: str) -> list[Written]:
        written: list[Written] = []
        has_call = False
        for part, at in _placed(message, path):
            match part:
                case Text() | Refusal():
                    written.append(text_part(part.text, part))
                case Thinking():
                    written.extend(self.thought(part, at))
                case ToolCall():
                    written.append(self.call(part, at, is_first=not has_call))
                    has_call = True
                case Image() | Audio() | Document():
                    written.append(self.media(part, at))
                case Opaque():
                    written.append(own_bytes(part, DIALECT, at))
                case _:
                    raise InvalidRequest(
                        f"{at}: a message of the assistant cannot hold {kind_named(part)} here", param=at
                    )
        return written

    def thought(self, part: Thinking, path: str) -> Iterator[Written]:
        """A thought of another service goes as the text that it is; its proof is nothing to this one."""
        if part.redacted is not None or not (part.text or part.provider_metadata):
            self.notice("omitted_thinking", "a thought that only another service can read", path)
            return
        if part.signature is not None:
            self.notice("dropped", "the signature of a thought is another service's", f"{path}.signature")
        yield thought_part(part)

    def call(self, call: ToolCall, path: str, *, is_first: bool) -> dict[str, Any]:
        arguments = input_of(call)
        if arguments is None:
            raise InvalidRequest(
                f"{path}: the arguments of the call {call.id} of {call.name} are not a JSON object", param=path
            )
        call = self.names.call(call)
        self.call_names[call.id] = call.name
        self.call_order[call.id] = len(self.call_order)
        written = call_part(call, arguments)
        # Of parallel calls only the first is signed.
        if is_first and self.is_since_3:
            written.setdefault("thoughtSignature", UNSIGNED)
        return written

    # ------------------------------------------------------------ user

    def result(self, result: ToolResult, path: str) -> Written:
        name = self.names.tool(result.name) if result.name else self.call_names.get(result.call_id)
        if name is None:
            raise InvalidRequest(
                f"{path}: no call {result.call_id} before this result tells which function it is of", param=path
            )
        texts: list[str] = []
        held: list[Written] = []
        following: list[Written] = []
        for index, part in enumerate(result.content):
            written = self.user_part(part, f"{path}.content[{index}]")
            if isinstance(written, dict) and "text" in written:
                texts.append(written["text"])
            else:
                (held if self.is_held(written) else following).append(written)
        own = kept(result.provider_metadata, DIALECT).get("functionResponse")
        response = own.get("response") if isinstance(own, dict) else None
        function: dict[str, Any] = {} if is_minted(result.call_id) else {"id": result.call_id}
        function |= {"name": name, "response": response or response_written(texts, is_error=result.is_error)}
        if held:
            function["parts"] = held
        if following:
            self.notice("changed", "what a result cannot hold follows it as the user's parts", path)
            self.media_of_results.extend(following)
        written = finished({"functionResponse": function}, result)
        if "id" not in function and result.call_id in self.call_order:
            self.unnamed[id(written)] = self.call_order[result.call_id]
        return written

    def is_held(self, part: Written) -> bool:
        """Whether a function's response may hold a part: no file but those that Google keeps (vercel/ai#12777; these
        are recorded)."""
        file = part.get("fileData") if isinstance(part, dict) else None
        return self.is_since_3 and (file is None or is_kept(file["fileUri"]))

    def user_part(self, part: Part, path: str) -> Written:
        match part:
            case Text() | Refusal():
                return text_part(part.text, part)
            case Image() | Audio() | Document():
                return self.media(part, path)
            case Opaque():
                return own_bytes(part, DIALECT, path)
            case _:
                raise InvalidRequest(f"{path}: {kind_named(part)} cannot be said here", param=path)

    def media(self, part: Image | Audio | Document, path: str) -> dict[str, Any]:
        if isinstance(part, Document) and part.name is not None:
            self.notice("dropped", "documents have no names here", f"{path}.name")
        if isinstance(part, Document) and part.text is not None:
            self.notice("changed", "a text document is sent as text", path)
            return text_part(part.text, part)
        written = media_part(part)
        if written is None:
            raise InvalidRequest(f"{path}: {kind_named(part)} without data or a URL cannot be said here", param=path)
        if isinstance(part, Image) and part.detail not in (None, "auto"):
            self.notice("dropped", "images have no detail here", f"{path}.detail")
        return written


def _cached(message: Message) -> dict[str, Any]:
    """{"cachedContent": "cachedContents/abc"}, of a message that stands for a prompt which the service keeps."""
    if len(message.content) != 1:
        return {}
    part = message.content[0]
    if not isinstance(part, Opaque) or part.dialect != DIALECT or part.kind != CACHED:
        return {}
    return dict(json.ANY.decode(part.raw))


def _placed(message: Message, path: str) -> list[tuple[Part, str]]:
    """The parts with their places, without empty texts beside others; a text alone may be empty (recorded)."""
    placed = [(part, f"{path}.content[{index}]") for index, part in enumerate(message.content)]
    return [(part, at) for part, at in placed if not _is_empty(part)] or placed


def _is_empty(part: Part) -> bool:
    return isinstance(part, Text | Refusal) and not part.text and part.provider_metadata is None
