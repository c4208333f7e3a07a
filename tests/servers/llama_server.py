"""llama.cpp's own server with random weights, as scripts/build-llama-server has built it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KEY = "llama-key-0123456789"
MODEL = "tiny"
SEED = "1"
"""The same question gets the same words, and no test hangs on luck: of random weights one answer in 150 is empty."""
CACHE = Path(os.environ.get("GENAI_CACHE") or Path.home() / ".cache" / "genai-spine")


def built() -> Path | None:
    """The folder with llama-server, tiny.gguf and llama-3.1.jinja; None where they were never made."""
    return next((file.parent for file in sorted(CACHE.glob("llama-*/llama-server"))), None)


class LlamaServer:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> Any:
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    @property
    def busy_slots(self) -> int:
        return sum(slot["is_processing"] for slot in self.get("/slots"))

    def wait_until_idle(self, timeout_s: float = 30) -> None:
        """Raises: AssertionError."""
        begun = time.monotonic()
        while self.busy_slots:
            assert time.monotonic() - begun < timeout_s, f"still busy after {timeout_s} s"
            time.sleep(0.02)


@contextmanager
def running(folder: Path, log: Path, *arguments: str) -> Iterator[LlamaServer]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                *(str(folder / "llama-server"), "-m", str(folder / "tiny.gguf"), "--port", str(port)),
                *("-c", "4096", "--seed", SEED, "--jinja", "--api-key", KEY, "-a", MODEL, "-np", "2", *arguments),
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    server = LlamaServer(port)
    try:
        _wait_until_ready(server, process, log)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(server: LlamaServer, process: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + 60
    while True:
        try:
            if server.get("/health") == {"status": "ok"}:
                return
        except (urllib.error.URLError, ConnectionError):
            pass
        assert process.poll() is None and time.monotonic() < end_s, log.read_text(errors="replace")[-3000:]
        time.sleep(0.05)
