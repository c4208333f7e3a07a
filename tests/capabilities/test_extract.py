"""`extract` and `classify`: what is checked, what is repaired, and what is told when that fails."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from reading_model import ReadingModel, reading_model, text_of

from genai_spine import BadReply, BadRequest, ConfigError, ContentFiltered, InvalidRequest, ProviderManager
from genai_spine.capabilities import Label, UnfitAnswer, classify, extract
from genai_spine.capabilities.schemas import checker
from genai_spine.testing.simulator import Simulator

KEY = "sk-upstream-0123456789abcdef"
INVOICE = {
    "type": "object",
    "properties": {"total": {"type": "number", "minimum": 0}, "to": {"type": "string"}},
    "required": ["total"],
    "additionalProperties": False,
}


@asynccontextmanager
async def manager_of(url: str, **members: Any) -> AsyncIterator[ProviderManager]:
    """OpenAI's row, whose gpt-4o-mini is known to have structured output, unless `type` says another."""
    table = {"type": "openai", "base_url": url, "api_key": KEY, "model": "gpt-4o-mini", **members}
    settings = {"providers": {"up": table}, "retry": {"max_retries": 0}}
    async with ProviderManager.from_settings(settings) as manager:
        yield manager


def saying(*answers: str | tuple[int, dict[str, Any]]) -> Any:
    """A model that gives these answers in turn."""
    left = list(answers)
    return lambda model, body: left.pop(0)


async def extracted(model: ReadingModel, content: str = "You owe us 12.50.", **members: Any) -> Any:
    async with manager_of(model.url) as manager:
        return await extract(manager, content=content, schema=INVOICE, **members)


# ------------------------------------------------------------ extract


async def test_a_model_with_structured_output_is_given_the_schema_as_such() -> None:
    with reading_model(reply=saying('{"total": 12.5}')) as model:
        result = await extracted(model, instructions="Look at the last line.")
    assert (result.data, result.repaired, result.calls) == ({"total": 12.5}, False, 1)
    (body,) = model.received
    assert body["response_format"]["json_schema"]["schema"] == INVOICE
    assert "minimum" not in json.dumps(body["messages"])
    assert "Look at the last line. " in model.prompts[0]
    assert text_of(model.prompts[0]) == "You owe us 12.50."


@pytest.mark.parametrize(
    ("members", "is_given"),
    [
        ({"type": "openai_compatible", "model": "house"}, True),  # nobody knows: both
        ({"model": "gpt-4-turbo"}, False),  # known to have no structured output
    ],
)
async def test_any_other_reads_the_schema_in_the_prompt(members: dict[str, Any], is_given: bool) -> None:
    with reading_model(reply=saying('{"total": 1}')) as model:
        async with manager_of(model.url, **members) as manager:
            await extract(manager, content="1", schema=INVOICE)
    (body,) = model.received
    assert '"minimum":0' in body["messages"][0]["content"]
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert ("response_format" in body) is is_given


async def test_a_provider_that_refuses_the_schema_is_asked_in_words() -> None:
    refusal = (400, {"error": {"message": "Invalid schema: 'minimum' is not permitted", "code": "invalid_schema"}})
    with reading_model(reply=saying(refusal, '{"total": 3}')) as model:
        result = await extracted(model)
    assert result.data == {"total": 3}
    first, second = model.received
    assert "response_format" in first and "response_format" not in second
    assert '"minimum":0' in second["messages"][0]["content"]
    (notice,) = [notice for notice in result.notices if notice.code == "changed"]
    assert notice.param == "schema" and "not permitted" in notice.message


async def test_a_provider_that_refuses_in_either_case_is_believed() -> None:
    refusal = (400, {"error": {"message": "no such thing"}})
    with reading_model(reply=saying(refusal, refusal)) as model, pytest.raises(BadRequest, match="no such thing"):
        await extracted(model)
    assert len(model.received) == 2


@pytest.mark.parametrize(
    "answer",
    [
        '{"total": 4}',
        ' \n{"total": 4}\n',
        '```json\n{"total": 4}\n```',
        '```\n{"total": 4}\n```\nI hope this helps!',
        'Here it is: {"total": 4}. Anything else?',
    ],
)
async def test_json_is_found_in_what_models_say(answer: str) -> None:
    with reading_model(reply=saying(answer)) as model:
        assert (await extracted(model)).data == {"total": 4}


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ('{"total": -1}', "- at $.total: -1 is less than the minimum of 0"),
        ('{"to": "me"}', '- at $: "total" is a required property'),
        ('{"total": 1, "tip": 2}', "- at $: Additional properties are not allowed ('tip' was unexpected)"),
        ("It is twelve fifty.", "- not valid JSON"),
        ('{"total": 1', "- not valid JSON: it ends too early"),
        ('{"total": NaN}', "- not valid JSON"),
        ("[" * 200 + "]" * 200, "- nested deeper than 128 levels"),
    ],
)
async def test_one_repair_round_tells_what_was_wrong(first: str, told: str) -> None:
    with reading_model(reply=saying(first, '{"total": 5}')) as model:
        result = await extracted(model)
    assert (result.data, result.repaired, result.calls) == ({"total": 5}, True, 2)
    again = model.received[1]["messages"]
    assert [message["role"] for message in again] == ["system", "user", "assistant", "user"]
    assert again[2]["content"] == first
    assert told in again[3]["content"]
    assert result.usage is not None and result.usage.output_tokens == len(first.split()) + 2


