"""Calls of Cohere's own SDK, in its own environment: a line of JSON in, {"method", "options"}; a line out, the answer.

    python cohere_calls.py http://127.0.0.1:8001

Runs with nothing installed but the SDK.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import cohere


def told(client: cohere.ClientV2, method: str, options: dict[str, Any]) -> Any:
    answer = getattr(client, method)(**options)
    if method == "chat_stream":
        return [event.model_dump(exclude_none=True) for event in answer]
    return answer.model_dump(exclude_none=True)


def main(url: str) -> None:
    client = cohere.ClientV2(api_key="k", base_url=url, timeout=20)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            said: dict[str, Any] = {"answer": told(client, asked["method"], asked["options"])}
        except cohere.core.api_error.ApiError as error:
            said = {"error": type(error).__name__, "status": error.status_code, "body": str(error.body)}
        print(json.dumps(said, default=str), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
