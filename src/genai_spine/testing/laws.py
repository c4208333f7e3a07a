"""The laws that every dialect keeps, as functions to call on values and bytes.

    collect(replay(r)) == r                      a stream is its answer        `assert_replays`
    plain(r) == streamed(r) == r                 both ways of one answer       `assert_answers_survive`
    decode_request(encode_request(r)) == r       for dialects of two ends      `assert_request_survives`
    the same events, however the bytes are cut   one cut and byte by byte      `assert_cut_anywhere`
    garbage raises BadReply, InvalidRequest      never anything else           `assert_refused_politely`

What a dialect cannot say is declared in a `Speech`: the kinds of parts, options and endings that it has.
The strategies that draw values within it, and garbage beyond it, are in `genai_spine.testing.strategies`,
which needs `hypothesis`; this module needs nothing. Both together:

    @given(strategies.responses(SPEECH))
    def test_answers_survive(response):
        laws.assert_answers_survive(SPEECH, response)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from genai_spine.dialects.interface import Inbound, Outbound, Outgoing, Target
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Part
from genai_spine.model.errors import InvalidRequest, ProviderError
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.fold import TEXT_FIELD, collect, replay
from genai_spine.model.request import CompletionRequest, Role
from genai_spine.model.response import CompletionResponse, FinishReason

_ASKED = CompletionRequest(messages=())


def _body(outgoing: Outgoing) -> bytes:
    return outgoing.body


class Speech(msgspec.Struct, frozen=True, kw_only=True):
    """What a dialect can say. The strategies draw nothing else; a dialect that can say more says so here.

    Mappings hold hypothesis strategies, by kind of part or by name of field. `losses` are the declared
    ones, a sentence each: what of the middle has no place in this dialect.
    """

    name: str
    inbound: Inbound
    outbound: Outbound
    target: Target = Target(card=ModelCard(id="m"))
    answer_parts: Mapping[type[Part], Any]
    """The parts of an answer."""
    repeated: frozenset[type[Part]] = frozenset()
    """Those of which an answer may hold several."""
    in_order: bool = True
    """Whether an answer's parts stand in the order of `answer_parts`, as in a message with a field for each."""
    answer_fields: Mapping[str, Any] = {}
    adds_extra: bool = False
    """Whether its writer says more of an answer than it was told, so that `extra` comes back with it."""
    finishes: tuple[tuple[FinishReason, str], ...]
    finish_with_calls: tuple[FinishReason, str]
    counts: tuple[str, ...] = ("input_tokens", "output_tokens")
    """The fields of `TokenUsage` that it has."""
    system_roles: tuple[Role, ...] = ("system",)
    user_parts: Mapping[type[Part], Any]
    assistant_parts: Mapping[type[Part], Any]
    result_parts: Mapping[type[Part], Any]
    results_in: Role = "tool"
    """The role of the message that holds tool results: one each in "tool", all of a turn in "user"."""
    results_are_named: bool = False
    """Whether a tool result says which tool it is of."""
    most_parts: int = 3
    """How many parts a message of the user may hold."""
    options: Mapping[str, Any]
    """The fields of `CompletionRequest` beside the messages."""
    required: frozenset[str] = frozenset()
    """Those without which there is no request."""
    asked: CompletionRequest = _ASKED
    """What the answers are answers to: its options may bear on how they are written."""
    arrives: Callable[[Outgoing], bytes] = _body
    """What our own end is given of a request: with a service that has the model in its URL, more than the body."""
    losses: tuple[str, ...] = ()


# ---------------------------------------------------------------- events


def assert_replays(response: CompletionResponse) -> None:
    """The stream of an answer is well-formed, and makes that answer."""
    events = list(replay(response))
    assert_well_formed(events)
    assert collect(events) == response


def assert_well_formed(events: list[StreamEvent]) -> None:
    """A stream begins and ends once, opens parts in order, and fills only open parts that have text."""
    assert events, "no event came"
    assert isinstance(events[0], MessageStart), f"the first event is {events[0]!r}"
    assert isinstance(events[-1], MessageEnd), f"the last event is {events[-1]!r}"
    begun = 0
    open_parts: dict[int, Part] = {}
    for event in events[1:-1]:
        match event:
            case PartStart():
                assert event.index == begun, f"part {event.index} began where {begun} was due"
                open_parts[begun] = event.part
                begun += 1
            case PartDelta():
                assert event.index in open_parts, f"text for part {event.index}, which is not open"
                kind = type(open_parts[event.index])
                assert kind in TEXT_FIELD, f"text for a part of type {kind.__name__}"
                assert event.text, f"an empty delta for part {event.index}"
            case PartEnd():
                assert event.index in open_parts, f"part {event.index} ended and was not open"
                del open_parts[event.index]
            case _:
                raise AssertionError(f"{type(event).__name__} within the stream")
    assert not open_parts, f"parts {sorted(open_parts)} were never ended"


