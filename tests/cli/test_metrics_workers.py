"""GET /metrics of several workers: any of them tells the numbers of all, and what a dead one had told is not lost."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from spine_process import Place, Running

from genai_spine.testing.fixtures import wait_until

CHAT = {"model": "sim", "messages": [{"role": "user", "content": "hello"}]}


def url_of(running: Running) -> str:
    found = re.search(r"OLLAMA_HOST=(\S+)\n", running.expect("GEMINI_API_KEY"))
    assert found is not None
    return found[1]


def ask(url: str) -> None:
    body = json.dumps(CHAT).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


def numbers(url: str) -> tuple[float, set[int]]:
    """How many calls were answered, and the processes that say so."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    calls = sum(sample.value for sample in samples if sample.name == "spine_calls_total")
    pids = {int(each.labels["pid"]) for each in samples if each.name == "process_resident_memory_bytes"}
    return calls, pids


def test_workers_answer_for_each_other_and_for_those_before_them(configured: Place, tmp_path: Path) -> None:
    text = (configured.path / "spine.toml").read_text()
    configured.write(text + '\n[server]\nmetrics = "keyed"\nworkers = 3\n')
    shared = tmp_path / "shared"
    shared.mkdir()
    with configured.started("serve", "--port", "0", TMPDIR=str(shared)) as running:
        url = url_of(running)
        for _ in range(12):
            ask(url)
        for _ in range(6):  # whichever is asked
            wait_until(lambda: numbers(url)[0] == 12)
        wait_until(lambda: len(numbers(url)[1]) == 3)
        pids = numbers(url)[1]
        for pid in sorted(pids)[:2]:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(numbers(url)[1] - pids) == 2, 20)
        for _ in range(9):
            ask(url)
        for _ in range(6):
            wait_until(lambda: numbers(url)[0] == 21)
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        assert "Traceback" not in running.err
        assert not list(shared.iterdir()), "what they shared is gone with them"
