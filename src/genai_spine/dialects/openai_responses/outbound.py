"""Speaking OpenAI's Responses to a provider: `POST {base_url}/responses`.

Must not know which provider it is: what differs between services is a quirk of the target.
history.py writes the conversation, options.py what else is asked, decoder.py reads a stream.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from genai_spine.dialects.foreign import check_thread
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.lenient import seconds_of
from genai_spine.dialects.metadata import keep, unknown
from genai_spine.dialects.openai_responses import schema as wire
from genai_spine.dialects.openai_responses.decoder import ResponsesStreamDecoder
from genai_spine.dialects.openai_responses.errors import decode_embedded_error, decode_error, error_of, is_failure
from genai_spine.dialects.openai_responses.history import HistoryWriter
from genai_spine.dialects.openai_responses.items import parts_of_item
from genai_spine.dialects.openai_responses.options import OptionsWriter
from genai_spine.dialects.openai_responses.schema import DIALECT, FOREIGN, PATH, decode_usage
from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.reading import Reader
from genai_spine.dialects.searches import MARK_BYTES
from genai_spine.dialects.shortened import Renaming
from genai_spine.model.content import Part
from genai_spine.model.errors import BadReply, InvalidRequest
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, Notice
from genai_spine.wire import json

__all__ = [
    "DIALECT",
    "PATH",
    "concerns",
    "decode_embedded_error",
    "decode_error",
    "decode_response",
    "decode_usage",
    "encode_request",
    "stream_decoder",
]


_LONGEST_CALL_ID = 64


def stream_decoder(target: Target) -> ResponsesStreamDecoder:
    return ResponsesStreamDecoder(target)


def encode_request(request: CompletionRequest, target: Target, *, stream: bool) -> Outgoing:
    """The request as this target takes it.

    Raises: InvalidRequest for content that cannot be said here: audio, another dialect's opaque parts, n > 1.
    """
    check_thread(DIALECT, request)
    if request.n is not None and request.n > 1:
        raise InvalidRequest("n: one answer a call; ask several times for several", param="n")
    notices: list[Notice] = []

    def notice(code: str, message: str, param: str | None = None) -> None:
        notices.append(Notice(code=code, message=message, param=param))

    names = Renaming(_LONGEST_CALL_ID, notice)
    history = HistoryWriter(target.quirks, notice, names)
    items = history.items(request.messages)
    body: dict[str, Any] = {"model": target.model}
    if history.instructions is not None:
        body["instructions"] = history.instructions
    if items or not history.state:
        body["input"] = items
    body.update(history.state)
    if stream:
        body["stream"] = True
    options = OptionsWriter(request, target.quirks, notice, card=target.card, tool_name=names.tool)
    options.write(body)
    return Outgoing(path=PATH, body=json.encode(body), headers=options.headers, notices=tuple(notices))


def decode_response(body: bytes, target: Target) -> CompletionResponse:
    """Raises: BadReply where it is none; the provider's error where a 200 carries one."""
    members = json.decode_outbound(body, json.ANY)
    if is_failure(members):
        raise error_of(members, None, {})
    if not isinstance(members, dict) or not isinstance(members.get("output"), list):
        raise BadReply("an answer without output")
    parts: list[Part] = []
    with wire.as_reply():
        for item in Reader(members, "").objects("output"):
            parts.extend(parts_of_item(item))
    finish_reason, raw_finish_reason = wire.ending_of(members, parts)
    return CompletionResponse(
        id=wire.text_of(members.get("id")),
        model=wire.text_of(members.get("model")) or target.model,
        created_s=seconds_of(members.get("created_at")),
        parts=tuple(parts),
        finish_reason=finish_reason,
        raw_finish_reason=raw_finish_reason,
        usage=wire.usage_of(members.get("usage"), members),
        extra=keep(DIALECT, unknown(members, wire.KNOWN_TOP_LEVEL)),
        raw=msgspec.Raw(body),
    )


def concerns(members: Mapping[str, msgspec.Raw], quirks: Quirks) -> bool:
    """Quirks are about OpenAI's chat; these few bear on a request in this dialect, too. And another service's thoughts,
    which we showed to a caller of this one, would be refused: written through the model, they are left out."""
    return (
        not members.keys().isdisjoint(quirks.drop)
        or ("temperature" in members and quirks.temperature_max is not None)
        or _holds_anothers(bytes(members.get("input", b"")))
    )


def _holds_anothers(items: bytes) -> bool:
    return (b'encrypted_content"' in items and _FOREIGN(items) is not None) or MARK_BYTES[DIALECT] in items


_FOREIGN = re.compile(f'"(?:{"|".join(FOREIGN)})'.encode()).search
