"""Messages as Mistral takes them, which checks them more strictly than OpenAI and refuses what it does not know.

    tool call ids        exactly nine letters or digits: another service's id becomes one, the same each time
    last message         an assistant's, which the model goes on with, says `"prefix": true`
    documents            {"type": "document_url", "document_url": …} in place of OpenAI's `file`
    other members        name, refusal, annotations, audio: left out with a Notice; what a refusal says is kept

Source: docs.mistral.ai/api, its openapi.yaml (`additionalProperties: false`), and the validator of
github.com/mistralai/mistral-common ("Tool call id was … but must be a-z, A-Z, 0-9, with a length of 9"), 2026-11.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from genai_spine.wire.json import UNREADABLE

Notice = Callable[[str, str, str | None], None]

_ID_LENGTH = 9
_ID = re.compile(rf"[a-zA-Z0-9]{{{_ID_LENGTH}}}")
_DIGITS = string.digits + string.ascii_letters

_MEMBERS: dict[str, frozenset[str]] = {
    "system": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset({"role", "content", "tool_calls", "prefix"}),
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
}
_MEMBERS_OF_CALL = frozenset({"id", "type", "function", "index"})


def call_id_of(call_id: str) -> str:
    """The id as Mistral takes it: itself, or nine letters and digits that follow from it alone, so that a call and
    its result, and two readings of one conversation, agree."""
    if _ID.fullmatch(call_id):
        return call_id
    number = int.from_bytes(hashlib.blake2s(call_id.encode(errors="replace")).digest(), "big")
    characters: list[str] = []
    for _ in range(_ID_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        characters.append(_DIGITS[digit])
    return "".join(characters)


# ---------------------------------------------------------------- written through the model


def fit(messages: list[dict[str, Any]], notice: Notice) -> None:
    """Changes messages in OpenAI's form to Mistral's, in place."""
    for index, message in enumerate(messages):
        _fit_message(message, f"messages[{index}]", notice)
    if messages and (last := messages[-1])["role"] == "assistant" and not last.get("tool_calls"):
        last.setdefault("prefix", True)


def _fit_message(message: dict[str, Any], path: str, notice: Notice) -> None:
    content = message.get("content")
    if isinstance(content, list):
        message["content"] = [_fit_part(part) for part in content]
    if refusal := message.pop("refusal", None):
        notice("changed", "a refusal is sent as text", path)
        _add_text(message, refusal)
    for call in message.get("tool_calls") or ():
        call["id"] = call_id_of(call["id"])
        _leave_out(call, _MEMBERS_OF_CALL, f"{path}.tool_calls", notice)
    if "tool_call_id" in message:
        message["tool_call_id"] = call_id_of(message["tool_call_id"])
    _leave_out(message, _MEMBERS.get(message["role"], _MEMBERS["user"]), path, notice)


def _leave_out(members: dict[str, Any], known: frozenset[str], path: str, notice: Notice) -> None:
    for name in [name for name in members if name not in known]:
        if members.pop(name) is not None:
            notice("dropped", f"Mistral's messages have no {name}", f"{path}.{name}")


def _fit_part(part: dict[str, Any] | msgspec.Raw) -> dict[str, Any] | msgspec.Raw:
    if isinstance(part, msgspec.Raw):
        return part
    match part:
        case {"type": "file", "file": {"file_id": file_id}}:
            return {"type": "file", "file_id": file_id}
        case {"type": "refusal", "refusal": text}:
            return {"type": "text", "text": text}
        case {"type": "text", "text": text}:
            return {"type": "text", "text": text}  # nothing else may stand beside it
    return part


def _add_text(message: dict[str, Any], text: str) -> None:
    content = message.get("content")
    if isinstance(content, list):
        content.append({"type": "text", "text": text})
    else:
        message["content"] = (content or "") + text


def document_url(url: str, name: str | None) -> dict[str, Any]:
    return {"type": "document_url", "document_url": url} | ({"document_name": name} if name is not None else {})


# ---------------------------------------------------------------- relayed


class _Call(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: Annotated[str, msgspec.Meta(pattern=rf"^[a-zA-Z0-9]{{{_ID_LENGTH}}}$")]
    function: msgspec.Raw
    type: Literal["function"] = "function"
    index: int = 0


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "user", "assistant", "tool"]
    content: msgspec.Raw = msgspec.Raw(b"null")
    tool_calls: list[_Call] | None = None
    tool_call_id: Annotated[str, msgspec.Meta(pattern=rf"^[a-zA-Z0-9]{{{_ID_LENGTH}}}$")] | None = None
    name: str | None = None
    prefix: bool | None = None


_messages = msgspec.json.Decoder(list[_Message])
_OTHER_PARTS = re.compile(rb'"type"\s*:\s*"(?:file|refusal)"')


def fits(messages: bytes) -> bool:
    """Whether a caller's own messages can go to Mistral as they are."""
    try:
        found = _messages.decode(messages)
    except UNREADABLE:
        return False
    last = found[-1] if found else None
    return (
        not (last is not None and last.role == "assistant" and not last.tool_calls and not last.prefix)
        and all(message.name is None or message.role == "tool" for message in found)
        and _OTHER_PARTS.search(messages) is None
    )
