"""`genai_spine.complete(…)` and its like: one shared `SyncManager`, made from the settings on first use."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from typing import Any, Unpack

from genai_spine.engine.keywords import CompleteCall, EmbedCall, StreamCall
from genai_spine.engine.sync import SyncManager
from genai_spine.model.embedding import EmbeddingResponse
from genai_spine.model.events import StreamEvent
from genai_spine.model.response import CompletionResponse

_lock = threading.Lock()
_shared: dict[int, SyncManager] = {}
"""By process: one that was forked makes its own."""
# A fork waits until no other thread is making one, so that the lock is free in the child too.
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def _manager() -> SyncManager:
    with _lock:
        process = os.getpid()
        if process not in _shared:
            manager = SyncManager.from_settings()
            manager.start()
            _shared[process] = manager
        return _shared[process]


def complete(request: Any = None, **options: Unpack[CompleteCall]) -> CompletionResponse:
    """One answer. `request` is a string, messages in any form or a `CompletionRequest`. Raises: SpineError."""
    return _manager().complete(request, **options)


def stream(request: Any = None, **options: Unpack[StreamCall]) -> Generator[StreamEvent, None, None]:
    """The answer as events."""
    return _manager().stream(request, **options)


def text_stream(request: Any = None, **options: Unpack[StreamCall]) -> Generator[str, None, None]:
    """The answer's text as it comes."""
    return _manager().text_stream(request, **options)


def embed(request: Any = None, **options: Unpack[EmbedCall]) -> EmbeddingResponse:
    """Vectors for a text or a list of texts."""
    return _manager().embed(request, **options)
