"""The generated sections of docs/providers.md: every quirk with its reason, every configuration one that loads."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from genai_spine.catalog.cards import card_of
from genai_spine.catalog.prices import all_prices
from genai_spine.catalog.rows import ProviderRow, load_rows
from genai_spine.dialects.quirks import Quirks
from genai_spine.settings import load_settings

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import provider_sections
import row_reasons

ROWS = list(load_rows().values())


def _set_quirks(row: ProviderRow) -> set[str]:
    return {name for name in Quirks.__struct_fields__ if getattr(row.quirks, name) != getattr(Quirks(), name)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_quirk_has_its_reason_and_each_reason_stands_in_the_section(row: ProviderRow) -> None:
    reasons = row_reasons.load_reasons()[row.id]
    explained = {name for names, _ in reasons.quirks for name in names}
    assert _set_quirks(row) <= explained
    assert explained <= set(Quirks.__struct_fields__)
    text = provider_sections.section(row)
    for said in (*reasons.service, *reasons.settings.values(), *(said for _, said in reasons.quirks)):
        assert said.replace("<", "&lt;").replace("[", "\\[")[1:].rstrip(".") in text
    for name in _set_quirks(row):
        assert f"`{name} = " in text
    assert row.id == "simulated" or row.docs in text


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_the_configuration_of_a_section_loads(row: ProviderRow, tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", provider_sections.section(row), re.DOTALL)
    file = tmp_path / "spine.toml"
    file.write_text(example, encoding="utf-8")
    provider = load_settings(file, environ={}, cwd=tmp_path).providers[row.id]
    assert provider.type == row.id


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_the_configuration_of_a_section_names_no_model_that_is_gone(row: ProviderRow) -> None:
    models = re.findall(r'^model = "(.*)"$', provider_sections.section(row), re.MULTILINE)
    read = max(listed.as_of for listed in all_prices().values())
    retired = [card_of(row.id, row.id, model).retired for model in models]
    assert not [day for day in retired if day is not None and day <= read]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_what_is_said_of_a_service_is_more_than_an_address(row: ProviderRow) -> None:
    said = row_reasons.load_reasons()[row.id].service
    assert not [words for words in said if re.match(r"[a-z0-9-]+(\.[a-z0-9-]+)+/", words)]


def test_a_comment_is_about_the_lines_below_it_or_the_one_before_it() -> None:
    lines = [
        "# Of the first",
        "# and of the second.",
        'first = "a"',
        "second = true",
        "# Of the third.",
        "third = 1  # and this, too",
        "# Of none.",
    ]
    assert row_reasons._said(lines) == [
        (("first", "second"), "Of the first and of the second."),
        (("third",), "Of the third."),
        (("third",), "and this, too"),
        ((), "Of none."),
    ]
