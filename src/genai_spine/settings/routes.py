"""What may be wrong with routes: strategies that there are not, routes that lead back to themselves, empty ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from genai_spine.settings.explain import Path, Problem, did_you_mean
from genai_spine.settings.tree import RouteSettings, RoutingStrategy, Settings

AGENT = "agent:"


def route_problems(settings: Settings, strategies: Callable[[], Collection[str]]) -> Iterator[Problem]:
    """`strategies` gives the names that installed packages bring; asked for where a name is not ours."""
    routes = settings.routes
    yield from _bad_strategy(settings.routing.strategy, ("routing", "strategy"), strategies)
    for name, route in routes.items():
        yield from _bad_strategy(route.strategy, ("routes", name, "strategy"), strategies)
        if not route.targets:
            yield Problem(("routes", name, "targets"), "a route needs a target")
        for index, target in enumerate(route.targets):
            path: Path = ("routes", name, "targets", index)
            if target.target.strip("/").count("/") == 0 and "/" in target.target:
                yield Problem(path, "expected provider/model")
            if not target.target.strip():
                yield Problem(path, "expected provider/model, a provider, a model or another route")
            when = target.when
            if when is not None and when.max_tokens is not None and (when.min_tokens or 0) > when.max_tokens:
                yield Problem((*path, "when"), "no request fits: min_tokens is more than max_tokens")
            agent = target.target.removeprefix(AGENT)
            if agent != target.target and agent not in settings.agents:
                known = (
                    did_you_mean(agent, settings.agents) or f"; configured are {', '.join(settings.agents) or 'none'}"
                )
                yield Problem(path, f"no agent of that name{known}")
            if (loop := _way_back(name, target.target, routes)) is not None:
                yield Problem(path, f"leads back to itself: {' → '.join(loop)}")


def _bad_strategy(name: str, path: Path, strategies: Callable[[], Collection[str]]) -> Iterator[Problem]:
    ours = [strategy.value for strategy in RoutingStrategy]
    if name in ours:
        return
    known = [*ours, *strategies()]
    if name not in known:
        yield Problem(path, "no such strategy" + (did_you_mean(name, known) or f"; there are {', '.join(known)}"))


def _way_back(name: str, target: str, routes: Mapping[str, RouteSettings]) -> tuple[str, ...] | None:
    """The way from a route by this target back to it, as names; None where there is none."""
    ways: list[tuple[str, ...]] = [(name, target)]
    seen = {target}
    while ways:
        way = ways.pop()
        if way[-1] == name:
            return way
        for leg in routes[way[-1]].targets if way[-1] in routes else ():
            if leg.target not in seen:
                seen.add(leg.target)
                ways.append((*way, leg.target))
    return None
