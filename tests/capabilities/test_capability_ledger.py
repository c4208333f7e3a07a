"""A capability is one call in the ledger, whatever it takes: its attempts are those of all the calls that it makes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from reading_model import ReadingModel, marks_of, reading_model
from test_capability_gateway import ask
from test_summarize import KEY, marked

from genai_spine import ProviderManager, ServerError
from genai_spine.capabilities import summarize
from genai_spine.ledger.database import SqliteReader
from genai_spine.testing.fixtures import RunningGateway, running_gateway, wait_until

LONG = {"content": marked(1500), "model": "up/gpt-4"}
"""Five windows of the model, so six calls."""


def settings_for(url: str, folder: Path, **more: Any) -> dict[str, Any]:
    ledger = {"url": f"sqlite:///{folder / 'ledger.db'}", **more.pop("ledger", {})}
    table = {"type": "openai", "base_url": url, "api_key": KEY, "model": "gpt-4o-mini"}
    return {"providers": {"up": table}, "retry": {"max_retries": 0}, "ledger": ledger, **more}


@contextmanager
def gateway_to(model: ReadingModel, folder: Path, **more: Any) -> Iterator[RunningGateway]:
    with running_gateway(settings_for(model.url, folder, **more)) as gateway:
        yield gateway


def calls_in(gateway: RunningGateway, count: int) -> list[dict[str, Any]]:
    """The ledger's calls, the newest first, when there are so many."""
    found: list[dict[str, Any]] = []

    def are_there() -> bool:
        found[:] = ask(gateway, "/v1/requests").value["data"]
        return len(found) >= count

    wait_until(are_there)
    return found


def test_it_is_one_call_with_the_attempts_of_all(tmp_path: Path) -> None:
    with reading_model() as model, gateway_to(model, tmp_path) as gateway:
        answer = ask(gateway, "/v1/summarize", LONG, x_spine_tags="night")
        [call] = calls_in(gateway, 1)
        total = ask(gateway, "/v1/usage").value["total"]
        [by_tag] = ask(gateway, "/v1/usage?by=tag").value["data"]
    made = len(model.received)
    assert made == answer.value["calls"] == int(answer.headers["x-spine-attempts"]) > 5
    assert call["id"] == answer.headers["x-request-id"]
    assert (call["status"], call["attempts"], call["model"]) == ("answered", made, "gpt-4")
    assert Decimal(call["cost_usd"]) == Decimal(answer.value["cost_usd"]) == Decimal(total["cost_usd"])
    assert (total["calls"], total["attempts"]) == (1, made)
    assert (by_tag["name"], by_tag["calls"], by_tag["attempts"]) == ("night", 1, made)
    attempts = SqliteReader(tmp_path / "ledger.db").query("SELECT id, call FROM attempt")
    assert {call for _, call in attempts} == {call["id"]}
    assert len({id for id, _ in attempts}) == made


def test_one_that_fails_on_the_way_failed_and_its_answers_are_charged(tmp_path: Path) -> None:
    def reply(model: ReadingModel, body: dict[str, Any]) -> str | tuple[int, dict[str, Any]]:
        is_last = "notes on the parts" in body["messages"][-1]["content"]
        return (503, {"error": {"message": "too much"}}) if is_last else marks_of(model, body)

    with reading_model(reply=reply) as model, gateway_to(model, tmp_path) as gateway:
        assert ask(gateway, "/v1/summarize", LONG).status == 503
        [call] = calls_in(gateway, 1)
    assert (call["status"], call["attempts"]) == ("failed", len(model.received))
    assert Decimal(call["cost_usd"]) > 0


def test_what_was_cached_of_it_is_saved(tmp_path: Path) -> None:
    cached = {"cache": {"url": "memory", "answers": "all"}}
    with reading_model() as model, gateway_to(model, tmp_path, **cached) as gateway:
        first, second = ask(gateway, "/v1/summarize", LONG), ask(gateway, "/v1/summarize", LONG)
        assert second.value["summary"] == first.value["summary"]
        [again, told] = calls_in(gateway, 2)
        total = ask(gateway, "/v1/usage").value["total"]
    assert (told["is_cached"], told["attempts"]) == (False, first.value["calls"])
    assert (again["is_cached"], again["attempts"], Decimal(again["cost_usd"])) == (True, 0, 0)
    assert again["saved_usd"] == told["cost_usd"] == total["saved_usd"]
    assert (total["calls"], total["cached_calls"]) == (2, 1)


def test_what_was_said_is_kept_of_the_whole(tmp_path: Path) -> None:
    with reading_model() as model, gateway_to(model, tmp_path, ledger={"content": "full"}) as gateway:
        answer = ask(gateway, "/v1/summarize", {"content": "What #1 says."})
        id = answer.headers["x-request-id"]
        wait_until(lambda: ask(gateway, f"/v1/requests/{id}?content=1").value.get("content") is not None)
        kept = ask(gateway, f"/v1/requests/{id}?content=1").value["content"]
    assert "What #1 says." in json.dumps(kept["request"]) and "It says #1" in json.dumps(kept["answer"])
    assert SqliteReader(tmp_path / "ledger.db").query("SELECT count(*) FROM content") == [(1,)]


async def test_a_programs_own_is_one_call_too(tmp_path: Path) -> None:
    with reading_model() as model:
        settings = settings_for(model.url, tmp_path, ledger={"content": "full"})
        async with ProviderManager.from_settings(settings) as manager:
            await summarize(manager, **LONG)
        made = len(model.received)
        model.reply = lambda *_: (503, {"error": {"message": "too much"}})
        async with ProviderManager.from_settings(settings) as manager:
            with pytest.raises(ServerError):
                await summarize(manager, content="What #1 says.")
    reader = SqliteReader(tmp_path / "ledger.db")
    rows = reader.query("SELECT id, status, attempts FROM call ORDER BY ended_at")
    assert [row[1:] for row in rows] == [("answered", made), ("failed", 1)]
    texts = reader.query("SELECT call, request, answer FROM content ORDER BY at")
    assert [row[0] for row in texts] == [row[0] for row in rows]
    assert "It says" in texts[0][2] and "What #1 says." in texts[1][1] and "ServerError" in texts[1][2]
