"""The line to the PostgreSQL in which several processes count their budgets: one statement for whatever has come up.

What they do there is functions of the database (shared_budgets.sql), which the first process makes. Statements run in a
thread, one at a time: psycopg's own connection for asyncio waits for seconds when it is left, and not in every loop.
Extra `postgres` (psycopg 3.2 or later, read 2026-11: www.psycopg.org/psycopg3/docs/api/connections.html).
"""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from importlib import resources
from typing import Any

import msgspec

from genai_spine.engine.limits.server_line import Command, ServerLine
from genai_spine.ledger.postgres import LOCK, check, connect
from genai_spine.policy.budget import FAR

TIMEOUT_S = 0.5
"""How long the database may take for an answer, which is on its disk by then."""
_FUNCTIONS = resources.files("genai_spine.engine.costs").joinpath("shared_budgets.sql").read_text(encoding="utf-8")
_ARE_THERE = "SELECT to_regprocedure('genai_spine.budgets_2(jsonb,integer)') IS NOT NULL"
_RUN = "SELECT genai_spine.budgets_2(%s::jsonb, %s::integer)::text"
_PROBE = "INSERT INTO genai_spine.budget_sum (name) VALUES ('') ON CONFLICT (name) DO UPDATE SET usd = 0"
_LONGEST_NAME = 500
"""Tags are as long as callers like, and an index takes some 2,700 bytes."""
_COMMON = 4
"""Arguments of every command; those of each budget come after them."""

_answers = msgspec.json.Decoder(list[list[int]])


class _Connection:
    """One connection, and the thread that works with it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spine-budgets")
        self._connection: Any = None
        self._socket: socket.socket | None = None

    @property
    def was_ended(self) -> bool:
        """Whether the server has said something unasked, between two statements: that it ends the connection, as where
        it was restarted or thinks it idle."""
        try:
            return self._socket is None or self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) is not None
        except BlockingIOError:
            return False
        except OSError:
            return True

    async def open(self) -> None:
        await self._in_thread(self._open)

    async def run(self, statement: str, *values: str) -> Any:
        return await self._in_thread(self._run, statement, values)

    def leave(self) -> None:
        """Whatever the thread waits for ends with an error."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)
        if self._socket is not None:
            with suppress(OSError):  # it is closed already
                self._socket.shutdown(socket.SHUT_RDWR)

    async def _in_thread(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _open(self) -> None:
        self._connection = connection = connect(self._url)
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))  # so that others can end what it waits for
        if not self._run(_ARE_THERE, ()):
            with connection.transaction():
                connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")  # one process makes them
                connection.execute(_FUNCTIONS)

    def _run(self, statement: str, values: tuple[str, ...]) -> Any:
        cursor = self._connection.execute(statement, values)
        return cursor.fetchone()[0] if cursor.description is not None else None

    def _close(self) -> None:
        for opened in (self._connection, self._socket):
            if opened is not None:
                opened.close()


class PostgresLine(ServerLine):
    __slots__ = ("_url",)

    may_be_emptied = False

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        """Raises: ConfigError where the extra is missing or the URL is none of Postgres's."""
        super().__init__(url, timeout_s, "budgets")
        check(url)
        self._url = url

    async def _answers(self, batch: list[Command]) -> list[Any]:
        client: _Connection | None = self._client
        if client is None or client.was_ended:
            client = await self._connect()
        commands = msgspec.json.encode([_message(command) for command in batch]).decode()
        text = await client.run(_RUN, commands, str(int(self._timeout_s * 1000)))
        return [list(map(str, answer)) for answer in _answers.decode(text)]

    async def _connect(self) -> _Connection:
        await self._drop()
        self._client = client = _Connection(self._url)
        await client.open()
        return client

    async def _probe(self, client: Any) -> None:
        await client.run(_PROBE)  # a standby, and one whose disk is full, take none

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.leave()


def _message(command: Command) -> dict[str, Any]:
    """The command as the functions read it. Of each budget there are two keys, the second one is Redis's alone."""
    action, id, lease_us, process = command.args[:_COMMON]
    names, numbers = command.keys[::2], command.args[_COMMON:]
    width = len(numbers) // max(1, len(names))
    of = [
        [_name(name), *(max(-FAR, min(FAR, number)) for number in numbers[index * width : (index + 1) * width])]
        for index, name in enumerate(names)
    ]
    return {"do": action, "id": id, "lease": int(lease_us), "process": process, "of": of}


def _name(key: str) -> str:
    """One that every database takes, whatever its encoding."""
    if len(key) <= _LONGEST_NAME and key.isascii() and key.isprintable():
        return key
    return f"sha256:{sha256(key.encode(errors='surrogatepass')).hexdigest()}"
