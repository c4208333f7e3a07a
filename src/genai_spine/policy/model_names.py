"""One model by the names that bills and answers have for it.

    gpt-4o-2024-08-06, input          a line of OpenAI's costs
    evals | gpt-4o-2024-08-06, input  the same of another product
    Claude Haiku 4.5                  Anthropic's console; its usage says claude-haiku-4-5-20251001
    ft:gpt-4o-2024-08-06:us::Ab1      a tuned model, in OpenAI's usage; its costs say ft-gpt-4o-2024-08-06

Pure.
"""

from __future__ import annotations

import re
from functools import lru_cache

from genai_spine.catalog.names import plain

_SNAPSHOT = re.compile(r"-(20\d{2}-\d{2}-\d{2}|20\d{6}|\d{4}|latest)$")
_KIND = re.compile(r" (text|audio|image|video)$")


def model_of_line_item(item: str) -> str:
    """The model of a line of a bill; the line itself where it is of no model, such as "web search tool calls"."""
    name, comma, _ = item.rpartition(",")
    return _KIND.sub("", name.strip()) if comma else item.strip()


@lru_cache(maxsize=4096)
def same_model(name: str) -> str:
    """What all names of a model come to, its snapshots taken together: for comparing, not for asking."""
    product, bar, rest = name.rpartition("|")
    found = rest.strip().lower().replace(" ", "-")
    if found.startswith("ft:"):
        found = "ft-" + found.split(":")[1]
    found = plain(found).replace(".", "-")
    while (shorter := _SNAPSHOT.sub("", found)) != found:
        found = shorter
    if found.startswith("claude-"):  # claude-3-5-haiku is Claude Haiku 3.5
        parts = found.split("-")[1:]
        found = "-".join(["claude", *sorted(p for p in parts if not p.isdigit()), *(p for p in parts if p.isdigit())])
    return f"{product.strip().lower()} | {found}" if bar else found
