"""What a caller asks for.

Pure values. Absent is None: nothing here has a default that the caller did not ask for. What users may
write in place of these types (dicts, strings, other libraries' objects) is read in accept.py, once,
when a value is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypedDict, Unpack

import msgspec

from genai_spine.model import accept
from genai_spine.model.content import PARTS, CacheMark, Metadata, Part, Text, ToolCall, check_texts
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.scalars import Scalars, kind_of

Role = Literal["system", "developer", "user", "assistant", "tool"]


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn. `content` may be given as a string; it is kept as parts.

    Tool results live in messages of role "tool" or "user", whichever the caller wrote.
    """

    role: Role
    content: tuple[Part, ...] = ()
    name: str | None = None
    provider_metadata: Metadata | None = None

    if TYPE_CHECKING:  # what it takes, which is more than what it holds

        def __init__(
            self,
            *,
            role: Role,
            content: str | Part | Sequence[Part | Mapping[str, Any] | str] | None = (),
            name: str | None = None,
            provider_metadata: Metadata | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        if self.role not in accept.ROLES:
            known = ", ".join(sorted(accept.ROLES))
            raise InvalidRequest(f"role: expected one of {known}, got {self.role!r}", param="role")
        if type(self.content) is not tuple or not _PARTS.issuperset(map(type, self.content)):
            msgspec.structs.force_setattr(self, "content", accept.parts_of(self.content))
        check_texts(self.content)

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content if isinstance(part, Text))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(part for part in self.content if isinstance(part, ToolCall))


LLMMessage = Message
_PARTS = frozenset(PARTS)


class Tool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="tool"):
    """A function the model may call. `parameters` is a JSON Schema; None is a function without any.

    `kind` "custom" takes free text in place of JSON; its grammar stays in `provider_metadata`.
    """

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None
    kind: Literal["function", "custom"] = "function"
    cache: CacheMark | None = None
    provider_metadata: Metadata | None = None

    def __post_init__(self) -> None:
        _TOOL.check(self)
        _check_schema("parameters", self.parameters)


class ProviderTool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="provider_tool"):
    """A tool that the provider itself runs (web search …); only `dialect` knows it. `raw` is its JSON."""

    dialect: str
    name: str
    raw: msgspec.Raw


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """auto, none, required (any tool), or "tool" with its `name`."""

    mode: Literal["auto", "none", "required", "tool"]
    name: str | None = None

    def __post_init__(self) -> None:
        _CHOICE.check(self)


