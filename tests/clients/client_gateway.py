"""`spine serve` in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ADDRESS = re.compile(r" on (http://127\.0\.0\.1:\d+)")


@contextmanager
def gateway_process(settings: str, folder: Path) -> Iterator[str]:
    """The URL of a gateway with these settings, a TOML file's text. What it says is in `folder`."""
    file = folder / "spine.toml"
    file.write_text(settings)
    out, log = folder / "out.txt", folder / "log.txt"
    environ = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    with out.open("wb") as stdout, log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "genai_spine", "serve", "--config", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env={**environ, "HOME": str(folder), "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"},
        )
    try:
        yield _address(process, out, log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
    said = log.read_text()
    assert "Traceback" not in said, said


def _address(process: subprocess.Popen[bytes], out: Path, log: Path) -> str:
    end_s = time.monotonic() + 20
    while (found := _ADDRESS.search(out.read_text())) is None:
        assert process.poll() is None and time.monotonic() < end_s, f"{out.read_text()}\n{log.read_text()}"
        time.sleep(0.02)
    return found[1]
