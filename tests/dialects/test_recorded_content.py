"""What real services were asked and answered, as the ledger would keep it: JSON, short, without files, and of a stream
the whole of what it said."""

from __future__ import annotations

import json
import re
from itertools import chain

from recorded_exchanges import Exchange, exchanges, in_groups

from genai_spine.engine.content.answers import told_of_stream
from genai_spine.engine.content.words import Words
from genai_spine.settings.ledger import ContentLevel, LedgerSettings

WORDS = Words(LedgerSettings())
LEVELS: tuple[ContentLevel, ...] = ("redacted", "full")
DIALECTS = {
    "chat": "openai_chat",
    "responses": "openai_responses",
    "messages": "anthropic_messages",
    "ollama_chat": "ollama_chat",
    "legacy_completions": "openai_completions",
}
_FILE = re.compile(r"(?:iVBORw0KGgo|/9j/|JVBERi0)[A-Za-z0-9+/]{500}")


@in_groups({api: exchanges(api) for api in (*DIALECTS, "generate_content")})
def test_each_is_kept_short_and_without_files(exchange: Exchange) -> None:
    for body in (json.dumps(exchange.request).encode(), exchange.body):
        if not body.startswith((b"{", b"[")) or b"}\n{" in body:
            continue  # a stream, which is put together first
        for level in LEVELS:
            text, is_cut = WORDS.of_json(body, level)
            assert len(text.encode()) <= 64 * 1024
            assert _FILE.search(text) is None
            if not is_cut:
                json.loads(text)


@in_groups({api: [each for each in exchanges(api) if each.streamed] for api in DIALECTS})
def test_of_a_stream_all_is_kept_that_it_said(exchange: Exchange) -> None:
    dialect = next(dialect for api, dialect in DIALECTS.items() if exchange in exchanges(api))
    pieces = [exchange.body[at : at + 777] for at in range(0, len(exchange.body), 777)]
    told = told_of_stream(dialect, pieces, is_whole=True)
    assert told["parts"] or "error" in told or "finish_reason" in told
    text, is_cut = WORDS.of_value(told, "full")
    if is_cut:
        return
    kept = json.loads(text)
    said = "".join(part.get("text", "") for part in kept["parts"])
    assert said == "".join(chain.from_iterable(getattr(part, "text", None) or "" for part in told["parts"]))
