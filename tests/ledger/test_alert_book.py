"""What is remembered of alerts is the same in Postgres as in SQLite."""

from __future__ import annotations

from functools import partial

from genai_spine.ledger.alerts import AlertBook, RaisedAlert
from genai_spine.ledger.postgres import PostgresDatabase


def test_an_alert_is_entered_once_and_taken_over_when_it_is_due(database: str) -> None:
    book = AlertBook(partial(PostgresDatabase, database))
    alert = RaisedAlert(id="msg_1", key="a", body="{}", raised_at=0.0, ends_at=10.0)
    assert book.enter(alert, 5.0)
    assert not book.enter(alert, 5.0)
    assert book.take_overdue(4.0, 8.0) == []
    assert book.take_overdue(6.0, 8.0) == [alert]
    assert book.take_overdue(6.0, 8.0) == []
    book.postpone(alert, 20.0)
    assert book.take_overdue(15.0, 30.0) == []
    book.close(alert, "told")
    assert book.take_overdue(100.0, 200.0) == []
