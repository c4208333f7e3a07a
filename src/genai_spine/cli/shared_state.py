"""What `spine doctor` finds about the server at which several gateways count together."""

from __future__ import annotations

from functools import partial

from genai_spine.cli.machine import Check
from genai_spine.model.errors import ConfigError
from genai_spine.settings import Settings

_check = partial(Check, subject="state")
_ALONE = "until it answers each gateway counts its limits alone"


async def examine_shared_state(settings: Settings) -> list[Check]:
    """Nothing where there is none."""
    if not settings.state.url:
        return []
    from genai_spine.engine.limits.redis_line import RedisLine  # noqa: PLC0415  # who shares nothing does not load it
    from genai_spine.engine.limits.redis_state import PREFIX  # noqa: PLC0415  # as above

    try:
        line = RedisLine(settings.state.url.reveal(), f"{PREFIX}:probe")
    except ConfigError as error:
        return [_check(status="failure", detail=error.message)]
    try:
        await line.check()
    except Exception as error:  # the driver's; the operator may read its words, which hold no password
        return [_check(status="failure", detail=f"{line.place}: {type(error).__name__}: {error}", mend=_ALONE)]
    return [_check(status="ok", detail=f"{line.place} takes what is written")]
