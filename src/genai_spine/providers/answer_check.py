"""What somebody else's provider may get wrong in an answer: types are not checked when a value is made.

Content of a wrong kind would be lost without a word, and a count of a wrong kind would spoil a bill. Looked at once for
each answer and event, so it is cheap: kinds alone, and nothing behind them. Must not know: who made the answer.
"""

from __future__ import annotations

from typing import Any, get_args

from genai_spine.model.card import ModelCard
from genai_spine.model.content import PARTS, Refusal, Text, Thinking
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage

_EVENTS: tuple[type, ...] = get_args(StreamEvent)
_WITH_TEXT = (Text, Thinking, Refusal)
_FINISHES = frozenset(FinishReason)


def fault_of_answer(response: Any) -> str | None:
    """What is wrong with what `complete` gave, as the end of a sentence; None where it is an answer."""
    if not isinstance(response, CompletionResponse):
        return f"gave {type(response).__name__}, which is no CompletionResponse"
    if not isinstance(response.model, str):
        return f"gave a model of type {type(response.model).__name__}: its name is due"
    if not isinstance(response.parts, (tuple, list)):
        return f"gave parts of type {type(response.parts).__name__}: a tuple is due, such as (Text(text=…),)"
    for place, part in enumerate(response.parts):
        if (fault := _fault_of_part(part)) is not None:
            return f"gave parts[{place}] {fault}"
    return _fault_of_end(response)


class StreamCheck:
    """The same of what `stream` gave, event by event."""

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._is_over = False

    def fault_of(self, event: Any) -> str | None:
        if (fault := _fault_of_event(event)) is not None:
            return fault
        if self._is_over:
            return f"gave {type(event).__name__} after its MessageEnd, which is the last event"
        match event:
            case PartStart():
                self._begun.add(event.index)
            case PartDelta() | PartEnd() if event.index not in self._begun:
                kind = type(event).__name__
                return f"gave a {kind} of part {event.index}, for which there was no PartStart"
            case MessageEnd():
                self._is_over = True
            case _:
                pass
        return None


def _fault_of_event(event: Any) -> str | None:
    match event:
        case PartDelta():
            return None if isinstance(event.text, str) else f"gave a delta of type {type(event.text).__name__}, no text"
        case PartStart():
            fault = _fault_of_part(event.part)
            return f"gave a part {fault}" if fault is not None else None
        case MessageEnd():
            return _fault_of_end(event)
        case MessageStart():
            if isinstance(event.model, str):
                return _fault_of_usage(event.usage)
            return f"gave a model of type {type(event.model).__name__}: its name is due"
        case _:
            kind = type(event)
            return None if kind in _EVENTS else f"gave {kind.__name__}, which is no StreamEvent"


def fault_of_models(cards: Any) -> str | None:
    """The same of what `list_models` gave."""
    if not isinstance(cards, (tuple, list)):
        return f"gave {type(cards).__name__}, which is no list"
    found = next((card for card in cards if not isinstance(card, ModelCard)), None)
    if found is None:
        return None
    return f"gave {type(found).__name__}, which is no ModelCard: a name is ModelCard(id=…)"


def _fault_of_part(part: Any) -> str | None:
    if not isinstance(part, PARTS):
        return f"of type {type(part).__name__}, which is no part: text is Text(text=…)"
    if isinstance(part, _WITH_TEXT) and not isinstance(part.text, str):
        return f"with a text of type {type(part.text).__name__}"
    return None


def _fault_of_end(ended: CompletionResponse | MessageEnd) -> str | None:
    if ended.finish_reason is not None and ended.finish_reason not in _FINISHES:
        known = ", ".join(FinishReason)
        return f"gave a finish_reason that is none of {known}: a service's own word is raw_finish_reason"
    return _fault_of_usage(ended.usage)


def _fault_of_usage(usage: Any) -> str | None:
    if usage is None:
        return None
    if not isinstance(usage, TokenUsage):
        return f"gave a usage of type {type(usage).__name__}: a TokenUsage is due"
    for name in ("input_tokens", "output_tokens"):
        count = getattr(usage, name)
        if count is not None and (type(count) is not int or count < 0):
            return f"gave a usage whose {name} is {count!r}"
    return None
