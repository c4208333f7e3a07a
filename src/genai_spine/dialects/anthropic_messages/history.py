"""A conversation as Anthropic's `system` and `messages`.

What the service demands, and what is done about it here:
- the system prompt stands beside the messages; later system messages only before a turn of the assistant
  and only for newer models (…/build-with-claude/mid-conversation-system-messages), else as the user's text;
- the results of tool calls come first in the one user message after them (…/agents-and-tools/tool-use);
- text must not be empty ("text content blocks must be non-empty", recorded 400), nor of white space alone ("text
  content blocks must contain non-whitespace text", anthropics/claude-code#23440);
- thoughts come back as they were, with their signatures (…/build-with-claude/thinking).
Read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from genai_spine.dialects.anthropic_messages import schema as wire
from genai_spine.dialects.anthropic_messages.blocks import (
    Block,
    call_id,
    document_source,
    finished,
    image_source,
    text_block,
    thinking_block,
    tool_use_block,
)
from genai_spine.dialects.anthropic_messages.white_space import is_blank, spoken, trim
from genai_spine.dialects.foreign import own_bytes
from genai_spine.dialects.media_types import typed
from genai_spine.dialects.metadata import extend, kept
from genai_spine.dialects.shortened import Renaming
from genai_spine.dialects.signatures import ANTHROPIC, is_proven_by
from genai_spine.dialects.text_documents import text_of
from genai_spine.dialects.written import input_of, kind_named, shortest
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

DIALECT = wire.DIALECT

_SYSTEM_ROLES = ("system", "developer")


class HistoryWriter:
    def __init__(self, model: str, notice: Callable[[str, str, str | None], None], names: Renaming) -> None:
        self.takes_system_anywhere = wire.takes_system_anywhere(model)
        self.notice = notice
        self.names = names
        self.has_files = False
        """Whether something known only by its file id was written."""

    def written(self, messages: Sequence[Message]) -> tuple[str | list[Block], list[dict[str, Any]]]:
        """`system` (empty where there is none) and `messages`."""
        leading = 0
        system: list[Block] = []
        while leading < len(messages) and (message := messages[leading]).role in _SYSTEM_ROLES:
            system.extend(_plain(message) or self.system_blocks(message, f"messages[{leading}]"))
            leading += 1
        conversation = self.conversation(messages, leading)
        if not conversation:
            if not system:
                raise InvalidRequest("messages: at least one message with content is required", param="messages")
            self.notice("changed", "a conversation of system messages only is sent as the user's", "messages")
            return "", [{"role": "user", "content": shortest(system)}]
        return shortest(system), conversation

    def conversation(self, messages: Sequence[Message], leading: int) -> list[dict[str, Any]]:
        written: list[dict[str, Any]] = []
        turn = _UserTurn()
        for index, message in enumerate(messages[leading:], leading):
            if (plain := _plain(message)) is not None and message.role in ("user", "assistant"):
                if message.role == "assistant" or turn.is_of_its_own(message):
                    turn.close(written)
                if message.role == "assistant":
                    written.append({"role": "assistant", "content": shortest(plain)})
                else:
                    turn.add(message, plain)
                continue
            path = f"messages[{index}]"
            if message.name is not None:
                self.notice("dropped", "messages have no names here", f"{path}.name")
            if message.role == "assistant":
                turn.close(written)
                self.add(written, message, "assistant", self.assistant(message, path), path)
            elif message.role not in _SYSTEM_ROLES:
                if turn.is_of_its_own(message):
                    turn.close(written)
                blocks = [self.user_part(part, at) for part, at in _placed(message, path)]
                if not blocks:
                    self.notice("dropped", "a message without content", path)
                turn.add(message, blocks)
            elif self.may_stand(messages, index):
                turn.close(written)
                self.add(written, message, "system", self.system_blocks(message, path), path)
            else:
                turn.add(Message(role="user"), self.wrapped(message, path))
        turn.close(written)
        if written and written[-1]["role"] == "assistant":
            content = written[-1]["content"]
            holder, key = (written[-1], "content") if isinstance(content, str) else (content[-1], "text")
            trim(holder, key, self.notice)
        return written

    def add(self, written: list[dict[str, Any]], message: Message, role: str, blocks: list[Block], path: str) -> None:
        if not blocks:
            self.notice("dropped", "a message without content", path)
            return
        written.append(extend({"role": role, "content": shortest(blocks)}, message.provider_metadata, DIALECT))

    # ------------------------------------------------------------ system

    def may_stand(self, messages: Sequence[Message], index: int) -> bool:
        """Whether a later system message may stay one: its author wrote this dialect, and the model is not known to
        refuse it; or the model takes it, it follows a turn of the user, and the assistant or nobody speaks next."""
        if DIALECT in (messages[index].provider_metadata or {}):
            return self.takes_system_anywhere is not False
        after = messages[index + 1].role if index + 1 < len(messages) else "assistant"
        is_placed = messages[index - 1].role in ("user", "tool") and after == "assistant"
        return self.takes_system_anywhere is True and is_placed

    def system_blocks(self, message: Message, path: str) -> list[Block]:
        blocks: list[Block] = []
        for part, at in _placed(message, path):
            if isinstance(part, Opaque) and part.dialect == DIALECT:
                blocks.append(part.raw)
            elif isinstance(part, Text | Refusal):
                blocks.append(text_block(part.text, part))
            else:
                raise InvalidRequest(f"{at}: a system message holds text only", param=at)
        return blocks

    def wrapped(self, message: Message, path: str) -> list[Block]:
        self.notice("changed", "a system message amid the conversation is sent as text of the user", path)
        if said := kept(message.provider_metadata, DIALECT):
            self.notice("dropped", f"{', '.join(said)} of a system message", path)
        blocks = self.system_blocks(message, path)
        for block in blocks:
            if isinstance(block, dict):
                block["text"] = f"<system>\n{block['text']}\n</system>"
        return blocks

    # ------------------------------------------------------------ assistant

    def assistant(self, message: Message, path: str) -> list[Block]:
        blocks: list[Block] = []
        for part, at in _placed(message, path):
            match part:
                case Text() | Refusal():
                    blocks.append(text_block(part.text, part))
                case Thinking() if is_proven_by(ANTHROPIC, part):
                    blocks.append(thinking_block(part))
                case Thinking():
                    self.notice("omitted_thinking", "thoughts without a signature of Claude's are not taken back", at)
                case ToolCall():
                    blocks.append(self.tool_use(part, at))
                case Opaque():
                    blocks.append(own_bytes(part, DIALECT, at))
                case _:
                    raise InvalidRequest(
                        f"{at}: a message of the assistant cannot hold {kind_named(part)} here", param=at
                    )
        return blocks

    def tool_use(self, call: ToolCall, path: str) -> dict[str, Any]:
        arguments = input_of(call)
        if arguments is None:
            raise InvalidRequest(
                f"{path}: the arguments of the call {call.id} of {call.name} are not a JSON object",
                param=path,
            )
        if call.kind == "custom":
            self.notice("changed", f"the text for {call.name} is sent as its argument `input`", path)
        return tool_use_block(self.names.call(call), arguments)

    # ------------------------------------------------------------ user

    def user_part(self, part: Part, path: str) -> Block:
        if isinstance(part, ToolResult):
            return self.tool_result(part, path)
        return self.content(part, path)

    def tool_result(self, result: ToolResult, path: str) -> dict[str, Any]:
        """Its `name` is not repeated: the call has it."""
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": call_id(result.call_id)}
        content = [self.content(part, f"{path}.content[{index}]") for index, part in spoken(result.content)]
        if content:
            block["content"] = shortest(content)
        if result.is_error:
            block["is_error"] = True
        return finished(block, result)

    def content(self, part: Part, path: str) -> Block:
        match part:
            case Text() | Refusal():
                return text_block(part.text, part)
            case Image():
                source = image_source(typed(part, self.notice, path))
                if part.detail not in (None, "auto"):
                    self.notice("dropped", "images have no detail here", f"{path}.detail")
            case Document():
                source = document_source(_as_text(part))
            case Opaque():
                return own_bytes(part, DIALECT, path)
            case _:
                raise InvalidRequest(f"{path}: {kind_named(part)} cannot be said here", param=path)
        if source is None:
            kind = part.media_type or "no type"
            raise InvalidRequest(f"{path}: {kind_named(part)} of {kind} cannot be said here", param=path)
        self.has_files = self.has_files or source["type"] == "file"
        block: dict[str, Any] = {"type": "image" if isinstance(part, Image) else "document", "source": source}
        if isinstance(part, Document) and part.name is not None:
            block["title"] = part.name
        return finished(block, part)


class _UserTurn:
    """What the user says until the assistant speaks: one message, tool results first."""

    def __init__(self) -> None:
        self.results: list[Block] = []
        self.rest: list[Block] = []
        self.message: Message | None = None

    def is_of_its_own(self, message: Message) -> bool:
        """A message that says more than its content (effort of its own …) is not joined with others."""
        return self.message is not None and any(
            DIALECT in (each.provider_metadata or {}) for each in (self.message, message)
        )

    def add(self, message: Message, blocks: Iterable[Block]) -> None:
        self.message = self.message or message
        for block in blocks:
            is_result = isinstance(block, dict) and block.get("type") == "tool_result"
            (self.results if is_result else self.rest).append(block)

    def close(self, written: list[dict[str, Any]]) -> None:
        blocks = self.results + self.rest
        if self.message is not None and blocks:
            turn = {"role": "user", "content": shortest(blocks)}
            written.append(extend(turn, self.message.provider_metadata, DIALECT))
        self.results, self.rest, self.message = [], [], None


def _plain(message: Message) -> list[Block] | None:
    """The block of a message that is one text and nothing more, as most are."""
    content = message.content
    if len(content) != 1 or message.provider_metadata is not None or message.name is not None:
        return None
    part = content[0]
    if type(part) is not Text or is_blank(part) or part.cache is not None or part.provider_metadata is not None:
        return None
    return [{"type": "text", "text": part.text}]


def _placed(message: Message, path: str) -> list[tuple[Part, str]]:
    """The parts that say something, with their places."""
    return [(part, f"{path}.content[{place}]") for place, part in spoken(message.content)]


def _as_text(document: Document) -> Document:
    """A text that came as base64, as texts must not."""
    if document.data is None or (text := text_of(document)) is None:
        return document
    return Document(text=text, name=document.name, cache=document.cache, provider_metadata=document.provider_metadata)
