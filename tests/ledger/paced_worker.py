"""A process that writes calls to a ledger, some hundred a second, until it is killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from genai_spine.ledger.database import Database, SqliteDatabase
from genai_spine.ledger.entry import Begun, Call, Ended, Tokens
from genai_spine.ledger.postgres import PostgresDatabase
from genai_spine.ledger.writer import Ledger


def main(folder: Path, url: str | None = None) -> None:
    def open_database() -> Database:
        return SqliteDatabase(folder / "ledger.db") if url is None else PostgresDatabase(url)

    ledger = Ledger(folder / "journal", open_database, every_s=0.05)
    tokens = Tokens(input=3, output=4)
    number = 0
    while True:
        id, at = f"new{number}", time.time()
        ledger.write(Begun(id=f"{id}-0", call=id, at=at, provider="p", model="m", most_nanousd=1000))
        ledger.write(Ended(id=f"{id}-0", at=at, status="answered", duration_s=0.0, tokens=tokens, cost_nanousd=7))
        ledger.write(
            Call(id=id, at=at, duration_s=0.0, status="answered", attempts=1, provider="p", model="m", cost_nanousd=7)
        )
        number += 1
        time.sleep(0.004)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
