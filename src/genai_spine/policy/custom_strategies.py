"""Strategies from other packages: entry points of the group `genai_spine.strategies`.

    [project.entry-points."genai_spine.strategies"]
    by_carbon = "my_package:by_carbon"

makes `strategy = "by_carbon"` a strategy. What it names is a function of the options and the moment, as those in
strategy.py are, or a class that is called without arguments and makes one. With an attribute `needs_cost` of True
each option's cost is estimated for it, with `needs_rank` its place in the ranking is looked up.
"""

from __future__ import annotations

import inspect
from importlib.metadata import EntryPoint
from typing import Any, cast

from genai_spine.catalog.entry_points import loaded, points, told
from genai_spine.model.errors import ConfigError
from genai_spine.policy.strategy import STRATEGIES, Order, Strategy

GROUP = "genai_spine.strategies"


def _found() -> dict[str, EntryPoint]:
    return points(GROUP, taken=tuple(STRATEGIES))


def names() -> tuple[str, ...]:
    return tuple(_found())


def load_strategy(name: str) -> Strategy:
    """A strategy of ours or of an installed package. Raises: ConfigError."""
    if (known := STRATEGIES.get(name)) is not None:
        return known
    point = _found().get(name)
    if point is None:
        raise ConfigError(f'no strategy "{name}": known are {", ".join((*STRATEGIES, *names()))}')
    named = loaded(point)
    try:
        made: Any = named() if inspect.isclass(named) else named
    except Exception as error:  # a stranger's constructor
        raise ConfigError(f"{told(point)} cannot be made: {type(error).__name__}: {error}") from error
    if not callable(made):
        raise ConfigError(f"{point.value} is no strategy: it is not a function of options and moment")
    return Strategy(
        order=cast(Order, made),  # a stranger's: the router checks what it returns
        needs_cost=bool(getattr(made, "needs_cost", False)),
        needs_rank=bool(getattr(made, "needs_rank", False)),
        is_ours=False,
    )
