"""`Idempotency-Key`: a request that is sent again under its key gets the answer of the first, which is paid for once.

    the first is done            its answer again, byte for byte, with `idempotent-replayed: true`; it costs nothing
    the first is under way       the same, when it is done; if it fails, the second is asked in its place
    another body under the key   422: one of the two is a mistake
    the answer was too large     409: it was given once and is not kept

Only whole answers are kept, those of a stream too; errors and broken streams are not, so that they can be tried again.
A key is its caller's own, and of one path. Kept in this process, for an hour, and no more than `MOST_BYTES` in all.
After https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header-07 (read 2026-11).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256

import msgspec

from genai_spine.gateway.request import JSON, HeaderList, Request
from genai_spine.model.errors import InvalidRequest

HEADER = b"idempotency-key"
KEEP_S = 3600.0
MOST_BYTES = 64 * 1024 * 1024
MOST_KEPT_BYTES = 4 * 1024 * 1024
"""Of one answer."""
BESIDE_BYTES = 2_000
"""What is kept of an answer beside its body: its headers, its key."""
LONGEST_KEY = 255

_OF_WORK = frozenset({b"x-spine-attempts", b"x-spine-cost-usd"})
"""Headers that tell what was done for an answer: for the same once more, nothing."""

Key = tuple[str | None, str, bytes]
"""Caller, path, and what the header says."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the first request got. `body` is None where it was too large to be kept."""

    body: bytes | None
    content_type: bytes
    headers: HeaderList


class Once:
    """One request under its key: `kept` is the answer to give again; without it the request is to be answered, and
    `keep` told what it got."""

    __slots__ = ("answer", "kept", "parts", "size")

    def __init__(self, kept: Answer | None = None) -> None:
        self.kept = kept
        self.answer: Answer | None = None
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, data: bytes) -> None:
        """A piece of a stream goes out."""
        self.size += len(data)
        if self.size <= MOST_KEPT_BYTES:
            self.parts.append(data)

    def keep(self, content_type: bytes, headers: HeaderList) -> None:
        """The answer is whole."""
        body = b"".join(self.parts) if self.size <= MOST_KEPT_BYTES else None
        self.answer = Answer(body=body, content_type=content_type, headers=headers)


class _Entry:
    __slots__ = ("answer", "done", "fingerprint", "until_s")

    def __init__(self, fingerprint: bytes) -> None:
        self.fingerprint = fingerprint
        self.done = asyncio.Event()
        self.answer: Answer | None = None
        self.until_s = 0.0


class Idempotency:
    """The answers of one gateway, by key."""

    def __init__(self) -> None:
        self._under_way: dict[Key, _Entry] = {}
        self._done: dict[Key, _Entry] = {}  # the oldest first
        self._size = 0

    @asynccontextmanager
    async def once(self, key: Key, body: bytes) -> AsyncIterator[Once]:
        """Raises: InvalidRequest with status 400, 409 or 422."""
        if not key[2] or len(key[2]) > LONGEST_KEY:
            raise _refused(f"expected 1 to {LONGEST_KEY} characters", 400, "invalid_request")
        fingerprint = sha256(body).digest()
        while (entry := self._find(key)) is not None:
            if entry.fingerprint != fingerprint:
                raise _refused("this key was sent with another body", 422, "idempotency_key_reused")
            await entry.done.wait()
            if entry.answer is not None:
                if entry.answer.body is None:
                    message = "the request was answered, and the answer is too large to be kept"
                    raise _refused(message, 409, "idempotent_answer_gone")
                yield Once(entry.answer)
                return
        entry = self._under_way[key] = _Entry(fingerprint)
        once = Once()
        try:
            yield once
        finally:
            self._settle(key, entry, once.answer)

    def _find(self, key: Key) -> _Entry | None:
        now_s = time.monotonic()
        while self._done:
            oldest, entry = next(iter(self._done.items()))
            if now_s < entry.until_s and self._size <= MOST_BYTES:
                break
            self._forget(oldest)
        return self._under_way.get(key) or self._done.get(key)

    def _settle(self, key: Key, entry: _Entry, answer: Answer | None) -> None:
        entry.answer = answer
        entry.until_s = time.monotonic() + KEEP_S
        entry.done.set()
        del self._under_way[key]
        if answer is not None:  # else it failed: the next one is asked
            self._done[key] = entry
            self._size += _size_of(answer)

    def _forget(self, key: Key) -> None:
        answer = self._done.pop(key).answer
        self._size -= _size_of(answer) if answer is not None else 0


async def reply_once(
    kept: Idempotency,
    request: Request,
    caller: str | None,
    body: bytes,
    answer: Callable[[], Awaitable[tuple[bytes, HeaderList]]],
) -> None:
    """Replies with the body and the headers that `answer` gives; with those of the first, where the request has a key.

    Raises: InvalidRequest, as `once` does, and what `answer` raises.
    """
    if (key := request.headers.get(HEADER)) is None:
        await request.reply(200, *await answer())
        return
    async with kept.once((caller, request.path, key), body) as once:
        if once.kept is not None:
            await replay(request, once.kept)
            return
        said, headers = await answer()
        once.add(said)
        once.keep(JSON, headers)
        await request.reply(200, said, headers)


async def replay(request: Request, kept: Answer) -> None:
    """An answer that was given before, again."""
    request.notes = "replayed"
    headers = [(name, b"0" if name in _OF_WORK else value) for name, value in kept.headers]
    headers.append((b"idempotent-replayed", b"true"))
    await request.reply(200, kept.body or b"", headers, kept.content_type)


def _size_of(answer: Answer) -> int:
    return BESIDE_BYTES + len(answer.body or b"")


def _refused(message: str, status: int, code: str) -> InvalidRequest:
    return InvalidRequest(f"idempotency-key: {message}", param="idempotency-key", status_code=status, code=code)
