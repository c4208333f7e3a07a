from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_peers import GET, PathApp, eventually, read_response, read_until_closed, served, status_of

from genai_spine.gateway.server import open_sockets, serve
from genai_spine.model.errors import ConfigError
from genai_spine.settings.tree import ServerSettings
from genai_spine.settings.values import Secret

SCRIPT = str(Path(__file__).with_name("serving_app.py"))


class Process:
    """A server in a process of its own."""

    def __init__(self, *arguments: str, **settings: Any) -> None:
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT, json.dumps({"port": 0, **settings}), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.ready_s = time.monotonic() - self.begun
        self.port = int(line.split()[2]) if line.startswith("ready") else 0

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def ask(self, path: bytes) -> bytes:
        with self.connect() as sock:
            sock.sendall(GET % path)
            return read_response(sock)

    def pid_of_worker(self) -> int:
        return int(self.ask(b"/pid").partition(b"\r\n\r\n")[2])

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 10) -> int:
        return self.process.wait(timeout_s)

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()


@contextlib.contextmanager
def process(*arguments: str, **settings: Any) -> Iterator[Process]:
    running = Process(*arguments, **settings)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()
        for stream in (running.process.stdout, running.process.stderr):
            if stream is not None:
                stream.close()


# Beginning


def test_the_server_is_ready_within_a_second() -> None:
    with process() as server:
        assert status_of(server.ask(b"/plain")) == 200
        assert server.ready_s < 1.5  # the target is 1 s, on a machine that does nothing else


def test_the_lifespan_begins_before_and_ends_after_serving() -> None:
    app = PathApp()
    with served(app):
        assert app.lifespan == ["lifespan.startup"]
    assert app.lifespan == ["lifespan.startup", "lifespan.shutdown"]
    assert app.draining


async def test_serving_that_is_cancelled_ends_the_application_too() -> None:
    app, is_ready = PathApp(), asyncio.Event()
    settings = ServerSettings(host="127.0.0.1", port=0)
    serving = asyncio.create_task(serve(lambda: app, settings, ready=lambda host, port: is_ready.set()))
    await is_ready.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert app.lifespan == ["lifespan.startup", "lifespan.shutdown"]


def test_an_application_without_lifespan_is_served() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        scope["extensions"]["genai_spine.reply"].reply(200, b"", b"bare")

    with served(app) as server:
        assert server.ask(GET % b"/").endswith(b"bare")


def test_an_error_while_starting_comes_out_of_serve() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ConfigError("no provider is configured")

    with pytest.raises(ConfigError, match="no provider"), served(app):
        pass


def test_a_failed_startup_is_a_config_error() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "the ledger cannot be opened"})

    with pytest.raises(ConfigError, match="ledger"), served(app):
        pass


def test_an_error_while_starting_is_one_line_and_exit_1() -> None:
    for workers in (1, 2):
        with process(fails=True, workers=workers) as server:
            assert server.wait() == 1
            assert server.errors() == (
                "SpineError: the application does not want to\n"
                if workers == 1
                else "ConfigError: the application does not want to\n"
            )


def test_localhost_is_every_loopback_address_on_one_port() -> None:
    sockets = open_sockets(ServerSettings(host="localhost", port=0))
    assert len({sock.getsockname()[1] for sock in sockets}) == 1
    for sock in sockets:
        sock.close()


def test_an_address_family_that_is_missing_here_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, 1, 6, "", ("127.0.0.1", 0)), (socket.AF_INET, 1, 6, "", ("127.0.0.1", 0))]
    missing = (socket.AF_INET, 1, 6, "", ("192.0.2.1", 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*found, missing])
    sockets = open_sockets(ServerSettings(host="localhost", port=0, api_keys=[Secret("0123456789abcdef")]))
    assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1"]
    sockets[0].close()


