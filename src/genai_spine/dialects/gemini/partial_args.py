"""Arguments of a function call that come piece by piece, as Vertex sends them where the caller's toolConfig asks
for `streamFunctionCallArguments` (recorded; docs.cloud.google.com/vertex-ai/…/function-calling, 2026-11).

    {"name": "write", "willContinue": true}
    {"partialArgs": [{"jsonPath": "$.items[0].name", "stringValue": "App", "willContinue": true}], "willContinue": true}
    {"partialArgs": [{"jsonPath": "$.items[0].name", "stringValue": "le"}]}

The middle's deltas are JSON text in order, which paths need not be in: the call is shown when it is whole.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from genai_spine.model.errors import BadReply

_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,6})\]|\[(?:'([^']*)'|"([^"]*)")\]""")
_MOST_ITEMS = 100_000


class PartialArgs:
    """One call's arguments as far as they have come."""

    def __init__(self) -> None:
        self.value: dict[str, Any] = {}

    def add(self, partial: Any) -> None:
        """Raises: BadReply for a path that leads nowhere."""
        if not isinstance(partial, dict):
            raise BadReply("a partial argument that is no object")
        steps = _steps_of(partial.get("jsonPath"))
        node: Any = self.value
        for step, following in pairwise(steps):
            node = _entered(node, step, [] if isinstance(following, int) else {})
        last = steps[-1]
        before = _entered(node, last, None)
        if isinstance(text := partial.get("stringValue"), str):
            node[last] = (before if isinstance(before, str) else "") + text
        elif "numberValue" in partial or "boolValue" in partial:
            node[last] = partial.get("numberValue", partial.get("boolValue"))


def _steps_of(path: Any) -> list[str | int]:
    """`$.operations[0].action` is ["operations", 0, "action"]."""
    steps: list[str | int] = []
    at = 1
    while isinstance(path, str) and path.startswith("$") and (found := _STEP.match(path, at)):
        name, index, *quoted = found.groups()
        steps.append(int(index) if index is not None else name or quoted[0] or quoted[1] or "")
        at = found.end()
    if not steps or not isinstance(path, str) or at != len(path) or isinstance(steps[0], int):
        raise BadReply(f"a partial argument of the path {str(path)[:100]!r}")
    return steps


def _entered(node: Any, step: str | int, fresh: Any) -> Any:
    """What stands at this step, made where nothing does."""
    if isinstance(step, int):
        if not isinstance(node, list) or step > min(len(node), _MOST_ITEMS):
            raise BadReply("a partial argument of a list that has no such place")
        if step == len(node):
            node.append(fresh)
        return node[step]
    if not isinstance(node, dict):
        raise BadReply("a partial argument within something that is no object")
    return node.setdefault(step, fresh)
