"""What a newcomer types first, in a fresh copy of the checkout: the README's command, then its curl."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _copy_of_the_checkout(folder: Path) -> Path:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.mark.slow
def test_the_first_command_of_the_readme_serves_from_a_fresh_clone(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    first = re.search(r"^python3 -m venv .*spine serve$", text, re.MULTILINE)
    assert first is not None
    assert first[0] in (ROOT / "docs" / "index.md").read_text(), "the quickstart begins otherwise"
    clone = _copy_of_the_checkout(tmp_path)
    environ = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    gateway = subprocess.Popen(
        ["bash", "-c", f"{first[0]} --port 0"],
        cwd=clone,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert gateway.stdout is not None
        address = next(found[0] for line in gateway.stdout if (found := re.search(r"http://\S+", line)))
        body = '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}'
        answer = subprocess.run(
            ["curl", "-sf", f"{address}/v1/chat/completions", "-d", body], capture_output=True, text=True, check=True
        )
        assert "You said: Hello" in answer.stdout
    finally:
        os.killpg(gateway.pid, signal.SIGTERM)
        gateway.wait(20)
