"""What other packages offer by entry points: providers, strategies, capabilities.

    [project.entry-points."genai_spine.providers"]
    parrot = "my_package:Parrot"

Found once for each group; loaded when it is wanted. Must not know: what is offered.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from genai_spine.model.errors import ConfigError

logger = logging.getLogger(__name__)


@cache
def points(group: str, ours: tuple[EntryPoint, ...] = (), taken: tuple[str, ...] = ()) -> dict[str, EntryPoint]:
    """By name. `ours` come first, and a name is the first one's that has it; `taken` are nobody's else. The log tells
    of those that are left out."""
    found = {point.name: point for point in ours}
    for point in entry_points(group=group):
        if point.name in taken:
            logger.warning("%s: the name %s of %s is taken by one of ours", group, point.name, point.value)
        elif (first := found.setdefault(point.name, point)).value != point.value:
            logger.warning("%s: the name %s of %s is taken by %s", group, point.name, point.value, first.value)
    return found


def loaded(point: EntryPoint) -> Any:
    """What an entry point names. Raises: ConfigError where another package is broken, naming it."""
    try:
        return point.load()
    except ConfigError:  # one of ours lacks its extra
        raise
    except Exception as error:  # whatever a stranger's import raises
        raise ConfigError(f"{told(point)} cannot be loaded: {type(error).__name__}: {error}") from error


def told(point: EntryPoint) -> str:
    """An entry point in words, with its package, for whoever has to mend it."""
    return f"{point.name} = {point.value}" + (f", of the package {point.dist.name}," if point.dist else "")
