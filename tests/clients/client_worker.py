"""Plays scenarios in an SDK's own environment, told what to do line by line.

    python client_worker.py openai_scenarios
    > {"scenario": "a_client_chats", "url": "http://…", "upstream": "anthropic"}
    < {"ask": "received"}
    > [{"path": "/v1/messages", …}]
    < {"error": null}

Runs with nothing installed but the SDK.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from typing import Any

from client_stage import Place, scenarios_of


def main(module_name: str) -> None:
    out, sys.stdout = sys.stdout, sys.stderr  # what an SDK prints is no answer

    def say(value: Any) -> None:
        out.write(json.dumps(value) + "\n")
        out.flush()

    def hear() -> Any:
        line = sys.stdin.readline()
        return json.loads(line) if line else None

    def received() -> list[dict[str, Any]]:
        say({"ask": "received"})
        value: list[dict[str, Any]] = hear()
        return value

    scenarios = scenarios_of(importlib.import_module(module_name))
    while (wanted := hear()) is not None:
        error = None
        try:
            scenarios[wanted["scenario"]](Place(wanted["url"], wanted["upstream"], received))
        except BaseException:
            error = traceback.format_exc()
        say({"error": error})


if __name__ == "__main__":
    main(sys.argv[1])
