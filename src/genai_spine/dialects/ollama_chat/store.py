"""What an Ollama is told about the models that it keeps: `/api/pull`, `/api/delete`, `/api/copy`.

    {"status":"pulling manifest"}
    {"status":"pulling 4c27e0f5b5ad","digest":"sha256:4c27…","total":2019377376,"completed":524288000}
    {"status":"verifying sha256 digest"} {"status":"writing manifest"} {"status":"success"}

A pull that fails says so in a line of its own, with status 200: {"error":"pull model manifest: file does not
exist"}. Only `success` is an end. What was downloaded is kept, so that a later pull goes on from there.

Sources: docs.ollama.com/api/pull, /api/delete, /api/copy and /api/errors; the words of the errors from
github.com/ollama/ollama/issues (1770, 5499, 15547). Read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from genai_spine.dialects.failure import redact
from genai_spine.dialects.ollama_chat.schema import NULL
from genai_spine.model.errors import (
    APIConnectionError,
    ModelNotFound,
    ProviderError,
    ServerError,
    StreamBroken,
)
from genai_spine.model.pull import PullProgress
from genai_spine.wire import json
from genai_spine.wire.ndjson import NDJSONParser

PULL_PATH = "/api/pull"
DELETE_PATH = "/api/delete"
COPY_PATH = "/api/copy"
SHOW_PATH = "/api/show"
RUNNING_PATH = "/api/ps"

_GOES_ON = "what came is kept: pull again, and it goes on from there"

# The only texts that are read: Ollama gives no codes.
_FAILURES: tuple[tuple[re.Pattern[str], type[ProviderError], bool, str], ...] = (
    (
        re.compile(r"no space left on device|not enough (disk )?space|disk quota", re.IGNORECASE),
        ServerError,
        False,
        f"make room on the machine of this Ollama, or move its models with OLLAMA_MODELS; {_GOES_ON}",
    ),
    (
        re.compile(r"file does not exist|manifest unknown|invalid model name", re.IGNORECASE),
        ModelNotFound,
        False,
        "there is no such model: https://ollama.com/library has the names",
    ),
    (
        re.compile(
            r"unexpected EOF|no such host|connection (refused|reset)|dial tcp|i/o timeout|network is unreachable"
            r"|max retries exceeded|TLS handshake",
            re.IGNORECASE,
        ),
        APIConnectionError,
        True,
        f"this Ollama does not reach its registry: check its network; {_GOES_ON}",
    ),
)
"""What an error's text says, its class, whether the same pull may work soon, and what to do."""


class _Line(msgspec.Struct):
    status: str | None = None
    digest: str | None = None
    total: Any = None  # a count that is none must not end a pull
    completed: Any = None
    error: msgspec.Raw = NULL


_line = msgspec.json.Decoder(_Line)


def encode_pull_request(model: str) -> bytes:
    return json.encode({"model": model, "stream": True})


def encode_delete_request(model: str) -> bytes:
    return json.encode({"model": model})


def encode_copy_request(source: str, destination: str) -> bytes:
    return json.encode({"source": source, "destination": destination})


class PullDecoder:
    """The bytes of one pull, cut anywhere, to its progress.

    `feed` raises the pull's failure; `close` StreamBroken where it ended without one and without success.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.is_done = False
        self._parser = NDJSONParser()

    def feed(self, data: bytes) -> Iterator[PullProgress]:
        """One by one, so that what stands before a failure is still told."""
        for line in self._parser.feed(data):
            yield self._progress(line)

    def close(self) -> list[PullProgress]:
        rest = [self._progress(line) for line in self._parser.close()]
        if not self.is_done:
            raise broken(self.model)
        return rest

    def _progress(self, text: bytes) -> PullProgress:
        line = json.decode_outbound(text, _line)
        if line.error != NULL:
            raise pull_failed(self.model, json.decode_outbound(bytes(line.error), json.ANY))
        progress = PullProgress(
            model=self.model,
            status=line.status or "",
            digest=line.digest or None,
            completed_bytes=_bytes(line.completed),
            total_bytes=_bytes(line.total),
        )
        self.is_done = self.is_done or progress.is_done
        return progress


def broken(model: str) -> StreamBroken:
    """The pull's answer ended in the middle: Ollama was stopped, or the connection to it."""
    return StreamBroken(f"pulling {model}: the connection to Ollama ended before the pull did; {_GOES_ON}")


def pull_failed(model: str, error: Any) -> ProviderError:
    """Why a pull failed, and how to go on."""
    text = redact(error if isinstance(error, str) else json.encode(error).decode())
    for pattern, kind, retryable, mend in _FAILURES:
        if pattern.search(text):
            return kind(f"pulling {model}: {text}; {mend}", model=model, code="pull_failed", retryable=retryable)
    return ServerError(f"pulling {model}: {text}", model=model, code="pull_failed", retryable=False)


def _bytes(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None
