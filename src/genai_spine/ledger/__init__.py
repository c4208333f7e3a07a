"""What was spent, and on what: one row a call, one row an attempt. Knows no HTTP, no dialect and no provider.

    entry.py      what is written down of a call and of an attempt: values
    journal.py    the append-only files that every entry goes to before its caller has the end of the answer
    matching.py   from entries to rows: each attempt's end with its beginning, and what has no end
    tables.py     the tables, their migrations and roll-ups, in SQL that SQLite and Postgres both take
    database.py   rows into tables, once; SQLite
    postgres.py   the same in Postgres
    mover.py      from journals into the database: this process's own, and those of processes that are gone
    writer.py     the Ledger: `write`, and the thread that moves
    opening.py    from the settings to a Ledger, or to a reader
    content.py    what was said, where settings have it kept: apart from what was spent, and sooner gone
    alerts.py     which alerts were raised, so that each is told once
    reading.py    sums of usage, recent calls, one call with its attempts
    scan.py       every attempt of some days, a page at a time
    repricing.py  costs that were reckoned anew, and back: attempts, calls and days together
    spent.py      what was spent in the windows of budgets, for a process that starts
    days.py       what was spent day by day, and on what a budget is for
    forecasts.py  what it will be at the end of the month, and of each budget's window

kill -9 loses nothing that was written to the journal: it is the operating system's by then. What a journal holds
and the database does not, because the process died or the database was locked, slow, down or full, is entered
later, once, and in order.
"""
