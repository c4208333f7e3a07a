"""What kind of image a caller sends, and what the services are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from genai_spine.dialects.anthropic_messages import outbound as anthropic
from genai_spine.dialects.bedrock_converse import outbound as bedrock
from genai_spine.dialects.gemini import outbound as gemini
from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_chat import inbound
from genai_spine.dialects.openai_chat import outbound as openai
from genai_spine.model.card import ModelCard
from genai_spine.model.response import Notice

TARGET = Target(card=ModelCard(id="m", max_output_tokens=9))
JPEG, PNG, UNKNOWN = "/9j/4AAQ", "iVBORw0KGgo=", "AAAA"


def sent(outbound: Any, head: str, data: str) -> tuple[Any, tuple[Notice, ...]]:
    """What goes out for an image that came in OpenAI's format."""
    image = {"type": "image_url", "image_url": {"url": f"data:{head};base64,{data}"}}
    text = {"type": "text", "text": "?"}
    asked = {"model": "m", "messages": [{"role": "user", "content": [text, image]}]}
    outgoing = outbound.encode_request(inbound.decode_request(json.dumps(asked).encode()), TARGET, stream=False)
    return json.loads(outgoing.body), tuple(notice for notice in outgoing.notices if notice.param != "max_tokens")


@pytest.mark.parametrize(
    ("head", "data", "kind"),
    [
        ("image/jpg", JPEG, "image/jpeg"),
        ("image/jpg", UNKNOWN, "image/jpeg"),
        ("Image/PNG;name=a.png", PNG, "image/png"),
        ("image/webp", UNKNOWN, "image/webp"),
        ("", JPEG, "image/jpeg"),
    ],
)
def test_a_type_is_spelled_as_services_know_it(head: str, data: str, kind: str) -> None:
    body, notices = sent(anthropic, head, data)
    source = {"type": "base64", "media_type": kind, "data": data}
    assert (body["messages"][0]["content"][1], notices) == ({"type": "image", "source": source}, ())
    body, notices = sent(bedrock, head, data)
    written = {"format": kind.removeprefix("image/"), "source": {"bytes": data}}
    assert (body["messages"][0]["content"][1], notices) == ({"image": written}, ())
    body, notices = sent(gemini, head, data)
    assert (body["contents"][0]["parts"][1], notices) == ({"inlineData": {"mimeType": kind, "data": data}}, ())


@pytest.mark.parametrize("outbound", [anthropic, bedrock])
def test_an_image_under_a_wrong_type_goes_under_its_own_and_the_caller_is_told(outbound: Any) -> None:
    body, notices = sent(outbound, "image/png", JPEG)
    assert ("image/jpeg" in json.dumps(body)) or body["messages"][0]["content"][1]["image"]["format"] == "jpeg"
    assert [(notice.code, notice.param) for notice in notices] == [("changed", "messages[0].content[1]")]


@pytest.mark.parametrize("outbound", [openai, gemini])
def test_services_that_do_not_look_are_told_what_the_caller_says(outbound: Any) -> None:
    body, notices = sent(outbound, "image/png", JPEG)
    assert "image/png" in json.dumps(body)
    assert notices == ()
