"""Entries of made-up calls."""

from __future__ import annotations

from typing import Any

from genai_spine.ledger.entry import Begun, Call, Ended, Tokens


def begun(id: str, at: float = 0.0, attempt: int = 0, **more: Any) -> Begun:
    fields = {"provider": "openai", "model": "gpt", "most_nanousd": 1000, **more}
    return Begun(id=f"{id}-{attempt}", call=id, at=at, **fields)


def ended(id: str, cost: int | None = 7, attempt: int = 0, **more: Any) -> Ended:
    fields: dict[str, Any] = {"at": 0.0, "status": "answered", "duration_s": 0.5, **more}
    return Ended(id=f"{id}-{attempt}", tokens=Tokens(input=3, output=4), cost_nanousd=cost, **fields)


def over(id: str, cost: int | None = 7, at: float = 0.5, **more: Any) -> Call:
    fields: dict[str, Any] = {
        "duration_s": 0.5, "status": "answered", "attempts": 1, "provider": "openai", "model": "gpt", **more,
    }  # fmt: skip
    return Call(id=id, at=at, cost_nanousd=cost, unpriced=int(cost is None), **fields)
