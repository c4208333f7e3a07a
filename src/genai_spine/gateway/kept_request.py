"""A request of a gateway that keeps what is said (`ledger.content`): it notes what comes and what goes.

x-spine-content: no          nothing of this call is kept
x-spine-content: redacted    no more than this

Only where settings keep texts is a request of this kind made; then the header may ask for less than they say, and
never for more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from genai_spine.engine.content.keeping import ContentKeeper, Sent
from genai_spine.gateway.exchange import Receive, Scope, Send
from genai_spine.gateway.request import JSON, Request
from genai_spine.model.errors import InvalidRequest
from genai_spine.settings.ledger import ContentLevel

if TYPE_CHECKING:
    from genai_spine.engine.record import CallRecord

HEADER = b"x-spine-content"
_SAID: dict[bytes, ContentLevel] = {b"no": "none", b"none": "none", b"redacted": "redacted", b"full": "full"}
MOST_BYTES = 16 * 1024 * 1024
"""Of one stream; most of it is frames."""


class KeptRequest(Request):
    """What was asked and answered is given to the keeper when the request is done."""

    __slots__ = ("_asked", "_keeper", "_record", "_sent", "_sent_bytes")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        self._asked = b""
        self._sent = Sent()
        self._sent_bytes = 0
        self._keeper: ContentKeeper | None = None
        self._record: CallRecord | None = None

    def keep_for(self, keeper: ContentKeeper | None, record: CallRecord) -> None:
        """`record` is that of this request. Raises: InvalidRequest for a header that says nothing."""
        self._keeper, self._record = keeper, record
        record.content = level_in(self.headers)

    async def body(self, max_bytes: int, timeout_s: float) -> bytes:
        self._asked = await super().body(max_bytes, timeout_s)
        return self._asked

    async def reply(
        self, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = (), content_type: bytes = JSON
    ) -> None:
        self._sent.pieces = [body]
        await super().reply(status, body, headers, content_type)

    async def start(self, content_type: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._sent.is_stream = True
        await super().start(content_type, headers)

    async def write(self, data: bytes) -> None:
        room = MOST_BYTES - self._sent_bytes
        self._sent_bytes += len(data)
        if len(data) <= room:
            self._sent.pieces.append(data)
        elif not self._sent.is_cut:
            self._sent.pieces.append(data[:room])
            self._sent.is_cut = True
        await super().write(data)

    async def finish(self) -> None:
        self._sent.is_ended = True
        await super().finish()

    def done(self) -> None:
        super().done()
        if self._keeper is not None and self._record is not None:
            self._keeper.keep_exchanged(self._record, self._asked, self._sent)


def level_in(headers: Mapping[bytes, bytes]) -> ContentLevel | None:
    """Raises: InvalidRequest."""
    said = headers.get(HEADER)
    if said is None:
        return None
    level = _SAID.get(said.strip().lower())
    if level is None:
        raise InvalidRequest(f"{HEADER.decode()}: expected no, redacted or full", param=HEADER.decode())
    return level