async def test_after_the_second_wrong_answer_there_is_an_error_with_its_text() -> None:
    last = '{"total": "a lot", "why": "' + "because " * 100 + '"}'
    with (
        reading_model(reply=saying('{"total": -1}', last)) as model,
        pytest.raises(UnfitAnswer, match=r"up/gpt-4o-mini does not fit") as raised,
    ):
        await extracted(model)
    error = raised.value
    assert isinstance(error, BadReply) and error.status_code == 502 and not error.retryable
    assert error.text == last
    assert len(error.problems) == 2 and any("$.total" in problem for problem in error.problems)
    assert len(error.message) < 1500
    assert len(model.received) == 2


async def test_a_refusal_is_no_wrong_answer(simulator: Simulator) -> None:
    # Where it is given a schema, the simulated model answers with it whatever it is called.
    members = {"type": "openai_compatible", "model": "sim-refuse", "quirks": {"schema": "none"}}
    async with manager_of(simulator.urls.openai, **members) as manager:
        with pytest.raises(ContentFiltered, match="refused: I cannot help"):
            await extract(manager, content="x", schema=INVOICE)
    assert len(simulator.received) == 1


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "nope"}, "nope"),
        ({"$ref": "#/nowhere"}, "leads nowhere"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "not fetched"),
        ({"$ref": "file:///etc/hostname"}, "not fetched"),
        ({"pattern": "("}, "regex"),
    ],
)
async def test_what_is_no_schema_is_refused_before_anything_is_sent(schema: dict[str, Any], said: str) -> None:
    with reading_model() as model:
        async with manager_of(model.url) as manager:
            with pytest.raises(InvalidRequest, match=r"^schema: ") as error:
                await extract(manager, content="x", schema=schema)
    assert said in error.value.message and error.value.param == "schema"
    assert not model.received


def doubling(levels: int) -> dict[str, Any]:
    """Each step refers twice to the next: 2 to the power of `levels` checks."""
    steps = {f"d{at}": {"allOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**steps, f"d{levels}": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (doubling(40), "more than 1000 schemas"),
        ({"properties": {"a": doubling(40)["$defs"]["d39"]}, "$defs": doubling(40)["$defs"]}, "more than 1000"),
        ({"$ref": "#"}, "lead back"),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}},
            "lead back",
        ),
        ({"$ref": "#a", "$defs": {"x": {"$anchor": "a"}}}, "written #/$defs"),
        ({"$defs": {"x": {"$id": "http://example.com/x"}}}, "$id"),
        ({"$defs": {f"d{at}": {"$ref": f"#/$defs/d{at + 1}"} for at in range(5000)}}, ""),
    ],
)
def test_schemas_that_would_keep_a_validator_busy_are_refused(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^schema: ") as error:
        checker(schema)
    assert said in error.value.message


def test_a_pattern_that_goes_back_too_often_is_a_fault_found() -> None:
    problems = checker({"pattern": r"(?:(x+x+)+\1y)|z"})
    assert problems("xz") == []
    (told,) = problems("x" * 14 + "z")  # a hundred times as many steps would be done, and longer texts take no more
    assert "backtracking" in told


def test_patterns_that_go_back_are_bounded_over_all_texts_of_a_value() -> None:
    back = [{"pattern": f"^((?=a)(a|aa))+b{at}$"} for at in range(5)]
    problems = checker({"items": {"allOf": back}})
    begun = time.process_time()
    told = problems([f"{'a' * 40}c{at}" for at in range(3900)])
    assert time.process_time() - begun < 5  # each by itself as far as it may: 12
    assert "backtracking" in told[0]
    assert "too many values" in problems(["a"] * 5000)[0]
    assert problems(["aab0"]) == [f'at $[0]: "aab0" does not match "{one["pattern"]}"' for one in back[1:]]


def test_look_arounds_of_an_ordinary_kind_hold_for_long_answers() -> None:
    problems = checker({"items": {"pattern": r"^(?=.*\d)(?=.*[a-z]).{8,}$"}})
    assert problems(["abcdefg1"] * 19_000) == []
    assert len(problems(["abcdefg1", "abcdefgh"] * 5000)) == 5000


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {"patternProperties": {f"^a{at}": {} for at in range(200)}}}, [{"a": 1}] * 9000),
        ({"items": {"enum": list(range(1000))}}, [-1] * 60_000),
    ],
)
def test_what_is_too_much_to_check_is_told_and_not_tried(schema: dict[str, Any], value: Any) -> None:
    begun = time.process_time()
    assert checker(schema)(value) == ["it holds too many values to be checked against this schema: make it shorter"]
    assert time.process_time() - begun < 1


