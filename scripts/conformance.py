#!/usr/bin/env python3
"""docs/conformance.md: what our dialects make of recorded traffic, provider by provider.

    python scripts/conformance.py            writes
    python scripts/conformance.py --check    says whether the page is out of date, and exits with 1

The recordings are no part of the project (GENAI_WIRE is their folder). Where they are absent there is nothing to be
compared with, and both say so and do nothing: the page stays as it is.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from genai_spine.catalog.rows import find_row
from genai_spine.dialects.interface import Target
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import BadReply, SpineError
from genai_spine.model.fold import collect
from genai_spine.providers import codecs

ROOT = Path(__file__).resolve().parent.parent
WIRE = Path(os.environ.get("GENAI_WIRE") or ROOT.parent / "shared" / "wire")
PAGE = ROOT / "docs" / "conformance.md"

DIALECTS = {
    "chat": "openai_chat",
    "responses": "openai_responses",
    "messages": "anthropic_messages",
    "legacy_completions": "openai_completions",
    "generate_content": "gemini",
    "converse": "bedrock_converse",
    "converse_stream": "bedrock_converse",
    "cohere_v2_chat": "cohere_chat",
    "ollama_chat": "ollama_chat",
}
"""What the recordings call an interface, and our dialect of it."""

NAMESAKES = frozenset({("anthropic", "legacy_completions")})
"""Recorded under the name of another service's interface: Anthropic's own, which it has given up."""

CAPABILITIES = {
    "plain_chat": "chat",
    "stream": "stream",
    "tool_call": "tool calls",
    "streamed_tool_call": "in streams",
    "tool_result": "tool results",
    "thinking": "thinking",
    "reasoning_signature": "signed",
    "structured_output": "schemas",
    "vision": "images",
    "pdf": "documents",
    "citations": "citations",
    "builtin_tools": "their tools",
    "error": "errors",
}
"""Of the recordings' labels those that are shown, with their heads."""


_ELSEWHERE = "of another interface than the recording says: a chat completion"
_WITHIN = "the service failed within its stream and said so: to us a stream that broke, with its words"
REASONS = {
    "azure-openai/responses-ai-azure-deepseek-reasoning-1": _ELSEWHERE,
    "azure-openai/responses-ai-azure-deepseek-reasoning-1-2": _ELSEWHERE,
    "cohere/cohere-v2-chat-langchain-cohere-test-sql-agent-2": _WITHIN,
    "cohere/cohere-v2-chat-langchain-cohere-test-sql-agent": _WITHIN,
    "groq/chat-pydantic-ai-test-groq-test-tool-use-failed-error-streaming": _WITHIN,
    "openai/responses-pydantic-ai-test-openai-responses-test-responses-count-tokens-with-tools": "a count of tokens",
}
"""Why answers are not understood, found by looking at each; one that is not here is a mistake of ours, or unknown."""


class Case(NamedTuple):
    provider: str
    name: str
    dialect: str
    capabilities: frozenset[str]
    failure: str | None
    """What went wrong, in a few words; None where the answer was read."""


def cases() -> Iterator[Case]:
    """Every recorded answer of a dialect of ours, read."""
    for path in sorted((WIRE / "exchanges").glob("*/*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        dialect = DIALECTS.get(data["api"])
        provider = path.parent.name
        if dialect is None or data["fidelity"] == "sdk-level":  # values of a client library, not of the wire
            continue
        if (provider, data["api"]) in NAMESAKES:
            continue
        labels = frozenset(data["capability"]) & CAPABILITIES.keys()
        yield Case(provider, path.stem, dialect, labels, _failure(dialect, provider, data))


def _failure(dialect: str, provider: str, data: Mapping[str, Any]) -> str | None:
    codec = codecs.outbound(dialect)
    row = find_row(provider.replace("-openai", ""))
    target = Target(card=ModelCard(id="m"), **({"quirks": row.quirks} if row else {}))
    body, status = _body_of(data["response"]), data["response"]["status"]
    try:
        if status >= 400:
            error = codec.decode_error(status, {}, body)
            return None if error.status_code == status else f"{status} is read as {error.status_code}"
        if not _is_stream(body, data):
            codec.decode_response(body, target)
            return None
        decoder = codec.stream_decoder(target)
        collect([*decoder.feed(body), *decoder.close()])
    except BadReply as error:
        return f"{type(error).__name__}: {error.message.splitlines()[0][:100]}"
    except SpineError:
        return None  # the service's own error in an answer of status 200, and read as that
    return None


def _body_of(response: Mapping[str, Any]) -> bytes:
    if response.get("body_base64"):
        return base64.b64decode(response["body_base64"])
    body = response.get("body")
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def _is_stream(body: bytes, data: Mapping[str, Any]) -> bool:
    if data["api"].endswith("_stream"):
        return True
    head = body.lstrip()[:6]
    is_lines = data["api"] == "ollama_chat" and body.strip().count(b"\n") > 0
    return head.startswith((b"data:", b"event:", b":")) or is_lines


# ---------------------------------------------------------------- the page


def page(found: Iterable[Case]) -> str:
    by_provider: dict[str, list[Case]] = defaultdict(list)
    for case in found:
        by_provider[case.provider].append(case)
    total = sum(map(len, by_provider.values()))
    failed = [case for cases in by_provider.values() for case in cases if case.failure]
    parts = [
        "# Conformance",
        f"{total:,} recorded answers of {len(by_provider)} services, read by our dialects: {total - len(failed):,} are "
        f"understood, {len(failed)} are not. Understood is decoded without an error, or read as the error that it is; "
        "what was decoded is compared by the tests of each dialect.",
        "The recordings come from the tests of public projects and are no part of this one; the labels of what each "
        "shows are computed, and can err. A cell is how many were understood, and of how many where some were not. "
        "`scripts/conformance.py` writes this page.",
        _table(by_provider),
        "## What is not understood",
        _failures(failed),
    ]
    return "\n\n".join(parts) + "\n"


def _table(by_provider: Mapping[str, list[Case]]) -> str:
    lines = [["service", "dialects", "all", *CAPABILITIES.values()], ["---"] * (len(CAPABILITIES) + 3)]
    for provider, cases in sorted(by_provider.items()):
        dialects = ", ".join(f"`{dialect}`" for dialect in sorted({case.dialect for case in cases}))
        counted = [[case for case in cases if label in case.capabilities] for label in CAPABILITIES]
        lines.append([provider, dialects, _counted(cases), *map(_counted, counted)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _counted(cases: list[Case]) -> str:
    if not cases:
        return ""
    understood = sum(case.failure is None for case in cases)
    return str(understood) if understood == len(cases) else f"**{understood} of {len(cases)}**"


def _failures(failed: list[Case]) -> str:
    if not failed:
        return "Nothing."
    lines = ["| recording | dialect | read as | why |", "| --- | --- | --- | --- |"]
    for case in failed:
        name = f"{case.provider}/{case.name}"
        said = str(case.failure).replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| `{name}` | `{case.dialect}` | {said} | {REASONS.get(name, '**unknown**')} |")
    return "\n".join(lines)


def main() -> int:
    if not (WIRE / "exchanges").is_dir():
        print(f"no recordings in {WIRE}: docs/conformance.md stays as it is")
        return 0
    wanted = page(cases())
    if "--check" in sys.argv[1:]:
        is_same = PAGE.exists() and PAGE.read_text(encoding="utf-8") == wanted
        print("docs/conformance.md is up to date" if is_same else "docs/conformance.md is out of date")
        return int(not is_same)
    PAGE.write_text(wanted, encoding="utf-8")
    print(wanted.splitlines()[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
