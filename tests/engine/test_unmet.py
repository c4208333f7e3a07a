"""What a request asks and this version does not do is said, never ignored in silence."""

from genai_spine import Notice, ProviderManager, SimulatedProvider


async def test_a_limit_that_is_not_in_force_is_answered_with_a_notice() -> None:
    async with ProviderManager([SimulatedProvider()]) as manager:
        response = await manager.complete("hi", provider_hint="cheapest", cost_limit=0.5)
        events = [event async for event in manager.stream("hi", cost_limit=0.5)]
        plain = await manager.complete("hi", provider_hint="local_preferred")
    assert [notice.param for notice in response.notices] == ["cost_limit"]
    assert isinstance(response.notices[0], Notice)
    assert [notice.param for notice in events[0].notices] == ["cost_limit"]
    assert plain.notices == ()
