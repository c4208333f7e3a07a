"""Which models a provider has, by which names, and for how long a list of them is believed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from genai_spine import HttpProvider, ModelNotFound, ProviderManager, SimulatedProvider
from genai_spine.catalog import owners
from genai_spine.catalog.cards import joined
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.errors import ServerError
from genai_spine.providers.model_lists import ModelLists
from genai_spine.settings import ProviderSettings
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Simulator


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Listing(SimulatedProvider):
    """Another model each time that it is asked; every third time it fails."""

    asked = 0

    async def list_models(self) -> list[ModelCard]:
        self.asked += 1
        if self.asked % 3 == 0:
            raise ServerError("not now", provider=self.name)
        return [ModelCard(id=f"model-{self.asked}")]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


async def test_a_list_is_believed_until_it_is_old() -> None:
    clock, provider = Clock(), Listing()
    lists = ModelLists(ttl_s=60, clock=clock)
    assert [card.id for card in await lists.of(provider)] == ["model-1"]
    clock.now = 59
    assert [card.id for card in await lists.of(provider)] == ["model-1"]
    clock.now = 60
    assert [card.id for card in await lists.of(provider)] == ["model-2"]
    with pytest.raises(ServerError):
        await lists.of(provider, refresh=True)
    assert [card.id for card in await lists.of(provider)] == ["model-2"], "an error is not kept"
    lists.forget()
    assert [card.id for card in await lists.of(provider)] == ["model-4"]


async def test_another_provider_of_the_same_name_has_its_own_list() -> None:
    lists = ModelLists(clock=Clock())
    first, second = Listing(), Listing()
    second.asked = 3
    assert [card.id for card in await lists.of(first)] == ["model-1"]
    assert [card.id for card in await lists.of(second)] == ["model-4"]


async def test_a_manager_asks_once_and_again_when_told_to(simulator: Simulator) -> None:
    table = {"api_key": "k", "base_url": simulator.urls.openai}
    async with ProviderManager.from_settings({"providers": {"openai": table}}) as manager:
        first = await manager.list_models()
        assert await manager.list_models() == first
        assert await manager.list_models("openai") == first
        assert len(simulator.received) == 1
        await manager.list_models(refresh=True)
        assert len(simulator.received) == 2


async def test_a_model_is_available_by_each_of_its_names(simulator: Simulator) -> None:
    settings = ProviderSettings(base_url=simulator.urls.openai, custom_models={"mine": "sim-mirror"})
    provider = HttpProvider("vllm", settings)
    try:
        assert await provider.is_model_available("sim-mirror")
        assert await provider.is_model_available("mine")
        assert not await provider.is_model_available("yours")
        assert (await provider.check_model("mine")).id == "sim-mirror"
        with pytest.raises(ModelNotFound, match='"vllm" has no model "sim-miror"; did you mean "sim-mirror"'):
            await provider.check_model("sim-miror")
    finally:
        await provider.close()


def test_a_name_that_the_service_does_not_take_is_sent_as_the_one_it_takes() -> None:
    anthropic = HttpProvider("anthropic", ProviderSettings(custom_models={"best": "claude-3.5-sonnet"}))
    for name in ("claude-3-5-sonnet", "claude-3.5-sonnet", "Claude-3-5-Sonnet", "best"):
        assert anthropic.target(name).model == "claude-3-5-sonnet-20241022"
    for name in ("claude-3-5-sonnet-latest", "claude-sonnet-4-5", "us.anthropic.claude-opus-4-5-v1:0"):
        assert anthropic.target(name).model == name
    assert HttpProvider("openrouter").target("claude-3-5-sonnet").model == "claude-3-5-sonnet"


def test_an_unknown_model_is_answered_with_those_that_look_like_it() -> None:
    provider = HttpProvider("openai")
    error = provider.failed(ModelNotFound("The model `gpt-4o-mni` does not exist."), "gpt-4o-mni", 0.0)
    assert error.message.startswith('The model `gpt-4o-mni` does not exist; did you mean "gpt-4o-mini"')
    again = provider.failed(error, "gpt-4o-mni", 0.0)
    assert again.message.count("did you mean") == 1
    known = provider.failed(ModelNotFound("You have no access to it."), "gpt-4o", 0.0)
    assert known.message == "You have no access to it."


@pytest.mark.parametrize(
    ("model", "whose"),
    [
        ("anthropic/claude-sonnet-4-5", "anthropic (ANTHROPIC_API_KEY)"),
        ("claude-sonnet-4-5", "anthropic (ANTHROPIC_API_KEY) or azure (AZURE_OPENAI_API_KEY) or vertex"),
        ("llama3.2", "ollama"),
        ("unheard-of", None),
        ("meta-llama/of-nobody", None),
    ],
)
def test_who_asks_the_wrong_provider_is_told_whose_a_model_is(model: str, whose: str | None) -> None:
    error = HttpProvider("openai").failed(ModelNotFound("No such model."), model, 0.0)
    assert error.message == (f"No such model; it seems to be a model of {whose}" if whose else "No such model.")


def test_where_models_are_named_by_their_makers_no_maker_is_taken_for_another_provider() -> None:
    for row in ("openrouter", "together", "groq"):
        assert owners.whose("openai/gpt-unheard-of", not_of=row) == ""


def test_a_providers_word_on_a_model_and_the_catalogs_fill_each_other_up() -> None:
    listed = ModelCard(id="m", max_output_tokens=5, capabilities=Capabilities(tools=True, thinking=True))
    known = ModelCard(id="m", context_window=7, max_output_tokens=6, capabilities=Capabilities(thinking=False))
    both = joined(listed, known)
    assert (both.context_window, both.max_output_tokens) == (7, 5)
    assert (both.capabilities.tools, both.capabilities.thinking) == (True, False)
