"""Golden cases of what a dialect writes of a request that no caller of it could have made:
`golden/<dialect>/encode/<case>/`.

    asked.json   `request` (and `card`, the target's) in the middle's own words (msgspec's JSON)
    sent.json    `body`, and where there are any `headers` and `notices` (code and param of each);
                 or `not_sendable`, a part of InvalidRequest's message
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest

from genai_spine.dialects.interface import Target
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.request import CompletionRequest

HERE = Path(__file__).parent
CASES = sorted(path.parent for path in HERE.glob("*/encode/*/asked.json"))


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    request: CompletionRequest
    card: ModelCard = ModelCard(id="asked-model")


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_request_of_the_middle_is_written(path: Path) -> None:
    asked = msgspec.json.decode((path / "asked.json").read_bytes(), type=Asked)
    expected: dict[str, Any] = json.loads((path / "sent.json").read_text())
    outbound = import_module(f"genai_spine.dialects.{path.parts[-3]}.outbound")
    target = Target(card=asked.card)
    if (why := expected.get("not_sendable")) is not None:
        with pytest.raises(InvalidRequest) as raised:
            outbound.encode_request(asked.request, target, stream=asked.request.stream)
        assert why in raised.value.message
        return
    sent = outbound.encode_request(asked.request, target, stream=asked.request.stream)
    assert json.loads(sent.body) == expected["body"]
    assert dict(sent.headers) == expected.get("headers", {})
    assert [[notice.code, notice.param] for notice in sent.notices] == expected.get("notices", [])
