"""What the type `litellm` does before and after LiteLLM, which tests/clients/test_litellm.py drives itself."""

from __future__ import annotations

import importlib.util

import pytest

from genai_spine.model.errors import BadReply, ConfigError, InvalidRequest
from genai_spine.providers import litellm_library as ways
from genai_spine.providers.litellm_provider import LiteLLMProvider
from genai_spine.providers.registry import build_provider
from genai_spine.settings import ProviderSettings, Secret


def _provider(**settings: object) -> LiteLLMProvider:
    made = build_provider("any", ProviderSettings(type="litellm", **settings))  # type: ignore[arg-type]
    assert isinstance(made, LiteLLMProvider)
    return made


@pytest.mark.skipif(importlib.util.find_spec("litellm") is not None, reason="LiteLLM is installed here")
async def test_without_the_extra_the_first_call_names_it() -> None:
    provider = _provider(model="openai/gpt-4o-mini")
    for call in (provider.complete("Hi"), provider.embed(["Hi"], model="openai/e")):
        with pytest.raises(
            ConfigError, match=r'^the type "litellm" needs an extra: pip install .genai-spine\[litellm\]'
        ):
            await call
    with pytest.raises(ConfigError, match="needs an extra"):
        async for _ in provider.stream("Hi"):
            pass


def test_a_key_wants_to_know_whose_it_is() -> None:
    for settings in ({"api_key": Secret("k")}, {"base_url": "https://a.example"}, {"headers": {"x": Secret("k")}}):
        with pytest.raises(ConfigError, match=r"^providers\.any: api_key, base_url and headers are for the service"):
            _provider(**settings)
    for settings in ({"model": "groq/a"}, {"models": ["groq/a"]}, {"custom_models": {"fast": "groq/a"}}):
        _provider(api_key=Secret("k"), **settings)


def test_a_card_is_that_of_the_service_in_the_name() -> None:
    provider = _provider(models=["anthropic/claude-sonnet-4-5"], custom_models={"best": "anthropic/claude-sonnet-4-5"})
    for name in ("anthropic/claude-sonnet-4-5", "best"):
        card = provider.card(name)
        assert card.id == "anthropic/claude-sonnet-4-5" and card.provider == "any"
        assert card.price is not None and card.capabilities.tools is True
    assert provider.card("no-such-service/m").price is None


async def test_its_models_are_those_of_the_settings() -> None:
    provider = _provider(models=["groq/a", "watsonx/b"])
    assert [card.id for card in await provider.list_models()] == ["groq/a", "watsonx/b"]
    assert await provider.is_healthy()


def test_no_member_of_a_body_says_where_it_goes() -> None:
    evil = dict.fromkeys(
        ("api_base", "base_url", "api_key", "custom_llm_provider", "extra_headers", "mock_response"), "x"
    )
    arguments, notices = ways.chat_arguments({"model": "m", "messages": [], **evil}, None)
    assert arguments.keys() == {"model", "messages"}
    assert {notice.param for notice in notices} == evil.keys()


def test_what_litellm_has_no_word_for_is_left_out_aloud_and_content_is_not() -> None:
    body = {"model": "m", "messages": [], "seed": 1, "temperature": 0.5, "tools": [{}], "top_k": 3}
    arguments, notices = ways.chat_arguments(body, ["temperature"])
    assert arguments.keys() == {"model", "messages", "temperature", "tools", "top_k"}
    assert [(notice.code, notice.param) for notice in notices] == [("dropped", "seed")]
    assert ways.chat_arguments(body, None)[0] == body


def test_signed_thoughts_go_there_and_back() -> None:
    details = [
        {"type": "reasoning.text", "text": "Hm.", "signature": "sig", "index": 0},
        {"type": "reasoning.encrypted", "data": "abc", "index": 0},
    ]
    message = {"role": "assistant", "content": "Yes.", "reasoning_details": details}
    arguments, _ = ways.chat_arguments({"model": "m", "messages": [message]}, None)
    (written,) = arguments["messages"]
    assert written == {
        "role": "assistant",
        "content": "Yes.",
        "reasoning_content": "Hm.",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
            {"type": "redacted_thinking", "data": "abc"},
        ],
    }
    twice = {"thinking_blocks": written["thinking_blocks"], "citations": None}
    answer = {"choices": [{"message": {**written, "provider_specific_fields": twice}, "finish_reason": "stop"}]}
    (choice,) = ways.openai_answer(answer)["choices"]
    assert choice["message"] == {**message, "reasoning_content": "Hm."}


def test_nulls_of_a_dump_are_nothing_said() -> None:
    dumped = {"id": "a", "service_tier": None, "choices": [{"delta": {"content": "", "audio": None}, "logprobs": None}]}
    assert ways.openai_answer(dumped) == {"id": "a", "choices": [{"delta": {"content": ""}}]}


def test_an_exception_of_nobodys_is_a_bad_reply_without_secrets() -> None:
    error = ways.failure_of(RuntimeError("litellm.RuntimeError: it broke with sk-abcdefghijkl\nTraceback: much more"))
    assert type(error) is BadReply
    assert error.message == "LiteLLM failed: RuntimeError: it broke with [redacted]"


def test_where_models_are_set_there_are_no_others() -> None:
    provider = _provider(models=["groq/a"], custom_models={"fast": "watsonx/b"}, embed_model="voyage/c")
    for name, meant in {"groq/a": "groq/a", "fast": "watsonx/b", "voyage/c": "voyage/c"}.items():
        assert provider._target(name).model == meant
    with pytest.raises(InvalidRequest, match=r'"any" has no model "openai/gpt-5"') as refused:
        provider._target("openai/gpt-5")
    assert (refused.value.status_code, refused.value.code) == (404, "model_not_found")
    assert _provider(model="groq/a")._target("openai/gpt-5").model == "openai/gpt-5"


async def test_a_name_that_holds_an_address_is_refused() -> None:
    provider = _provider(model="huggingface/https://a.example/x")
    with pytest.raises(InvalidRequest, match="holds no address"):
        provider._target(None)
