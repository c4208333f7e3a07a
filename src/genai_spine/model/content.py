"""The parts a message is made of.

Pure values: no dialect's names, no I/O. A part carries what every dialect may want to say about it in
its own fields, and what only one dialect knows in `provider_metadata`: the name of that dialect and a
JSON object whose members are sent back verbatim to that dialect and to no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from genai_spine.model.errors import InvalidRequest
from genai_spine.model.scalars import kind_of

Metadata: TypeAlias = Mapping[str, msgspec.Raw]
"""By dialect: a JSON object, as bytes, of members the model has no name for."""


class CacheMark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The prompt up to and including this part may be cached. `ttl` as written: "5m", "1h" or None."""

    ttl: str | None = None


class _Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    cache: CacheMark | None = None
    provider_metadata: Metadata | None = None


def split_data_url(url: str) -> tuple[str, str] | None:
    """`data:image/png;base64,AAAA` is ("image/png", "AAAA"); None for any other URL."""
    if not url.startswith("data:"):
        return None
    head, _, data = url[5:].partition(",")
    return (head.removesuffix(";base64"), data) if head.endswith(";base64") else None


def _settle_data(part: Image | Document | Audio) -> None:
    """`data` is text: bytes would go out as Python writes them. A data: URL holds its data itself."""
    for name in _OTHER_TEXTS:
        value = getattr(part, name, None)
        if value is not None and not isinstance(value, str):
            mend = "; mend it with .decode()" if isinstance(value, bytes) else ""
            raise InvalidRequest(f"{name}: expected a string, got {kind_of(value)}{mend}", param=name)
    if part.data is not None and not isinstance(part.data, str):
        raise InvalidRequest(
            f"data: expected base64 as text, got {type(part.data).__name__}; "
            "mend it with base64.b64encode(data).decode()",
            param="data",
        )
    if isinstance(part, Audio) or part.url is None:
        return
    if not isinstance(part.url, str):
        wanted = f"expected a string, got {kind_of(part.url)}; the bytes of a file go into data, as base64"
        raise InvalidRequest(f"url: {wanted}", param="url")
    if (split := split_data_url(part.url)) is not None:
        msgspec.structs.force_setattr(part, "url", None)
        msgspec.structs.force_setattr(part, "media_type", split[0] or part.media_type)
        msgspec.structs.force_setattr(part, "data", split[1])


_OTHER_TEXTS = ("text", "file_id", "media_type", "detail", "name", "format", "id", "transcript")


class Citation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a text of an answer is drawn from: a page at `url`, or a document, by its `title` or `file_id`.

    `cited_text` is what that says. `text[start:end]` of the part is what is drawn from it; None is all of the part.
    """

    url: str | None = None
    title: str | None = None
    file_id: str | None = None
    cited_text: str | None = None
    start: int | None = None
    end: int | None = None


class Text(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="text"):
    """Words, of the caller or of the model. `citations` are of answers, and are told to no model."""

    text: str
    citations: tuple[Citation, ...] = ()


class Image(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="image"):
    """One of `url`, `data` (base64) or `file_id`. `detail` is OpenAI's low, high or auto."""

    url: str | None = None
    data: str | None = None
    file_id: str | None = None
    media_type: str | None = None
    detail: str | None = None

    def __post_init__(self) -> None:
        _settle_data(self)


class Audio(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="audio"):
    """`data` is base64; `format` is wav, mp3 …; `id` names audio that the provider keeps."""

    data: str | None = None
    format: str | None = None
    id: str | None = None
    transcript: str | None = None

    def __post_init__(self) -> None:
        _settle_data(self)


class Document(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="document"):
    """A PDF or text. One of `url`, `data` (base64), `text` or `file_id`."""

    url: str | None = None
    data: str | None = None
    text: str | None = None
    file_id: str | None = None
    media_type: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        _settle_data(self)


class Thinking(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="thinking"):
    """What the model thought. `signature` proves it to the provider; `redacted` is a thought we may not read.

    Both are good only where they were made: those of other makers than Anthropic begin with a name, as in
    "openai:gAAAAAB…", which their maker does not see.
    """

    text: str = ""
    signature: str | None = None
    redacted: str | None = None


class ToolCall(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="tool_call"):
    """`arguments` is JSON text as the model wrote it (free text where `kind` is "custom")."""

    id: str
    name: str
    arguments: str = ""
    kind: Literal["function", "custom"] = "function"

    def __post_init__(self) -> None:
        if not isinstance(self.arguments, str):
            wanted = f"expected JSON text, got {type(self.arguments).__name__}; mend it with json.dumps(arguments)"
            raise InvalidRequest(f"arguments: {wanted}", param="arguments")

    @property
    def input(self) -> Any:
        """The arguments as a value; no arguments are an empty object.

        Raises: msgspec.DecodeError where the model did not write JSON.
        """
        return msgspec.json.decode(self.arguments) if self.arguments.strip() else {}


class Refusal(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="refusal"):
    """What the model says in place of an answer that it will not give."""

    text: str = ""


class Opaque(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="opaque"):
    """A block that only `dialect` knows, kept as it came: `raw` is the whole JSON object."""

    dialect: str
    kind: str
    raw: msgspec.Raw


class ToolResult(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="tool_result"):
    """The answer to the tool call `call_id`. `content` may hold texts, images and documents, or be a string."""

    call_id: str
    content: tuple[Part, ...] = ()
    is_error: bool = False
    name: str | None = None

    if TYPE_CHECKING:  # what it takes, which is more than what it holds

        def __init__(
            self,
            *,
            call_id: str,
            content: str | Part | Sequence[Part] = (),
            is_error: bool = False,
            name: str | None = None,
            cache: CacheMark | None = None,
            provider_metadata: Metadata | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        content: Any = self.content
        if isinstance(content, str):
            content = (Text(text=content),)
        elif not isinstance(content, tuple):
            content = () if content is None else tuple(content) if isinstance(content, Sequence) else (content,)
        msgspec.structs.force_setattr(self, "content", content)
        for place, part in enumerate(content):
            if not isinstance(part, PARTS):
                what = f"content[{place}]: expected a part such as Text, got {type(part).__name__}"
                raise InvalidRequest(what, param="content")
        check_texts(content)

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content if isinstance(part, Text))


Part: TypeAlias = Text | Image | Audio | Document | Thinking | ToolCall | ToolResult | Refusal | Opaque
PARTS = (Text, Image, Audio, Document, Thinking, ToolCall, ToolResult, Refusal, Opaque)
ContentPart: TypeAlias = Part
"""The specification's name."""


_TEXTS: dict[type, tuple[tuple[str, ...], tuple[str, ...]]] = {
    Text: (("text",), ()),
    Refusal: (("text",), ()),
    Thinking: (("text",), ("signature", "redacted")),
    ToolCall: (("id", "name"), ()),
    ToolResult: (("call_id",), ("name",)),
}
"""By part: fields that are text, and those that are text or None. The others see to themselves."""


def check_texts(parts: Sequence[Part]) -> None:
    """Of what is sent: a text may be as a tool gave it, or a database. An answer's is its provider's to answer for.

    Raises: InvalidRequest, naming the place.
    """
    for place, part in enumerate(parts):
        if type(part) is Text and type(part.text) is str:
            continue
        required, optional = _TEXTS.get(type(part), ((), ()))
        for name in (*required, *optional):
            value = getattr(part, name)
            if not isinstance(value, str) and not (value is None and name in optional):
                path = f"content[{place}].{name}"
                raise InvalidRequest(f"{path}: expected a string, got {kind_of(value)}", param=path)
