"""One client library, in process: `python bench/library.py CLIENT BASE_URL COUNT [--loop asyncio|uvloop]`.

Runs with the Python of the client's own environment and prints JSON: CPU microseconds per call (all
threads, kernel included), calls one after the other, after a warm-up. Every answer's text and usage are
looked at.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from answers import MARKER, OPENAI_MODEL, QUESTION, SYSTEM

Complete = Callable[[], Awaitable[tuple[str, int]]]  # gives the answer's text and its output tokens
MESSAGES = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]


def spine(base_url: str) -> Complete:
    """`provider.complete(request)` of GenAI Spine; the request is built for every call, as callers do."""
    library: Any = importlib.import_module("genai_spine")
    registry = library.ProviderRegistry.from_config(
        {"openai": {"type": "openai", "base_url": base_url, "api_key": "k"}}
    )
    provider = registry.get("openai")

    async def complete() -> tuple[str, int]:
        request = library.CompletionRequest(
            model=OPENAI_MODEL,
            messages=[library.Message(role=one["role"], content=one["content"]) for one in MESSAGES],
            max_tokens=256,
            temperature=0.2,
        )
        response = await provider.complete(request)
        return response.text, response.usage.output_tokens

    return complete


def openai(base_url: str) -> Complete:
    """`client.chat.completions.create` of the OpenAI SDK."""
    client: Any = importlib.import_module("openai").AsyncOpenAI(base_url=base_url, api_key="k", max_retries=0)

    async def complete() -> tuple[str, int]:
        answer = await client.chat.completions.create(
            model=OPENAI_MODEL, messages=MESSAGES, max_tokens=256, temperature=0.2
        )
        return answer.choices[0].message.content, answer.usage.completion_tokens

    return complete


def litellm(base_url: str) -> Complete:
    """`litellm.acompletion`."""
    library: Any = importlib.import_module("litellm")
    library.telemetry = False

    async def complete() -> tuple[str, int]:
        answer = await library.acompletion(
            model=f"openai/{OPENAI_MODEL}",
            messages=MESSAGES,
            max_tokens=256,
            temperature=0.2,
            api_base=base_url,
            api_key="k",
        )
        return answer.choices[0].message.content, answer.usage.completion_tokens

    return complete


CLIENTS = {"spine": spine, "openai": openai, "litellm": litellm}


async def measure(make: Callable[[str], Complete], base_url: str, count: int) -> dict[str, float]:
    complete = make(base_url)

    async def calls(number: int) -> None:
        for _ in range(number):
            text, tokens = await complete()
            if MARKER not in text or not tokens:
                raise SystemExit(f"wrong answer: {text!r}, {tokens} tokens")

    await calls(max(20, count // 10))
    cpu, wall = time.process_time_ns(), time.perf_counter()
    await calls(count)
    await asyncio.sleep(0.2)  # work that a library leaves for later is its own
    used = time.process_time_ns() - cpu
    return {
        "cpu_us": used / 1000 / count,
        "count": count,
        "wall_us": (time.perf_counter() - wall) * 1e6 / count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("base_url")
    parser.add_argument("count", type=int)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    options = parser.parse_args()
    run: Any = importlib.import_module(options.loop).run
    print(json.dumps(run(measure(CLIENTS[options.client], options.base_url, options.count))), flush=True)
    os._exit(0)  # libraries that leave clients open at exit write noise about it


if __name__ == "__main__":
    main()
