"""docs/conformance.md says what the recordings say, where they are; and stays as it is where they are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "conformance.py"
PAGE = ROOT / "docs" / "conformance.md"

sys.path.insert(0, str(SCRIPT.parent))

import conformance  # noqa: E402  # beside the other scripts


def _check(wire: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "GENAI_WIRE": str(wire)}
    return subprocess.run([sys.executable, SCRIPT, "--check"], env=environ, text=True, capture_output=True, timeout=120)


def test_without_recordings_the_page_stays(tmp_path: Path) -> None:
    done = _check(tmp_path)
    assert done.returncode == 0 and "no recordings" in done.stdout, done


def test_other_recordings_than_the_pages_are_seen(tmp_path: Path) -> None:
    (tmp_path / "exchanges" / "openai").mkdir(parents=True)
    done = _check(tmp_path)
    assert done.returncode == 1 and "out of date" in done.stdout, done


@pytest.mark.skipif(not (conformance.WIRE / "exchanges").is_dir(), reason="no recordings: set GENAI_WIRE")
def test_the_page_is_up_to_date() -> None:
    done = _check(conformance.WIRE)
    assert done.returncode == 0, f"{done.stdout}: run `python scripts/conformance.py`"


def test_what_is_not_understood_has_its_reason() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("## What is not understood")[2]
    assert "**unknown**" not in text
    named = {name for name in conformance.REASONS if f"`{name}`" in text}
    assert named == set(conformance.REASONS), "a reason for what is understood by now"


def test_an_answer_that_is_cut_is_not_understood() -> None:
    body = '{"choices": [{"message": {"content": "Hi"}}]}'
    data = {"api": "chat", "capability": [], "response": {"status": 200, "body": body}}
    assert conformance._failure("openai_chat", "openai", data) is None
    data["response"] = {"status": 200, "body": body[:20]}
    assert str(conformance._failure("openai_chat", "openai", data)).startswith("BadReply")
