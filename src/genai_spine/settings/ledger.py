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

    name: Annotated[str, doc("Name of what is redacted; `[redacted NAME]` takes its place.")]
    pattern: Annotated[str, doc("A Python regular expression; repeats must have bounds: `{1,100}`.")]
    replacement: Annotated[str | None, doc("Other replacement text.")] = None


class LedgerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where what was spent is written down."""

    url: Annotated[
        Secret | None,
        doc("`sqlite:///spine.db` or a PostgreSQL URL; without one, nothing is kept after the process ends."),
    ] = None
    journal: Annotated[
        str | None,
        doc("Folder for entries not yet in the database; default: beside the SQLite file, or `~/.local/state`."),
    ] = None
    retention_days: Annotated[
        float | None, doc("How long calls and attempts are kept; default: forever. Daily sums are always kept.", gt=0)
    ] = None
    on_failure: Annotated[
        OnFailure,
        doc("If a call cannot be recorded anywhere: serve it and keep it in memory, or refuse it (503)."),
    ] = "serve"
    content: Annotated[
        ContentLevel,
        doc("Whether prompts and answers are kept: not at all, redacted of keys and personal data, or in full."),
    ] = "none"
    content_days: Annotated[float, doc("How long prompts and answers are kept; their calls stay.", gt=0)] = 7
    content_max_kb: Annotated[
        int, doc("Most kept of each, in KiB; of longer texts, the beginning and the end.", ge=1, le=1024)
    ] = 64
    redact: Annotated[list[RedactSettings], doc("What else to redact.")] = []


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
