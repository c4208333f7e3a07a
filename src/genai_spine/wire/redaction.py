"""What looks like a key, a password or a person's data, taken out of texts. The rules are data: redaction.toml.

A rule has a pattern and, where numbers have check digits, a check. What rules find on the same text is put together
before anything is replaced, so that none hides something from another. What is found does not depend on where a long
text is cut: `clean` looks a little beyond both ends.

Check digits: ISO/IEC 7812-1 (Luhn), ISO 13616-1 (IBAN, ISO 7064 MOD 97-10). Must not know: where texts come from.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib import resources
from string import ascii_uppercase
from typing import Any, Literal, TypeAlias

import msgspec

BEYOND = 8192
"""Letters before and behind a piece that are looked at: no secret but a damaged one is longer."""
MOST_WAYS = 10_000
_LONGEST_PATTERN = 500

Kind: TypeAlias = Literal["secret", "echo", "personal"]
Check: TypeAlias = Callable[[str], int]
"""How many letters of what was found are what was looked for; 0: it is something else."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What `pattern` finds is replaced by `replacement`, or by its name in brackets."""

    name: str
    pattern: re.Pattern[str]
    replacement: str
    check: Check | None = None
    hints: tuple[str, ...] = ()
    """Where there are some, one of them stands in every text that has what is looked for."""


class _Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    of: Kind
    pattern: str
    first: str | None = None
    hints: tuple[str, ...] = ()
    check: Literal["card", "iban"] | None = None


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    before: str
    behind_first: str
    rule: tuple[_Row, ...]


