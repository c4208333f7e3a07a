"""`ledger.content` and what belongs to it: by default nothing is kept, and what cannot work is refused."""

from __future__ import annotations

from typing import Any

import pytest

from genai_spine.model.errors import ConfigError
from genai_spine.providers.registry import settings_of
from genai_spine.settings.ledger import least

URL = "sqlite:///spine.db"


def of(ledger: dict[str, Any], **more: Any) -> Any:
    return settings_of({"providers": {"sim": {"type": "simulated"}}, "ledger": ledger, **more})


def test_by_default_nothing_is_kept() -> None:
    ledger = of({"url": URL}).ledger
    assert (ledger.content, ledger.content_days, ledger.content_max_kb, ledger.redact) == ("none", 7, 64, [])


def test_rules_are_read_in_their_order() -> None:
    rules = [{"name": "employee", "pattern": r"EMP-\d{6}"}, {"name": "p", "pattern": "Redbird", "replacement": "[p]"}]
    found = of({"url": URL, "content": "redacted", "redact": rules}).ledger.redact
    assert [(rule.name, rule.pattern, rule.replacement) for rule in found] == [
        ("employee", r"EMP-\d{6}", None),
        ("p", "Redbird", "[p]"),
    ]


@pytest.mark.parametrize(
    ("ledger", "said"),
    [
        ({"content": "full"}, "ledger.content: there is nowhere to keep it: ledger.url is not set"),
        ({"url": URL, "content": "all"}, "ledger.content"),
        ({"url": URL, "content_days": 0}, "ledger.content_days"),
        ({"url": URL, "content_max_kb": 0}, "ledger.content_max_kb"),
        ({"url": URL, "content_max_kb": 2000}, "ledger.content_max_kb"),
        ({"redact": [{"name": "a", "pattern": "("}]}, "ledger.redact[0].pattern: not a regular expression"),
        (
            {"redact": [{"name": "a", "pattern": "a"}, {"name": "b", "pattern": "b{0,9}"}]},
            "ledger.redact[1].pattern: it matches the empty text",
        ),
        ({"redact": [{"name": "a", "pattern": "(a+)+!"}]}, "ledger.redact[0].pattern: without a bound"),
        ({"redact": [{"name": " ", "pattern": "a"}]}, "ledger.redact[0].name: a rule needs a name"),
        ({"redact": [{"pattern": "a"}]}, "ledger.redact[0]"),
    ],
)
def test_what_cannot_work_is_refused_by_its_key_and_with_the_reason(ledger: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        of(ledger)
    assert said in str(refused.value)


def test_a_key_may_say_less_and_not_more() -> None:
    keys = {"a": {"key": "k", "content": "redacted"}}
    assert of({"url": URL, "content": "full"}, server={"keys": keys}).server.keys["a"].content == "redacted"
    with pytest.raises(ConfigError, match=r"server\.keys\.a\.content: more than ledger\.content, which is 'none'"):
        of({"url": URL}, server={"keys": keys})


def test_the_least_of_what_is_said_is_done() -> None:
    assert least("full", None, None) == "full"
    assert least("full", "redacted", None) == "redacted"
    assert least("redacted", "full", "none") == "none"
