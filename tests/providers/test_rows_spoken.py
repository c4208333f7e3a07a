"""Every row of providers.toml, spoken over a real socket: where requests go, who pays, what they say.

A new row is tested as soon as it is there, by what it declares: its address, its authorisation, its first dialect
and its quirks. `FIRST` says by hand, from each service's documentation, what its first request must be, so that a
row that declares the wrong thing fails; rows that are missing there are named by a test.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from row_front import GIVEN_BASE, KEY, Front, Meant, fronted, settings_of

from genai_spine import CompletionRequest, CompletionResponse, Message, OutputSchema, Tool, ToolChoice, collect
from genai_spine.catalog.rows import KEY_HEADERS, ProviderRow, load_rows
from genai_spine.model.content import Text, Thinking
from genai_spine.model.errors import AuthenticationError, ConfigError, InvalidRequest, RateLimitError
from genai_spine.model.request import ThinkingConfig
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.registry import build_provider
from genai_spine.settings import ProviderSettings
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.laws import assert_well_formed
from genai_spine.testing.simulator import Simulator

NOT_OVER_HTTP = {"simulated": "answers of this package", "litellm": "a library; see tests/clients/test_litellm.py"}
ROWS = [row for row in load_rows().values() if row.id not in NOT_OVER_HTTP]
IDS = [row.id for row in ROWS]
OPENAI_ROWS = [row for row in ROWS if row.chat[0] == "openai_chat"]
MODEL = "simulated"
MODELS = {"replicate": "meta/simulated"}
"""Where a model's name must look otherwise."""
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOL = Tool(name="get_weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}})

BEARER = {"authorization": f"Bearer {KEY}"}
CHAT = "/chat/completions"
FIRST: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    # row: where its first chat goes, the headers that authorise it, and fields that only it has or names so
    "openai": ("https://api.openai.com/v1" + CHAT, BEARER, {"max_completion_tokens": 50}),
    "anthropic": (
        "https://api.anthropic.com/v1/messages",
        {"x-api-key": KEY, "anthropic-version": "2023-06-01"},
        {"max_tokens": 50},
    ),
    "ollama": ("http://localhost:11434/api/chat", BEARER, {"options": {"num_predict": 50}}),
    "groq": ("https://api.groq.com/openai/v1" + CHAT, BEARER, {"max_completion_tokens": 50}),
    "together": ("https://api.together.xyz/v1" + CHAT, BEARER, {"max_tokens": 50}),
    "github": ("https://models.github.ai/inference" + CHAT, BEARER, {"max_tokens": 50}),
    "anyscale": (GIVEN_BASE + CHAT, BEARER, {"max_tokens": 50}),
    "vllm": ("http://localhost:8000/v1" + CHAT, BEARER, {"max_tokens": 50}),
    "llamacpp": ("http://localhost:8080/v1" + CHAT, BEARER, {"max_tokens": 50}),
    "lmstudio": ("http://localhost:1234/v1" + CHAT, BEARER, {"max_tokens": 50}),
    "openrouter": ("https://openrouter.ai/api/v1" + CHAT, BEARER, {"max_tokens": 50}),
    "deepseek": ("https://api.deepseek.com" + CHAT, BEARER, {"max_tokens": 50}),
    "mistral": ("https://api.mistral.ai/v1" + CHAT, BEARER, {"max_tokens": 50}),
    "cohere": ("https://api.cohere.com/v2/chat", BEARER, {"max_tokens": 50}),
    "xai": ("https://api.x.ai/v1" + CHAT, BEARER, {"max_completion_tokens": 50}),
    "fireworks": ("https://api.fireworks.ai/inference/v1" + CHAT, BEARER, {"max_tokens": 50}),
    "perplexity": ("https://api.perplexity.ai" + CHAT, BEARER, {"max_tokens": 50}),
    "cerebras": ("https://api.cerebras.ai/v1" + CHAT, BEARER, {"max_completion_tokens": 50}),
    "azure": (
        "https://our-resource.openai.azure.com/openai/v1" + CHAT,
        {"api-key": KEY},
        {"max_completion_tokens": 50},
    ),
    "huggingface": ("https://router.huggingface.co/v1" + CHAT, BEARER, {"max_tokens": 50}),
    "huggingface_endpoint": (GIVEN_BASE + CHAT, BEARER, {"max_tokens": 50}),
    "tgi": ("http://localhost:8080/v1" + CHAT, BEARER, {"max_tokens": 50}),
    "gemini": (
        "https://generativelanguage.googleapis.com/v1beta/models/simulated:generateContent",
        {"x-goog-api-key": KEY},
        {"generationConfig": {"maxOutputTokens": 50}},
    ),
    "nvidia": ("https://integrate.api.nvidia.com/v1" + CHAT, BEARER, {"max_tokens": 50}),
    "moonshot": ("https://api.moonshot.ai/v1" + CHAT, BEARER, {"max_completion_tokens": 50}),
    "zai": ("https://api.z.ai/api/paas/v4" + CHAT, BEARER, {"max_tokens": 50}),
    "alibaba": ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1" + CHAT, BEARER, {"max_tokens": 50}),
    "sambanova": ("https://api.sambanova.ai/v1" + CHAT, BEARER, {"max_tokens": 50}),
    "hyperbolic": ("https://api.hyperbolic.xyz/v1" + CHAT, BEARER, {"max_tokens": 50}),
    "cloudflare": (GIVEN_BASE + CHAT, BEARER, {"max_tokens": 50}),
    "openai_compatible": (GIVEN_BASE + CHAT, BEARER, {"max_tokens": 50}),
    "bedrock": (
        "https://bedrock-runtime.eu-central-1.amazonaws.com/model/simulated/converse",
        BEARER,
        {"inferenceConfig": {"maxTokens": 50}},
    ),
}
ELSEWHERE = {
    "replicate": "tests of its own: a model is described first, a prediction made and waited for",
    "vertex": "tests of its own, where Google's tokens are given",
    "vertex_anthropic": "tests of its own, where Google's tokens are given",
}
"""Rows whose answer takes more than a key and one request."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


SPOKEN = [row for row in ROWS if row.id not in ELSEWHERE]
SPOKEN_IDS = [row.id for row in SPOKEN]


def test_every_row_has_its_first_request_written_down() -> None:
    assert set(FIRST) | set(ELSEWHERE) == set(IDS)
    assert not set(FIRST) & set(ELSEWHERE)


# ---------------------------------------------------------------- where, who, what


def _model(row: ProviderRow) -> str:
    return MODELS.get(row.id, MODEL)


async def _asked(provider: HttpProvider, front: Front, *args: Any, **options: Any) -> tuple[CompletionResponse, Meant]:
    answer = await provider.complete(*args, model=_model(provider.row), **options)
    return answer, front.meant[0]


@pytest.mark.parametrize("row", SPOKEN, ids=SPOKEN_IDS)
async def test_the_first_request_is_the_one_that_is_documented(row: ProviderRow, simulator: Simulator) -> None:
    provider, front = fronted(row, simulator)
    answer, meant = await _asked(provider, front, "Hello", max_tokens=50)
    await provider.close()
    url, headers, fields = FIRST[row.id]
    assert meant.url == url
    assert {name: meant.headers.get(name) for name in headers} == headers
    assert meant.headers["content-type"] == "application/json" or meant.method == "GET"
    if fields:
        assert {name: _common(meant.body.get(name), wanted) for name, wanted in fields.items()} == fields
    assert "Hello" in answer.content and answer.provider == row.id
    keys = [name for name, value in meant.headers.items() if KEY in value]
    assert keys == [name for name, value in headers.items() if KEY in value], "the key is in one header, and only there"
    assert KEY not in meant.url and KEY.encode() not in meant.raw


def _common(value: Any, wanted: Any) -> Any:
    """Of an object those members that are wanted."""
    return {name: value.get(name) for name in wanted} if isinstance(wanted, dict) and isinstance(value, dict) else value


@pytest.mark.parametrize("row", SPOKEN, ids=SPOKEN_IDS)
async def test_a_row_goes_where_and_pays_as_it_declares(row: ProviderRow, simulator: Simulator) -> None:
    provider, front = fronted(row, simulator)
    _, meant = await _asked(provider, front, "Hello", max_tokens=50)
    await provider.close()
    assert meant.url.startswith(front.base.partition("?")[0])
    name, scheme = KEY_HEADERS[row.auth]
    assert meant.headers[name] == scheme + KEY
    assert all(meant.headers[name.lower()] == value for name, value in row.headers.items())


@pytest.mark.parametrize("row", [row for row in ROWS if row.needs_key], ids=lambda row: row.id)
async def test_without_a_key_nothing_is_sent_and_its_variable_is_named(row: ProviderRow) -> None:
    provider = build_provider(row.id, settings_of(row, api_key=None))
    with pytest.raises(ConfigError, match=row.key_variables[0]):
        await provider.complete("Hello", model=_model(row))


@pytest.mark.parametrize("row", [row for row in ROWS if row.needs_base_url], ids=lambda row: row.id)
async def test_a_row_without_an_address_wants_one(row: ProviderRow) -> None:
    provider = build_provider(row.id, ProviderSettings(type=row.id, api_key=settings_of(row).api_key))
    with pytest.raises(ConfigError, match=f"providers.{row.id}.base_url"):
        await provider.complete("Hello", model=_model(row))


# ---------------------------------------------------------------- what comes back


@pytest.mark.parametrize("row", SPOKEN, ids=SPOKEN_IDS)
async def test_a_stream_says_what_the_answer_says(row: ProviderRow, simulator: Simulator) -> None:
    provider, front = fronted(row, simulator)
    plain = await provider.complete("Hello", model=_model(row), max_tokens=50)
    events = [event async for event in provider.stream("Hello", model=_model(row), max_tokens=50)]
    await provider.close()
    assert_well_formed(events)
    streamed = collect(events)
    assert streamed.content == plain.content
    assert streamed.finish_reason == plain.finish_reason
    if row.chat[0] == "openai_chat":
        body = front.meant[-1].body
        assert body["stream"] is True
        wanted = {"include_usage": True} if row.quirks.stream_usage == "option" else None
        assert body.get("stream_options") == wanted
    else:
        assert streamed.usage is not None


@pytest.mark.parametrize("row", SPOKEN, ids=SPOKEN_IDS)
async def test_a_tool_is_called(row: ProviderRow, simulator: Simulator) -> None:
    provider, _ = fronted(row, simulator)
    asked = CompletionRequest(
        messages=(Message(role="user", content=(Text(text="The weather in Paris?"),)),),
        model=_model(row),
        max_tokens=50,
        tools=(TOOL,),
        tool_choice=ToolChoice(mode="required"),
    )
    answer = await provider.complete(asked)
    await provider.close()
    (call,) = answer.tool_calls
    assert call.name == "get_weather" and isinstance(json.loads(call.arguments), dict)


@pytest.mark.parametrize("row", SPOKEN, ids=SPOKEN_IDS)
async def test_errors_are_read_as_this_service_writes_them(row: ProviderRow, simulator: Simulator) -> None:
    provider, _ = fronted(row, simulator)
    with pytest.raises(AuthenticationError) as refused:
        await provider.complete("Hello", model=f"{_model(row)}+status=401")
    assert refused.value.provider == row.id and not refused.value.retryable
    with pytest.raises(RateLimitError) as limited:
        await provider.complete("Hello", model=f"{_model(row)}+status=429,retry_after=3")
    assert limited.value.retryable and limited.value.retry_after_s == 3
    await provider.close()


# ---------------------------------------------------------------- quirk by quirk, where the first dialect has quirks


def _everything() -> CompletionRequest:
    """A request with every option that a quirk is about."""
    more = {"logit_bias": {"1": 1}, "logprobs": True, "top_logprobs": 1, "store": False, "service_tier": "auto"}
    more |= {"verbosity": "low", "modalities": ["text"]}
    return CompletionRequest(
        messages=(
            Message(role="developer", content=(Text(text="Be brief."),)),
            Message(role="user", name="ann", content=(Text(text="Hello"),)),
            Message(role="assistant", content=(Thinking(text="Hm."), Text(text="Hello."))),
            Message(role="user", content=(Text(text="More"),)),
        ),
        model=MODEL,
        max_tokens=50,
        temperature=1.9,
        top_k=3,
        seed=7,
        frequency_penalty=0.5,
        presence_penalty=0.5,
        user="u-1",
        thinking=ThinkingConfig(enabled=True, effort="high"),
        output_schema=OutputSchema(name="out", schema={"type": "object", "properties": {}}, strict=True),
        tools=(TOOL,),
        tool_choice=ToolChoice(mode="required"),
        extra={"openai_chat": more},  # type: ignore[arg-type]  # accept.py
    )


@pytest.mark.parametrize("row", OPENAI_ROWS, ids=lambda row: row.id)
async def test_each_quirk_shows_in_the_body_and_what_is_left_out_is_told(
    row: ProviderRow, simulator: Simulator
) -> None:
    provider, front = fronted(row, simulator)
    answer, meant = await _asked(provider, front, _everything())
    await provider.close()
    body, quirks, told = meant.body, row.quirks, {notice.param for notice in answer.notices}

    limits = {"max_tokens", "max_completion_tokens"} & body.keys()
    assert limits == {quirks.max_tokens_field} and body[quirks.max_tokens_field] == 50
    assert body["messages"][0]["role"] == ("developer" if quirks.developer_role else "system")
    assert {"seed", "random_seed"} & body.keys() == {quirks.seed_field} and body[quirks.seed_field] == 7
    assert body["tool_choice"] == quirks.tool_choice_any

    highest = quirks.temperature_max
    assert body["temperature"] == (1.9 if highest is None else min(1.9, highest))
    assert ("temperature" in told) == (highest is not None and highest < 1.9)

    assert body.get("top_k") == (3 if quirks.top_k else None)
    assert ("top_k" in told) != quirks.top_k

    kept = {"frequency_penalty", "presence_penalty", "user", "logit_bias", "logprobs", "top_logprobs", "store"}
    kept |= {"service_tier", "verbosity", "modalities"}
    for name in kept:
        assert (name in body) != (name in quirks.drop), name
        assert (name in told) == (name in quirks.drop), name
    has_names = "messages[].name" not in quirks.drop and quirks.message_form != "mistral"
    assert ("name" in body["messages"][1]) == has_names
    assert bool(told & {"messages[].name", "messages[1].name"}) != has_names

    _check_thinking(body, row, told)
    _check_schema(body, row, told)


def _check_thinking(body: dict[str, Any], row: ProviderRow, told: set[str | None]) -> None:
    said = {name: body[name] for name in ("reasoning_effort", "reasoning", "thinking") if name in body}
    assert (
        said
        == {
            "reasoning_effort": {"reasoning_effort": "high"},
            "reasoning": {"reasoning": {"effort": "high"}},
            "thinking": {"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
            None: {},
        }[row.quirks.effort]
    )
    assert ("thinking" in told) == (row.quirks.effort is None)
    earlier = {name: value for name, value in body["messages"][2].items() if name.startswith("reasoning")}
    match row.quirks.reasoning_field:
        case None:
            assert earlier == {} and "messages[2]" in told
        case "reasoning_details":
            assert earlier["reasoning_details"][0]["text"] == "Hm."
        case "thinking_chunks":  # within its content
            assert earlier == {} and "Hm." in json.dumps(body["messages"][2]["content"])
        case field:
            assert earlier == {field: "Hm."}


def _check_schema(body: dict[str, Any], row: ProviderRow, told: set[str | None]) -> None:
    kind = {"none": None, "json_object": "json_object"}.get(row.quirks.schema, "json_schema")
    assert body.get("response_format", {}).get("type") == kind
    assert ("response_format" in told) == (kind != "json_schema")


@pytest.mark.parametrize("row", OPENAI_ROWS, ids=lambda row: row.id)
async def test_images_and_marks_go_as_the_row_says(row: ProviderRow, simulator: Simulator) -> None:
    provider, front = fronted(row, simulator)
    marked = {"type": "text", "text": "Long", "cache_control": {"type": "ephemeral"}}
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    answer, meant = await _asked(provider, front, [{"role": "user", "content": [marked, image]}])
    content = json.dumps(meant.body["messages"][0]["content"])
    assert PIXEL in content
    mark = row.quirks.cache_marks
    assert [name for name in ("cache_control", "prompt_cache_breakpoint") if name in content] == (
        [mark] if mark else []
    )
    assert any(notice.param == "cache_control" for notice in answer.notices) == (mark is None)
    url = "https://a.example/p.png"
    asked = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    if row.quirks.image_urls:
        await provider.complete(asked, model=MODEL)
        assert url in front.meant[-1].raw.decode()
    else:
        with pytest.raises(InvalidRequest, match="base64"):
            await provider.complete(asked, model=MODEL)
    await provider.close()


# ---------------------------------------------------------------- vectors


VECTORS_AT = {
    "openai": "https://api.openai.com/v1/embeddings",
    "together": "https://api.together.xyz/v1/embeddings",
    "vllm": "http://localhost:8000/v1/embeddings",
    "llamacpp": "http://localhost:8080/v1/embeddings",
    "lmstudio": "http://localhost:1234/v1/embeddings",
    "openrouter": "https://openrouter.ai/api/v1/embeddings",
    "mistral": "https://api.mistral.ai/v1/embeddings",
    "fireworks": "https://api.fireworks.ai/inference/v1/embeddings",
    "azure": "https://our-resource.openai.azure.com/openai/v1/embeddings",
    "nvidia": "https://integrate.api.nvidia.com/v1/embeddings",
    "alibaba": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1/embeddings",
    "cloudflare": f"{GIVEN_BASE}/embeddings",
    "openai_compatible": f"{GIVEN_BASE}/embeddings",
}
WITH_VECTORS = [row for row in SPOKEN if row.embeddings == "openai_embeddings"]


def test_the_services_with_openais_embeddings_are_written_down() -> None:
    assert {row.id for row in WITH_VECTORS} == set(VECTORS_AT)


@pytest.mark.parametrize("row", WITH_VECTORS, ids=lambda row: row.id)
async def test_vectors_come_from_the_embeddings_path(row: ProviderRow, simulator: Simulator) -> None:
    provider, front = fronted(row, simulator)
    front.dialect = "openai_embeddings"
    front.base = row.base_url_for("openai_embeddings", provider.settings.base_url).replace("{resource}", "our-resource")
    response = await provider.embed(["one", "two"], model="sim-embed")
    await provider.close()
    assert len(response.embeddings) == 2
    assert front.meant[-1].url == VECTORS_AT[row.id]
    assert front.meant[-1].body["input"] == ["one", "two"]
