"""`extract`: what a text says, as JSON of the caller's JSON Schema, checked against it (schemas.py)."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from genai_spine.capabilities.ask import Ask
from genai_spine.capabilities.capability import Capability, CapabilityResult, Instructions, TextRequest
from genai_spine.capabilities.checked import ask_for_json
from genai_spine.capabilities.prompts import about
from genai_spine.capabilities.schemas import checker


class ExtractRequest(TextRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a text says, as JSON of a JSON Schema, checked against it."""

    schema: Annotated[dict[str, Any], Meta(description="The JSON Schema of what is wanted.")]
    instructions: Annotated[Instructions | None, Meta(description="What to look for, beside what the schema says.")] = (
        None
    )


class Extract(CapabilityResult, frozen=True, kw_only=True):
    """`data` fits the schema. `repaired`: the first answer did not, the second does."""

    data: Any
    repaired: bool = False


# ------------------------------------------------------------ the prompt

ROLE = "You read data out of texts. What a text does not say you leave out, or set to null where the schema allows it."
TASK = "Take the data out of the text above. {more}Answer with the JSON value alone."


# ------------------------------------------------------------ the steps


async def _steps(ask: Ask, request: ExtractRequest) -> Extract:
    check = checker(request.schema)
    more = f"{request.instructions.rstrip('. ')}. " if request.instructions else ""
    messages = about(request.content, ROLE, TASK.format(more=more))
    data, repaired = await ask_for_json(ask, messages, request.schema, "data", check)
    return Extract(data=data, repaired=repaired, **ask.bill())


extract = Capability("extract", ExtractRequest, Extract, _steps)
