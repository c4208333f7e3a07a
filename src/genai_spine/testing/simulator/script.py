"""A script: what happens to one request after the other.

    repeat = false                          # true: begin again when every step is used up

    [[steps]]
    path = "/v1/chat/*"                     # which requests; without it all. * and ? as in a shell
    model = "gpt-4*"
    times = 2                               # how many of them; 1 if not said, "always" for ever
    fault = "status=503; retry_after=1"     # as text or as a table: { status = 503, retry_after = 1 }

    [[steps]]
    answer = "Canned words."                # what the model says, if not what it would have said

A request takes the first step that fits it and is not used up; without one it is answered as always. Must
not know: sockets, dialects.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import msgspec

from genai_spine.model.errors import ConfigError, InvalidRequest
from genai_spine.testing.simulator.faults import NO_FAULT, Fault, fault_of, parse_fault


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to the next `times` requests that fit."""

    path: str | None = None
    model: str | None = None
    times: int | Literal["always"] = 1
    fault: Fault = NO_FAULT
    answer: str | None = None

    def fits(self, path: str, model: str | None) -> bool:
        return (self.path is None or fnmatchcase(path, self.path)) and (
            self.model is None or fnmatchcase(model or "", self.model)
        )


class Script:
    """The steps and how often each was taken."""

    def __init__(self, steps: Iterable[Step | Fault | str] = (), *, repeat: bool = False) -> None:
        """Steps may be written as faults, or as a fault's text.

        Raises: InvalidRequest for text that is no fault.
        """
        self.steps = tuple(_step_of(step) for step in steps)
        self.repeat = repeat
        self._taken = [0] * len(self.steps)

    @property
    def is_used_up(self) -> bool:
        return all(step.times != "always" and taken >= step.times for step, taken in self._counted())

    def find(self, path: str, model: str | None) -> Step | None:
        """The step for this request, without taking it."""
        index = self._find(path, model)
        return None if index is None else self.steps[index]

    def take(self, path: str, model: str | None) -> Step | None:
        """The step for this request; it counts as taken."""
        index = self._find(path, model)
        if index is None:
            return None
        self._taken[index] += 1
        if self.repeat and self.is_used_up:
            self._taken = [0] * len(self.steps)
        return self.steps[index]

    def _find(self, path: str, model: str | None) -> int | None:
        for index, (step, taken) in enumerate(self._counted()):
            if (step.times == "always" or taken < step.times) and step.fits(path, model):
                return index
        return None

    def _counted(self) -> Iterable[tuple[Step, int]]:
        return zip(self.steps, self._taken, strict=True)


def load_script(path: str | Path) -> Script:
    """Raises: ConfigError, naming the file and the step."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"script {path}: {error.strerror}: give the path of a TOML file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"script {path}: not UTF-8 at byte {error.start}") from None
    return parse_script(text, str(path))


def parse_script(text: str, source: str = "script") -> Script:
    """A script's text. Raises: ConfigError, naming `source` and the step."""
    try:
        members = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not TOML: {error}") from None
    try:
        file = msgspec.convert(members, _File)
        steps = [_written(step, index) for index, step in enumerate(file.steps)]
    except (msgspec.ValidationError, InvalidRequest) as error:
        raise ConfigError(f"{source}: {error}") from None
    return Script(steps, repeat=file.repeat)


class _WrittenStep(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    path: str | None = None
    model: str | None = None
    times: int | Literal["always"] = 1
    fault: str | dict[str, Any] = ""
    answer: str | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    steps: list[_WrittenStep] = []
    repeat: bool = False


def _written(step: _WrittenStep, index: int) -> Step:
    try:
        fault = fault_of(step.fault) if isinstance(step.fault, Mapping) else parse_fault(step.fault)
    except InvalidRequest as error:
        raise InvalidRequest(f"steps[{index}].{error}") from None
    if isinstance(step.times, int) and step.times < 1:
        raise InvalidRequest(f'steps[{index}].times: expected 1 or more, or "always"')
    return Step(path=step.path, model=step.model, times=step.times, fault=fault, answer=step.answer)


def _step_of(step: Step | Fault | str) -> Step:
    if isinstance(step, Step):
        return step
    return Step(fault=step if isinstance(step, Fault) else parse_fault(step))
