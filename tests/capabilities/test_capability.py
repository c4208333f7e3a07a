"""What a capability is, how it is called, how it is found, and what its bill says."""

from __future__ import annotations

import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from reading_model import ReadingModel, reading_model

from genai_spine import (
    CompletionResponse,
    ConfigError,
    InvalidRequest,
    LLMProvider,
    ProviderManager,
    ProviderTimeout,
    Text,
    TokenUsage,
)
from genai_spine.capabilities import Ask, Capability, CapabilityRequest, CapabilityResult, registry, run, summarize
from genai_spine.engine.record import CallRecord


@pytest.fixture(autouse=True)
def _is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="genai_spine")  # a command that ran before may have turned the root's off


class Counter(LLMProvider):
    """Answers with what it was asked, and uses and costs what it is told to."""

    def __init__(self, *answers: tuple[TokenUsage | None, Decimal | None]) -> None:
        self.name = "counter"
        self.answers = list(answers)

    @property
    def default_model(self) -> str:
        return "abacus"

    async def complete(self, request: Any) -> CompletionResponse:
        usage, cost = self.answers.pop(0)
        if usage is not None and cost is not None:
            usage = msgspec.structs.replace(usage, reported_cost_usd=cost)
        return CompletionResponse(model="abacus", parts=(Text(text=request.messages[-1].text),), usage=usage)


class Twice(CapabilityRequest, frozen=True, kw_only=True):
    """Asks twice."""


async def _twice(ask: Ask, request: Twice) -> CapabilityResult:
    await ask("one")
    await ask("two")
    return CapabilityResult(**ask.bill())


twice = Capability("twice", Twice, CapabilityResult, _twice)


# ------------------------------------------------------------ the bill


async def test_use_and_cost_are_summed_exactly() -> None:
    one = TokenUsage(input_tokens=10, output_tokens=2, cache_read_tokens=4)
    two = TokenUsage(input_tokens=7, output_tokens=1, reasoning_tokens=1)
    counter = Counter((one, Decimal("0.1")), (two, Decimal("0.2")))
    async with ProviderManager([counter]) as manager:
        result = await twice(manager)
    assert result.cost_usd == Decimal("0.3")
    usage = result.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (17, 3, 4)
    assert (usage.reasoning_tokens, usage.audio_input_tokens, usage.estimated) == (1, None, False)
    assert (result.provider, result.model, result.calls, result.notices) == ("counter", "abacus", 2, ())


async def test_one_unknown_price_makes_the_sum_unknown_and_says_whose() -> None:
    counter = Counter((TokenUsage(input_tokens=1, output_tokens=1), Decimal("0.1")), (None, None))
    async with ProviderManager([counter]) as manager:
        result = await twice(manager)
    assert result.cost_usd is None
    assert result.usage is not None and result.usage.input_tokens == 1
    told = {notice.code: notice.message for notice in result.notices}
    assert told == {
        "cost_unknown": "1 of 2 calls have no known price: counter/abacus",
        "usage_unknown": "1 of 2 calls told of no usage: counter/abacus",
    }


async def test_a_record_gets_the_attempts_of_all_calls() -> None:
    usage = TokenUsage(input_tokens=1, output_tokens=1)
    async with ProviderManager([Counter((usage, None), (usage, None))]) as manager:
        record = CallRecord("req_1")
        await twice.answer(manager, Twice(), record)
    assert [attempt.provider for attempt in record.attempts] == ["counter", "counter"]


async def test_the_time_of_a_record_is_for_all_calls_together() -> None:
    never = threading.Event()

    def slowly(model: ReadingModel, body: dict[str, Any]) -> str:
        never.wait(0.4)
        return "done"

    with reading_model(reply=slowly) as model:
        table = {"type": "openai_compatible", "base_url": model.url, "api_key": "k", "model": "m"}
        settings = {"providers": {"up": table}, "retry": {"max_retries": 0}}
        async with ProviderManager.from_settings(settings) as manager:
            with pytest.raises(ProviderTimeout):
                await twice.answer(manager, Twice(), CallRecord(timeout_s=0.6))
        never.set()
    assert len(model.received) == 2