# Where it may listen


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "::ffff:0.0.0.0"])
def test_beyond_loopback_a_key_is_needed(host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_sockets(ServerSettings(host=host, port=0))
    assert "server.api_keys" in caught.value.message
    assert "secrets.token_urlsafe(32)" in caught.value.message
    assert "GENAI_SERVER__API_KEYS" in caught.value.message


@pytest.mark.parametrize("keys", [["0123456789abcdef"], ["", "0123456789abcdef"]])
def test_beyond_loopback_with_a_key_is_fine(keys: list[str]) -> None:
    for sock in open_sockets(ServerSettings(host="0.0.0.0", port=0, api_keys=[Secret(key) for key in keys])):
        sock.close()


def test_an_empty_key_is_no_key() -> None:
    with pytest.raises(ConfigError, match="api_keys"):
        open_sockets(ServerSettings(host="0.0.0.0", port=0, api_keys=[Secret("")]))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    for sock in open_sockets(ServerSettings(host=host, port=0)):
        sock.close()


def test_fault_80_a_port_in_use_is_told_with_its_mend() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with process(port=port) as server:
            assert server.wait() == 1
            errors = server.errors()
    assert errors.startswith(f"ConfigError: cannot listen on 127.0.0.1:{port}")
    assert "in use" in errors
    assert "--port" in errors
    assert "Traceback" not in errors


def test_fault_80_a_port_without_permission_is_told_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        if os.geteuid() == 0 or int(file.read()) <= 80:
            pytest.skip("this user may bind every port")
    with pytest.raises(ConfigError, match="privileges"):
        open_sockets(ServerSettings(port=80))


def test_an_address_that_is_not_ours_is_told_with_its_mend() -> None:
    with pytest.raises(ConfigError, match="no such address"):
        open_sockets(ServerSettings(host="192.0.2.1", port=0, api_keys=[Secret("0123456789abcdef")]))


def test_a_host_that_is_no_host_is_told() -> None:
    with pytest.raises(ConfigError, match=re.escape("server.host")):
        open_sockets(ServerSettings(host="no such host", port=0))


# Too many files


def test_fault_80_too_few_files_are_503_and_not_the_end() -> None:
    with process("100", max_connections=10_000) as server:
        crowd = [server.connect() for _ in range(60)]
        for sock in crowd:
            with contextlib.suppress(OSError):
                sock.sendall(GET % b"/endless")
        time.sleep(0.5)
        for sock in crowd:
            sock.close()
        assert eventually(lambda: status_of(server.ask(b"/plain")) == 200)
        server.signal()
        assert server.wait() == 0
        assert "ulimit" in server.errors()


def test_fault_80_emfile_on_accept_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    from genai_spine.gateway import server as serving

    monkeypatch.setattr(serving, "_bound_by_files", lambda limits: limits)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with served() as server:
        crowd = [socket.socket() for _ in range(40)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(s.fileno() for s in crowd) + 10, hard))
        try:
            for sock in crowd:
                sock.settimeout(1)
                sock.connect(("127.0.0.1", server.port))
            time.sleep(0.2)
            begun = time.process_time()
            time.sleep(0.3)
            assert time.process_time() - begun < 0.15  # no busy loop
            for sock in crowd:
                sock.close()
            assert eventually(lambda: status_of(server.ask(GET % b"/plain")) == 200)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_limit_of_open_files_is_raised_to_what_is_allowed() -> None:
    script = (
        "import resource; from genai_spine.gateway.server import raise_file_limit;"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1];"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard)); raise_file_limit();"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "True\n"


# 78: the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_fault_78_without_work_a_signal_ends_at_once_with_0(number: int) -> None:
    with process() as server:
        idle = server.connect()
        idle.sendall(GET % b"/plain")
        read_response(idle)
        begun = time.monotonic()
        server.signal(number)
        assert idle.recv(10) == b""
        assert server.wait() == 0
        assert time.monotonic() - begun < 10
        assert "Traceback" not in server.errors()
        idle.close()


def test_fault_78_an_open_stream_goes_on_and_new_connections_are_refused() -> None:
    with process(drain_timeout=20) as server, server.connect() as sock:
        sock.sendall(GET % b"/endless")
        head = sock.recv(1000)
        server.signal()
        time.sleep(0.1)
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        assert b"event: error" not in head + sock.recv(1000)
        server.signal()
        assert read_until_closed(sock).endswith(b"event: error\n\n\r\n0\r\n\r\n")
        assert server.wait() == 0


def test_fault_78_after_drain_timeout_streams_end_with_an_error_event() -> None:
    with process(drain_timeout=0.5) as server, server.connect() as sock:
        sock.sendall(GET % b"/endless")
        sock.recv(1000)
        begun = time.monotonic()
        server.signal()
        data = read_until_closed(sock)
        assert 0.4 < time.monotonic() - begun < 10
        assert data.endswith(b"event: error\n\n\r\n0\r\n\r\n")
        assert server.wait() == 0
        assert "Traceback" not in server.errors()


def test_fault_78_a_second_signal_quickens() -> None:
    with process(drain_timeout=60) as server, server.connect() as sock:
        sock.sendall(GET % b"/endless")
        sock.recv(1000)
        server.signal(signal.SIGINT)
        time.sleep(0.3)
        begun = time.monotonic()
        server.signal(signal.SIGINT)
        assert read_until_closed(sock).endswith(b"event: error\n\n\r\n0\r\n\r\n")
        assert server.wait() == 0
        assert time.monotonic() - begun < 20


def test_fault_78_a_request_that_ignores_the_end_is_cancelled() -> None:
    with process(drain_timeout=0.2) as server, server.connect() as sock:
        sock.sendall(b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)
        begun = time.monotonic()
        server.signal()
        read_until_closed(sock)
        assert server.wait() == 0
        assert time.monotonic() - begun < 5
        assert "Traceback" not in server.errors()


