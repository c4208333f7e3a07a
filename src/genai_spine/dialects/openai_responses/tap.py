"""OpenAI's Responses relayed: usage, ending and errors are read from bytes that go through as they are.

event: response.completed\\ndata: {"type":"response.completed","response":{"usage":{…},…}}

The end of a stream says all that is to be noted of it, so nearly every event is looked at for its type only. There
is no [DONE] to wait for, and what comes after the end (OpenRouter sends one) no client reads.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from genai_spine.dialects.interface import StreamEncoder
from genai_spine.dialects.openai_responses.encoder import ResponsesStreamEncoder
from genai_spine.dialects.openai_responses.errors import decode_embedded_error
from genai_spine.dialects.openai_responses.schema import OWN_TOOLS
from genai_spine.dialects.relay import ABSENT, Answer, NamedFramesTap, object_or_none, require, served_as, with_member
from genai_spine.model.errors import StreamBroken
from genai_spine.wire.json import UNREADABLE, decode_frame, read_or_none
from genai_spine.wire.sse import SSEEvent


class _Event(Struct, gc=False):
    type: str | None = None
    response: Raw = ABSENT


class _Details(Struct, gc=False):
    reason: str | None = None


class _Response(Struct, gc=False):
    """The response in an event, and a whole answer."""

    model: str | None = None
    status: str | None = None
    incomplete_details: _Details | None = None
    output: Raw = ABSENT
    usage: Raw = ABSENT
    service_tier: Raw = ABSENT

    @property
    def counted(self) -> Raw | None:
        """The usage, with what else has a price: how it was served, and the service's own tools."""
        usage = served_as(self.service_tier, object_or_none(self.usage))
        output = bytes(self.output)
        if usage is None or _A_CALL not in output or not any(mark in output for mark in _OWN_TOOLS):
            return usage
        try:
            return with_member(OWN_TOOLS, msgspec.json.encode(_items.decode(output)), usage)
        except UNREADABLE:
            return usage

    @property
    def ending(self) -> str | None:
        """Why it stopped, in the service's words: the reason where it is incomplete, else its status."""
        reason = self.incomplete_details.reason if self.incomplete_details is not None else None
        return reason or self.status


class _Action(Struct, gc=False):
    type: str | None = "search"


class _Item(Struct, gc=False, omit_defaults=True):
    type: str | None = None
    action: _Action | None = None


_A_CALL = b'_call"'
_OWN_TOOLS = (b'web_search_call"', b'file_search_call"', b'code_interpreter_call"', b'image_generation_call"')
_items = msgspec.json.Decoder(list[_Item])


class ResponsesTap(NamedFramesTap):
    __slots__ = ("_created", "_last")

    def __init__(self) -> None:
        super().__init__()
        self._created = ABSENT
        self._last = b"{}"
        """The last event that went on: its number is read where it is needed, which is hardly ever."""

    def hand_over(self, encoder: StreamEncoder) -> None:
        if isinstance(encoder, ResponsesStreamEncoder):
            last, created = read_or_none(self._last), read_or_none(bytes(self._created))
            number = last.get("sequence_number") if isinstance(last, dict) else None
            encoder.follow(created if isinstance(created, dict) else {}, number + 1 if type(number) is int else 0)

    def _read(self, event: SSEEvent) -> bool:
        data = event.data
        said = decode_frame(data, _event)
        kind = said.type or (event.event.decode("latin-1") if event.event is not None else None)
        match kind:
            case "response.created":
                self.model = decode_frame(said.response, _response).model if said.response != ABSENT else None
                self._created = said.response
            case "response.completed" | "response.incomplete":
                response = decode_frame(said.response, _response)
                self.model = self.model or response.model
                self.finish_reason = response.ending
                self.usage = response.counted
                self.finished = True
            case "response.failed" | "error":
                _refuse(data)
            case _ if event.event == b"error":
                _refuse(data)
        self._last = data
        return True


_event = msgspec.json.Decoder(_Event)
_response = msgspec.json.Decoder(_Response)


def _refuse(data: bytes) -> None:
    """Raises: StreamBroken, with what the error in these bytes says."""
    error = decode_embedded_error(data)
    message, code = (error.message, error.code) if error is not None else ("no message", None)
    raise StreamBroken(f"the provider answered with an error: {message}", code=code, body=data)


def open_tap(*, model: str = "", strip_usage: bool = False) -> NamedFramesTap:
    return ResponsesTap()


def tap_answer(body: bytes) -> Answer:
    response = decode_frame(body, _response)
    if decode_embedded_error(body) is not None:
        _refuse(body)
    require(bytes(response.output).startswith(b"["), "output")
    return Answer(model=response.model, finish_reason=response.ending, usage=response.counted)
