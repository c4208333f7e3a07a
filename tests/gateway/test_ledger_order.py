"""What is written down before a caller sees the end of an answer, whichever way it took: a process that is killed then
has said how it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genai_spine.engine.manager import ProviderManager
from genai_spine.gateway.app import Gateway
from genai_spine.ledger.entry import Call, Ended
from genai_spine.ledger.journal import read
from genai_spine.providers.registry import settings_of
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Simulator

WORDS = [{"role": "user", "content": "tea"}]
ENDINGS = {
    "/v1/chat/completions": b"data: [DONE]",
    "/v1/messages": b"event: message_stop",
    "/api/chat": b'"done":true',
    "/v1/responses": b"event: response.completed",
}
MODELS = ("oa/m", "an/m", "ol/m")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


def ask(
    simulator: Simulator, place: Path, path: str, model: str, *faults: str, **members: Any
) -> list[tuple[bytes, str | None]]:
    """What the caller gets, piece by piece, each with what the journal's files say of the call at that moment."""
    simulator.run(*faults)
    retry = {"max_retries": 1, "initial_delay": 0.0}
    providers = {
        "oa": {"type": "openai_compatible", "base_url": simulator.urls.openai, "api_key": "k"},
        "an": {"type": "anthropic", "base_url": simulator.urls.anthropic, "api_key": "k"},
        "ol": {"type": "ollama", "base_url": simulator.urls.ollama, "dialect": "ollama_chat"},
    }
    ledger = {"url": f"sqlite:///{place}/spine.db", "journal": str(place / "journal")}
    settings = settings_of({"providers": providers, "ledger": ledger, "retry": retry})
    body = {"model": model, "input" if path == "/v1/responses" else "messages": WORDS, "max_tokens": 50, **members}
    if path == "/v1/responses":
        body = {**body, "max_output_tokens": body.pop("max_tokens"), "store": False}
    pieces: list[tuple[bytes, str | None]] = []
    parts = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Any:
        return parts.pop() if parts else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            pieces.append((message.get("body", b""), _status_in(place / "journal")))

    async def main() -> None:
        manager = ProviderManager.from_settings(settings)
        await manager.start()
        try:
            scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
            await Gateway(manager)({**scope, "headers": []}, receive, send)
        finally:
            await manager.close()

    asyncio.run(main())
    return pieces


def _status_in(journal: Path) -> str | None:
    entries = [entry for segment in journal.rglob("*.journal") for entry in read(segment)]
    over = [entry for entry in entries if isinstance(entry, Call) or (isinstance(entry, Ended) and entry.call_s)]
    return over[-1].status if over else None


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("path", ENDINGS)
@pytest.mark.parametrize("faults", [(), ("status=500",)], ids=["at-once", "at-the-second-attempt"])
def test_the_end_of_a_stream(
    simulator: Simulator, tmp_path: Path, path: str, model: str, faults: tuple[str, ...]
) -> None:
    pieces = ask(simulator, tmp_path, path, model, *faults, stream=True)
    assert [status for body, status in pieces if ENDINGS[path] in body] == ["answered"]
    assert ENDINGS[path] in pieces[0][0] or pieces[0][1] is None  # and not before there is anything to tell


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("path", ENDINGS)
@pytest.mark.parametrize("faults", [(), ("status=500",)], ids=["at-once", "at-the-second-attempt"])
def test_a_whole_answer(simulator: Simulator, tmp_path: Path, path: str, model: str, faults: tuple[str, ...]) -> None:
    pieces = ask(simulator, tmp_path, path, model, *faults, stream=False)
    assert [status for _, status in pieces] == ["answered"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("path", ENDINGS)
def test_the_error_of_a_stream_that_breaks(simulator: Simulator, tmp_path: Path, path: str, model: str) -> None:
    pieces = ask(simulator, tmp_path, path, model, "reset=3", stream=True)
    assert pieces[-2][1] == pieces[-1][1] == "failed"
    assert b"error" in pieces[-2][0]
