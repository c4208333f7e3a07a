"""`spine costs`: a ledger's costs by other prices, on another model, and beside a bill; as its users run it."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner, Result
from spine_process import Place

from genai_spine.cli.main import spine
from genai_spine.ledger.database import SqliteDatabase
from genai_spine.ledger.entry import Begun, Call, Ended, Entry, Status, Tokens
from genai_spine.ledger.matching import Matching

NEAR = True  # what commands say: conftest.py

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
SETTINGS = """
[ledger]
url = "sqlite:///spine.db"
[providers.openai]
api_key = "sk-unused"
[providers.mine]
type = "openai"
api_key = "sk-unused"
[providers.mine.cost]
input_cost_per_1m = 1.0
output_cost_per_1m = 2.0
"""


def entries_of(
    id: str, *, provider: str = "openai", model: str = "gpt-4o", cost: int | None = 1, status: Status = "answered"
) -> list[Entry]:
    begun = Begun(
        id=f"{id}-1", call=id, at=NOON, provider=provider, model=model, caller="k1", tags=("night",), most_nanousd=10**9
    )
    tokens = Tokens(input=1000, output=100) if status == "answered" else None
    ended = Ended(
        id=begun.id,
        at=NOON,
        status=status,
        duration_s=1.0,
        tokens=tokens,
        cost_nanousd=cost,
        price_source="old",
    )
    call = Call(
        id=id, at=NOON + 1, duration_s=1.0, status=status, attempts=1, provider=provider, model=model, caller="k1",
        tags=("night",), cost_nanousd=cost, unpriced=int(cost is None),
    )  # fmt: skip
    return [begun, ended, call]


@pytest.fixture
def ledger(place: Place) -> Place:
    place.write(SETTINGS)
    database = SqliteDatabase(place.path / "spine.db")
    for entries in (
        entries_of("req_1", cost=3_000_000),
        entries_of("req_2", cost=None),
        entries_of("req_3", provider="mine", model="tune", cost=9_000_000),
        entries_of("req_4", cost=None, status="left"),
        entries_of("req_5", cost=0, status="failed"),
    ):
        database.enter(Matching().take(entries))
    database.close()
    return place


class Here:
    """The same command in this process: what is told of wrong use needs none of its own."""

    def __init__(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(place.path)
        self.place = place

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(spine, ["costs", *arguments])


@pytest.fixture
def here(ledger: Place, monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(ledger, monkeypatch)


def usage(place: Place) -> dict[str, object]:
    total: dict[str, object] = json.loads(place.run("usage", "--json").out)["total"]
    return {name: total[name] for name in ("cost_usd", "unpriced", "unpriced_at_most_usd")}


def test_repricing_is_shown_then_done_then_given_back(ledger: Place) -> None:
    before = usage(ledger)
    assert before == {"cost_usd": "0.012", "unpriced": 2, "unpriced_at_most_usd": "2"}
    shown = ledger.run("costs", "reprice")
    assert shown.code == 0
    lines = [line.split() for line in shown.out.splitlines()]
    assert lines[1] == ["2026-11-20", "mine/tune", "1", "1", "0", "0.009", "0.0012", "-0.0078"]
    assert lines[2] == ["2026-11-20", "openai/gpt-4o", "4", "1", "1", "0.003", "0.007", "+0.004"]
    assert lines[3] == ["total", "5", "2", "1", "0.012", "0.0082", "-0.0038"]
    assert "1 attempts have an unknown cost and no tokens" in shown.err
    assert "--apply does it" in shown.err
    assert usage(ledger) == before
    alone = [ledger.run("costs", "reprice", "--model", name, "--csv").out for name in ("mine/tune", "tune")]
    assert alone[0] == alone[1]
    assert len(alone[0].splitlines()) == 2

    done = ledger.run("costs", "reprice", "--apply")
    assert "3 attempts are changed" in done.out
    assert usage(ledger) == {"cost_usd": "0.0082", "unpriced": 1, "unpriced_at_most_usd": "1"}
    logged = json.loads(ledger.run("logs", "req_2", "--json").out)
    assert (logged["cost_usd"], logged["unpriced"]) == ("0.0035", 0)
    assert logged["attempts"][0]["arithmetic"] == "1000 × 2.5 input + 100 × 10 output per 1M = $0.0035"
    again = json.loads(ledger.run("costs", "reprice", "--apply", "--json").out)
    assert (again["total"]["changed"], again["total"]["now_known"], again["data"]) == (0, 0, [])

    run = done.out.split("--undo ")[1].split("`")[0]
    given_back = ledger.run("costs", "reprice", "--undo", run)
    assert "3 attempts cost again what they did" in given_back.out
    assert usage(ledger) == before


def test_repricing_by_the_prices_of_a_day_as_csv(here: Here) -> None:
    done = here.run("reprice", "--as-of", "2024-06-01", "--model", "gpt-4o", "--csv")
    [row] = list(csv.DictReader(io.StringIO(done.stdout)))
    assert (row["provider"], row["attempts"], row["after_usd"]) == ("openai", "4", "0.013")  # 5 and 15 USD then
    nothing = here.run("reprice", "--until", "2026-11-19", "--csv")
    assert len(nothing.stdout.splitlines()) == 1


def test_runs_that_are_not_there_and_wrong_use_are_told(here: Here) -> None:
    unknown = here.run("reprice", "--undo", "r7")
    assert (unknown.exit_code, "no run r7" in unknown.stderr) == (1, True)
    assert here.run("reprice", "--undo", "r7", "--apply").exit_code == 2
    assert here.run("reprice", "--as-of", "lately").exit_code == 2
    here.place.write('[ledger]\nurl = "sqlite:///none.db"\n')
    done = here.run("reprice", "--apply")
    assert (done.exit_code, "no ledger at none.db yet" in done.stderr) == (1, True)
    assert not (here.place.path / "none.db").exists()


@pytest.mark.slow
def test_what_the_traffic_would_have_cost_elsewhere(ledger: Place) -> None:
    ledger.run("costs", "reprice", "--apply")
    same = json.loads(ledger.run("costs", "whatif", "--model", "openai/gpt-4o", "--provider", "openai", "--json").out)
    assert same["total"]["spent_usd"] == same["total"]["would_cost_usd"] == "0.007"
    assert same["token_ratios"] == {}
    found = json.loads(
        ledger.run("costs", "whatif", "--model", "anthropic/claude-sonnet-4-5", "--by", "key", "--json").out
    )
    assert [(row["name"], row["attempts"], row["spent_usd"], row["would_cost_usd"]) for row in found["data"]] == [
        ("k1", 4, "0.0082", "0.0135")  # what was refused would have been refused
    ]
    assert found["not_compared"] == {"no_counts": {"why": "no tokens were told of", "attempts": 1, "spent_usd": "0"}}
    assert found["token_ratios"] == {"gpt-4o": "1.148", "tune": None}
    assert found["total"]["with_its_tokens_usd"] is None
    table = ledger.run("costs", "whatif", "--model", "openai/gpt-4o-mini", "--by", "model")
    assert [line.split()[0] for line in table.out.splitlines()] == ["model", "openai/gpt-4o", "mine/tune", "total"]
    rows = list(csv.DictReader(io.StringIO(ledger.run("costs", "whatif", "--model", "openai/gpt-5", "--csv").out)))
    assert rows[0]["attempts"] == "4"


def test_a_spreadsheet_gets_amounts_and_no_formula(here: Here) -> None:
    database = SqliteDatabase(here.place.path / "spine.db")
    for number, model in enumerate(("=1+1", "m\r=HYPERLINK(A1)", "-1+A2")):
        database.enter(Matching().take(entries_of(f"req_f{number}", provider="mine", model=model, cost=9_000_000)))
    database.close()
    told = here.run("reprice", "--provider", "mine", "--csv").stdout
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(told, newline=""))}
    assert set(rows) == {"tune", "'=1+1", "m\ufffd=HYPERLINK(A1)", "'-1+A2"}
    assert {row["difference_usd"] for row in rows.values()} == {"-0.0078"}


def test_a_model_to_compare_with_that_there_is_none_is_told(here: Here) -> None:
    for model, code, said in (
        ("gpt-4o", 2, "PROVIDER/MODEL"),
        ("nobody/x", 1, 'no provider "nobody"'),
        ("openai/our-own", 1, "no price of openai/our-own is known"),
    ):
        done = here.run("whatif", "--model", model)
        assert (done.exit_code, said in done.stderr) == (code, True), done


def bill(output: int = 200) -> str:
    result = {
        "object": "organization.usage.completions.result", "model": "gpt-4o-2024-08-06", "input_tokens": 2000,
        "input_cached_tokens": 0, "output_tokens": output, "num_model_requests": 2,
    }  # fmt: skip
    begin = int(NOON) // 86_400 * 86_400
    bucket = {"object": "bucket", "start_time": begin, "end_time": begin + 86_400, "results": [result]}
    return json.dumps({"object": "page", "data": [bucket], "has_more": False})


@pytest.mark.slow
def test_a_bill_that_agrees_ends_with_0_and_one_that_does_not_with_1(ledger: Place) -> None:
    ledger.write(bill(), "usage.json")
    agrees = ledger.run("costs", "reconcile", "usage.json", "--provider", "openai")
    assert (agrees.code, "within the tolerance of 0.5 %" in agrees.out) == (0, True), agrees
    ledger.write(bill(230), "usage.json")
    done = ledger.run("costs", "reconcile", "usage.json", "--provider", "openai")
    assert done.code == 1
    [line] = [line for line in done.out.splitlines() if line.startswith("2026-11-20")]
    assert line.split()[:6] == ["2026-11-20", "gpt-4o-2024-08-06", "output", "230", "200", "+30"]
    assert "1 attempts here that were broken off" in line
    assert ledger.run("costs", "reconcile", "usage.json", "--provider", "openai", "--tolerance", "20").code == 0
    all_of_them = json.loads(ledger.run("costs", "reconcile", "usage.json", "--json").out)
    [gap] = [gap for gap in all_of_them["files"][0]["gaps"] if gap["model"] == "tune"][:1]
    assert (gap["there"], gap["why"]) == ("0", ["only here: another account's key, or the export is not up to date"])
    rows = list(csv.DictReader(io.StringIO(ledger.run("costs", "reconcile", "usage.json", "--csv").out)))
    assert {row["counter"] for row in rows} == {"input", "output"}


def test_a_file_that_is_no_bill_is_told_and_ends_with_2(here: Here) -> None:
    here.place.write("a,b\n1,2\n", "other.csv")
    done = here.run("reconcile", "other.csv")
    assert (done.exit_code, "those of no export that is known" in done.stderr, "OpenAI" in done.stderr) == (
        2,
        True,
        True,
    )
    here.place.write(bill(), "usage.json")
    for provider, said in (("anthropic", "no provider"), ("nobody", "no provider")):
        wrong = here.run("reconcile", "usage.json", "--provider", provider)
        assert (wrong.exit_code, said in wrong.stderr) == (2, True)
    assert here.run("reconcile", "nowhere.json").exit_code == 2
