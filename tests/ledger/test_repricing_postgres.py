"""Repricing in a real Postgres: the same, while another process writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from entries import begun, ended, over
from test_repricing import assert_days_agree, contents, reprice_all, reprice_while_a_gateway_writes, undo_all

from genai_spine.ledger.entry import Entry
from genai_spine.ledger.matching import Matching
from genai_spine.ledger.postgres import PostgresDatabase

pytestmark = pytest.mark.servers


def test_a_gateway_may_go_on_writing_to_postgres(database: str, tmp_path: Path) -> None:
    reprice_while_a_gateway_writes(lambda: PostgresDatabase(database), tmp_path, database)


def test_postgres_is_given_back_what_stood_before(database: str) -> None:
    opened = PostgresDatabase(database)
    whose: dict[str, Any] = {"caller": "k", "tags": ("x", "y")}
    entries: list[Entry] = [begun("a", **whose), ended("a", None), over("a", None, **whose)]
    entries += [begun("b"), ended("b"), over("b")]
    opened.enter(Matching().take(entries))
    before = contents(opened)
    assert reprice_all(opened, 40) == 2
    assert_days_agree(opened)
    assert undo_all(opened, "r2", "r1") == (2, 0)
    assert contents(opened) == before
    opened.close()


def test_the_commands_read_and_change_a_ledger_in_postgres(database: str, tmp_path: Path) -> None:
    opened = PostgresDatabase(database)
    whose: dict[str, Any] = {"model": "gpt-4o", "caller": "k", "tags": ("x",)}
    opened.enter(Matching().take([begun("a", 0.0, **whose), ended("a", None), over("a", None, **whose)]))
    (tmp_path / "spine.toml").write_text(f'[ledger]\nurl = "{database}"\n')
    (tmp_path / "bill.csv").write_text("usage_date_utc,model,cost_usd\n1970-01-01,Claude Opus 5,0.00\n")

    def spine(*arguments: str) -> Any:
        command = [sys.executable, "-m", "genai_spine", "costs", *arguments, "--json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    done = spine("reprice", "--apply", "--as-of", "2026-11-01")
    assert (done["total"]["now_known"], done["total"]["after_usd"]) == (1, "0.0000475")  # 3 × 2.5 + 4 × 10 per 1M
    found = spine("whatif", "--model", "openai/gpt-4o", "--by", "tag", "--as-of", "2026-11-01")
    assert [(row["name"], row["would_cost_usd"]) for row in found["data"]] == [("x", "0.0000475")]
    assert spine("reconcile", "bill.csv")["is_within"]
    assert spine("reprice", "--undo", done["run"])["changed"] == 1
    assert contents(opened)[1][0][13] is None  # the call's cost
    opened.close()
