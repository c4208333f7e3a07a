"""Lists of models in three shapes."""

from __future__ import annotations

import json
from typing import Any

import ollama
import pytest
from recorded_exchanges import Exchange, each

from genai_spine.dialects import anthropic_models, rfc3339
from genai_spine.dialects.ollama_chat import models as ollama_models
from genai_spine.dialects.openai_chat import models as openai_models
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.errors import BadReply, InvalidRequest

_VIDEO = "gemini/models-ruby-llm-video-basic-functionality-gemini-veo-3-1-lite-generate-preview-can-animate-videos"
OF_ANOTHER_SHAPE = {
    "bedrock/models-chatlas-test-provider-bedrock-test-anthropic-models": "Bedrock's control plane",
    "cohere/models-langchain-cohere-test-get-num-tokens-with-default-model": "Cohere's own",
    "cohere/models-langchain-cohere-test-get-num-tokens-with-default-model-2": "Cohere's own",
    "gemini/models-rig-models-list-models-smoke": "Gemini's own",
    f"{_VIDEO}": "an operation",
    f"{_VIDEO}-2": "an operation",
}


@each("models")
def test_recorded_lists_are_read(exchange: Exchange) -> None:
    recorded = json.loads(exchange.body)
    if exchange.name in OF_ANOTHER_SHAPE:
        with pytest.raises(BadReply):
            openai_models.decode_models(exchange.body)
        return
    if "data" not in recorded and "models" not in recorded:
        return  # one model, which nobody asks for
    if exchange.provider == "anthropic":
        cards, entries = anthropic_models.decode_models(exchange.body), recorded["data"]
    elif "data" in recorded:
        cards, entries = openai_models.decode_models(exchange.body), recorded["data"]
    else:
        cards, entries = ollama_models.decode_models(exchange.body), recorded["models"]
    assert [card.id for card in cards] == [entry.get("id") or entry["model"] for entry in entries]
    assert all(card.owned_by for card in cards if exchange.provider != "azure-openai")


# ---------------------------------------------------------------- OpenAI's


def card_of(**entry: Any) -> ModelCard:
    (card,) = openai_models.decode_models(json.dumps({"data": [{"id": "m", **entry}]}).encode())
    return card


@pytest.mark.parametrize(
    ("entry", "window", "longest"),
    [
        ({"context_window": 8192, "max_completion_tokens": 448}, 8192, 448),
        ({"max_model_len": 8192}, 8192, None),
        ({"max_context_length": 131072}, 131072, None),
        ({"meta": {"n_ctx": 4096, "n_ctx_train": 40960}}, 4096, None),
        ({"context_length": 1000000, "model_spec": {"maxCompletionTokens": 65536}}, 1000000, 65536),
        ({"context_length": 200000, "top_provider": {"max_completion_tokens": 64000}}, 200000, 64000),
        (
            {"capabilities": {"limits": {"max_context_window_tokens": 264000, "max_output_tokens": 64000}}},
            264000,
            64000,
        ),
        ({"context_length": None, "max_model_len": "8192"}, None, None),
        ({"context_length": 0}, None, None),
    ],
)
def test_services_say_their_limits_each_in_its_own_words(
    entry: dict[str, Any], window: int | None, longest: int | None
) -> None:
    card = card_of(**entry)
    assert (card.context_window, card.max_output_tokens) == (window, longest)


def test_services_say_what_a_model_can_do_each_in_its_own_words() -> None:
    mistral = card_of(capabilities={"function_calling": True, "vision": False, "reasoning": True})
    assert mistral.capabilities == Capabilities(tools=True, images=False, thinking=True)
    copilot = card_of(capabilities={"supports": {"tool_calls": True, "vision": True}})
    assert copilot.capabilities == Capabilities(tools=True, images=True)
    openrouter = card_of(
        architecture={"input_modalities": ["text", "image", "file"]},
        supported_parameters=["tools", "reasoning"],
    )
    assert openrouter.capabilities == Capabilities(
        tools=True, images=True, documents=True, audio=False, thinking=True, structured_output=False
    )
    assert card_of().capabilities == Capabilities()


