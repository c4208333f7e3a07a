"""Which target answered a session last: bounded, and forgotten after a while without requests.

Providers keep the beginning of a prompt for some minutes and charge less for it; elsewhere it would be read anew.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator

from genai_spine.model.content import Part, Text, ToolResult
from genai_spine.model.request import CompletionRequest
from genai_spine.policy.route import Choice

_MOST = 10_000
_VARIES = "x-anthropic-billing-header"
"""Claude Code's first system block begins so and differs each time (recorded, 2026-11)."""

Key = tuple[str | None, str, str | None]
"""What was asked for, a model as a rule; the session; and the caller's key."""


class Sticky:
    __slots__ = ("_by_key", "_keep_s", "_most")

    def __init__(self, keep_s: float, most: int = _MOST) -> None:
        self._keep_s = keep_s
        self._most = most
        self._by_key: OrderedDict[Key, tuple[Choice, float]] = OrderedDict()

    def find(self, key: Key, now_s: float) -> Choice | None:
        """The target to keep to; None where there is none, or not any more."""
        found = self._by_key.get(key)
        if found is None:
            return None
        if found[1] <= now_s:
            del self._by_key[key]
            return None
        return found[0]

    def keep(self, key: Key, choice: Choice, now_s: float) -> None:
        self._by_key[key] = (choice, now_s + self._keep_s)
        self._by_key.move_to_end(key)
        if len(self._by_key) > self._most:
            self._by_key.popitem(last=False)

    def __len__(self) -> int:
        return len(self._by_key)


def prefix_of(request: CompletionRequest) -> str:
    """What tells a conversation by its beginning: a hash of all up to its first question, that included.

    Each further turn of a conversation begins the same; two conversations under one system prompt do not, and
    are spread.
    """
    hashed = hashlib.blake2b(digest_size=16)
    for message in request.messages:
        for text in _texts(message.content):
            if not text.startswith(_VARIES):
                hashed.update(text.encode("utf-8", "surrogatepass"))
                hashed.update(b"\0")
        if message.role == "user":
            break
    return hashed.hexdigest()


def _texts(parts: tuple[Part, ...]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Text):
            yield part.text
        elif isinstance(part, ToolResult):
            yield from _texts(part.content)
        elif (data := getattr(part, "data", None) or getattr(part, "url", None)) is not None:
            yield str(data)
