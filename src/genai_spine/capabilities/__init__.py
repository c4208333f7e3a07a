"""Tasks over models: a request, a prompt, steps and a checked result each, in a file of its own.

    from genai_spine.capabilities import classify, extract, summarize

    summary = await summarize(manager, content=text, length="short", format="bullets")
    print(summary.summary, summary.cost_usd)

    capability.py    what a capability is          ask.py       how it asks, and what that costs
    registry.py      how it is found               checked.py   JSON that was checked, with one repair
    prompts.py       text shown as material        schemas.py   a caller's JSON Schema
    pieces.py        long text in pieces           window.py    how much a model takes

Above the engine, below the gateway and the command line, which have one generic handler each.
"""

from genai_spine.capabilities.ask import Ask
from genai_spine.capabilities.capability import Capability, CapabilityRequest, CapabilityResult, TextRequest
from genai_spine.capabilities.checked import UnfitAnswer, ask_for_json
from genai_spine.capabilities.classify import Classification, Label, classify
from genai_spine.capabilities.extract import Extract, extract
from genai_spine.capabilities.prompts import about
from genai_spine.capabilities.registry import GROUP, every, names, resolve, run
from genai_spine.capabilities.summarize import Summary, summarize

__all__ = [
    "GROUP",
    "Ask",
    "Capability",
    "CapabilityRequest",
    "CapabilityResult",
    "Classification",
    "Extract",
    "Label",
    "Summary",
    "TextRequest",
    "UnfitAnswer",
    "about",
    "ask_for_json",
    "classify",
    "every",
    "extract",
    "names",
    "resolve",
    "run",
    "summarize",
]
