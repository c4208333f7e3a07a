"""One call, from top to bottom: the function to read first.

Whatever is sent, a request through the model, a caller's own bytes or texts to embed, is a `send` that
takes one target; this decides which targets get it, how often, and what the caller hears when none
answers. Errors say themselves whether to try again and whether to ask elsewhere.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from genai_spine.engine.record import CallRecord
from genai_spine.model.errors import ProviderError, SpineError
from genai_spine.policy.retry import delay_s
from genai_spine.policy.route import Choice
from genai_spine.settings import RetrySettings

T = TypeVar("T")


async def call(
    send: Callable[[Choice], Awaitable[T]],
    plan: Sequence[Choice],
    retry: RetrySettings,
    record: CallRecord,
) -> T:
    """The first answer that any target of the plan gives.

    A stream's `send` returns once its first event is there, so that everything before it can still be
    answered elsewhere; what breaks later is the stream's own affair. A target that cannot be asked, because
    its dialect lacks the words or its key is missing, is passed over. Raises: the last provider's error,
    naming all attempts.
    """
    told: SpineError | None = None
    for choice in plan:
        attempt = 0
        while True:
            begun = time.perf_counter()
            try:
                answer = await send(choice)
            except SpineError as error:
                record.add(choice, time.perf_counter() - begun, error)
                # What a provider said counts for more than why another one could not be asked.
                if told is None or isinstance(error, ProviderError):
                    told = error
                goes_on = error.fallback and retry.enable_fallback
                wait_s = delay_s(error, attempt, retry, random.random())
            else:
                record.add(choice, time.perf_counter() - begun)
                return answer
            if wait_s is None:
                break
            await asyncio.sleep(wait_s)
            attempt += 1
        if not goes_on:
            break
    if told is None:
        raise ValueError("a plan has at least one target")
    raise record.exhausted(told)