def test_too_many_patterns_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="more than 200 patterns"):
        checker({"patternProperties": {f"^a{at}": {} for at in range(201)}})


def test_ordinary_schemas_may_refer_and_be_recursive() -> None:
    tree = {
        "$id": "http://example.com/tree",
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"of": {"type": "array", "items": {"$ref": "#/$defs/node"}}, "$ref": {"type": "string"}},
                "anyOf": [{"required": ["of"]}, {"required": ["$ref"]}],
                "default": {"$ref": "#/nowhere"},
            },
            "a/b~c": {"$ref": "#/$defs/node/anyOf/0"},
            "escaped": {"$ref": "#/$defs/a~1b~0c"},
        },
    }
    check = checker(tree)
    assert check({"of": [{"of": []}, {"$ref": "x"}]}) == []
    assert check({"of": [{"of": [{}]}]}) != []
    assert checker({"type": "string", "pattern": "^(a+)+$"})("a" * 50 + "b") != []


async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    with reading_model() as model:
        with pytest.raises(ConfigError, match=r"genai-spine\[jsonschema\]"):
            await extracted(model)
        async with manager_of(model.url) as manager:
            model.reply = saying('{"label": "a"}')
            assert (await classify(manager, content="x", labels=["a", "b"])).labels == ("a",)


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "ollama"])
async def test_every_dialect_gives_data_of_the_schema(simulator: Simulator, dialect: str) -> None:
    """The simulated model answers with an instance of the schema, where it is given one."""
    table = {"type": dialect, "base_url": getattr(simulator.urls, dialect), "api_key": KEY, "model": "sim"}
    async with ProviderManager.from_settings({"providers": {"up": table}}) as manager:
        result = await extract(manager, content="You owe us much.", schema=INVOICE)
    assert result.data.keys() >= {"total"} and result.provider == "up"


# ------------------------------------------------------------ classify


async def test_one_label() -> None:
    with reading_model(reply=saying('{"label": "spam"}')) as model:
        async with manager_of(model.url) as manager:
            result = await classify(
                manager, content="Buy now", labels=["ham", Label(name="spam", description="wants to sell")]
            )
    assert (result.labels, result.repaired) == (("spam",), False)
    assert "- ham\n- spam: wants to sell" in model.prompts[0]
    assert "Exactly one label" in model.prompts[0]
    schema = model.received[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["label"]["enum"] == ["ham", "spam"]


async def test_several_labels_in_the_callers_order() -> None:
    with reading_model(reply=saying('{"labels": ["c", "a", "c"]}', '{"labels": []}')) as model:
        async with manager_of(model.url) as manager:
            result = await classify(manager, content="x", labels=["a", "b", "c"], multi=True)
            assert result.labels == ("a", "c")
            assert (await classify(manager, content="x", labels=["a", "b"], multi=True)).labels == ()


async def test_labels_are_known_whatever_their_capitals() -> None:
    with reading_model(reply=saying('{"label": " very  URGENT "}')) as model:
        async with manager_of(model.url) as manager:
            result = await classify(manager, content="x", labels=["Very urgent", "later"])
    assert result.labels == ("Very urgent",)


@pytest.mark.parametrize("first", ['{"label": "junk"}', '{"labels": ["spam"]}', "spam", '{"label": 1}', "[]"])
async def test_a_label_that_is_not_in_the_list_is_repaired_once(first: str) -> None:
    with reading_model(reply=saying(first, '{"label": "spam"}')) as model:
        async with manager_of(model.url) as manager:
            result = await classify(manager, content="x", labels=["spam", "ham"])
    assert (result.labels, result.repaired) == (("spam",), True)
    if "junk" in first:
        assert 'no label "junk": the labels are spam, ham' in model.prompts[1]


async def test_and_then_it_is_an_error() -> None:
    with reading_model(reply=saying('{"label": "junk"}', '{"label": "trash"}')) as model:
        async with manager_of(model.url) as manager:
            with pytest.raises(UnfitAnswer, match='no label "trash"'):
                await classify(manager, content="x", labels=["spam", "ham"])


@pytest.mark.parametrize(
    "labels", [[], ["a", "A"], ["a", "a"], [""], ["a", 3], [{"name": "a", "meaning": "b"}], "ab", ["x" * 201]]
)
async def test_labels_that_cannot_be(labels: Any) -> None:
    with reading_model() as model:
        async with manager_of(model.url) as manager:
            with pytest.raises(InvalidRequest) as error:
                await classify(manager, content="x", labels=labels)
    assert (error.value.param or "").startswith("labels")
    assert not model.received