def test_a_bare_list_is_a_list_and_what_has_no_id_is_passed_over() -> None:
    body = b'[{"id":"a","organization":"Meta","created":1700000000},{"object":"model"},3]'
    (card,) = openai_models.decode_models(body)
    assert (card.id, card.owned_by, card.created_s) == ("a", "Meta", 1700000000)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"data":{}}', b'"x"', b"<html>"])
def test_what_is_no_list_is_refused(body: bytes) -> None:
    for decode in (
        openai_models.decode_models,
        anthropic_models.decode_models,
        ollama_models.decode_models,
    ):
        with pytest.raises(BadReply):
            decode(body)


CARDS = (
    ModelCard(
        id="claude-opus-4-7",
        name="Claude Opus 4.7",
        created_s=1760742847,
        owned_by="anthropic",
        context_window=1000000,
        max_output_tokens=128000,
    ),
    ModelCard(id="small", owned_by="anthropic"),
)


def test_openais_list_has_the_members_its_clients_need() -> None:
    written = json.loads(openai_models.encode_models(CARDS))
    assert written["object"] == "list"
    assert written["data"][1] == {"id": "small", "object": "model", "created": 0, "owned_by": "anthropic"}
    assert json.loads(openai_models.encode_model(CARDS[0])) == written["data"][0]


def test_lists_come_back_the_same() -> None:
    for dialect in (openai_models, anthropic_models):
        back = dialect.decode_models(dialect.encode_models(CARDS))
        assert [(card.id, card.created_s, card.context_window, card.max_output_tokens) for card in back] == [
            (card.id, card.created_s, card.context_window, card.max_output_tokens) for card in CARDS
        ]


def test_a_providers_own_members_are_not_told_to_callers() -> None:
    card = card_of(permission=[{"organization": "*"}])
    assert card.extra is not None
    assert b"permission" not in openai_models.encode_models([card])


# ---------------------------------------------------------------- Anthropic's


def test_anthropics_list_is_one_page() -> None:
    written = json.loads(anthropic_models.encode_models(CARDS))
    assert written["data"][0] == {
        "type": "model",
        "id": "claude-opus-4-7",
        "display_name": "Claude Opus 4.7",
        "created_at": "2025-10-17T23:14:07Z",
        "max_input_tokens": 1000000,
        "max_tokens": 128000,
    }
    assert written["data"][1]["display_name"] == "small"
    assert (written["has_more"], written["first_id"], written["last_id"]) == (
        False,
        "claude-opus-4-7",
        "small",
    )
    assert json.loads(anthropic_models.encode_models(()))["first_id"] is None


def test_anthropics_pages_follow_each_other() -> None:
    assert anthropic_models.next_page(b'{"data":[],"has_more":true,"last_id":"b"}') == "b"
    assert anthropic_models.next_page(b'{"data":[],"has_more":false,"last_id":"b"}') is None


@each("models", "anthropic")
def test_anthropic_says_how_a_model_is_asked_to_think(exchange: Exchange) -> None:
    cards = anthropic_models.decode_models(exchange.body)
    styles = {card.id: card.capabilities.thinking_style for card in cards}
    if "claude-opus-4-7" in styles:
        assert styles["claude-opus-4-7"] == "adaptive"
        assert cards[0].capabilities.documents is True


# ---------------------------------------------------------------- Ollama's

TAGS = b"""{"models":[{"name":"gemma4:latest","model":"gemma4:latest",
"modified_at":"2025-10-03T23:34:03.409490317-07:00","size":9608350245,"digest":"c6eb396d","details":{"parent_model":"","format":"gguf","family":"gemma4",
"families":["gemma4"],"parameter_size":"8.0B","quantization_level":"Q4_K_M"}}]}"""


def test_tags_come_back_the_same() -> None:
    (card,) = ollama_models.decode_models(TAGS)
    assert (card.id, card.owned_by, card.created_s) == ("gemma4:latest", "gemma4", 1759559643)
    assert json.loads(ollama_models.encode_models([card])) == json.loads(TAGS)


