"""The table of faults: every test that it names is there, and no fault of the list is without one."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from fault_table import ELSEWHERE, FAULTS, named, named_for_each, numbers_of  # noqa: E402

NEEDED = {*range(1, 29), *range(65, 71), 74, 75, 79, 82, 83, 85}


def test_every_test_that_is_named_elsewhere_exists() -> None:
    for tests in ELSEWHERE.values():
        for test in tests:
            file, _, name = test.partition("::")
            assert re.search(rf"^(async )?def {name}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE), test


def test_every_name_says_a_fault_that_has_a_title() -> None:
    for file, name in named():
        assert numbers_of(name), (file, name)
        assert set(numbers_of(name)) <= set(FAULTS), (file, name)


def test_every_fault_of_calls_and_streams_is_provoked() -> None:
    assert set(named_for_each()) >= NEEDED
    assert set(named_for_each()) == set(FAULTS)
