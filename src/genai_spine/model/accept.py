"""What users may write in place of the model's types, read in one place.

Dicts in OpenAI's or Anthropic's form, plain strings, other libraries' message objects, Pydantic classes.
This is the library's front door, for values made by hand; bytes from the wire are read by a dialect's
`decode_request`, which is strict and keeps what it does not know.

Every function raises InvalidRequest for what it cannot read, naming the place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import msgspec

from genai_spine.model.content import (
    PARTS,
    Audio,
    CacheMark,
    Document,
    Image,
    Metadata,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    split_data_url,
)
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.scalars import kind_of

S = TypeVar("S")
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


def messages_of(value: Any, message: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        return (message(role="user", content=value),)
    if isinstance(value, Mapping | bytes | bytearray) or not isinstance(value, Iterable):
        raise InvalidRequest(f"messages: expected a list of messages, got {kind_of(value)}", param="messages")
    return tuple(
        [
            item if isinstance(item, message) else _message_of(item, message, f"messages[{index}]")
            for index, item in enumerate(value)
        ]
    )


def _message_of(value: Any, message: Any, path: str) -> Any:
    if isinstance(value, str):
        return message(role="user", content=value)
    if not isinstance(value, Mapping):
        if not hasattr(value, "role") or not hasattr(value, "content"):
            raise InvalidRequest(f"{path}: expected a message, got {kind_of(value)}", param=path)
        value = _members_of(value, _MESSAGE, path)
    _check_known({name: member for name, member in value.items() if member}, _MESSAGE, path)  # dumps hold empty ones
    role = value.get("role")
    if role not in ROLES:
        raise InvalidRequest(
            f"{path}.role: expected one of {', '.join(sorted(ROLES))}, got {role!r}", param=f"{path}.role"
        )
    parts = parts_of(value.get("content"), f"{path}.content")
    if thought := value.get("reasoning_content"):
        parts = (Thinking(text=thought), *parts)
    if refusal := value.get("refusal"):
        parts = (*parts, Refusal(text=refusal))
    for index, call in enumerate(value.get("tool_calls") or ()):
        parts = (*parts, _tool_call_of(call, f"{path}.tool_calls[{index}]"))
    if role == "tool":
        call_id = _member(value, "tool_call_id", str, path)
        parts = (ToolResult(call_id=call_id, content=parts, name=value.get("name")),)
        return message(role=role, content=parts)
    return message(role=role, content=parts, name=value.get("name"))


def parts_of(value: Any, path: str = "content") -> tuple[Part, ...]:
    """A string, a part, or a list of parts in any of the forms that we read."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (Text(text=value),)
    if isinstance(value, PARTS):
        return (value,)
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise InvalidRequest(f"{path}: expected a string or a list of parts, got {kind_of(value)}", param=path)
    return tuple(_part_of(item, f"{path}[{index}]") for index, item in enumerate(value))


def _part_of(value: Any, path: str) -> Part:
    if isinstance(value, PARTS):
        return value
    if isinstance(value, str):
        return Text(text=value)
    kind = value.get("type") if isinstance(value, Mapping) else None
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        known = ", ".join(sorted(_READERS))
        raise InvalidRequest(f"{path}: unknown part {kind or kind_of(value)!r}; known types: {known}", param=path)
    part: Part = read(value, path)
    if cache := _cache_of(value, path):
        part = msgspec.structs.replace(part, cache=cache)
    dialect, names = _MEMBERS[str(kind)]
    if rest := _others(value, ("type", "cache_control", *names)):
        part = msgspec.structs.replace(part, provider_metadata={dialect: msgspec.Raw(encoded(rest, path))})
    return part


