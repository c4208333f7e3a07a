"""Recorded exchanges with Bedrock: with the model, which stands in the address, and the headers of the answer."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from recorded_exchanges import ROOT, in_groups

from genai_spine.dialects.interface import Target
from genai_spine.model.card import ModelCard
from genai_spine.wire import eventstream

NOT_JSON = {"converse-pydantic-ai-test-bedrock-test-bedrock-model-other-parameters": "the recorder cut the last brace"}


class BedrockExchange(NamedTuple):
    name: str
    path: str
    model: str
    request: Any
    status: int
    headers: dict[str, str]
    body: bytes
    streamed: bool

    @property
    def target(self) -> Target:
        return Target(card=ModelCard(id=self.model))


@cache
def exchanges(*apis: str) -> list[BedrockExchange]:
    found = []
    for path in sorted((ROOT / "exchanges" / "bedrock").glob("*.json")):
        data = json.loads(path.read_text())
        if data["api"] not in apis or not (data["request"] or {}).get("url"):
            continue
        body, response = data["request"].get("body"), data["response"]
        if isinstance(body, str):
            body = json.loads(body + "}" if path.stem in NOT_JSON else body)
        raw = response.get("body_base64")
        address = data["request"]["url"].partition("amazonaws.com")[2]
        found.append(
            BedrockExchange(
                name=path.stem,
                path=address,
                model=unquote(address.removeprefix("/model/").rpartition("/")[0]),
                request=body,
                status=response["status"],
                headers={name.lower(): value for name, value in (response.get("headers") or {}).items()},
                body=base64.b64decode(raw) if raw else str(response["body"]).encode(),
                streamed=raw is not None,
            )
        )
    return found


def each(*apis: str) -> Any:
    """`@each("converse")` runs a test with each exchange, or says why not."""
    groups: dict[str, list[BedrockExchange]] = {}
    for exchange in exchanges(*apis):
        groups.setdefault(exchange.path.rpartition("/")[2], []).append(exchange)
    return in_groups(groups)


def payloads(body: bytes) -> list[tuple[str, Any]]:
    """The type and the payload of each message of a stream, padding taken out."""
    messages = eventstream.EventStreamParser().feed(body)
    read = [(message.text(":event-type") or "", json.loads(message.payload)) for message in messages]
    return [(kind, {name: value for name, value in payload.items() if name != "p"}) for kind, payload in read]
