"""The capabilities there are: ours, and entry points of the group `genai_spine.capabilities` of other packages.

    [project.entry-points."genai_spine.capabilities"]
    haiku = "my_package.haiku:haiku"

Ours are found in the same way, from a list in place of a package's; their names are taken.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any

from genai_spine.capabilities.capability import Capability
from genai_spine.catalog.entry_points import loaded, points
from genai_spine.engine.manager import ProviderManager
from genai_spine.model.errors import ConfigError, InvalidRequest
from genai_spine.settings.explain import did_you_mean

GROUP = "genai_spine.capabilities"
OURS = tuple(
    EntryPoint(name=name, value=f"genai_spine.capabilities.{name}:{name}", group=GROUP)
    for name in ("summarize", "extract", "classify")
)

logger = logging.getLogger(__name__)

AnyCapability = Capability[Any, Any, Any]


def names() -> tuple[str, ...]:
    return tuple(points(GROUP, OURS))


@cache
def resolve(name: str) -> AnyCapability:
    """The capability of that name.

    Raises: InvalidRequest (404) where there is none; ConfigError where a package has not what it offers.
    """
    point = points(GROUP, OURS).get(name)
    if point is None:
        near = did_you_mean(name, names()) or f"; there are {', '.join(names())}"
        raise InvalidRequest(f'no capability "{name[:100]}"{near}', status_code=404, code="not_found")
    found = loaded(point)
    if not isinstance(found, Capability):
        raise ConfigError(f"capability {name}: {point.value} is no Capability but a {type(found).__name__}")
    return found


def every() -> Iterator[AnyCapability]:
    """All that can be loaded; why one cannot be is logged."""
    for name in names():
        try:
            yield resolve(name)
        except ConfigError as error:
            logger.warning("%s", error)


async def run(manager: ProviderManager, name: str, /, **members: Any) -> Any:
    """A capability by its name: `await run(manager, "summarize", content=…)`. Raises: SpineError."""
    return await resolve(name)(manager, **members)
