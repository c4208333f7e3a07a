"""What a request asks of routing and this version does not do is said, never ignored in silence."""

from genai_spine import Notice, ProviderManager, SimulatedProvider


async def test_a_hint_that_is_not_in_force_is_answered_with_a_notice() -> None:
    async with ProviderManager([SimulatedProvider()]) as manager:
        response = await manager.complete("hi", provider_hint="cheapest", cost_limit=0.5)
        events = [event async for event in manager.stream("hi", provider_hint="best_quality")]
        plain = await manager.complete("hi", provider_hint="local_preferred")
    assert [notice.param for notice in response.notices] == ["provider_hint", "cost_limit"]
    assert isinstance(response.notices[0], Notice)
    assert [notice.param for notice in events[0].notices] == ["provider_hint"]
    assert plain.notices == ()
