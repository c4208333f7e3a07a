"""The world behind a row's own address: a transport that notes where each request was meant to go, and takes it over
a real socket to the simulator, to the path where that answers this dialect."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from genai_spine.catalog.rows import ProviderRow
from genai_spine.providers.address import base_url_of
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.http_transport import HttpTransport
from genai_spine.providers.registry import build_provider
from genai_spine.providers.transport import HttpRequest, HttpResponse
from genai_spine.settings import ProviderSettings, Secret
from genai_spine.testing.simulator import Simulator
from genai_spine.testing.simulator.services import ROUTES
from genai_spine.wire.http import parse_url

KEY = "key-of-this-row"
PLACES = {"resource": "our-resource", "region": "eu-central-1", "project": "our-project", "location": "europe-west1"}
GIVEN_BASE = "https://up.example.com/v1"


class Meant(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it would have left for the service."""

    method: str
    url: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = msgspec.json.decode(self.raw)
        return body


class Front:
    """A `Transport` in front of the simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.meant: list[Meant] = []
        self.base = ""
        self.dialect = ""
        self._inner = HttpTransport()

    async def send(self, request: HttpRequest) -> HttpResponse:
        url = str(request.url)
        if url.startswith(self.simulator.urls.root):  # an address that the simulator itself gave
            return await self._inner.send(request)
        headers = {_text(name).lower(): _text(value) for name, value in request.headers}
        self.meant.append(Meant(method=request.method, url=url, headers=headers, raw=request.body))
        return await self._inner.send(msgspec.structs.replace(request, url=parse_url(self._there(request))))

    def _there(self, request: HttpRequest) -> str:
        own = request.url.target.partition("?")[0]
        home = urlsplit(self.base).path.rstrip("/")
        assert own.startswith(home), f"{own} is not under {home}"
        root = self.simulator.urls.root
        there = [self.simulator.urls.of(self.dialect) + own.removeprefix(home), root + own]
        known = (url for url in there if _is_served(request.method, url.removeprefix(root) or "/"))
        query = request.url.target.partition("?")[2]
        return next(known, there[0]) + (f"?{query}" if query else "")

    async def close(self) -> None:
        await self._inner.close()


def _is_served(method: str, path: str) -> bool:
    return any(
        route.method == method
        and (route.path == path or (route.path.endswith("*") and path.startswith(route.path[:-1])))
        for route in ROUTES
    )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def settings_of(row: ProviderRow, **more: Any) -> ProviderSettings:
    """What a user of the row sets: a key, the places of its address, its address where it has none."""
    places = {name: PLACES[name] for name in row.settings_used & PLACES.keys()}
    given: dict[str, Any] = {"api_key": Secret(KEY)} if row.auth != "none" else {}
    if row.needs_base_url:
        given["base_url"] = GIVEN_BASE
    return ProviderSettings(type=row.id, **{**given, **places, **more})


def fronted(row: ProviderRow, simulator: Simulator, **settings: Any) -> tuple[HttpProvider, Front]:
    """A provider as the registry makes it, whose requests come to the simulator."""
    front = Front(simulator)
    made = build_provider(row.id, settings_of(row, **settings))
    assert isinstance(made, HttpProvider)
    made._make_transport = lambda: front  # the constructor's `transport`, which the registry does not pass on
    front.dialect = made.dialect
    front.base = base_url_of(row, made.settings, made.dialect, row.id).replace("{model}", "simulated")
    return made, front
