"""The recorded traffic of real services (../shared/wire, or GENAI_WIRE): data for tests, never committed."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(os.environ.get("GENAI_WIRE") or Path(__file__).parents[3] / "shared" / "wire")
CLIENTS = ROOT.parent / "clients"


class Exchange(NamedTuple):
    name: str
    provider: str
    request: Any
    status: int
    body: bytes
    streamed: bool


@cache
def _files() -> dict[str, list[Path]]:
    """The files in which an api is named, by api: 3,019 are read once, and not once for each that is asked for."""
    found: dict[str, list[Path]] = {}
    for path in sorted((ROOT / "exchanges").glob("*/*.json")):
        for api in set(re.findall(r'"api": ?"(\w+)"', path.read_text())):
            found.setdefault(api, []).append(path)
    return found


@cache
def exchanges(api: str, provider: str = "*") -> list[Exchange]:
    found = []
    for path in _files().get(api, ()):
        if provider not in ("*", path.parent.name):
            continue
        data = json.loads(path.read_text())
        if data["api"] != api:
            continue
        response, request = data["response"], (data["request"] or {}).get("body")
        body = response.get("body")
        if response.get("body_base64"):
            raw = base64.b64decode(response["body_base64"])
        elif isinstance(body, str):
            raw = body.encode()
        else:
            raw = json.dumps(body).encode()
        if isinstance(request, str):
            request = json.loads(request)
        name = f"{data['provider']}/{path.stem}"
        streamed = bool(isinstance(request, dict) and request.get("stream") and response["status"] == 200)
        found.append(Exchange(name, path.parent.name, request, response["status"], raw, streamed))
    return found


def each(api: str, *providers: str, streamed: bool = False) -> Any:
    """`@each("ollama_chat")` runs a test with each exchange, or says why not."""
    groups: dict[str, list[Exchange]] = {}
    for provider in providers or ("*",):
        for exchange in exchanges(api, provider):
            if exchange.streamed or not streamed:
                groups.setdefault(exchange.provider, []).append(exchange)
    return in_groups(groups)


def in_groups(groups: Mapping[str, Sequence[Any]]) -> Any:
    """Makes of a test of one exchange a test of each group: pytest spends more on 15,000 items than they on their work.

    Every exchange of a group is tried. The failures are raised together, each with the name of its exchange.
    """

    def decorated(test: Callable[[Any], None]) -> Any:
        def of_a_group(group: str) -> None:
            failed = [error for exchange in groups[group] if (error := _failure(test, exchange)) is not None]
            if failed:
                raise BaseExceptionGroup(f"{len(failed)} of {len(groups[group])} exchanges", failed)

        of_a_group.__name__, of_a_group.__doc__ = test.__name__, test.__doc__
        of_a_group.__module__, of_a_group.__qualname__ = test.__module__, test.__qualname__
        return pytest.mark.parametrize("group", list(groups) or [_none()])(of_a_group)

    return decorated


def _failure(test: Callable[[Any], None], exchange: Any) -> BaseException | None:
    try:
        test(exchange)
    except pytest.skip.Exception as skipped:
        raise AssertionError(f"{exchange.name}: a skip would pass over the rest of its group: return") from skipped
    except (Exception, pytest.fail.Exception) as error:
        error.add_note(exchange.name)
        return error
    return None


def _none() -> Any:
    reason = f"no recordings in {ROOT}: set GENAI_WIRE to the folder of the recorded exchanges"
    return pytest.param("none", marks=pytest.mark.skip(reason=reason))