def test_a_response_while_draining_says_close() -> None:
    with served(drain_timeout=5) as server, server.connect() as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
        assert eventually(lambda: bool(server.app.scopes))
        server.stop()
        assert eventually(lambda: server.app.draining)
        sock.sendall(b"ok")
        response = read_until_closed(sock)
        assert b"connection: close" in response
        assert response.endswith(b"ok")


@pytest.mark.parametrize("path", [b"", b"/plain", b"/stream"])
def test_a_request_that_crosses_the_drain_is_answered_with_close(path: bytes) -> None:
    with served(drain_timeout=20) as server, server.connect() as sock:
        if path:
            sock.sendall(GET % path)
            received = sock.recv(1000)  # of a stream its head and maybe more
        server.stop()
        assert eventually(lambda: server.app.draining)
        while path == b"/stream" and not received.endswith(b"\r\n0\r\n\r\n"):
            received += sock.recv(1000)
        sock.sendall(GET % b"/plain")
        response = read_until_closed(sock)
        assert b"connection: close" in response
        assert response.endswith(b"plain")


def test_a_request_that_was_half_sent_when_the_drain_began_is_answered_with_close() -> None:
    with served(drain_timeout=5) as server, server.connect() as sock:
        sock.sendall(b"GET /plain HTTP/1.1\r\n")
        time.sleep(0.1)
        server.stop()
        assert eventually(lambda: server.app.draining)
        time.sleep(0.05)
        sock.sendall(b"Host: a\r\n\r\n")
        response = read_until_closed(sock)
        assert b"connection: close" in response
        assert response.endswith(b"plain")


# Workers


def test_workers_share_the_port_and_end_with_0() -> None:
    with process(workers=2) as server:
        assert server.pid_of_worker() != server.process.pid
        server.signal()
        assert server.wait() == 0
        assert "Traceback" not in server.errors()
    assert server.ready_s < 4


def test_a_worker_that_dies_is_replaced_and_the_others_serve_on() -> None:
    with process(workers=2) as server:
        victim = server.pid_of_worker()
        os.kill(victim, signal.SIGKILL)
        for _ in range(20):
            assert server.pid_of_worker() != victim
        assert eventually(lambda: _workers_of(server.process.pid) == 2)
        time.sleep(0.5)
        server.signal()
        assert server.wait() == 0


def test_fault_78_workers_drain_and_a_second_signal_quickens_them() -> None:
    with process(workers=2, drain_timeout=60) as server, server.connect() as sock:
        sock.sendall(GET % b"/endless")
        sock.recv(1000)
        # A terminal's Ctrl-C reaches the whole group.
        os.killpg(server.process.pid, signal.SIGINT)
        time.sleep(0.5)
        assert sock.recv(1000)
        assert b"event: error" not in sock.recv(1000)
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        os.killpg(server.process.pid, signal.SIGINT)
        data = read_until_closed(sock)
        assert server.wait() == 0
        assert "Traceback" not in server.errors()
        assert data.endswith(b"event: error\n\n\r\n0\r\n\r\n")


def test_fault_78_two_signals_at_once_reach_the_workers_as_two() -> None:
    with process(workers=2, drain_timeout=600) as server, server.connect() as sock:
        sock.sendall(GET % b"/endless")
        sock.recv(1000)
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
            server.signal(number)
        assert server.wait() == 0
        assert read_until_closed(sock).endswith(b"event: error\n\n\r\n0\r\n\r\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_fault_78_a_signal_to_all_processes_while_workers_start_ends_with_0(number: int) -> None:
    starting = subprocess.Popen(
        [sys.executable, SCRIPT, json.dumps({"port": 0, "workers": 2})],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert eventually(lambda: _workers_of(starting.pid) == 2)
        os.killpg(starting.pid, number)
        _, errors = starting.communicate(timeout=30)
        assert (starting.returncode, "Traceback" in errors) == (0, False), errors
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(starting.pid, signal.SIGKILL)


def test_a_worker_that_cannot_start_again_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVING_APP_BROKEN", str(tmp_path / "broken"))
    with process(workers=2) as server:
        (tmp_path / "broken").touch()
        os.kill(server.pid_of_worker(), signal.SIGKILL)
        assert server.process.stderr is not None
        assert "died (-9): starting another" in server.process.stderr.readline()
        assert "died (the application has broken since): starting another" in server.process.stderr.readline()
        server.signal()
        assert server.wait() == 0


def test_workers_end_when_the_supervisor_is_killed() -> None:
    with process(workers=2) as server:
        worker = server.pid_of_worker()
        server.process.kill()
        server.process.wait()
        assert eventually(lambda: not Path(f"/proc/{worker}").exists() or _is_zombie(worker))


def _workers_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(b"spawn_main" in _command_of(child) for child in children)


def _command_of(pid: str) -> bytes:
    """Nothing of a process that has ended since it was listed."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
