"""The ledger: `[ledger]`, part of the tree of tree.py; and what may be wrong with rules of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec

from genai_spine.settings.explain import Path, Problem
from genai_spine.settings.prices import doc
from genai_spine.settings.values import Secret
from genai_spine.wire.redaction import own_rule

OnFailure: TypeAlias = Literal["serve", "refuse"]
ContentLevel: TypeAlias = Literal["none", "redacted", "full"]


class RedactSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is taken out of texts beside our own rules (`[[ledger.redact]]`)."""

    name: Annotated[str, doc("What it is; `[redacted NAME]` takes its place.")]
    pattern: Annotated[str, doc("A regular expression of Python's; its repeats have bounds: `{1,100}`.")]
    replacement: Annotated[str | None, doc("What takes its place instead.")] = None


class LedgerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where what was spent is written down."""

    url: Annotated[Secret | None, doc("`sqlite:///spine.db` or a PostgreSQL URL; none: in memory.")] = None
    journal: Annotated[
        str | None,
        doc("Folder of what the database has not taken yet; none: beside the SQLite file, or `~/.local/state`."),
    ] = None
    retention_days: Annotated[
        float | None, doc("How long calls and attempts are kept; none: for ever. Sums of days always are.", gt=0)
    ] = None
    on_failure: Annotated[
        OnFailure,
        doc("When a call can be written down nowhere: serve it all the same, from memory, or refuse it (503)."),
    ] = "serve"
    content: Annotated[
        ContentLevel,
        doc("Whether prompts and answers are kept: not at all, without keys and personal data, or as they are."),
    ] = "none"
    content_days: Annotated[float, doc("How long they are kept; their calls stay.", gt=0)] = 7
    content_max_kb: Annotated[
        int, doc("How much of each, in KiB: of what is longer, the beginning and the end.", ge=1, le=1024)
    ] = 64
    redact: Annotated[list[RedactSettings], doc("What else is taken out of them where they are `redacted`.")] = []


LEVELS: tuple[ContentLevel, ...] = ("none", "redacted", "full")
"""From the least to the most."""


def least(*levels: ContentLevel | None) -> ContentLevel:
    """The least of those that are said."""
    return LEVELS[min(LEVELS.index(level) for level in levels if level is not None)]


def content_problems(ledger: LedgerSettings, of_keys: Mapping[str, ContentLevel | None]) -> Iterator[Problem]:
    """Texts that are nowhere kept, and rules that are none, that find nothing, or that might never end."""
    if ledger.content != "none" and ledger.url is None:
        yield Problem(("ledger", "content"), "there is nowhere to keep it: ledger.url is not set")
    for name, level in of_keys.items():
        if level is not None and least(level, ledger.content) != level:
            yield Problem(("server", "keys", name, "content"), f"more than ledger.content, which is {ledger.content!r}")
    for index, rule in enumerate(ledger.redact):
        path: Path = ("ledger", "redact", index)
        if not rule.name.strip():
            yield Problem((*path, "name"), "a rule needs a name: it takes the place of what is found")
        try:
            own_rule(rule.name, rule.pattern, rule.replacement)
        except ValueError as error:
            yield Problem((*path, "pattern"), str(error))
