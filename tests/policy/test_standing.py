"""What holds of a model: worked out once, until a price begins or the model is retired."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import inf

from genai_spine.model.card import ModelCard, Price
from genai_spine.policy.standing import standing_of
from genai_spine.providers.standings import Standings

CHEAPER_IN_MAY = (Price(input=Decimal(2)), Price(input=Decimal(1), since=date(2026, 5, 1)))


def seconds(*moment: int) -> float:
    return datetime(*moment, tzinfo=UTC).timestamp()  # type: ignore[arg-type, misc]  # a year, a month, a day …


def test_nothing_known_holds_for_ever() -> None:
    standing = standing_of(ModelCard(id="m"), seconds(2026, 1, 1))
    assert (standing.price, standing.notices, standing.until_s) == (None, (), inf)


def test_a_price_holds_until_the_next_ones_day() -> None:
    card = ModelCard(id="m", prices=CHEAPER_IN_MAY)
    before, after = standing_of(card, seconds(2026, 4, 30, 23, 59)), standing_of(card, seconds(2026, 5, 1))
    assert (before.price, before.until_s) == (CHEAPER_IN_MAY[0], seconds(2026, 5, 1))
    assert (after.price, after.until_s) == (CHEAPER_IN_MAY[1], inf)


def test_a_price_of_certain_hours_holds_until_they_end() -> None:
    night = Price(input=Decimal(1), hours=(time(22), time(6)))
    card = ModelCard(id="m", prices=(Price(input=Decimal(2)), night))
    for hour, until in ((5, (20, 6)), (6, (20, 22)), (12, (20, 22)), (22, (21, 6)), (23, (21, 6))):
        standing = standing_of(card, seconds(2026, 11, 20, hour))
        assert standing.until_s == seconds(2026, 11, *until)
        assert (standing.price == night) == (hour in (5, 22, 23))


def test_a_model_is_retired_from_its_day_on_and_its_successor_is_named() -> None:
    card = ModelCard(id="old-1", retired=date(2026, 3, 1), successor="new-1")
    before, after = standing_of(card, seconds(2026, 2, 28)), standing_of(card, seconds(2026, 3, 1))
    assert before.notices == () and before.until_s == seconds(2026, 3, 1)
    (notice,) = after.notices
    assert (notice.code, notice.param) == ("retired_model", "model")
    assert notice.message == "old-1 was retired on 2026-03-01; new-1 succeeds it"


def test_without_a_successor_none_is_named() -> None:
    (notice,) = standing_of(ModelCard(id="old-1", retired=date(2026, 3, 1)), seconds(2026, 4, 1)).notices
    assert notice.message == "old-1 was retired on 2026-03-01"


def test_a_card_is_looked_at_once_until_something_changes() -> None:
    asked: list[str] = []
    now = [seconds(2026, 4, 1)]

    def card(model: str) -> ModelCard:
        asked.append(model)
        return ModelCard(id=model, prices=CHEAPER_IN_MAY)

    standings = Standings(card, clock=lambda: now[0])
    assert {standings.of("m").price for _ in range(5)} == {CHEAPER_IN_MAY[0]}
    now[0] = seconds(2026, 5, 1)
    assert {standings.of("m").price for _ in range(5)} == {CHEAPER_IN_MAY[1]}
    assert asked == ["m", "m"]


def test_names_without_end_are_not_kept_without_end() -> None:
    standings = Standings(lambda model: ModelCard(id=model, retired=date(2020, 1, 1)))
    for number in range(1100):
        assert standings.of(f"m{number}").notices
    assert len(standings._found) == 1000
