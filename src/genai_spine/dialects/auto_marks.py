"""Prompt-cache marks where the caller has set none: what is long and will come again is marked for the provider.

    {"system": "…", "messages": […, {"role": "user", "content": "…"}]}
    {"system": [{"type": "text", "text": "…", "cache_control": {"type": "ephemeral"}}], "messages": […the same]}

Two of the four marks that a request may have are used: at the end of the system prompt, or of the tools where there
is none, and at the end of the last message of the user, so that the next turn finds this one. A prompt that is
shorter than its model caches is left alone, and so is every request with a mark of its own. All other bytes stay.

Anthropic: platform.claude.com/docs/en/build-with-claude/prompt-caching; Bedrock's Converse:
docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html (read 2026-11). Must not know: settings, prices.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
from msgspec import Raw

from genai_spine.dialects.interface import Target
from genai_spine.wire.json import OBJECT, UNREADABLE, join_object

_MARK = b'"cache_control":{"type":"ephemeral"}'
_POINT = b'{"cachePoint":{"type":"default"}}'
_LEAST: tuple[tuple[str, int], ...] = (
    # Where the documents of a cloud and of the maker differ, or the service from both (anthropic-sdk-python#1194), the
    # larger number stands: too short a prompt is charged in full either way.
    (r"(opus|fable|mythos)-5", 512),
    (r"opus-4-[567]|haiku-4-5", 4096),
    (r"sonnet-4-6|3-5-haiku|3-haiku|haiku-3", 2048),
    (r"opus-4|sonnet-[45]|3-[57]-sonnet|3-opus|nova", 1024),
    (r"claude", 4096),
)
"""Tokens that a prompt has at least for its model to cache it, by the model's name: the first that is found in it."""
_BYTES_PER_TOKEN = 4
"""Of what is written as JSON there are seldom fewer to a token: so a mark is rather left out than set in vain."""
_TAKE_MARKS = frozenset(("text", "image", "document", "tool_result", "search_result"))

_items = msgspec.json.Decoder(list[Raw])


class _Head(msgspec.Struct):
    type: str | None = None
    role: str | None = None
    text: str | None = None


_head = msgspec.json.Decoder(_Head)


def least_tokens(model: str) -> int | None:
    """None for models that take no marks, or are not known by this name."""
    name = model.lower().replace(".", "-")
    return next((least for pattern, least in _LEAST if re.search(pattern, name)), None) if _is_known(name) else None


def _is_known(name: str) -> bool:
    return "claude" in name or "amazon-nova" in name


def marked(dialect: str, body: bytes, target: Target) -> bytes:
    """The body of a request in the dialect, with marks where they are of use; the same bytes where not."""
    mark = _MARKING.get(dialect)
    least = least_tokens(target.model) if mark is not None else None
    if mark is None or least is None or target.card.capabilities.cache_marks is False:
        return body
    if len(body) < least * _BYTES_PER_TOKEN or b'"cache_control"' in body or b'"cachePoint"' in body:
        return body
    try:
        return mark(body, least * _BYTES_PER_TOKEN, target.model)
    except UNREADABLE:  # who answers will say what is wrong with it
        return body


def _mark_messages(body: bytes, least_bytes: int, model: str) -> bytes:
    members = OBJECT.decode(body)
    tools, system = bytes(members.get("tools", b"")), bytes(members.get("system", b""))
    changed: dict[str, bytes] = {}
    if len(tools) + len(system) >= least_bytes:
        if (content := _marked_content(system)) is not None:
            changed["system"] = content
        elif tools.startswith(b"[") and b'"defer_loading"' not in tools:  # those that are found later take none
            changed["tools"] = _with_last(tools, _with_mark)
    messages = bytes(members.get("messages", b""))
    if len(tools) + len(system) + len(messages) >= least_bytes:
        changed["messages"] = _in_last_of_user(messages, _marked_content)
    return join_object({**members, **changed})


def _marked_content(content: bytes) -> bytes | None:
    """A text or a list of blocks with a mark at its end; None where its end takes none."""
    if content.startswith(b'"'):
        return b'[{"type":"text","text":%b,%b}]' % (content, _MARK) if content.strip(b'" ') else None
    if not content.startswith(b"["):
        return None
    blocks = _items.decode(content)
    if not blocks:
        return None
    last = _head.decode(blocks[-1])
    takes = last.type in _TAKE_MARKS and (last.type != "text" or (last.text or "").strip())
    return _with_last(content, _with_mark) if takes else None


def _with_mark(block: bytes) -> bytes:
    if not block.startswith(b"{") or not block[1:-1].strip():
        return block  # no block at all
    return block[:-1].rstrip() + b"," + _MARK + b"}"


def _mark_converse(body: bytes, least_bytes: int, model: str) -> bytes:
    members = OBJECT.decode(body)
    config, system = bytes(members.get("toolConfig", b"")), bytes(members.get("system", b""))
    changed: dict[str, bytes] = {}
    if len(config) + len(system) >= least_bytes:
        if len(system) > len(b"[]"):
            changed["system"] = _with_point(system)
        elif "claude" in model.lower():  # Nova's tools take none
            tools = OBJECT.decode(config)
            changed["toolConfig"] = join_object({**tools, "tools": _with_point(bytes(tools.get("tools", b"[]")))})
    messages = bytes(members.get("messages", b""))
    if len(config) + len(system) + len(messages) >= least_bytes:
        changed["messages"] = _in_last_of_user(messages, _with_point)
    return join_object({**members, **changed})


def _with_point(blocks: bytes) -> bytes:
    """A list of blocks with a point at its end; what is none, or empty, as it is."""
    is_list = blocks.startswith(b"[") and blocks[1:-1].strip()
    return blocks[:-1].rstrip() + b"," + _POINT + b"]" if is_list else blocks


def _in_last_of_user(messages: bytes, mark: Callable[[bytes], bytes | None]) -> bytes:
    """The messages, with the content of the user's last one marked."""
    each = _items.decode(messages)
    place = next((at for at in reversed(range(len(each))) if _head.decode(each[at]).role == "user"), None)
    if place is None:
        return messages
    message = OBJECT.decode(each[place])
    content = mark(bytes(message.get("content", b"")))
    if content is None:
        return messages
    each[place] = Raw(join_object({**message, "content": content}))
    return b"[" + b",".join(map(bytes, each)) + b"]"


def _with_last(items: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A list with its last item changed, every other byte as it was."""
    each = _items.decode(items)
    if not each:
        return items
    last = bytes(each[-1])
    before = items[:-1].rstrip()[: -len(last)]
    return before + change(last) + items[len(before) + len(last) :]


_MARKING: dict[str, Callable[[bytes, int, str], bytes]] = {
    "anthropic_messages": _mark_messages,
    "bedrock_invoke": _mark_messages,
    "vertex_anthropic": _mark_messages,
    "bedrock_converse": _mark_converse,
}
