"""A stream that broke after its beginning was shown: another target goes on where the first one stopped.

    A: MessageStart  PartStart(0)  "Once upon"  ✗
    B:                                          " a time"  PartEnd(0)  MessageEnd        one answer, one id

What was shown is sent again as the beginning of the answer (`ProviderRow.continues` says who takes that), and the
two are joined without a seam. Some answers cannot be gone on with: where a tool was called or is being called,
after thoughts that only their maker can read, and in JSON of a schema, which every model begins anew. The usage is
that of all attempts together, for all of them are paid for; what a broken one never told is estimated.

Must not know: dialects, HTTP, who may be asked (resumption.py).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Protocol

import msgspec

from genai_spine.dialects.foreign import dialects_needed
from genai_spine.dialects.metadata import keep, kept
from genai_spine.engine.streams.event_stream import EventStream
from genai_spine.engine.streams.joint import Joint
from genai_spine.model.content import Part, Text
from genai_spine.model.errors import ProviderError, SpineError
from genai_spine.model.events import StreamEvent
from genai_spine.model.request import CompletionRequest, Message, ThinkingConfig
from genai_spine.model.response import Notice
from genai_spine.policy import tokens
from genai_spine.policy.route import Choice
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.provider import LLMProvider

MOST = 2
"""How often one answer is gone on with."""
CONTINUED = "continued"
"""The code of the Notice."""


class Partial(msgspec.Struct, frozen=True, kw_only=True):
    """The beginning of an answer: what was asked, what was said, and by whom. `text` does not end in white space."""

    request: CompletionRequest
    text: str
    broken: tuple[tuple[str, str | None], ...]
    """Provider and model of each that broke off, as it was asked."""

    def targets(self, choices: Iterable[Choice], provider_of: Callable[[Choice], LLMProvider]) -> tuple[Choice, ...]:
        """Those of the choices that can go on; those that broke off come last."""
        able = [choice for choice in choices if self._continues(provider_of(choice), choice)]
        return tuple(sorted(able, key=lambda choice: (choice.provider, choice.model) in self.broken))

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation with the beginning of its answer."""
        return _begun(self.request.messages, self.text)

    def _continues(self, provider: LLMProvider, choice: Choice) -> bool:
        """Not where the request needs the words of another dialect than that of which it is documented."""
        if not goes_on(provider, choice):
            return False
        needed = dialects_needed(self.request)
        return not needed or (isinstance(provider, HttpProvider) and provider.dialect in needed)

    def request_for(self, provider: LLMProvider, choice: Choice) -> CompletionRequest:
        """The request that such a target goes on with."""
        request = self.request
        extra = request.extra
        if isinstance(provider, HttpProvider) and provider.row.continues and (body := provider.row.continues.body):
            dialect = provider.row.chat[0]
            extra = {**(extra or {}), **(keep(dialect, {**kept(extra, dialect), **body}) or {})}
        return msgspec.structs.replace(
            request,
            model=choice.model,
            stream=True,
            messages=self.messages,
            max_tokens=self._left_of(request.max_tokens, choice.model) if request.max_tokens is not None else None,
            # It has thought already: what follows is the rest of a text.
            thinking=ThinkingConfig(enabled=False) if request.thinking is not None else None,
            extra=extra,
        )

    def _left_of(self, max_tokens: int, model: str | None) -> int:
        """Of a long text by its letters alone: nobody shall wait for the count."""
        is_long = tokens.takes_long(self.text, model)
        spent = len(self.text) // 4 if is_long else tokens.estimate(self.text, model)
        return max(1, max_tokens - spent)


class Resume(Protocol):
    """Who finds another target: resumption.py."""

    async def resume(self, partial: Partial) -> EventStream | None:
        """The stream that goes on, begun; None where nobody can. Raises: SpineError."""
        ...

    def note(self, notice: Notice) -> None:
        """Somebody goes on."""
        ...


def goes_on(provider: LLMProvider, choice: Choice) -> bool:
    """Whether a model is known to go on with an answer, in the dialect that its provider is asked in."""
    if not isinstance(provider, HttpProvider) or provider.row.continues is None:
        return False
    if provider.dialect != provider.row.chat[0] or (choice.model or provider.default_model) is None:
        return False
    return provider.row.continues.holds_for(provider.target(choice.model).model)


async def continued(
    stream: EventStream,
    request: CompletionRequest,
    resume: Resume,
    told: Callable[[Notice], None] | None = None,
) -> AsyncGenerator[list[StreamEvent], None]:
    """The stream's events from the first on, and where it breaks those of who goes on.

    `told` hears of each continuation before its first event; `MessageEnd.notices` has them all. Raises: ProviderError
    where the stream broke and nobody went on.
    """
    joint = Joint(request)
    broken: list[tuple[str, str | None]] = []
    current = stream
    for count in range(MOST + 1):
        try:
            async with aclosing(current.rest):
                yield joint.take(current.first)
                async for events in current.rest:
                    if out := joint.take(events):
                        yield out
            return
        except ProviderError as error:
            text = joint.text_to_continue() if count < MOST and error.fallback else None
            if text is None:
                raise
            await joint.break_off(current)
            broken.append((current.provider, current.asked_model))
            partial = Partial(request=request, text=text, broken=tuple(broken))
            following = await _resumed(resume, partial)
            if following is None:
                raise
            joint.expect(partial.messages[-1].text, is_likely=following.echoes)
        notice = _notice(current, following)
        resume.note(notice)
        if told is not None:
            told(notice)
        joint.notices.append(notice)
        current = following


async def _resumed(resume: Resume, partial: Partial) -> EventStream | None:
    try:
        return await resume.resume(partial)
    except SpineError:
        return None  # the caller hears why the stream broke; the record of the call has all attempts


def _begun(messages: Sequence[Message], text: str) -> tuple[Message, ...]:
    """The conversation with the beginning of its answer; the caller may have begun it himself."""
    if not messages or messages[-1].role != "assistant":
        return (*messages, Message(role="assistant", content=(Text(text=text),)))
    last = messages[-1]
    content: tuple[Part, ...] = (*last.content, Text(text=text))
    if last.content and isinstance(before := last.content[-1], Text):
        # A service that says the beginning once more has said the caller's too.
        whole = text if before.text and text.startswith(before.text) else before.text + text
        content = (*last.content[:-1], msgspec.structs.replace(before, text=whole))
    return (*messages[:-1], msgspec.structs.replace(last, content=content))


def _notice(broken: EventStream, following: EventStream) -> Notice:
    return Notice(
        code=CONTINUED,
        message=f"{broken.provider}/{broken.model} broke off; {following.provider}/{following.model} went on",
    )
