"""What an attempt costs by other prices: which, and where it stays as it was."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from genai_spine.model.card import ModelCard, Price
from genai_spine.model.response import TokenUsage, UsageDetails
from genai_spine.policy.cost import cost_of, nanousd
from genai_spine.policy.repricing import DatedPrices, reprice
from genai_spine.policy.whatif import corrected, token_ratio, would_cost
from genai_spine.providers.price_cards import cards_of, providers_of
from genai_spine.settings import CostSettings, ProviderSettings, ProvidersSettings, Settings

PRICE = Price(input=Decimal(2), output=Decimal(8), cached_input=Decimal("0.5"), source="list")
USED = TokenUsage(input_tokens=1000, output_tokens=100)
COSTS = 2_800_000
counts = st.integers(0, 10**6)


def test_a_cost_is_reckoned_again_or_stays_and_it_is_said_why() -> None:
    assert reprice(USED, 7, "list", PRICE).outcome == "changed"
    assert reprice(USED, None, None, PRICE).outcome == "known"
    assert reprice(USED, None, None, PRICE).cost_nanousd == COSTS
    assert reprice(USED, COSTS, "other", PRICE).outcome == "same"
    assert reprice(USED, 7, "reported", PRICE).outcome == "reported"
    assert reprice(USED, 7, "reported", PRICE, reported=True).cost_nanousd == COSTS
    assert reprice(None, None, None, PRICE).outcome == "no_counts"
    assert reprice(None, 0, None, PRICE).outcome == "same"  # it was refused, and nobody charges for it
    for price in (None, Price(input=Decimal(1)), Price(input=Decimal(10**15), output=Decimal(1))):
        stays = reprice(USED, 7, "list", price)
        assert (stays.outcome, stays.cost_nanousd, stays.is_new) == ("no_price", 7, False)


def test_what_was_broken_off_never_becomes_known_by_what_was_counted() -> None:
    assert reprice(USED, None, None, PRICE, is_whole=False).outcome == "not_whole"
    assert reprice(USED, 0, None, PRICE, is_whole=False).outcome == "same"


@given(counts, counts, st.none() | counts, st.integers(0, 100))
def test_the_same_prices_change_nothing(input: int, output: int, searches: int | None, rate: int) -> None:
    usage = TokenUsage(input_tokens=input, output_tokens=output, details=UsageDetails(searches=searches))
    price = Price(input=Decimal(rate) / 7, output=Decimal(rate), searches_per_1k=Decimal(10))
    stood = nanousd(cost_of(usage, price))
    assert reprice(usage, stood, "list", price).outcome == "same"
    card = ModelCard(id="m")
    would = would_cost(usage, card, price, is_same=True)
    assert isinstance(would, Decimal)
    assert nanousd(would) == stood  # on the model that has answered it costs what it has cost


def moment(day: str, hour: int = 12) -> float:
    return datetime.fromisoformat(f"{day}T{hour:02d}:00:00").replace(tzinfo=UTC).timestamp()


def test_prices_are_those_of_the_day_or_of_another() -> None:
    from datetime import time

    old = Price(input=Decimal(4), output=Decimal(4))
    new = Price(input=Decimal(1), output=Decimal(1), since=date(2026, 6, 1))
    night = Price(input=Decimal(0), output=Decimal(0), since=date(2026, 6, 1), hours=(time(0), time(6)))
    asked: list[tuple[str, str]] = []

    def card_of(provider: str, model: str) -> ModelCard | None:
        asked.append((provider, model))
        prices = {"m": (old, new), "n": (old, new, night)}.get(model)
        return ModelCard(id=model, prices=prices) if prices is not None else None

    own = DatedPrices(card_of)
    assert [own.at("p", "m", None, moment(day)) for day in ("2026-05-31", "2026-06-01")] == [old, new]
    assert [own.at("p", "n", None, moment("2026-07-01", hour)) for hour in (3, 12)] == [night, new]
    assert own.at("p", "m", "batch", moment("2026-07-01")) is None
    assert own.at("p", "x", None, 0.0) is None
    assert asked == [("p", "m"), ("p", "n"), ("p", "x")]
    then = DatedPrices(card_of, date(2026, 5, 1))
    assert then.at("p", "m", None, moment("2026-07-01")) == old
    assert DatedPrices(card_of, date(2026, 7, 1)).at("p", "n", None, moment("2025-01-01", 3)) == night


def test_cards_are_the_settings_or_the_catalogs() -> None:
    cost = CostSettings(input_cost_per_1m=1.0, output_cost_per_1m=2.0)
    tables = {
        "mine": ProviderSettings(type="openai", api_key=None, cost=cost),
        "anthropic": ProviderSettings(type="ollama"),
    }
    settings = Settings(providers=ProvidersSettings(by_id=tables))
    card = cards_of(settings)
    for provider, wanted in (("mine", Decimal(1)), ("openai", Decimal("2.5"))):
        found = card(provider, "gpt-4o")
        assert found is not None
        assert found.price is not None
        assert found.price.input == wanted  # `openai` is configured no more
    assert card("nobody", "gpt-4o") is None
    assert providers_of(settings, "openai") == {"mine", "openai"}
    assert providers_of(settings, "anthropic") == frozenset()  # it is called so, and is another service


def test_what_another_model_would_count_otherwise_is_not_compared() -> None:
    card = ModelCard(id="m", context_window=5000)

    def why(price: Price | None = PRICE, **used: Any) -> Decimal | str:
        return would_cost(TokenUsage(**{"input_tokens": 1000, "output_tokens": 100, **used}), card, price)

    assert why() == Decimal("0.0028")
    assert why(cache_read_tokens=500) == Decimal("0.00205")
    assert why(cache_write_tokens=500) == "cache"
    assert why(Price(input=Decimal(1), output=Decimal(1)), cache_read_tokens=500) == "cache"
    assert why(audio_input_tokens=5) == "media"
    assert why(details=UsageDetails(image_input_tokens=5)) == "media"
    assert why(details=UsageDetails(searches=5)) == "beside"
    assert why(compute_s=1.0) == "beside"
    assert why(input_tokens=6000) == "too_long"
    chat = ModelCard(id="m", price=PRICE)
    assert would_cost(TokenUsage(input_tokens=1000), chat, PRICE) == "vectors"
    assert why(None) == "price"
    assert why(None, service_tier="batch") == "service"
    assert why(Price(input=Decimal(1))) == "price"


def test_tokens_of_one_model_in_those_of_another_where_that_is_known() -> None:
    assert token_ratio("gpt-4o", "gpt-5") == 1
    ratio = token_ratio("gpt-4o", "claude-sonnet-4-5")
    assert ratio is not None
    assert 1 < ratio < Decimal("1.3")
    for of, to in (("our-own-tune", "gpt-4o"), ("gpt-4-turbo", "gpt-4o"), ("gpt-4o", "nova-pro")):
        assert token_ratio(of, to) is None
    more = corrected(USED, Decimal("1.1485"))
    assert (more.input_tokens, more.output_tokens, more.cache_read_tokens) == (1148, 115, None)