# ---------------------------------------------------------------- answers


def plain(speech: Speech, response: CompletionResponse) -> CompletionResponse:
    """The answer written whole and read back."""
    body = speech.inbound.encode_response(response, speech.asked)
    return msgspec.structs.replace(speech.outbound.decode_response(body, speech.target), raw=None)


def written_stream(speech: Speech, response: CompletionResponse) -> bytes:
    encoder = speech.inbound.stream_encoder(speech.asked)
    return b"".join(encoder.encode(event) for event in replay(response))


def events_of(speech: Speech, *pieces: bytes) -> list[StreamEvent]:
    """The events that a stream's bytes make, fed in these pieces. Raises: ProviderError."""
    decoder = speech.outbound.stream_decoder(speech.target)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return [*events, *decoder.close()]


def assert_answers_survive(speech: Speech, response: CompletionResponse) -> None:
    """The plain answer and the stream are read back as the answer that they were."""
    events = events_of(speech, written_stream(speech, response))
    assert_well_formed(events)
    for again in (plain(speech, response), collect(events)):
        if speech.adds_extra:
            again = msgspec.structs.replace(again, extra=response.extra)
        assert again == response


def assert_cut_anywhere(speech: Speech, data: bytes, most_cuts: int = 2000) -> None:
    """The events do not depend on where the bytes are cut: at one place, for each, and byte by byte."""
    events = events_of(speech, data)
    step = max(1, len(data) // most_cuts)
    for cut in range(0, len(data) + 1, step):
        assert events_of(speech, data[:cut], data[cut:]) == events, f"cut at byte {cut}"
    assert events_of(speech, *(data[place : place + 1] for place in range(len(data)))) == events


# ---------------------------------------------------------------- requests


def assert_request_survives(speech: Speech, request: CompletionRequest) -> None:
    """What is sent to a provider is read by our own end as what was asked, and nothing was left out."""
    outgoing = speech.outbound.encode_request(request, speech.target, stream=request.stream)
    assert outgoing.notices == (), f"not all could be said: {outgoing.notices}"
    assert speech.inbound.decode_request(speech.arrives(outgoing)) == request


# ---------------------------------------------------------------- garbage


def assert_refused_politely(speech: Speech, data: bytes) -> None:
    """Bytes that are not what they should be are refused with an error of the tree; what is read can be
    written again."""
    inbound, outbound, target = speech.inbound, speech.outbound, speech.target
    with suppress(InvalidRequest):
        request = inbound.decode_request(data)
        for stream in (False, True):
            _provider_reads(inbound, outbound.encode_request(request, target, stream=stream).body)
    with suppress(ProviderError):
        response = outbound.decode_response(data, target)
        inbound.encode_response(response, speech.asked)
        assert collect(replay(response)) == msgspec.structs.replace(response, raw=None)
    with suppress(ProviderError):
        _write_stream(speech, events_of(speech, data))
    assert isinstance(outbound.decode_error(400, {}, data), ProviderError)
    assert isinstance(outbound.decode_embedded_error(data), ProviderError | None)
    outbound.decode_usage(msgspec.Raw(data))


def assert_stream_refused_politely(speech: Speech, data: bytes, cut: int = 0) -> None:
    """The same for a stream. One that was refused may be fed on and closed, though nothing it says counts."""
    decoder = speech.outbound.stream_decoder(speech.target)
    events: list[StreamEvent] = []
    was_refused = False
    steps: tuple[Callable[[], list[StreamEvent]], ...] = (
        lambda: decoder.feed(data[:cut]),
        lambda: decoder.feed(data[cut:]),
        decoder.close,
    )
    for step in steps:
        try:
            came = step()
        except ProviderError:
            was_refused = True
        else:
            events.extend(() if was_refused else came)
    _write_stream(speech, events)


def _write_stream(speech: Speech, events: list[StreamEvent]) -> None:
    encoder = speech.inbound.stream_encoder(speech.asked)
    for event in events:
        encoder.encode(event)


def _provider_reads(inbound: Inbound, body: bytes) -> None:
    """What we send is a request in our own reading, too."""
    try:
        inbound.decode_request(body)
    except InvalidRequest as error:
        raise AssertionError(f"we sent what we would refuse: {error.message}: {body!r}") from None
