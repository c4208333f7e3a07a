"""One chunk of an answer: a plain answer is one, a stream is many.

{"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP", "index": 0}],
 "usageMetadata": {…}, "modelVersion": "gemini-2.5-flash", "responseId": "aX…"}
"""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects import rfc3339
from genai_spine.dialects.gemini import errors
from genai_spine.dialects.gemini.parts import part_of
from genai_spine.dialects.gemini.schema import DIALECT, finish_name, minted_call_id
from genai_spine.dialects.lenient import text_of
from genai_spine.dialects.metadata import keep, unknown
from genai_spine.dialects.reading import Reader
from genai_spine.model.content import Metadata, Part, Text, ToolCall
from genai_spine.model.errors import BadReply, ContentFiltered, InvalidRequest
from genai_spine.wire import json

_KNOWN = ("candidates", "usageMetadata", "modelVersion", "responseId", "createTime")
_KNOWN_OF_CANDIDATE = ("content", "finishReason", "index")


class Chunk(msgspec.Struct):
    """What one chunk says. `arguments` are its calls' as they were written, part by part; `rest` is what the
    middle has no names for, that of the candidate under `candidate`."""

    id: str | None
    model: str | None
    created: str | None
    created_s: int | None
    parts: list[dict[str, Any]]
    arguments: list[str | None]
    finish: str | None
    usage: dict[str, Any]
    rest: dict[str, Any]
    candidate: dict[str, Any]
    has_candidate: bool


class _Call(msgspec.Struct):
    args: msgspec.Raw = msgspec.Raw(b"")


class _CallPart(msgspec.Struct, rename="camel"):
    function_call: _Call | None = None


class _CallContent(msgspec.Struct):
    parts: list[_CallPart] | None = None


class _CallCandidate(msgspec.Struct):
    content: _CallContent | None = None


class _Calls(msgspec.Struct):
    candidates: list[_CallCandidate] | None = None


_calls = msgspec.json.Decoder(_Calls)


def read_chunk(data: bytes | msgspec.Raw) -> Chunk:
    """One chunk of a stream. Raises: as `read_answer`."""
    data = bytes(data)
    decode = json.decode_frame if len(data) <= json.SHORT_FRAME else json.decode_outbound
    return _chunk_of(data, decode(data, json.ANY))


def read_answer(body: bytes) -> Chunk:
    """Raises: BadReply; the provider's error where the answer is one; ContentFiltered where the prompt was blocked."""
    return _chunk_of(body, json.decode_outbound(body, json.ANY))


def _chunk_of(data: bytes, members: Any) -> Chunk:
    if not isinstance(members, dict):
        raise BadReply("an answer that is no object")
    if members.get("error"):
        raise errors.error_of(members, None, {})
    candidate = _candidate_of(members)
    if candidate is None:
        _refuse_blocked(members)
    rest = unknown(members, _KNOWN)
    others = members["candidates"][1:] if candidate is not None else []
    if others:
        rest["candidates"] = others
    usage, created = members.get("usageMetadata"), members.get("createTime")
    created_s = rfc3339.seconds_of(created) if isinstance(created, str) else None
    if created_s is None or rfc3339.text_of(created_s) != created:
        rest |= {"createTime": created} if created is not None else {}
    parts = _parts_of(candidate or {})
    return Chunk(
        id=text_of(members.get("responseId")),
        model=text_of(members.get("modelVersion")),
        created=text_of(members.get("createTime")),
        created_s=created_s,
        parts=parts,
        arguments=_arguments_of(data, parts),
        finish=finish_name((candidate or {}).get("finishReason")),
        usage=usage if isinstance(usage, dict) else {},
        rest=rest,
        candidate=_rest_of_candidate(candidate or {}),
        has_candidate=candidate is not None,
    )


def _candidate_of(members: dict[str, Any]) -> dict[str, Any] | None:
    """The first candidate, the only one that is ever asked for."""
    candidates = members.get("candidates")
    if candidates is None or candidates == []:
        return None
    if not isinstance(candidates, list) or not all(isinstance(each, dict) for each in candidates):
        raise BadReply("candidates that are no list of objects")
    first: dict[str, Any] = candidates[0]
    return first


def _refuse_blocked(members: dict[str, Any]) -> None:
    feedback = members.get("promptFeedback")
    reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
    if reason:
        message = feedback.get("blockReasonMessage") if isinstance(feedback, dict) else None
        raise ContentFiltered(
            message if isinstance(message, str) and message else f"the prompt was blocked: {reason}", code=str(reason)
        )


def _parts_of(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    if parts is None:
        return []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise BadReply("parts that are no list of objects")
    return parts


def _arguments_of(data: bytes, parts: list[dict[str, Any]]) -> list[str | None]:
    """The calls' arguments byte for byte but for the spaces, with which the service sets them out in lines."""
    if not any("functionCall" in part for part in parts):
        return [None] * len(parts)
    candidates = json.decode_frame(data, _calls).candidates or [_CallCandidate()]
    content = candidates[0].content or _CallContent()
    found: list[str | None] = []
    for part in content.parts or []:
        args = bytes(part.function_call.args) if part.function_call is not None else b""
        found.append(msgspec.json.format(args, indent=-1).decode() if args.startswith(b"{") else None)
    return found


def _rest_of_candidate(candidate: dict[str, Any]) -> dict[str, Any]:
    rest = unknown(candidate, _KNOWN_OF_CANDIDATE)
    if candidate.get("index"):
        rest["index"] = candidate["index"]
    return rest


def parts_of_chunk(chunk: Chunk) -> list[Part]:
    """The parts of a plain answer. Raises: BadReply."""
    parts: list[Part] = []
    calls = 0
    for members, arguments in zip(chunk.parts, chunk.arguments, strict=True):
        parts.append(answer_part(members, chunk.id, calls, arguments))
        calls += isinstance(parts[-1], ToolCall)
    return parts


def answer_part(members: dict[str, Any], response_id: str | None, place: int, arguments: str | None) -> Part:
    """One part; `place` is how many calls came before it, of which the id of one without is made. Raises: BadReply."""
    if len(members) == 1 and isinstance(text := members.get("text"), str):
        return Text(text=text)
    try:
        return part_of(Reader(members, "part"), lambda: minted_call_id(response_id, place), arguments)
    except InvalidRequest as error:
        raise BadReply(f"a part of the answer cannot be read: {error.message}") from None


def extra_of(rest: dict[str, Any], candidate: dict[str, Any]) -> Metadata | None:
    """What the middle has no names for, as `CompletionResponse.extra`; the candidate's own under `candidate`."""
    return keep(DIALECT, {**rest, "candidate": candidate} if candidate else rest)
