"""What a caller says of one call in headers of ours, beside the body that its dialect knows.

x-spine-timeout: 30        seconds for the whole call with all its attempts
x-spine-priority: 5        where calls wait for a limit, the higher is let in first (-100 to 100)
x-spine-tags: night, eval  what the call is counted under, beside its key
cache-control: no-store    what may be answered from the cache, and kept there: policy/cache_key.py
x-spine-hop: …             gateways that the call has come through: providers/hops.py
traceparent: 00-…          the span that the call is part of: engine/tracing.py
x-spine-session: 42        which requests belong together; clients say it in headers of their own, or in the body
x-spine-content: no        how much of its texts may be kept: kept_request.py
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite

import msgspec

from genai_spine.engine.observers import TRACEPARENT
from genai_spine.engine.record import CallRecord
from genai_spine.engine.routing.request_facts import About
from genai_spine.model.errors import InvalidRequest
from genai_spine.policy.cache_key import terms_of
from genai_spine.providers import hops

TIMEOUT = b"x-spine-timeout"
PRIORITY = b"x-spine-priority"
CACHE = b"cache-control"
HOPS = hops.HEADER.encode()
TAGS = b"x-spine-tags"
TRACE = b"traceparent"
OURS = frozenset((TIMEOUT, PRIORITY, CACHE, HOPS, TAGS, TRACE))
_MOST = 100
MOST_TAGS, LONGEST_TAG = 32, 200
"""Each tag is counted by itself, in budgets and in the ledger."""
SESSION_HEADERS = (
    b"x-spine-session",
    b"x-claude-code-session-id",
    b"x-session-affinity",
    b"x-session-id",
    b"session-id",
    b"session_id",
)
"""Ours, and what clients send by themselves: Claude Code, opencode and Codex (recorded, 2026-11)."""

_SESSION_PART = re.compile(r"_session_([0-9A-Za-z-]{8,})$")
"""Claude Code's `metadata.user_id` is `user_…_account_…_session_<uuid>` (recorded, 2026-11)."""
_LONGEST = 200
_TEXT = msgspec.json.Decoder(str)


class _Metadata(msgspec.Struct):
    user_id: str | None = None


_metadata = msgspec.json.Decoder(_Metadata)


def read_into(record: CallRecord, headers: Mapping[bytes, bytes]) -> None:
    """Raises: InvalidRequest, naming the header."""
    if TIMEOUT in headers:
        record.timeout_s = _number(headers, TIMEOUT)
        if record.timeout_s <= 0:
            raise _refused(TIMEOUT, "expected seconds, more than 0")
    if PRIORITY in headers:
        priority = _number(headers, PRIORITY)
        if abs(priority) > _MOST or priority != int(priority):
            raise _refused(PRIORITY, f"expected a whole number from {-_MOST} to {_MOST}")
        record.priority = int(priority)
    if TAGS in headers:
        record.about = About(tags=tags_of(headers))
    if TRACE in headers:
        TRACEPARENT.set(headers[TRACE].decode("latin-1"))
    if CACHE in headers:
        record.cache_terms = terms_of(headers[CACHE].decode("latin-1"))
    if HOPS in headers and not hops.arrive(headers[HOPS].decode("latin-1")):
        raise InvalidRequest(
            "this request has been here before: a provider's base_url leads back to this gateway",
            status_code=508,
            code="loop_detected",
        )


def tags_of(headers: Mapping[bytes, bytes]) -> tuple[str, ...]:
    """In UTF-8, as in a body's `metadata.tags`, or else in ISO 8859-1, to which some clients' libraries hold. Raises:
    InvalidRequest."""
    given = headers.get(TAGS, b"")
    try:
        said = given.decode()
    except UnicodeDecodeError:
        said = given.decode("latin-1")
    tags = tuple(tag.strip() for tag in said.split(",") if tag.strip())
    if len(tags) > MOST_TAGS or any(len(tag) > LONGEST_TAG for tag in tags):
        raise _refused(TAGS, f"at most {MOST_TAGS} tags of {LONGEST_TAG} letters")
    return tags


def about_of(headers: Mapping[bytes, bytes], members: Mapping[str, msgspec.Raw]) -> About:
    """Its session and tags, from headers or from members of its body."""
    sent = next((value for name in SESSION_HEADERS if (value := headers.get(name))), None)
    session = sent.decode("latin-1") if sent is not None else _session_in(members)
    return About(session=session[:_LONGEST] if session else None, tags=tags_of(headers))


def _session_in(members: Mapping[str, msgspec.Raw]) -> str | None:
    """OpenAI's `prompt_cache_key`, and the session in the user id of Anthropic's `metadata`."""
    try:
        if (key := members.get("prompt_cache_key")) is not None:
            return _TEXT.decode(key)
        if (metadata := members.get("metadata")) is not None:
            found = _SESSION_PART.search(_metadata.decode(metadata).user_id or "")
            return found.group(1) if found is not None else None
    except msgspec.DecodeError:
        pass  # who answers will say what is wrong with it
    return None


def _number(headers: Mapping[bytes, bytes], name: bytes) -> float:
    try:
        number = float(headers[name])
    except ValueError:
        raise _refused(name, "expected a number") from None
    if not isfinite(number):
        raise _refused(name, "expected a number")
    return number


def _refused(name: bytes, why: str) -> InvalidRequest:
    return InvalidRequest(f"{name.decode()}: {why}", param=name.decode())
