"""`summarize`: a text of any length in few words.

A text that does not fit the model's window is cut into parts, each is put into notes, and the notes are
summarised, in as many rounds as it takes. Nothing is left out in silence: a part that fails fails the whole.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from msgspec import Meta

from genai_spine.capabilities.ask import Ask
from genai_spine.capabilities.capability import Capability, CapabilityResult, Instructions, TextRequest
from genai_spine.capabilities.pieces import pieces
from genai_spine.capabilities.prompts import about
from genai_spine.model.errors import BadReply, ContextLengthExceeded, SpineError
from genai_spine.model.response import CompletionResponse, FinishReason

LENGTHS = {"short": 50, "medium": 150, "long": 400}
"""Words."""
FORMATS = {
    "paragraph": "one paragraph of plain text",
    "bullets": "a list, one point a line, each beginning with `- `",
    "numbered": "a list, one point a line, numbered `1. `, `2. ` …, the most important first",
    "headings": "Markdown: sections with a `## ` heading each",
    "sentence": "one sentence",
}


class SummaryRequest(TextRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A text of any length in few words."""

    length: Annotated[
        Literal["short", "medium", "long"] | Annotated[int, Meta(ge=1, le=10_000)],
        Meta(description="`short` (50 words), `medium` (150), `long` (400), or about so many words."),
    ] = "medium"
    format: Annotated[
        Literal["paragraph", "bullets", "numbered", "headings", "sentence"],
        Meta(description="What the summary looks like."),
    ] = "paragraph"
    language: Annotated[
        Annotated[str, Meta(max_length=100)] | None,
        Meta(description="Of the summary, such as `French`; none: that of the text."),
    ] = None
    focus: Annotated[Instructions | None, Meta(description="What to look at above all.")] = None

    @property
    def words(self) -> int:
        return self.length if isinstance(self.length, int) else LENGTHS[self.length]


class Summary(CapabilityResult, frozen=True, kw_only=True):
    """`parts` is in how many parts the text was read: 1 where it fitted."""

    summary: str
    parts: int = 1


# ------------------------------------------------------------ the prompt

ROLE = "You summarize texts: faithfully, in plain words, without opinions and without remarks of your own."
TASK = "Summarize the text above in about {words} words, as {format}. {more}Answer with the summary alone."
NOTES = (
    "The text above is part {number} of {count} of a longer text. Note what it says, in at most {words} words: facts, "
    "names, numbers, decisions, conclusions, in its order. {more}Answer with the notes alone."
)
OF_NOTES = "The text above is notes on the parts of a longer text, in order; write about that text, not about notes. "


def _more(request: SummaryRequest, *, is_notes: bool = False) -> str:
    language = f"Write in {request.language}. " if request.language else "Write in the language of the text. "
    focus = f"Look above all at this: {request.focus.rstrip('. ')}. " if request.focus else ""
    return (OF_NOTES if is_notes else "") + language + focus


# ------------------------------------------------------------ the steps

SMALL_WINDOW = 2_048
"""What every model has: a text that fits there needs no look at the model's."""
UNKNOWN_WINDOW = 8_192
"""What is taken for a window that nobody knows."""
SAFE = 0.85
"""The share of the room that is used: token counts are estimates (docs/tokens.md)."""
LEAST_TOKENS = 64
"""Of a part; a model that refuses less can read nothing."""
SHRINKS = 0.9
"""How much shorter notes must be than what they are on: else a further round would not end either."""


async def _steps(ask: Ask, request: SummaryRequest) -> Summary:
    text, parts = request.content, 1
    tokens = await _tokens(ask, text)
    most = await _room(ask, request, tokens)
    while True:
        cut = await asyncio.to_thread(pieces, text, most, ask.tokens)
        try:
            if len(cut) == 1:
                answer = await _whole(ask, request, text, is_notes=parts > 1)
                return Summary(summary=answer.content.strip(), parts=parts, **ask.bill())
            notes = await _notes(ask, request, cut, most)
        except ContextLengthExceeded:
            most = min(most, tokens) // 2
            if most < LEAST_TOKENS:
                raise
            ask.notice("cut_again", f"the text was too long for the model: now in parts of {most} tokens", "content")
            continue
        before, tokens = tokens, await _tokens(ask, notes)
        if tokens > SHRINKS * before:
            raise BadReply("notes on the parts are as long as the parts: a model with a larger window may do better")
        parts = max(parts, len(cut))
        text = notes


async def _tokens(ask: Ask, text: str) -> int:
    _ = ask.target  # is found here, and not in the thread
    return await asyncio.to_thread(ask.tokens, text)


async def _room(ask: Ask, request: SummaryRequest, tokens: int) -> int:
    """Tokens of the text that may go into one call."""
    asked = ask.tokens(ROLE + TASK + NOTES + _more(request)) + 100

    def room(window: int) -> int:
        answer = min(window // 3, max(1000, 4 * request.words))
        return max(LEAST_TOKENS, int(SAFE * (window - answer - asked)))

    if tokens <= room(SMALL_WINDOW):
        return room(SMALL_WINDOW)
    window = await ask.window()
    if window is None and tokens > room(UNKNOWN_WINDOW):
        target = f"{ask.target.provider}/{ask.target.model}"
        message = f"the window of {target} is not known; {UNKNOWN_WINDOW} tokens are taken for it"
        ask.notice("window_unknown", message, "model")
    return room(window or UNKNOWN_WINDOW)


async def _whole(ask: Ask, request: SummaryRequest, text: str, *, is_notes: bool) -> CompletionResponse:
    more = _more(request, is_notes=is_notes)
    task = TASK.format(words=request.words, format=FORMATS[request.format], more=more)
    answer = await ask(about(text, ROLE, task))
    if answer.finish_reason is FinishReason.LENGTH:
        ask.notice("cut", "the summary was cut at the model's limit of output tokens", "summary")
    return answer


async def _notes(ask: Ask, request: SummaryRequest, parts: list[str], most: int) -> str:
    """Notes on each part, as one text. Raises: the first part's error that comes, which names the part."""
    count = len(parts)
    words = max(60, min(400, most // count // 2))
    more = _more(request)

    async def note(numbered: tuple[int, str]) -> str:
        number, part = numbered
        try:
            answer = await ask(about(part, ROLE, NOTES.format(number=number, count=count, words=words, more=more)))
        except SpineError as error:
            error.message = f"part {number} of {count}: {error.message}"
            raise
        if answer.finish_reason is FinishReason.LENGTH:
            ask.notice(
                "cut", f"the notes on part {number} of {count} were cut at the limit of output tokens", "summary"
            )
        return f"Part {number}:\n{answer.content.strip()}"

    return "\n\n".join(await ask.each(note, enumerate(parts, 1)))


summarize = Capability("summarize", SummaryRequest, Summary, _steps)
