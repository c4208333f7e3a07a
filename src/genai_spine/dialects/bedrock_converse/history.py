"""A conversation as Converse's `system` and `messages`.

What the service demands, and what is done about it here:
- turns alternate between user and assistant, so those of one side are joined, tool results first; the user begins
  ("A conversation must start with a user message", 400, elastic/kibana#246393);
- documents stand beside a text ("A text block must be included when using documents", 400, BerriAI/litellm#36499);
- the system prompt stands beside the messages; later system messages only for the newest of Anthropic's
  models (as with Anthropic itself), else as the user's text;
- text must not be empty ("The text field in the ContentBlock object … is blank", 400), nor of white space alone
  ("text content blocks must contain non-whitespace text", NousResearch/hermes-agent#41985);
- thoughts come back as they were, with their signatures; those without are left out.
Read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from genai_spine.dialects.anthropic_messages.schema import takes_system_anywhere
from genai_spine.dialects.anthropic_messages.white_space import spoken, trim
from genai_spine.dialects.bedrock_converse import schema as wire
from genai_spine.dialects.bedrock_converse.blocks import (
    Block,
    audio_block,
    call_id,
    document_block,
    document_name,
    image_block,
    text_block,
    thinking_block,
    tool_use_block,
)
from genai_spine.dialects.foreign import own_bytes
from genai_spine.dialects.media_types import typed
from genai_spine.dialects.metadata import extend
from genai_spine.dialects.shortened import Renaming
from genai_spine.dialects.signatures import ANTHROPIC, is_proven_by
from genai_spine.dialects.written import input_of, kind_named
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

DIALECT = wire.DIALECT

_SYSTEM_ROLES = ("system", "developer")
_ELLIPSIS = {"text": "…"}


class HistoryWriter:
    def __init__(
        self, model: str, notice: Callable[[str, str, str | None], None], names: Renaming, *, marks: bool
    ) -> None:
        """`marks` says whether cache marks are written."""
        self.takes_system_anywhere = takes_system_anywhere(model)
        self.notice = notice
        self.names = names
        self.marks = marks
        self.called: dict[str, None] = {}
        """The names of the tools whose calls were written."""
        self.has_tool_blocks = False
        self._documents: dict[str, None] = {}

    def written(self, messages: Sequence[Message]) -> tuple[list[Block], list[dict[str, Any]]]:
        """`system` (empty where there is none) and `messages`."""
        leading = 0
        system: list[Block] = []
        while leading < len(messages) and messages[leading].role in _SYSTEM_ROLES:
            system.extend(self.system_blocks(messages[leading], f"messages[{leading}]"))
            leading += 1
        conversation = self.conversation(messages, leading)
        if not conversation:
            if not system:
                raise InvalidRequest("messages: at least one message with content is required", param="messages")
            self.notice("changed", "a conversation of system messages only is sent as the user's", "messages")
            return [], [{"role": "user", "content": system}]
        return system, conversation

    def conversation(self, messages: Sequence[Message], leading: int) -> list[dict[str, Any]]:
        turns: list[_Turn] = []
        for index, message in enumerate(messages[leading:], leading):
            path = f"messages[{index}]"
            if message.name is not None:
                self.notice("dropped", "messages have no names here", f"{path}.name")
            role, groups = self.said(messages, index, path)
            if not groups:
                self.notice("dropped", "a message without content", path)
                continue
            if not turns or turns[-1].role != role:
                turns.append(_Turn(role))
            for group in groups:
                turns[-1].add(group)
        return [{"role": turn.role, "content": turn.results + turn.rest} for turn in self.completed(turns)]

    def completed(self, turns: list[_Turn]) -> list[_Turn]:
        """With the words that the service demands and the caller did not say."""
        if turns and turns[0].role == "assistant":
            self.notice("changed", "an ellipsis of the user begins: the service demands it", "messages")
            turns.insert(0, _Turn("user"))
            turns[0].rest.append(dict(_ELLIPSIS))
        for turn in turns:
            if _holds("document", turn.rest) and not _holds("text", turn.rest):
                self.notice("changed", "an ellipsis stands beside a document: the service demands a text", "messages")
                turn.rest.insert(0, dict(_ELLIPSIS))
        if turns and turns[-1].role == "assistant":
            trim(turns[-1].rest[-1], "text", self.notice)
        return turns

    def said(self, messages: Sequence[Message], index: int, path: str) -> tuple[str, list[list[Block]]]:
        """Who speaks, and the blocks of each part: one, and a cache point where it has a mark."""
        message = messages[index]
        if message.role in _SYSTEM_ROLES:
            if self.may_stand(messages, index):
                return "system", [self.system_blocks(message, path)]
            return "user", self.wrapped(message, path)
        is_assistant = message.role == "assistant"
        groups = []
        for part, at in self.placed(message, path):
            block = self.of_assistant(part, at) if is_assistant else self.of_user(part, at)
            if block is not None:
                groups.append(self.marked(block, part.cache, at))
        return "assistant" if is_assistant else "user", groups

    def placed(self, message: Message, path: str) -> list[tuple[Part, str]]:
        """The parts that say something, with their places."""
        found = spoken(message.content, _is_empty)
        if sum(part.cache is not None for part in message.content) > sum(part.cache is not None for _, part in found):
            self.notice("dropped", "a cache mark on text without a word", path)
        return [(part, f"{path}.content[{place}]") for place, part in found]

    def marked(self, block: Block, mark: CacheMark | None, path: str) -> list[Block]:
        if mark is None:
            return [block]
        if not self.marks:
            self.notice("dropped", "the model takes no cache marks", path)
            return [block]
        return [block, wire.cache_point(mark)]

    # ------------------------------------------------------------ system

    def may_stand(self, messages: Sequence[Message], index: int) -> bool:
        """Whether a later system message may stay one: after the user's turn, and the assistant or nobody next."""
        after = messages[index + 1].role if index + 1 < len(messages) else "assistant"
        is_placed = messages[index - 1].role in ("user", "tool") and after == "assistant"
        return self.takes_system_anywhere is True and is_placed

    def system_blocks(self, message: Message, path: str) -> list[Block]:
        blocks: list[Block] = []
        for part, at in self.placed(message, path):
            if isinstance(part, Opaque) and part.dialect == DIALECT:
                block: Block = part.raw
            elif isinstance(part, Text | Refusal):
                block = {"text": part.text}
            else:
                raise InvalidRequest(f"{at}: a system message holds text only", param=at)
            blocks.extend(self.marked(block, part.cache, at))
        return blocks

    def wrapped(self, message: Message, path: str) -> list[list[Block]]:
        self.notice("changed", "a system message amid the conversation is sent as text of the user", path)
        blocks = self.system_blocks(message, path)
        for block in blocks:
            if isinstance(block, dict) and "text" in block:
                block["text"] = f"<system>\n{block['text']}\n</system>"
        return [[block] for block in blocks]

    # ------------------------------------------------------------ assistant

    def of_assistant(self, part: Part, path: str) -> Block | None:
        match part:
            case Text() | Refusal():
                return text_block(part.text, part)
            case Thinking() if is_proven_by(ANTHROPIC, part):
                return thinking_block(part)
            case Thinking():
                self.notice("omitted_thinking", "thoughts without a signature of Claude's are not taken back", path)
                return None
            case ToolCall():
                return self.tool_use(part, path)
            case Image():
                return self.content(part, path)
            case Opaque():
                self.has_tool_blocks = self.has_tool_blocks or part.kind in ("toolUse", "toolResult")
                return own_bytes(part, DIALECT, path)
            case _:
                what = kind_named(part)
                raise InvalidRequest(f"{path}: a message of the assistant cannot hold {what} here", param=path)

    def tool_use(self, call: ToolCall, path: str) -> Block:
        arguments = input_of(call)
        if arguments is None:
            raise InvalidRequest(
                f"{path}: the arguments of the call {call.id} of {call.name} are not a JSON object",
                param=path,
            )
        call = self.names.call(call)
        self.called[call.name] = None
        self.has_tool_blocks = True
        return tool_use_block(call, arguments)

    # ------------------------------------------------------------ user

    def of_user(self, part: Part, path: str) -> Block:
        return self.tool_result(part, path) if isinstance(part, ToolResult) else self.content(part, path)

    def tool_result(self, result: ToolResult, path: str) -> Block:
        """Its `name` is not repeated: the call has it."""
        self.has_tool_blocks = True
        content = [self.content(part, f"{path}.content[{index}]") for index, part in spoken(result.content, _is_empty)]
        written: dict[str, Any] = {"toolUseId": call_id(result.call_id), "content": content}
        if result.is_error:
            written["status"] = "error"
        return {"toolResult": extend(written, result.provider_metadata, DIALECT)}

    def content(self, part: Part, path: str) -> Block:
        match part:
            case Text() | Refusal():
                return text_block(part.text, part)
            case Image():
                block = image_block(typed(part, self.notice, path))
                if part.detail not in (None, "auto"):
                    self.notice("dropped", "images have no detail here", f"{path}.detail")
            case Document():
                block = document_block(part, self.document_name(part, path))
            case Audio():
                block = audio_block(part)
            case Opaque():
                return own_bytes(part, DIALECT, path)
            case _:
                block = None
        if block is None:
            raise InvalidRequest(f"{path}: {kind_named(part)} cannot be said here: {_why(part)}", param=path)
        return block

    def document_name(self, document: Document, path: str) -> str:
        name = document_name(document.name, self._documents)
        if document.name is not None and name != document.name:
            self.notice("changed", f"the document's name is sent as {name!r}", f"{path}.name")
        self._documents[name] = None
        return name


class _Turn:
    """What one side says until the other speaks."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.results: list[Block] = []
        self.rest: list[Block] = []

    def add(self, blocks: list[Block]) -> None:
        is_result = isinstance(blocks[0], dict) and "toolResult" in blocks[0]
        (self.results if is_result else self.rest).extend(blocks)


def _holds(kind: str, blocks: list[Block]) -> bool:
    return any(isinstance(block, dict) and kind in block for block in blocks)


def _is_empty(part: Part) -> bool:
    if not isinstance(part, Text | Refusal):
        return False
    return not part.text or (part.text.isspace() and part.cache is None)  # with a mark it is taken (recorded 200)


def _why(part: Part) -> str:
    match part:
        case Image(data=None) | Document(data=None, text=None):
            return "send its bytes, or an s3:// URL"
        case Image() | Document():
            return f"its type {part.media_type} is not among those taken"
        case Audio():
            return f"its format {part.format} is not among those taken"
        case _:
            return "there is no block for it"
