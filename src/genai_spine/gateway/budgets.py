"""How budgets stand, over HTTP.

    GET /v1/budgets     each in the window under way: its limit, what is spent, set aside for calls under way, and left

Where the gateway has keys, each sees its own and those that are nobody's in particular; named ones do not see what each
provider, model, agent or tag has used for all callers together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from genai_spine.engine.record import CallRecord
from genai_spine.gateway.request import Request
from genai_spine.ledger.reading import told

if TYPE_CHECKING:
    from genai_spine.gateway.app import Gateway


async def listed(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """Each budget in its current window: its limit, what is spent, what is reserved for calls in progress, what is
    left.

    {"object": "list", "data": [{"name": "daily_limit", "limit_usd": "10", "spent_usd": "1.2", …}]}
    """
    budgets = gateway.manager.budgets
    await budgets.refresh()
    found = told(budgets.status(record.caller, is_guest=record.caller in gateway.keys.named))
    await request.reply(200, msgspec.json.encode({"object": "list", "data": found}))
