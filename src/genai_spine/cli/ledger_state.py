"""What `spine doctor` finds about the ledger: can it be read, is there room, what waits, and what the gateway that runs
says of it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from genai_spine.cli.machine import Check
from genai_spine.ledger.journal import left_by_the_dead
from genai_spine.ledger.mover import REFUSED
from genai_spine.ledger.opening import NoLedgerYet, journal_of, reader_of
from genai_spine.ledger.reading import usage
from genai_spine.model.errors import ConfigError, SpineError
from genai_spine.providers.http_transport import HttpTransport
from genai_spine.providers.transport import HttpRequest, Timeouts
from genai_spine.settings import LedgerSettings, ServerSettings, Settings
from genai_spine.wire.http import parse_url

LITTLE_BYTES = 500_000_000
_TIMEOUTS = Timeouts(connect_s=1.0, first_byte_s=2.0, idle_s=2.0, total_s=3.0)
_SUBJECT = "ledger"


class _Ledger(msgspec.Struct):
    """Of `/health/ready`."""

    database: str
    journal: str
    held: int
    lost: int


class _Health(msgspec.Struct):
    status: str
    ledger: _Ledger | None = None


async def examine_ledger(settings: Settings) -> list[Check]:
    """The database is asked in a thread: it may be slow."""
    if settings.ledger.url is None:
        detail = "none is kept: what is spent is summed in memory, and forgotten at the end"
        return [_check("info", detail, 'if wanted: set ledger.url, such as "sqlite:///spine.db"')]
    try:
        checks = [*await asyncio.to_thread(lambda: [*_database(settings.ledger), *_journal(settings.ledger)])]
    except ConfigError as error:
        return [_check("failure", error.message)]
    return checks + [check for check in [_running(await _health_of(settings.server))] if check is not None]


def _check(status: Any, detail: str, mend: str | None = None) -> Check:
    return Check(status=status, subject=_SUBJECT, detail=detail, mend=mend)


def _database(settings: LedgerSettings) -> Iterator[Check]:
    try:
        with reader_of(settings) as reader:
            total = usage(reader).total
    except NoLedgerYet as error:
        yield _check("info", error.message)
        return
    except ConfigError as error:  # the driver's words may tell where the database is, and this is the operator
        yield _check("failure", error.message)
        return
    unknown = f", the cost of {total.unpriced:,} attempts is not known" if total.unpriced else ""
    yield _check("ok", f"the database can be read: {total.calls:,} calls{unknown}")


def _journal(settings: LedgerSettings) -> Iterator[Check]:
    folder = journal_of(settings)
    assert folder is not None
    there = _existing(folder)
    if not os.access(there, os.W_OK):
        mend = "give the gateway's user that folder, or set ledger.journal"
        yield _check("failure", f"the journal cannot be written in {folder}", mend)
        return
    free = shutil.disk_usage(there).free
    if free < LITTLE_BYTES:
        yield _check("warning", f"only {free / 1e6:,.0f} MB are free where the journal is ({folder})", "make room")
    segments = list(folder.glob("*.journal"))
    size = sum(path.stat().st_size for path in segments)
    yield _check("ok", f"the journal is in {folder}: {size / 1e6:,.1f} MB, {free / 1e9:,.1f} GB are free")
    if dead := len(left_by_the_dead(folder)):
        mend = "start a gateway or a program with this ledger: they are entered within half a minute"
        yield _check("warning", f"the last calls of processes that did not end by themselves wait there: {dead}", mend)
    refused = folder / REFUSED
    if refused.exists():
        count = refused.read_bytes().count(b"\n")
        yield _check(
            "warning", f"the database has refused {count} rows for good: they are in {refused}", "look at them"
        )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


async def _health_of(server: ServerSettings) -> _Health | None:
    """What the gateway says that runs with these settings; None where none does."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)
    where = f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"
    transport = HttpTransport()
    try:
        url = parse_url(f"http://{where}/health/ready")
        response = await transport.send(HttpRequest(method="GET", url=url, timeouts=_TIMEOUTS))
        return msgspec.json.decode(await response.read(65536), type=_Health)
    except (SpineError, msgspec.DecodeError):
        return None
    finally:
        await transport.close()


def _running(health: _Health | None) -> Check | None:
    if health is None or health.ledger is None:
        return None
    ledger = health.ledger
    lost = f", {ledger.lost:,} are lost" if ledger.lost else ""
    if ledger.journal != "ok":
        what = "are refused" if health.status == "refusing" else "go on"
        detail = f"the gateway cannot write its journal: calls {what}, {ledger.held:,} entries are in memory{lost}"
        return _check("failure", detail, "make room on the disk, or mend the folder's rights; it goes on by itself")
    if ledger.database != "ok":
        detail = f"the gateway cannot write the database: entries wait in the journal{lost}"
        return _check("warning", detail, "its log says why; it goes on by itself")
    if ledger.lost:
        return _check("warning", f"the gateway that runs has lost {ledger.lost:,} entries", "its log says when")
    return _check("ok", "the gateway that runs writes it")
