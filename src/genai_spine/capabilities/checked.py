"""JSON of a model that was checked, with one repair round: what was wrong is told, and the answer asked for again.

A model with structured output is given the schema as such; any other, or one whose provider refuses the schema,
reads it in the prompt. Must not know: what the JSON is for, or how it is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from genai_spine.capabilities.ask import Ask
from genai_spine.capabilities.prompts import message
from genai_spine.model.errors import BadReply, BadRequest, ContentFiltered, ContextLengthExceeded
from genai_spine.model.request import Message, OutputSchema
from genai_spine.model.response import CompletionResponse, FinishReason
from genai_spine.wire import json

IN_PROMPT = "Answer with one JSON value that fits this JSON Schema, and with nothing else:\n\n{schema}"
REPAIR = "That does not do:\n\n{problems}\n\nAnswer again, with the whole JSON value, corrected, and with nothing else."
MOST_PROBLEMS = 10
LONGEST_SHOWN = 300

Check = Callable[[Any], Sequence[str]]
"""What is wrong with a value; nothing where it is as it should be."""


class UnfitAnswer(BadReply):
    """The model's answer is not what was asked for, and was not after it was told why.

    `text` is its last answer, `problems` are what is wrong with it.
    """

    code = "unfit_answer"
    retryable = False

    def __init__(self, answer: CompletionResponse, problems: Sequence[str]) -> None:
        self.text = answer.content
        self.problems = tuple(problems)
        shown = self.text if len(self.text) <= LONGEST_SHOWN else self.text[:LONGEST_SHOWN] + "…"
        super().__init__(
            f"the answer of {answer.provider}/{answer.model} does not fit, also after a second try: "
            f"{'; '.join(problems)}. It said: {shown}",
            provider=answer.provider,
            model=answer.model,
            body={"text": self.text, "problems": list(problems)},
        )


async def ask_for_json(
    ask: Ask, messages: tuple[Message, ...], schema: Mapping[str, Any], name: str, check: Check
) -> tuple[Any, bool]:
    """The checked value, and whether it took the repair. Raises: SpineError, UnfitAnswer."""
    asker = _Asker(ask, schema, name)
    answer = await asker(messages)
    value, problems = _read(answer, check)
    if not problems:
        return value, False
    listed = "\n".join(f"- {problem}" for problem in problems)
    again = (message("assistant", answer.content), message("user", REPAIR.format(problems=listed)))
    answer = await asker((*messages, *again))
    value, problems = _read(answer, check)
    if problems:
        raise UnfitAnswer(answer, problems)
    return value, True


class _Asker:
    """Asks with the schema, where the target has a place for it, and in the prompt otherwise."""

    def __init__(self, ask: Ask, schema: Mapping[str, Any], name: str) -> None:
        self._ask = ask
        self._schema = OutputSchema(schema=schema, name=name)
        self._in_words = IN_PROMPT.format(schema=json.encode(schema).decode())
        can = ask.target_can.structured_output
        self._is_given = can is not False
        self._is_in_prompt = can is not True

    async def __call__(self, messages: tuple[Message, ...]) -> CompletionResponse:
        if self._is_in_prompt:
            # In the first message: many models' templates take a system message only there.
            first, *rest = messages
            told = (message(first.role, f"{first.text}\n\n{self._in_words}"), *rest)
        else:
            told = messages
        try:
            return await self._ask(told, output_schema=self._schema if self._is_given else None)
        except (ContextLengthExceeded, ContentFiltered):
            raise
        except BadRequest as error:
            # Each service takes a part of JSON Schema of its own, and refuses the rest.
            if not self._is_given:
                raise
            self._ask.notice("changed", f"told in the prompt instead, since {error.message}", "schema")
            self._is_given, self._is_in_prompt = False, True
            return await self(messages)


def _read(answer: CompletionResponse, check: Check) -> tuple[Any, Sequence[str]]:
    """The value in an answer, and what is wrong with it."""
    was_cut = ["the answer ended early, at the limit of output tokens: make it shorter"]
    for text in _places(answer.content):
        try:
            value = json.decode_outbound(text.encode("utf-8", "replace"), json.ANY)
        except BadReply:
            continue
        return value, list(check(value))[:MOST_PROBLEMS]
    if answer.finish_reason is FinishReason.LENGTH:
        return None, was_cut
    try:
        msgspec.json.decode(answer.content)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        return None, [json.explain(error, answer.content.encode("utf-8", "replace"))[0]]
    return None, [f"nested deeper than {json.MAX_DEPTH} levels"]


def _places(text: str) -> Iterator[str]:
    """Where the JSON may stand: the whole, a fenced block, what lies between the outermost brackets."""
    yield text
    _, fence, fenced = text.partition("```")
    if fence:
        yield fenced.partition("\n")[2].rpartition("```")[0]
    first = min((at for bracket in "{[" if (at := text.find(bracket)) >= 0), default=-1)
    last = max(text.rfind("}"), text.rfind("]"))
    if 0 <= first < last:
        yield text[first : last + 1]