def test_no_models_are_an_empty_list() -> None:
    assert ollama_models.decode_models(b'{"models":null}') == ()
    assert ollama_models.decode_models(b'{"models":[]}') == ()


def test_models_of_others_are_listed_with_what_is_known() -> None:
    (entry,) = json.loads(ollama_models.encode_models([ModelCard(id="openai/gpt-4o", provider="openai")]))["models"]
    assert entry["name"] == entry["model"] == "openai/gpt-4o"
    assert entry["modified_at"] == "1970-01-01T00:00:00Z"
    assert (entry["size"], entry["digest"]) == (0, "")
    assert entry["details"]["families"] == ["openai"]


SHOW = {
    "capabilities": ["completion", "tools", "thinking"],
    "details": {"family": "gptoss"},
    "model_info": {"general.architecture": "gptoss", "gptoss.context_length": 131072},
    "thinking": {"values": ["low", "medium", "high"], "default": "medium"},
}


def test_show_says_the_window_and_what_a_model_can_do() -> None:
    card = ollama_models.decode_show(json.dumps(SHOW).encode(), ModelCard(id="gpt-oss"))
    assert card.context_window == 131072
    assert card.capabilities == Capabilities(
        tools=True, images=False, audio=False, thinking=True, thinking_style="effort"
    )
    again = ollama_models.decode_show(ollama_models.encode_show(card), ModelCard(id="gpt-oss"))
    assert again == card


def test_show_claims_only_what_is_known() -> None:
    written = json.loads(ollama_models.encode_show(ModelCard(id="m")))
    assert written["capabilities"] == ["completion"]
    assert "thinking" not in written


@pytest.mark.parametrize("body", [b'{"model":"m"}', b'{"name":"m"}', b'{"model":"","name":"m"}'])
def test_a_model_is_asked_for_by_model_or_name(body: bytes) -> None:
    assert ollama_models.decode_model_name(body) == "m"
    with pytest.raises(InvalidRequest, match="model: missing"):
        ollama_models.decode_model_name(b"{}")


def test_small_answers() -> None:
    assert ollama_models.encode_version("0.40.12") == b'{"version":"0.40.12"}'
    assert ollama_models.encode_show_request("m") == b'{"model":"m"}'
    loaded = json.loads(ollama_models.encode_loaded("m", 0))
    assert (loaded["done"], loaded["done_reason"]) == (True, "load")
    assert json.loads(ollama_models.encode_loaded("m", 0, shape="response"))["response"] == ""


def test_running_models_have_an_end() -> None:
    (entry,) = json.loads(ollama_models.encode_running([ModelCard(id="m")], "2026-11-21T00:00:00Z"))["models"]
    assert entry["expires_at"] == "2026-11-21T00:00:00Z"
    assert entry["size_vram"] == 0


def test_the_real_client_reads_what_we_write() -> None:
    (card,) = ollama_models.decode_models(TAGS)
    for written, kind in (
        (ollama_models.encode_models([card]), ollama.ListResponse),
        (ollama_models.encode_running([card], "2026-11-21T00:00:00Z"), ollama.ProcessResponse),
        (ollama_models.encode_show(card), ollama.ShowResponse),
    ):
        kind.model_validate_json(written)


# ---------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2023-08-04T08:52:19.385406455-07:00", 1691164339),
        ("2026-08-07T06:08:14.73237Z", 1786082894),
        ("2025-01-01t00:00:00+05:30", 1735669800),
        ("0001-01-01T00:00:00Z", None),
        ("2025-13-01T00:00:00Z", None),
        ("2025-01-01T00:00:60Z", None),
        ("2025-01-01", None),
        ("٢٠٢٥-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
    ],
)
def test_times_are_read(text: str | None, seconds: int | None) -> None:
    assert rfc3339.seconds_of(text) == seconds


def test_times_are_written() -> None:
    assert rfc3339.text_of(1786082894) == "2026-08-07T06:08:14Z"
    assert rfc3339.text_of(None) == rfc3339.text_of(10**18) == "1970-01-01T00:00:00Z"