def _others(members: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """What an object says beside these names; other libraries' dumps hold empty members, which say nothing."""
    return {name: member for name, member in members.items() if member and name not in names}


def _cache_of(value: Mapping[str, Any], path: str) -> CacheMark | None:
    mark = value.get("cache_control")
    return CacheMark(ttl=_object(mark, f"{path}.cache_control").get("ttl")) if mark else None


def _text_of(value: Mapping[str, Any], path: str) -> Part:
    return Text(text=_member(value, "text", str, path))


def _image_url_of(value: Mapping[str, Any], path: str) -> Part:
    inner = value.get("image_url")
    members: Mapping[str, Any] = {"url": inner} if isinstance(inner, str) else _object(inner, path)
    _check_known(_others(members, ()), ("url", "detail"), f"{path}.image_url")
    url = _member(members, "url", str, f"{path}.image_url")
    if split := split_data_url(url):
        return Image(media_type=split[0], data=split[1], detail=members.get("detail"))
    return Image(url=url, detail=members.get("detail"))


def _source_of(value: Mapping[str, Any], path: str) -> dict[str, Any]:
    source = _object(value.get("source"), f"{path}.source")
    _check_known(_others(source, ()), ("type", "data", "media_type", "url", "file_id"), f"{path}.source")
    match source.get("type"):
        case "base64":
            return {"data": _member(source, "data", str, path), "media_type": source.get("media_type")}
        case "url":
            return {"url": _member(source, "url", str, path)}
        case "file":
            return {"file_id": _member(source, "file_id", str, path)}
        case "text":
            return {"text": _member(source, "data", str, path), "media_type": source.get("media_type")}
        case other:
            raise InvalidRequest(f"{path}.source.type: unknown source {other!r}", param=path)


def _image_of(value: Mapping[str, Any], path: str) -> Part:
    return Image(**_source_of(value, path))


def _document_of(value: Mapping[str, Any], path: str) -> Part:
    return Document(name=value.get("title"), **_source_of(value, path))


def _file_of(value: Mapping[str, Any], path: str) -> Part:
    file = _object(value.get("file"), f"{path}.file")
    _check_known(_others(file, ()), ("filename", "file_data", "file_id"), f"{path}.file")
    name, data = file.get("filename"), file.get("file_data")
    if data is None:
        return Document(file_id=_member(file, "file_id", str, f"{path}.file"), name=name)
    data = _member(file, "file_data", str, f"{path}.file")
    media_type, data = split_data_url(data) or (None, data)
    return Document(data=data, media_type=media_type, name=name)


def _audio_of(value: Mapping[str, Any], path: str) -> Part:
    audio = _object(value.get("input_audio"), f"{path}.input_audio")
    _check_known(_others(audio, ()), ("data", "format"), f"{path}.input_audio")
    return Audio(data=_member(audio, "data", str, path), format=audio.get("format"))


def _thinking_of(value: Mapping[str, Any], path: str) -> Part:
    return Thinking(text=_member(value, "thinking", str, path), signature=value.get("signature"))


def _redacted_of(value: Mapping[str, Any], path: str) -> Part:
    return Thinking(redacted=_member(value, "data", str, path))


def _tool_use_of(value: Mapping[str, Any], path: str) -> Part:
    arguments = msgspec.json.encode(value.get("input") or {}).decode()
    name = _member(value, "name", str, path)
    return ToolCall(id=_member(value, "id", str, path), name=name, arguments=arguments)


def _tool_result_of(value: Mapping[str, Any], path: str) -> Part:
    return ToolResult(
        call_id=_member(value, "tool_use_id", str, path),
        content=parts_of(value.get("content"), f"{path}.content"),
        is_error=bool(value.get("is_error")),
    )


def _refusal_of(value: Mapping[str, Any], path: str) -> Part:
    return Refusal(text=_member(value, "refusal", str, path))


_READERS = {
    "text": _text_of,
    "image_url": _image_url_of,
    "image": _image_of,
    "document": _document_of,
    "file": _file_of,
    "input_audio": _audio_of,
    "thinking": _thinking_of,
    "redacted_thinking": _redacted_of,
    "tool_use": _tool_use_of,
    "tool_result": _tool_result_of,
    "refusal": _refusal_of,
}


_ANTHROPIC, _OPENAI = "anthropic_messages", "openai_chat"
_MEMBERS = {
    "text": (_ANTHROPIC, ("text",)),
    "image": (_ANTHROPIC, ("source",)),
    "document": (_ANTHROPIC, ("source", "title")),
    "thinking": (_ANTHROPIC, ("thinking", "signature")),
    "redacted_thinking": (_ANTHROPIC, ("data",)),
    "tool_use": (_ANTHROPIC, ("id", "name", "input")),
    "tool_result": (_ANTHROPIC, ("tool_use_id", "content", "is_error")),
    "image_url": (_OPENAI, ("image_url",)),
    "file": (_OPENAI, ("file",)),
    "input_audio": (_OPENAI, ("input_audio",)),
    "refusal": (_OPENAI, ("refusal",)),
}
"""Whose a part is, and what is read of it. The rest, such as a document's `citations`, is kept for that dialect."""


def _tool_call_of(value: Any, path: str) -> ToolCall:
    if isinstance(value, ToolCall):
        return value
    call = _members_of(value, ("id", "function", "extra_content"), path)
    function = _members_of(call.get("function"), ("name", "arguments"), f"{path}.function")
    arguments = function.get("arguments") or ""
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    name = _member(function, "name", str, f"{path}.function")
    rest = _others(call, ("id", "type", "index", "function"))  # such as Gemini's signature, without which it refuses
    if of_function := _others(function, ("name", "arguments")):
        rest["function"] = of_function
    kept = {_OPENAI: msgspec.Raw(encoded(rest, path))} if rest else None
    return ToolCall(id=_member(call, "id", str, path), name=name, arguments=arguments, provider_metadata=kept)


def tools_of(value: Any, tool: Any, provider_tool: Any) -> tuple[Any, ...]:
    """Tools in OpenAI's form (`function.parameters`), Anthropic's (`input_schema`) or ours; None is without any."""
    if value is None:
        return ()
    if isinstance(value, Mapping | str) or not isinstance(value, Iterable):
        raise InvalidRequest(f"tools: expected a list of tools, got {kind_of(value)}", param="tools")
    tools = []
    for index, item in enumerate(value):
        path = f"tools[{index}]"
        if isinstance(item, tool | provider_tool):
            tools.append(item)
            continue
        item = _object(item, path)
        inner = _object(item["function"], f"{path}.function") if "function" in item else item
        kind = item.get("type") or "function"
        if kind not in ("function", "custom"):
            own = f"{kind!r} is no function but a tool of a provider's own: give a ProviderTool, with its dialect"
            raise InvalidRequest(f"{path}.type: {own}", param=f"{path}.type")
        _check_known({**item, **inner}, _TOOL, path)
        parameters = inner.get("parameters", inner.get("input_schema"))
        tools.append(
            tool(
                name=_member(inner, "name", str, path),
                description=inner.get("description"),
                parameters=_schema_of(parameters, f"{path}.parameters"),
                strict=inner.get("strict"),
                kind="custom" if kind == "custom" and parameters is None else "function",
                cache=_cache_of(item, path),
            )
        )
    return tuple(tools)


def tool_choice_of(value: Any, tool_choice: Any) -> Any:
    if isinstance(value, str):
        mode = {"any": "required"}.get(value, value)
        known = mode in ("auto", "none", "required")
        return tool_choice(mode=mode) if known else tool_choice(mode="tool", name=value)
    choice = _object(value, "tool_choice")
    if choice.get("disable_parallel_tool_use"):
        raise InvalidRequest("tool_choice: say parallel_tool_calls=False in place of disable_parallel_tool_use")
    function = choice.get("function")
    if (name := function.get("name") if isinstance(function, Mapping) else choice.get("name")) is not None:
        return tool_choice(mode="tool", name=name)
    if (kind := _member(choice, "type", str, "tool_choice")) not in ("auto", "none", "required", "any"):
        raise InvalidRequest(f"tool_choice: {kind!r} without the name of a tool", param="tool_choice")
    return tool_choice_of(kind, tool_choice)


def output_schema_of(value: Any, output_schema: Any) -> Any:
    """A JSON Schema, a format as either of OpenAI's dialects or Anthropic's has it, or a class: Pydantic's, msgspec's,
    a dataclass."""
    if isinstance(value, Mapping):
        if value.get("type") == "json_object":
            return output_schema()
        if value.get("type") == "json_schema" and isinstance(inner := value.get("json_schema", value), Mapping):
            return output_schema(
                schema=_schema_of(inner.get("schema"), "output_schema.schema"),
                name=inner.get("name"),
                description=inner.get("description"),
                strict=inner.get("strict"),
            )
        return output_schema(schema=_schema_of(value, "output_schema"))
    if isinstance(value, type):
        if (schema_of := getattr(value, "model_json_schema", None)) is not None:
            return output_schema(schema=schema_of(), name=value.__name__)
        try:
            return output_schema(schema=msgspec.json.schema(value), name=value.__name__)
        except TypeError as error:
            raise InvalidRequest(f"output_schema: {error}", param="output_schema") from None
    raise InvalidRequest(
        f"output_schema: expected a JSON Schema or a class, got {kind_of(value)}", param="output_schema"
    )


def thinking_of(value: Any, thinking: Any) -> Any:
    if isinstance(value, bool):
        return thinking(enabled=value)
    if isinstance(value, int):
        return thinking(enabled=True, budget_tokens=value) if value else thinking(enabled=False)
    if isinstance(value, str):
        return thinking(enabled=value != "none", effort=value)
    members = _object(value, "thinking")
    if unknown := members.keys() - _THINKING:
        raise InvalidRequest(f"thinking: unknown member {sorted(unknown)[0]!r}", param="thinking")
    kind, effort = members.get("type"), members.get("effort")
    if kind not in (None, "enabled", "disabled", "adaptive"):
        wanted = f"thinking.type: expected enabled, disabled or adaptive, got {kind!r}"
        raise InvalidRequest(wanted, param="thinking.type")
    enabled = kind != "disabled" if kind else effort != "none" if effort else True
    return thinking(
        enabled=members.get("enabled", enabled),
        budget_tokens=members.get("budget_tokens"),
        effort=effort,
        adaptive=members.get("adaptive", kind == "adaptive"),
        display=members.get("display"),
    )


_THINKING = frozenset({"type", "enabled", "budget_tokens", "effort", "adaptive", "display"})


def cache_of(value: Any) -> CacheMark | None:
    """A mark of the whole prompt: True, how long it holds, or as Anthropic writes it."""
    if isinstance(value, bool):
        return CacheMark() if value else None
    if isinstance(value, str):
        return CacheMark(ttl=value)
    return CacheMark(ttl=_object(value, "cache").get("ttl"))


def strings_of(value: Any, param: str) -> tuple[str, ...]:
    """One text or several; None is none."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise InvalidRequest(f"{param}: expected a string or a list of strings, got {kind_of(value)}", param=param)
    strings = tuple(value)
    for index, item in enumerate(strings):
        if not isinstance(item, str):
            path = f"{param}[{index}]"
            raise InvalidRequest(f"{path}: expected a string, got {kind_of(item)}", param=path)
    return strings


def inputs_of(value: Any) -> tuple[str | tuple[int, ...], ...]:
    """What vectors are wanted of: a text, or a list of texts and of lists of token ids."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping | bytes | bytearray | memoryview) or not isinstance(value, Iterable):
        raise InvalidRequest(f"input: expected a text or a list of texts, got {kind_of(value)}", param="input")
    return tuple(_input_of(item, f"input[{index}]") for index, item in enumerate(value))


def _input_of(value: Any, path: str) -> str | tuple[int, ...]:
    if isinstance(value, str):
        return value
    # Bytes give whole numbers too, and they are no ids of tokens.
    is_list = isinstance(value, Iterable) and not isinstance(value, Mapping | bytes | bytearray | memoryview)
    tokens = tuple(value) if is_list else ()
    if not tokens or not all(isinstance(token, int) and not isinstance(token, bool) for token in tokens):
        raise InvalidRequest(f"{path}: expected a text or a list of token ids, got {kind_of(value)}", param=path)
    return tokens


def encoded(value: Any, path: str = "request") -> bytes:
    """JSON of a request or of the part of it at `path`."""
    try:
        return msgspec.json.encode(value)
    except TypeError as error:
        raise InvalidRequest(f"{path}: not JSON: {error}", param=path) from None
    except UnicodeEncodeError as error:
        raise unsayable(error) from None


def unsayable(error: UnicodeEncodeError) -> InvalidRequest:
    """Of a request that holds half of a pair of surrogates, as Python makes it of bytes that are no UTF-8."""
    code = ord(error.object[error.start])
    return InvalidRequest(
        f"a text of the request holds U+{code:04X}, which stands for no character: "
        'mend it with text.encode(errors="replace").decode()'
    )


def is_not_json(error: Exception) -> bool:
    """Whether JSON was to be made of something that is none: a class among a schema's members, bytes in a dict."""
    return type(error) is TypeError and str(error).startswith("Encoding objects of type")


def is_amount(value: Any) -> bool:
    """Whether this is an amount in USD, 0 or more."""
    return isinstance(value, Decimal) and value.is_finite() and value >= 0


def amount_of(value: Any, param: str) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = None
    if amount is None or not is_amount(amount):
        raise InvalidRequest(f"{param}: expected an amount in USD, 0 or more", param=param)
    return amount


def is_raw(value: Any) -> bool:
    return isinstance(value, Mapping) and all(type(item) is msgspec.Raw for item in value.values())


def raw_by_dialect(value: Any) -> Metadata:
    return {dialect: _raw_of(members, f"extra.{dialect}") for dialect, members in _object(value, "extra").items()}


def _raw_of(members: Any, path: str) -> msgspec.Raw:
    return members if isinstance(members, msgspec.Raw) else msgspec.Raw(encoded(_object(members, path), path))


_MESSAGE = ("role", "content", "type", "name", "refusal", "reasoning_content", "tool_calls", "tool_call_id")
_TOOL = ("type", "function", "name", "description", "parameters", "input_schema", "strict", "cache_control")


def _check_known(members: Mapping[str, Any], known: tuple[str, ...], path: str) -> None:
    """Nothing that is said is lost in silence, and a name that is spelled wrong is found."""
    for name in members:
        if name not in known:
            raise InvalidRequest(f"{path}: unknown member {name!r}; known are {', '.join(known)}", param=path)


def _schema_of(value: Any, path: str) -> Mapping[str, Any] | None:
    """A schema that JSON can hold: not one with Python's `str` in place of "string"."""
    if value is None:
        return None
    encoded(value, path)
    return _object(value, path)


def _members_of(value: Any, names: tuple[str, ...], path: str) -> Mapping[str, Any]:
    """Those of an object as JSON has it, or as another library does."""
    if isinstance(value, Mapping) or not any(hasattr(value, name) for name in names):
        return _object(value, path)
    return {name: getattr(value, name, None) for name in names}


def _object(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{path}: expected an object, got {kind_of(value)}", param=path)
    return value


def _member(value: Mapping[str, Any], key: str, kind: type, path: str) -> Any:
    member = value.get(key)
    if not isinstance(member, kind):
        what = "missing" if member is None else f"expected {kind.__name__}, got {kind_of(member)}"
        raise InvalidRequest(f"{path}.{key}: {what}", param=f"{path}.{key}")
    return member
