"""Every example of the pages runs: page_examples.py says how."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_examples import OPTIONS, ROOT, Example, Page, examples_of, pages

from genai_spine.testing.fixtures import running_simulator

SKIPS: tuple[str, ...] = ()
"""The examples that cannot run, by page and reason; a new one is written down here."""


EVERY_DAY = ("README", "gateway", "library")
"""The pages that newcomers read first; the others take half a minute together, and are run with the slow tests."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    with running_simulator() as running:
        yield running.urls.root


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _cases() -> Iterator[Any]:
    for page in pages():
        if list(examples_of(page)):
            yield pytest.param(page, id=page.stem, marks=() if page.stem in EVERY_DAY else pytest.mark.slow)


@pytest.mark.parametrize("page", list(_cases()))
def test_every_example_of_the_page_runs(page: Path, tmp_path: Path, simulator: str) -> None:
    runner = Page(tmp_path, simulator, _free_port())
    try:
        for example in examples_of(page):
            runner.run(example)
    finally:
        runner.close()


def test_skipped_examples_are_few_and_known() -> None:
    examples = [example for page in pages() for example in examples_of(page)]
    assert {f"{e.page}: {e.argument}" for e in examples if e.option == "skip"} == set(SKIPS)
    elsewhere = [example for example in examples if example.option == "elsewhere"]
    assert len(elsewhere) <= 6
    assert all((ROOT / example.argument).is_file() for example in elsewhere)


def test_options_are_spelled_right() -> None:
    for page in pages():
        text = page.read_text(encoding="utf-8")
        for example in examples_of(page):
            assert example.option in ("", *OPTIONS), f"{example.place}: no option is called {example.option}"
        taken = [example for example in examples_of(page) if example.option]
        assert text.count("<!-- test: ") == len(taken), f"{page.relative_to(ROOT)}: a comment stands before no example"


def test_an_example_that_fails_is_seen(tmp_path: Path, simulator: str) -> None:
    runner = Page(tmp_path, simulator, _free_port())
    for code, language in (("raise SystemExit(3)", "python"), ("curl localhost:8100/nowhere", "bash")):
        with pytest.raises(AssertionError, match="ended with"):
            runner.run(Example("page.md", 1, language, code))
    runner.close()