async def test_whom_to_ask_is_in_every_request() -> None:
    usage = TokenUsage(input_tokens=1, output_tokens=1)
    one, two = Counter((usage, None), (usage, None)), Counter((usage, None), (usage, None))
    one.name, two.name = "one", "two"
    async with ProviderManager([one, two]) as manager:
        assert (await twice(manager, provider="two")).provider == "two"
        assert (await twice(manager, model="one/abacus")).provider == "one"


# ------------------------------------------------------------ requests


@pytest.mark.parametrize(
    ("members", "param", "said"),
    [
        ({"contnet": "x"}, "contnet", 'unknown field "contnet"; did you mean "content"?'),
        ({"content": "x", "temprature": 1}, "temprature", "unknown field"),
        ({}, "content", "content: required, and missing"),
        ({"content": 3}, "content", "content: expected str, got int"),
        ({"content": "x", "length": 0}, "length", "length: expected int >= 1"),
        ({"content": "x", "length": "huge"}, "length", 'length: expected one of "short", "medium", "long"'),
        ({"content": "x", "format": "bulets"}, "format", 'format: expected one of "paragraph", "bullets"'),
        ({"content": "x", "fallbacks": [1]}, "fallbacks[0]", "expected str"),
        ({"content": "  "}, "content", "content: empty"),
    ],
)
async def test_a_wrong_request_names_the_member_in_both_ways_to_write_it(
    members: dict[str, Any], param: str, said: str
) -> None:
    with pytest.raises(InvalidRequest) as from_bytes:
        summarize.decode_request(msgspec.json.encode(members))
    with pytest.raises(InvalidRequest) as from_members:
        summarize.request_of(members)
    for error in (from_bytes.value, from_members.value):
        assert error.param == param
        assert said in error.message
        assert error.status_code == 400


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b'{"content": "x", "content": "y"}', b'{"content": "\xff"}']
)
def test_bytes_that_are_no_request(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        summarize.decode_request(body)


async def test_an_unknown_capability_is_named_with_what_was_meant() -> None:
    async with ProviderManager() as manager:
        with pytest.raises(InvalidRequest, match='no capability "sumarize"; did you mean "summarize"') as error:
            await run(manager, "sumarize", content="x")
    assert error.value.status_code == 404


@pytest.mark.parametrize("name", [point.name for point in registry.OURS])
def test_what_is_listed_of_each_are_json_schemas(name: str) -> None:
    listed = msgspec.json.decode(msgspec.json.encode(registry.resolve(name).schema()))
    assert listed["id"] == name and listed["description"]
    for schema in (listed["request"], listed["result"]):
        jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(_request(name), listed["request"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**_request(name), "nonsense": 1}, listed["request"])
    fields = listed["request"]["$defs"][listed["request"]["$ref"].rpartition("/")[2]]["properties"]
    assert all("description" in field for field in fields.values())


def _request(name: str) -> dict[str, Any]:
    return {"content": "x", **{"extract": {"schema": {}}, "classify": {"labels": ["a"]}}.get(name, {})}


# ------------------------------------------------------------ found


async def test_a_strangers_capability_is_found_as_ours_are(strangers: Path) -> None:
    assert {"summarize", "extract", "classify", "haiku"} <= set(registry.names())
    with reading_model(reply=lambda model, body: "old pond\na frog\nsplash") as model:
        table = {"type": "openai_compatible", "base_url": model.url, "api_key": "k", "model": "m"}
        async with ProviderManager.from_settings({"providers": {"up": table}}) as manager:
            poem = await run(manager, "haiku", content="rain", season="spring")
            with pytest.raises(InvalidRequest, match='did you mean "season"'):
                await run(manager, "haiku", content="rain", saison="spring")
    assert poem.lines == ("old pond", "a frog", "splash")
    assert "Write a haiku about the text above, set in spring." in model.prompts[0]


def test_our_names_are_taken(strangers: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert registry.resolve("summarize") is summarize
    assert "the name summarize of haiku:haiku is taken by" in caplog.text


@pytest.mark.parametrize(("name", "said"), [("broken", "cannot be loaded"), ("nothing", "no Capability but a str")])
def test_a_package_that_has_not_what_it_offers_does_not_hide_the_others(
    strangers: Path, name: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigError, match=said):
        registry.resolve(name)
    assert [one.name for one in registry.every()] == ["summarize", "extract", "classify", "haiku"]
    assert said in caplog.text
