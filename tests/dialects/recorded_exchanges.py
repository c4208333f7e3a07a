"""The recorded traffic of real services (../shared/wire, or GENAI_WIRE): data for tests, never committed."""

from __future__ import annotations

import base64
import json
import os
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
def exchanges(api: str, provider: str = "*") -> list[Exchange]:
    found = []
    for path in sorted((ROOT / "exchanges").glob(f"{provider}/*.json")):
        # Reading 3,019 files to find 30 takes seconds: the name of most tells what they are not.
        text = path.read_text()
        if f'"api": "{api}"' not in text and f'"api":"{api}"' not in text:
            continue
        data = json.loads(text)
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
    """`@each("ollama_chat")` runs a test once for each exchange, or says why not."""
    found = [
        exchange
        for provider in providers or ("*",)
        for exchange in exchanges(api, provider)
        if exchange.streamed or not streamed
    ]
    if not found:
        reason = f"no recordings in {ROOT}: set GENAI_WIRE to the folder of the recorded exchanges"
        return pytest.mark.parametrize("exchange", [pytest.param(None, marks=pytest.mark.skip(reason=reason))])
    return pytest.mark.parametrize("exchange", found, ids=[exchange.name for exchange in found])