class OutputSchema(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer must be JSON; of this JSON Schema where `schema` is given."""

    schema: Mapping[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None

    def __post_init__(self) -> None:
        _check_schema("schema", self.schema)


class ThinkingConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much to think. `enabled` None leaves it to the model.

    `budget_tokens` bounds it (Anthropic), `effort` names it (none, minimal, low, medium, high, xhigh, max),
    `adaptive` lets the model decide each time; `display` is whether thoughts are shown (summarized, omitted).
    """

    enabled: bool | None = None
    budget_tokens: int | None = None
    effort: str | None = None
    adaptive: bool = False
    display: str | None = None

    def __post_init__(self) -> None:
        _THINKING.check(self)


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A conversation and how to answer it.

    `messages` take `Message`s or dicts in OpenAI's or Anthropic's form; `tools` both forms of tool;
    `output_schema` a JSON Schema, an `OutputSchema` or a class that has one; `thinking` also True or False.
    `extra` holds, by dialect, top-level members the model has no name for; they go to that dialect only.
    """

    messages: tuple[Message, ...]
    model: str | None = None
    provider: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    stream: bool = False
    output_schema: OutputSchema | None = None
    tools: tuple[Tool | ProviderTool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int | None = None
    thinking: ThinkingConfig | None = None
    user: str | None = None
    cache: CacheMark | None = None
    provider_hint: str | None = None
    cost_limit: Decimal | None = None
    fallbacks: tuple[str, ...] = ()
    context_window: int | None = None
    extra: Metadata | None = None

    if TYPE_CHECKING:  # what it takes, which is more than what it holds

        def __init__(
            self,
            *,
            messages: str | Sequence[MessageLike | Turn],
            model: str | None = None,
            stream: bool = False,
            n: int | None = None,
            cache: CacheMark | Mapping[str, Any] | str | bool | None = None,
            **options: Unpack[Options],
        ) -> None: ...

    def __post_init__(self) -> None:
        _SCALARS.check(self)
        says_more = (
            self.tools is not _NONE
            or self.stop is not _NONE
            or self.fallbacks is not _NONE
            or self.tool_choice is not None
            or self.output_schema is not None
            or self.thinking is not None
            or self.cost_limit is not None
            or self.extra is not None
            or self.cache is not None
        )
        for field, is_final, accepted in _ACCEPTED if says_more else _ACCEPTED[:1]:
            value = getattr(self, field)
            if value is not _NONE and (value is not None or field in _LISTS) and not is_final(value):
                msgspec.structs.force_setattr(self, field, accepted(value))

    def aimed_at(
        self, model: str | None, *, stream: bool | None = None, max_tokens: int | None = None
    ) -> CompletionRequest:
        """A copy for this model: as `msgspec.structs.replace`, but what was accepted once is not looked at again."""
        copied: CompletionRequest = self.__copy__()  # type: ignore[attr-defined]  # msgspec's, which its stubs lack
        msgspec.structs.force_setattr(copied, "model", model)
        if stream is not None:
            msgspec.structs.force_setattr(copied, "stream", stream)
        if max_tokens is not None:
            msgspec.structs.force_setattr(copied, "max_tokens", max_tokens)
        return copied


_NONE: tuple[()] = ()
_LISTS = frozenset(("messages", "tools", "stop", "fallbacks"))
"""Fields that are never None: it is read as one more form of what a caller may write."""
_TOOL = Scalars(strings=("name", "description"), switches=("strict",))
_CHOICE = Scalars(strings=("mode", "name"))
_THINKING = Scalars(strings=("effort", "display"), counts=("budget_tokens",), switches=("enabled", "adaptive"))
_SCALARS = Scalars(
    strings=("model", "provider", "user", "provider_hint"),
    numbers=("temperature", "top_p", "frequency_penalty", "presence_penalty"),
    counts=("max_tokens", "top_k", "seed", "n", "context_window"),
    switches=("stream", "parallel_tool_calls"),
)


def _check_schema(field: str, schema: Any) -> None:
    if schema is not None and not isinstance(schema, Mapping):
        raise InvalidRequest(f"{field}: expected a JSON Schema as a dict, got {kind_of(schema)}", param=field)


def _all(*kinds: type) -> Any:
    known = frozenset(kinds)
    return lambda value: type(value) is tuple and known.issuperset(map(type, value))


def _is(kind: type) -> Any:
    return lambda value: isinstance(value, kind)


_ACCEPTED = (
    ("messages", _all(Message), lambda value: accept.messages_of(value, Message)),
    ("tools", _all(Tool, ProviderTool), lambda value: accept.tools_of(value, Tool, ProviderTool)),
    ("tool_choice", _is(ToolChoice), lambda value: accept.tool_choice_of(value, ToolChoice)),
    ("output_schema", _is(OutputSchema), lambda value: accept.output_schema_of(value, OutputSchema)),
    ("thinking", _is(ThinkingConfig), lambda value: accept.thinking_of(value, ThinkingConfig)),
    ("stop", _all(str), lambda value: accept.strings_of(value, "stop")),
    ("fallbacks", _all(str), lambda value: accept.strings_of(value, "fallbacks")),
    ("cost_limit", accept.is_amount, lambda value: accept.amount_of(value, "cost_limit")),
    ("extra", accept.is_raw, accept.raw_by_dialect),
    ("cache", _is(CacheMark), accept.cache_of),
)

ChatRequest = CompletionRequest

MessageLike: TypeAlias = Message | Mapping[str, Any] | str
"""What may stand where a message is asked for: also any object with `role` and `content`."""


class Turn(Protocol):
    """Another library's message."""

    @property
    def role(self) -> str: ...
    @property
    def content(self) -> Any: ...


class Options(TypedDict, total=False):
    """What most fields of `CompletionRequest` take."""

    provider: str | None
    temperature: float | None
    max_tokens: int | None
    output_schema: OutputSchema | Mapping[str, Any] | type | None
    tools: Sequence[Tool | ProviderTool | Mapping[str, Any]] | None
    tool_choice: ToolChoice | str | Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    top_p: float | None
    top_k: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    stop: str | Sequence[str] | None
    seed: int | None
    thinking: ThinkingConfig | Mapping[str, Any] | bool | int | str | None
    user: str | None
    provider_hint: str | None
    cost_limit: Decimal | float | None
    fallbacks: Sequence[str] | None
    context_window: int | None
    extra: Mapping[str, Any] | None


class CompletionKeywords(Options, total=False):
    """What all of them take, as keyword arguments of `complete` and `stream`."""

    messages: str | Sequence[MessageLike | Turn]
    model: str | None
    stream: bool
    n: int | None
    cache: CacheMark | Mapping[str, Any] | str | bool | None
