"""What a request asks for that costs: its length, the longest answer that it takes, what else is charged.

Two numbers of input tokens: an estimate, and a bound that no tokenizer exceeds, since every token is a byte at
least. Of most callers' bytes a look tells both; those that may hold images, files or tools that a provider runs are
read through the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from genai_spine.dialects.service_tiers import tier_of
from genai_spine.engine.routing.request_facts import expected, input_tokens
from genai_spine.model import accept
from genai_spine.model.content import Opaque
from genai_spine.model.embedding import EmbeddingRequest
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.request import CompletionRequest, ProviderTool
from genai_spine.model.rerank import RerankRequest
from genai_spine.policy.budget_need import Asks
from genai_spine.policy.needs import MARKS, media_count, texts_of

if TYPE_CHECKING:
    from genai_spine.engine.exchange import Exchange
    from genai_spine.engine.record import CallRecord

USUAL_BYTES_PER_TOKEN = 4
_ADDED_TO_CHAT, _ADDED = 50, 1_000
"""Tokens that a provider adds by itself: marks of messages, and where there are tools how to use them."""
_MOST_OF_MEDIA = 20_000
_PER_HOSTED_TOOL = 50_000
"""What a search or a page that a provider's own tool reads may add to the input."""
_SEARCHES = 10
_SEARCHES_PER_DOCUMENTS = 100
"""Documents in what Cohere charges as one search."""
_MARKS = (*(mark for marks in MARKS.values() for mark in marks), b"_search", b"_fetch", b"google", b"mcp", b"plugins")
"""Without one of these words in it a body of no dialect holds media or tools of the provider's."""
_KEPT = ("cachedContent", "cached_content", "previous_response_id", "conversation")
"""Gemini's and OpenAI's names for what the provider keeps of a prompt, which counts as input like the rest."""
_KEPT_ITEM, _KEPT_ITEM_BYTES = "item_reference", b'"item_reference"'
"""An item of OpenAI's that the provider keeps."""
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")
"""No client writes letters so, but they would hide the marks."""
_SERVICES = ("speed", "service_tier", "serviceTier")
_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")

_count = msgspec.json.Decoder(int | None)


class _Options(msgspec.Struct):
    """Ollama's `options`, and Gemini's `generationConfig`, whose names Google reads in either spelling (protobuf.dev,
    ProtoJSON format, 2026-11)."""

    num_predict: int | None = None
    maxOutputTokens: int | None = None
    max_output_tokens: int | None = None
    candidateCount: int | None = None
    candidate_count: int | None = None


_options = msgspec.json.Decoder(_Options | None)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_prompts = msgspec.json.Decoder(list[int | str | list[int]])


def asks_of_exchange(exchange: Exchange) -> Asks:
    """Of a caller's bytes."""
    body, members = exchange.body, exchange.peek.members
    try:
        max_tokens, answers = _limits(members)
    except msgspec.DecodeError:
        max_tokens, answers = None, 1
    if not exchange.is_plain() and (any(mark in body for mark in _MARKS) or _ESCAPED_LETTER.search(body)):
        with suppress(InvalidRequest):  # who answers will say what is wrong with it
            asks = asks_of(exchange.request)
            return msgspec.structs.replace(
                asks,
                max_tokens=None if asks.max_tokens is None else max(asks.max_tokens, max_tokens or 0),
                answers=max(asks.answers, answers),
                service=_service(members),
                has_kept_prompt=asks.has_kept_prompt or _names_kept(members, body),
            )
    return Asks(
        input_tokens=len(body) // USUAL_BYTES_PER_TOKEN,
        most_input=len(body) + (_ADDED if "tools" in members else _ADDED_TO_CHAT),
        max_tokens=max_tokens,
        answers=answers,
        service=_service(members),
        has_kept_prompt=_names_kept(members, body),
    )


def _names_kept(members: Mapping[str, msgspec.Raw], body: bytes) -> bool:
    if any(name in members for name in _KEPT):
        return True
    # OpenAI's templates, {"id": "pmpt_1"}; elsewhere a prompt is text.
    return bytes(members.get("prompt", b""))[:1] == b"{" or _KEPT_ITEM_BYTES in body


