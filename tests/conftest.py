from __future__ import annotations

import gc
import logging
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine fails nothing. Sixty examples, other ones in each run, keep the everyday suite short.
settings.register_profile("no clock", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")


def pytest_configure() -> None:
    """A shell that runs the tests in the background ignores Ctrl-C, and so would every command that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection() -> None:
    """Nothing that is collected becomes garbage: to look for it takes as long as half the collection."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What was collected stays, and no test waits for it to be looked through again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _logs_are_as_they_were() -> Iterator[None]:
    """A command that is run within a test sets levels for the whole process; other tests read what is logged."""
    loggers = [logging.getLogger(name) for name in (None, "genai_spine")]
    before = [(logger.level, logger.propagate, logger.disabled) for logger in loggers]
    disabled_below = logging.root.manager.disable
    yield
    for logger, (level, propagate, disabled) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled
    logging.disable(disabled_below)


@pytest.fixture
def disk_of_mb(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of so many MB, that can really be full."""
    place = tmp_path / "disk"

    def mounted(megabytes: int) -> Path:
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("this user may mount nothing")
        return place

    yield mounted
    subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)