@lru_cache(1)
def _table() -> _Table:
    text = resources.files("genai_spine.wire").joinpath("redaction.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Table)


@lru_cache(8)
def rules(*kinds: Kind) -> tuple[Rule, ...]:
    """Our own rules of these kinds."""
    table = _table()
    return tuple(
        Rule(
            name=row.name,
            pattern=re.compile(_pattern_of(row, table)),
            hints=row.hints,
            replacement=f"[redacted {row.name}]",
            check=None if row.check is None else _CHECKS[row.check],
        )
        for row in table.rule
        if row.of in kinds
    )


def _pattern_of(row: _Row, table: _Table) -> str:
    if row.first is None:
        return f"{table.before}(?:{row.pattern})"
    return f"{row.first}{table.behind_first}(?:{row.pattern})"


@lru_cache(1)
def secrets() -> re.Pattern[str]:
    """All that is taken out of an error's text, as one pattern. Providers' echoes stand before anything."""
    table = _table()
    echoes = "|".join(row.pattern for row in table.rule if row.of == "echo")
    others = "|".join(row.pattern for row in table.rule if row.of == "secret")
    return re.compile(f"{echoes}|{table.before}(?:{others})")


def own_rule(name: str, pattern: str, replacement: str | None = None) -> Rule:
    """A rule of somebody's own. Raises: ValueError, saying what is wrong with the pattern."""
    if (why := _why_not(pattern)) is not None:
        raise ValueError(why)
    named = f"[redacted {name}]" if replacement is None else replacement
    return Rule(name=name, pattern=re.compile(pattern), replacement=named)


class Redaction:
    """`redaction.clean(text)` is the text without what the rules find."""

    __slots__ = ("_rules",)

    def __init__(self, found_by: Iterable[Rule]) -> None:
        self._rules = tuple(found_by)

    def clean(self, text: str, begin: int = 0, end: int | None = None) -> str:
        """`text[begin:end]`, where what begins before or ends behind it is found, too."""
        end = len(text) if end is None else end
        window_at = max(0, begin - BEYOND)
        window = text[window_at : end + BEYOND]
        begin, end = begin - window_at, end - window_at
        out: list[str] = []
        at = begin
        for first, last, replacement in self._found(window):
            if last <= at or first >= end:
                continue
            out += (window[at:first], replacement)
            at = last
        if at < end:
            out.append(window[at:end])
        return "".join(out)

    def _found(self, text: str) -> list[tuple[int, int, str]]:
        """Where something is to be replaced, in order; what overlaps is one, by the rule that begins first."""
        spans = sorted((span for rule in self._rules for span in _spans(rule, text)), key=lambda span: span[:2])
        joined: list[tuple[int, int, str]] = []
        for first, last, replacement in spans:
            if joined and first < joined[-1][1]:
                begin, end, by = joined[-1]
                joined[-1] = begin, max(end, last), by
            else:
                joined.append((first, last, replacement))
        return joined


def _spans(rule: Rule, text: str) -> Iterator[tuple[int, int, str]]:
    if rule.hints and not any(hint in text for hint in rule.hints):
        return
    at = 0
    while (found := rule.pattern.search(text, at)) is not None:
        length = found.end() - found.start() if rule.check is None else rule.check(found.group())
        if length:
            yield found.start(), found.start() + length, rule.replacement
        at = found.start() + max(1, length)


# ---------------------------------------------------------------- check digits


def _card(found: str) -> int:
    """Thirteen to nineteen digits that Luhn's sum holds for, the most that there are; behind them no further digit."""
    for end in range(len(found), 12, -1):
        digits = [int(char) for char in found[:end] if char.isdigit()]
        if len(digits) < 13:
            return 0
        is_end = end == len(found) or not found[end].isdigit()
        if is_end and found[end - 1].isdigit() and len(digits) <= 19 and _luhn(digits) and len(set(digits)) > 1:
            return end
    return 0


def _luhn(digits: list[int]) -> bool:
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _iban(found: str) -> int:
    """Fifteen to thirty-four letters and digits that are 1 modulo 97; what follows in capitals may be another word."""
    for end in range(len(found), 14, -1):
        if end < len(found) and found[end] != " ":
            continue
        plain = found[:end].replace(" ", "")
        if 15 <= len(plain) <= 34 and int((plain[4:] + plain[:4]).translate(_AS_NUMBERS)) % 97 == 1:
            return end
    return 0


_AS_NUMBERS = str.maketrans({letter: str(10 + place) for place, letter in enumerate(ascii_uppercase)})
_CHECKS: dict[str, Check] = {"card": _card, "iban": _iban}


# ---------------------------------------------------------------- patterns of somebody's own


def _why_not(pattern: str) -> str | None:
    """What is wrong with a pattern; None: nothing."""
    if len(pattern) > _LONGEST_PATTERN:
        return f"a pattern is of {_LONGEST_PATTERN} letters at most"
    try:
        compiled = re.compile(pattern)
        ways = _ways(_parsed(pattern))
    except (re.error, RecursionError, OverflowError) as error:
        return f"not a regular expression: {error}"
    if compiled.search("") is not None or _may_be_empty(_parsed(pattern)):
        return "it matches the empty text, which is everywhere"
    if ways is None:
        return "without a bound it may take forever on some text: write {1,100} in place of + or *"
    if ways > MOST_WAYS:
        return f"it may be tried in {ways:,} ways at each letter, and {MOST_WAYS:,} are allowed: use smaller bounds"
    return None


def _parsed(pattern: str) -> Any:
    # As the compiler reads it. No public function tells; the module is the same from Python 3.11 to 3.15.
    from re import _parser  # type: ignore[attr-defined]  # noqa: PLC0415  # typeshed does not list it

    return _parser.parse(pattern)


def _may_be_empty(parsed: Any) -> bool:
    """Whether it finds something of no length somewhere: a look ahead, or the edge of a word."""
    return bool(parsed.getwidth()[0] == 0)


def _ways(parsed: Any) -> int | None:
    """In how many ways a text can be cut into the parts of a pattern, at most; None: there is no bound."""
    ways = 1
    for operator, value in parsed:
        one = _ways_of(str(operator), value)
        if one is None:
            return None
        ways *= one
    return ways


def _ways_of(operator: str, value: Any) -> int | None:
    match operator:
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, repeated = value
            inner = _ways(repeated)
            if inner is None or int(most) >= 1_000_000:  # MAXREPEAT is 2**32 - 1
                return None
            return int(inner ** min(int(most), 64)) * (int(most) - int(least) + 1)
        case "BRANCH":
            each = [_ways(branch) for branch in value[1]]
            return None if None in each else sum(way for way in each if way is not None)
        case "SUBPATTERN":
            return _ways(value[3])
        case "ATOMIC_GROUP":
            return _ways(value)
        case "ASSERT" | "ASSERT_NOT":
            return _ways(value[1])
        case "GROUPREF_EXISTS":
            each = [_ways(branch) for branch in value[1:] if branch is not None]
            return None if None in each else sum(way for way in each if way is not None)
        case _:
            return 1