def _limits(members: Mapping[str, msgspec.Raw]) -> tuple[int | None, int]:
    """The longest answer and how many. Of two limits the larger: who answers may look at either. 0 and less is none."""
    limit, answers = 0, 1
    for name in _LIMITS:
        if (raw := members.get(name)) is not None:
            limit = max(limit, _count.decode(raw) or 0)
    if (raw := members.get("n")) is not None:
        answers = _count.decode(raw) or 1
    if (raw := members.get("best_of")) is not None:  # of vLLM, which charges for all that it compares
        answers = max(answers, _count.decode(raw) or 1)
    if (raw := members.get("prompt")) is not None and bytes(raw)[:1] == b"[":
        prompts = _prompts.decode(raw)
        answers *= len(prompts) if _are_several(prompts) else 1
    for name in ("options", "generationConfig", "generation_config"):
        if (raw := members.get(name)) is not None and (options := _options.decode(raw)) is not None:
            limit = max(limit, options.num_predict or 0, options.maxOutputTokens or 0, options.max_output_tokens or 0)
            answers = max(answers, options.candidateCount or 1, options.candidate_count or 1)
    return _limit(limit), max(1, answers)


def _are_several(prompts: Sequence[Any]) -> bool:
    """Whether these are prompts, each of which is answered, and not the tokens of one."""
    return len(prompts) > 1 and not isinstance(prompts[0], int)


def _limit(tokens: int | None) -> int | None:
    return tokens if tokens is not None and tokens > 0 else None


def _service(members: Mapping[str, Any]) -> str | None:
    """The way of serving that is asked for, where it is not the ordinary one."""
    return tier_of(*(msgspec.json.decode(members[name]) for name in _SERVICES if name in members))


def asks_of(request: CompletionRequest) -> Asks:
    """Of a request through the model."""
    media = media_count(request)
    extra = [_members.decode(raw) for raw in (request.extra or {}).values()]
    hosted = sum(isinstance(tool, ProviderTool) for tool in request.tools)
    hosted += any("web_search_options" in each for each in extra)
    length = sum(len(text) if text.isascii() else len(text.encode("utf-8", "replace")) for text in texts_of(request))
    length += len(accept.encoded((request.tools, request.output_schema, request.extra)))
    added = _ADDED if request.tools or media else _ADDED_TO_CHAT
    most = length + added + 20 * len(request.messages) + _MOST_OF_MEDIA * media + _PER_HOSTED_TOOL * hosted
    return Asks(
        input_tokens=input_tokens(request, request.model),
        most_input=most,
        max_tokens=_limit(request.max_tokens),
        answers=max(1, request.n or 1),
        has_media=bool(media),
        searches=_SEARCHES * bool(hosted),
        service=next((service for each in extra if (service := _service(each)) is not None), None),
        has_kept_prompt=any(_names_kept(each, b"") for each in extra) or _refers(request),
    )


def _refers(request: CompletionRequest) -> bool:
    """Whether something of a message is what the provider keeps: an item, a template, what was said before."""
    parts = (part for message in request.messages for part in message.content)
    return any(isinstance(part, Opaque) and part.kind in (_KEPT_ITEM, "prompt", *_KEPT) for part in parts)


def tell(record: CallRecord, request: CompletionRequest) -> None:
    """What a call's record is to know of a program's request."""
    record.tokens = partial(expected, request, request.model)
    record.asks = partial(asks_of, request)
    record.cost_limit = request.cost_limit


def asks_of_embedding(request: EmbeddingRequest) -> Asks:
    length = sum(len(each.encode("utf-8", "replace")) if isinstance(each, str) else len(each) for each in request.input)
    return Asks(input_tokens=_estimated(request.input), most_input=length + 8 * len(request.input), max_tokens=0)


def tokens_of_embedding(request: EmbeddingRequest) -> int:
    """What it will use, estimated: for limits of tokens."""
    return _estimated(request.input)


def tokens_of_rerank(request: RerankRequest) -> int:
    """The same of a ranking, which reads the query with each document."""
    return asks_of_rerank(request).input_tokens


def _estimated(inputs: tuple[Any, ...]) -> int:
    return sum(len(each) // USUAL_BYTES_PER_TOKEN if isinstance(each, str) else len(each) for each in inputs)


def asks_of_rerank(request: RerankRequest) -> Asks:
    query = len(request.query.encode("utf-8", "replace"))
    length = sum(len(each.encode("utf-8", "replace")) + query for each in request.documents)
    searches = -(-len(request.documents) // _SEARCHES_PER_DOCUMENTS)
    return Asks(input_tokens=length // USUAL_BYTES_PER_TOKEN, most_input=length, max_tokens=0, searches=searches)
