"""A conversation as one text, for services that take a prompt and no messages.

One message of the user's is the prompt as it is. A longer talk is written as labelled turns, and ends where the
model is to go on, which is told in a Notice:

    User: What is the capital of France?

    Assistant: Paris.

    User: And of Spain?

    Assistant:

Pure; must not know which service it is for. What no text can say is refused by the caller's `content`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from genai_spine.dialects.foreign import only_there
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
from genai_spine.model.request import CompletionRequest, Message, ProviderTool, Tool
from genai_spine.model.response import Notice

LABELS = {"user": "User", "tool": "User", "assistant": "Assistant"}


class Talk(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation without messages."""

    prompt: str
    system: str | None = None
    images: tuple[Image, ...] = ()


class Writer:
    """Writes one conversation; collects the notices on the way, each once. `service` is its name in errors."""

    def __init__(self, service: str, *, takes_images: bool) -> None:
        self.service = service
        self.takes_images = takes_images
        self.notices: dict[Notice, None] = {}
        self._images: list[Image] = []

    def notice(self, code: str, message: str, param: str | None = None) -> None:
        self.notices[Notice(code=code, message=message, param=param)] = None

    def talk(self, messages: Sequence[Message]) -> Talk:
        """Raises: InvalidRequest for what a prompt cannot hold, and where nobody has said anything."""
        systems: list[str] = []
        turns: list[tuple[str, str]] = []
        for index, message in enumerate(messages):
            text = self._text(message, f"messages[{index}]")
            if message.role in ("system", "developer"):
                if turns:
                    self.notice("changed", "what the system says later is said first", f"messages[{index}]")
                systems.append(text)
            else:
                turns.append((LABELS[message.role], text))
        if not turns:
            raise InvalidRequest("messages: a prompt needs something that the user says", param="messages")
        if len(turns) == 1 and turns[0][0] == "User":
            prompt = turns[0][1]
        else:
            self.notice("changed", "the conversation is sent as one prompt of labelled turns", "messages")
            begun = turns[-1][0] == "Assistant"  # what the model is to go on with
            labelled = [f"{label}: {text}" for label, text in turns]
            prompt = "\n\n".join(labelled if begun else [*labelled, "Assistant:"])
        return Talk(prompt=prompt, system="\n\n".join(systems) or None, images=tuple(self._images))

    def _text(self, message: Message, path: str) -> str:
        if message.name is not None:
            self.notice("dropped", "a message has no name here", f"{path}.name")
        between = "" if message.role == "assistant" else "\n\n"
        texts = [
            text
            for index, part in enumerate(message.content)
            if (text := self._part(part, f"{path}.content[{index}]")) is not None
        ]
        return between.join(texts)

    def _part(self, part: Part, place: str) -> str | None:
        if part.cache is not None:
            self.notice("dropped", f"{self.service} takes no cache marks", "cache_control")
        match part:
            case Text():
                return part.text
            case Thinking():
                self.notice("omitted_thinking", "earlier thoughts cannot be sent here", place)
                return None
            case Document(text=str(text)):
                self.notice("changed", "a text document is sent as text", place)
                return text
            case Refusal():
                self.notice("changed", "a refusal is sent as text", place)
                return part.text
            case Image() if self.takes_images:
                if part.file_id is not None:
                    raise InvalidRequest(f"{place}: an image is sent as bytes or as a URL here", param=place)
                if part.detail not in (None, "auto"):
                    self.notice("dropped", f"{self.service} takes no detail of images", "detail")
                self._images.append(part)
                return None
            case _:
                raise InvalidRequest(f"{place}: {self._refused(part)}", param=place)

    def _refused(self, part: Part) -> str:
        match part:
            case Image():
                return f"this model of {self.service} takes no images"
            case Document():
                return f"{self.service} takes no documents; send their text"
            case Audio():
                return f"{self.service} takes no audio; send a transcript"
            case ToolCall() | ToolResult():
                return f"{self.service} knows no tools: their calls and results cannot be said"
            case Opaque():
                return only_there(part)
            case _:
                return f"a part of type {type(part).__name__} cannot be said here"

    def refuse_tools(self, request: CompletionRequest) -> None:
        """Raises: InvalidRequest where the model should call tools; another provider may be asked then."""
        choice = request.tool_choice
        if not request.tools or (choice is not None and choice.mode == "none"):
            return
        names = ", ".join(tool.name for tool in request.tools if isinstance(tool, Tool | ProviderTool))
        raise InvalidRequest(f"tools: {self.service} takes none, and {names} were given", param="tools")


def data_url(image: Image) -> str:
    """The image's URL, or its bytes as one."""
    if image.url is not None:
        return image.url
    return f"data:{image.media_type or 'application/octet-stream'};base64,{image.data or ''}"
