"""What goes wrong: the error of an answer, an error inside a stream, and how we say ours.

{"error": {"message": …, "type": …, "param": …, "code": …}}                   a status that is not 200
{"type": "error", "code": …, "message": …, "param": …, "sequence_number": 2}  in a stream, as documented
{"type": "error", "error": {…}, "sequence_number": 2}                         in a stream, as recorded 2026
{"type": "response.failed", "response": {"error": {"code": …, "message": …}, …}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from genai_spine.dialects.failure import failed, status_for_caller, unreadable
from genai_spine.dialects.openai_chat import schema as chat
from genai_spine.model.errors import (
    BadRequest,
    ContentFiltered,
    ProviderError,
    ServerError,
    SpineError,
)
from genai_spine.wire import json

# The codes of `response.error` (ResponseErrorCode in the service's schema, 2026-11), beside those of OpenAI's chat.
ERROR_CODES: dict[str, type[ProviderError]] = {
    **chat.ERROR_CODES,
    "server_error": ServerError,
    "invalid_prompt": BadRequest,
    "bio_policy": ContentFiltered,
    "image_content_policy_violation": ContentFiltered,
    "failed_to_download_image": BadRequest,
    "image_file_not_found": BadRequest,
    "invalid_image": BadRequest,
    "invalid_image_url": BadRequest,
    "image_too_large": BadRequest,
}


def error_of(members: Any, status: int | None, headers: Mapping[str, str]) -> ProviderError:
    """The error that any of the shapes above says; whatever the members are."""
    if status is not None:
        return chat.error_of(members, status, headers)
    error = _error_in(members)
    if not isinstance(error, dict):
        return failed(None, headers, message=str(error or "no message"), code=None, codes=ERROR_CODES)
    known = chat.codes_for(error, ERROR_CODES)
    codes = [str(code) for code in (error.get("code"), error.get("type")) if isinstance(code, str)]
    code = next((code for code in codes if code in known), codes[0] if codes else None)
    message = error.get("message")
    said = message if isinstance(message, str) else msgspec.json.encode(error).decode()
    return failed(None, headers, message=said, code=code, codes=known)


def _error_in(members: Any) -> Any:
    """The innermost object that is an error."""
    if not isinstance(members, dict):
        return members
    response = members.get("response")
    holder = response if isinstance(response, dict) else members
    return holder.get("error") or holder


def is_failure(members: Any) -> bool:
    """Whether a whole answer is an error that came with status 200."""
    return isinstance(members, dict) and bool(members.get("error") or members.get("status") == "failed")


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error of an answer that is not 200; whatever the body is."""
    members = json.read_or_none(body)
    return unreadable(status, headers) if members is None else error_of(members, status, headers)


def decode_embedded_error(body: bytes) -> ProviderError | None:
    """The error that an answer of status 200, or an event of a stream, is; None where it is none."""
    members = json.read_or_none(body)
    if not isinstance(members, dict):
        return None
    is_error = members.get("type") in ("error", "response.failed") or is_failure(members)
    return error_of(members, None, {}) if is_error else None


def encode_error(error: SpineError, request_id: str) -> tuple[int, bytes]:
    """OpenAI's error object, with our request's id."""
    return status_for_caller(error), json.encode(chat.error_written(error, request_id))


def error_event(error: SpineError, request_id: str) -> dict[str, Any]:
    """The members of an `error` event. The SDKs raise on `error`, the documentation has its members outside."""
    inner = chat.error_written(error, request_id)["error"]
    return {"code": inner["code"], "message": inner["message"], "param": inner["param"], "error": inner}
