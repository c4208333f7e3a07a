"""`spine` as its users run it: processes with an environment of their own, and terminals.

And called within the tests' own process, where another process would prove nothing more.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from functools import partial
from io import BytesIO, TextIOWrapper
from pathlib import Path
from unittest.mock import patch

from genai_spine.cli.main import main

SPINE = (sys.executable, "-m", "genai_spine")
CANARY = "canary-7f3a9c51e2d8"
"""A key that looks like none: no pattern finds it, only who knows it can strike it out."""


class Result:
    def __init__(self, code: int, stdout: bytes, stderr: bytes) -> None:
        self.code = code
        self.raw = stdout
        self.out = stdout.decode()
        self.err = stderr.decode()

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}--- stderr\n{self.err}"

    @property
    def said(self) -> str:
        return self.out + self.err


class Place:
    """A directory in which `spine` runs, with an environment without keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.home = path / "home"
        self.home.mkdir()

    def write(self, text: str, name: str = "spine.toml") -> Path:
        file = self.path / name
        file.write_text(text)
        return file

    def environ(self, more: Mapping[str, str] = {}) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {**kept, "HOME": str(self.home), "TERM": "xterm-256color", "PYTHONUTF8": "1", **more}

    def run(self, *arguments: str, stdin: bytes = b"", timeout_s: float = 30, **environ: str) -> Result:
        done = subprocess.run(
            [*SPINE, *arguments],
            input=stdin,
            capture_output=True,
            cwd=self.path,
            env=self.environ(environ),
            timeout=timeout_s,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def started(self, *arguments: str, under: tuple[str, ...] = (), **environ: str) -> Iterator[Running]:
        """In a process group of its own, which the end of a terminal ends, whatever runs the tests; `under` is a
        command that runs another."""
        process = subprocess.Popen(
            [*under, *SPINE, *arguments],
            process_group=0,
            preexec_fn=partial(signal.signal, signal.SIGHUP, signal.SIG_DFL),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.path,
            env=self.environ(environ),
        )
        running = Running(process)
        try:
            yield running
        finally:
            if process.poll() is None:
                process.kill()
            running.wait()

    @contextmanager
    def terminal(self, *arguments: str, **environ: str) -> Iterator[Terminal]:
        terminal = Terminal([*SPINE, *arguments], self.path, self.environ(environ))
        try:
            yield terminal
        finally:
            terminal.close()


class NearPlace(Place):
    """A place whose `run` calls `spine` in this process, which saves a start and all imports.

    For what a command says and sends; test_cli_main.py shows that a process of its own says the same.
    """

    def run(self, *arguments: str, stdin: bytes = b"", timeout_s: float = 30, **environ: str) -> Result:
        if any(name.startswith("PYTHON") for name in environ):  # which Python reads when it starts
            return super().run(*arguments, stdin=stdin, timeout_s=timeout_s, **environ)
        out, err = BytesIO(), BytesIO()
        with (
            chdir(self.path),
            patch.dict(os.environ, self.environ(environ), clear=True),
            patch.object(logging.root, "handlers", []),
            patch.multiple(
                sys,
                argv=["spine", *arguments],
                stdin=TextIOWrapper(BytesIO(stdin), "utf-8"),
                stdout=TextIOWrapper(out, "utf-8"),
                stderr=TextIOWrapper(err, "utf-8", write_through=True),
            ),
        ):
            try:
                main()
                code: object = 0
            except SystemExit as left:
                code = left.code or 0
            sys.stdout.flush()
            assert isinstance(code, int), code
            return Result(code, out.getvalue(), err.getvalue())


class Running:
    """A process that serves. What it says is read as it comes, so that it never waits for us."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._said: dict[int, bytes] = {}
        assert process.stdout is not None
        assert process.stderr is not None
        self._out, self._err = process.stdout, process.stderr
        for stream in (self._out, self._err):
            os.set_blocking(stream.fileno(), False)
            self._said[stream.fileno()] = b""
        self._fds = (self._out.fileno(), self._err.fileno())

    @property
    def out(self) -> str:
        self._read(0)
        return self._said[self._fds[0]].decode()

    @property
    def err(self) -> str:
        self._read(0)
        return self._said[self._fds[1]].decode()

    def expect(self, text: str, timeout_s: float = 10) -> str:
        """stdout, once this is in it."""
        end_s = time.monotonic() + timeout_s
        while text not in self.out:
            assert time.monotonic() < end_s, f"no {text!r} in\n{self.out}\n{self.err}"
            assert self.process.poll() is None or text in self.out, f"ended:\n{self.out}\n{self.err}"
            self._read(0.1)
        return self.out

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 10) -> int:
        end_s = time.monotonic() + timeout_s
        while self.process.poll() is None and time.monotonic() < end_s:
            self._read(0.05)
        code = self.process.wait(0.1)
        if not self._out.closed:
            self._read(0)
            self._out.close()
            self._err.close()
        return code

    def _read(self, timeout_s: float) -> None:
        if self._out.closed:
            return
        for fd in select.select(self._fds, [], [], timeout_s)[0]:
            try:
                self._said[fd] += os.read(fd, 65536)
            except BlockingIOError:
                pass


# `spine` under a terminal that it controls: Ctrl-C reaches it as from a keyboard.
_CONTROLLED = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test runner's worker may ignore it, which would be inherited
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A process on a pseudo-terminal."""

    def __init__(self, command: list[str], cwd: Path, environ: dict[str, str]) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CONTROLLED, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env=environ,
            start_new_session=True,
        )
        self._slave = slave
        self.modes = termios.tcgetattr(slave)
        self.screen = ""
        self._seen = 0

    def expect(self, text: str, timeout_s: float = 15) -> str:
        """What came since the last `expect`, up to and with this text."""
        end_s = time.monotonic() + timeout_s
        while (found := self.screen.find(text, self._seen)) < 0:
            assert time.monotonic() < end_s, f"no {text!r} in {self.screen[self._seen :]!r}"
            self._read(0.1)
        begun, self._seen = self._seen, found + len(text)
        return self.screen[begun : self._seen]

    def send(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait(self, timeout_s: float = 10) -> int:
        end_s = time.monotonic() + timeout_s
        while self.process.poll() is None and time.monotonic() < end_s:
            self._read(0.05)
        code = self.process.wait(0.1)
        while self._read(0.05):
            pass
        return code

    @property
    def modes_now(self) -> list[object]:
        return termios.tcgetattr(self._slave)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self._slave)
        os.close(self._master)

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self._master], [], [], timeout_s)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says EIO when the last writer is gone
            return False
        self.screen += data.decode(errors="replace")
        return bool(data)
