"""What a simulated service is made of: rows of paths, each of which says how a request is read. Knows no sockets."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from genai_spine.model.errors import SpineError
from genai_spine.testing.simulator.answers import Answer, EncodeError, Received
from genai_spine.testing.simulator.faults import Fault


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was understood. `answer(model, fault, words)` answers it in the name of that model;
    `error(error)` is one event of its stream."""

    answer: Callable[[str | None, Fault, str | None], Answer]
    model: str | None = None
    error: Callable[[SpineError], bytes] | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`path` ends in * where it stands for all that begins so. `ask` raises SpineError for a refusal."""

    method: str
    path: str
    ask: Callable[[Received], Asked]
    encode_error: EncodeError


Row = tuple[str, str, Callable[[Received], Asked], EncodeError]
"""Method, path, how it is asked, and the shape of its errors: a line of a service's table."""


def fixed(write: Callable[[Received], bytes], content_type: bytes = b"application/json") -> Callable[[Received], Asked]:
    """An answer without a model."""

    def ask(received: Received) -> Asked:
        answer = Answer(pieces=(write(received),), content_type=content_type)
        return Asked(answer=lambda model, fault, words: answer)

    return ask
