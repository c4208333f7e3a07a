"""`spine usage --forecast`, the price in `spine logs`, and what `spine doctor` says of the ledger."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from datetime import UTC, datetime
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from spine_process import Place

from genai_spine.cli.ledger_state import examine_ledger
from genai_spine.cli.output import Output, _Formatter
from genai_spine.ledger.database import SqliteDatabase
from genai_spine.ledger.entry import Begun, Call, Ended, Entry, Tokens
from genai_spine.ledger.matching import Matching
from genai_spine.providers.registry import settings_of
from genai_spine.testing.fixtures import running_gateway

NEAR = True  # what commands say: conftest.py

SETTINGS = """
[ledger]
url = "sqlite:///spine.db"
[providers.openai]
api_key = "sk-unused"
[costs]
monthly_budget = 1000
[costs.budgets.night]
limit_tokens = 50
window = "day"
tag = "night"
"""


@pytest.fixture
def spent(place: Place) -> Place:
    """Two dollars a day, for ten days."""
    place.write(SETTINGS)
    entries: list[Entry] = []
    for back in range(10):
        at = time.time() - 86_400 * back
        id, whose = f"req_{back}", {"provider": "openai", "model": "gpt-4o", "tags": ("night",)}
        tokens = Tokens(input=3, output=4)
        entries += [
            Begun(id=f"{id}-1", call=id, at=at, **whose),  # type: ignore[arg-type]
            Ended(
                id=f"{id}-1", at=at, status="answered", duration_s=0.5, tokens=tokens, cost_nanousd=2_000_000_000,
                price_since="2024-08-06", price_source="https://example.com/prices",
            ),
            Call(id=id, at=at, duration_s=0.0, status="answered", attempts=1, cost_nanousd=2_000_000_000, **whose),  # type: ignore[arg-type]
        ]  # fmt: skip
    database = SqliteDatabase(place.path / "spine.db")
    database.enter(Matching().take(entries))
    database.close()
    return place


def test_the_month_and_each_budget_are_foretold(spent: Place) -> None:
    done = spent.run("usage", "--forecast", "--by", "provider")
    assert done.code == 0, done
    heads = [line[:22].strip() for line in done.out.splitlines()]
    assert heads == ["of", "provider openai", "total", "budget monthly_budget", "budget night"]
    found = json.loads(spent.run("usage", "--forecast", "--json").out)
    assert found["interval"] == 0.9
    total, monthly, night = found["data"]
    assert (total["kind"], total["window"], total["days"], monthly["limit"]) == ("total", "month", 9, "1000")
    assert float(total["spent"]) <= float(total["low"]) <= float(total["expected"]) <= float(total["high"])
    assert (night["unit"], night["spent"], night["limit"]) == ("tokens", "7", "50")
    assert night["last_day"] == datetime.now(UTC).date().isoformat()


def test_a_forecast_is_of_no_other_days(spent: Place) -> None:
    done = spent.run("usage", "--forecast", "--since", "7d")
    assert (done.code, "--forecast" in done.err) == (2, True)


def test_a_calls_price_is_told_with_its_day_and_source(spent: Place) -> None:
    shown = spent.run("logs", "req_1").out
    assert "tokens       3 input, 4 output\n" in shown
    assert "price        since 2024-08-06, from https://example.com/prices\n" in shown


def test_an_alert_in_a_json_log_has_its_amounts() -> None:
    record = logging.makeLogRecord({"msg": "budget b …", "data": {"alert": {"budget": "b", "limit_usd": "10"}}})
    line = json.loads(_Formatter(Output(), "json").format(record))
    assert (line["message"], line["alert"]) == ("budget b …", {"budget": "b", "limit_usd": "10"})


def test_a_json_log_is_json_whatever_its_stream_can_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", TextIOWrapper(BytesIO(), "ascii"))
    line = _Formatter(Output(), "json").format(logging.makeLogRecord({"msg": "Zoë 😀 \x85"}))
    assert line.isascii()
    assert json.loads(line)["message"] == "Zoë 😀 \x85"


def states(path: Path | None, port: int = 9) -> list[str]:
    """Of what the doctor finds, with the ledger there and a gateway at the port."""
    tree = {"server": {"port": port}, "ledger": {"url": f"sqlite:///{path}"} if path is not None else {}}
    return [check.status for check in asyncio.run(examine_ledger(settings_of({"providers": {}, **tree})))]


def test_the_doctor_looks_at_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "spine.db"
    assert states(None) == ["info"]
    assert states(path) == ["info", "ok"]
    tree = {"providers": {"sim": {"type": "simulated"}}, "ledger": {"url": f"sqlite:///{path}"}}
    with running_gateway(tree) as running:
        assert states(path, running.port) == ["ok", "ok", "ok"]
    assert states(path) == ["ok", "ok"]
    (tmp_path / "spine.journal" / "refused.jsonl").write_text("{}\n{}\n")
    assert states(path) == ["ok", "ok", "warning"]
    for file in tmp_path.glob("spine.db*"):
        file.unlink()
    path.write_text("this is no database, though it is as long as one might be" * 100)
    assert states(path)[0] == "failure"
