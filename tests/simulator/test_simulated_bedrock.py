"""The simulated Bedrock, asked by AWS's own client: it must not notice that it is not the real one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from botocore.session import Session

from genai_spine.testing.simulator import Simulator

HELLO = [{"role": "user", "content": [{"text": "Hello there"}]}]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as running:
        yield running


async def asked(simulator: Simulator, operation: str, service: str = "bedrock-runtime", **params: Any) -> Any:
    """In a thread: AWS's client blocks."""

    def ask() -> Any:
        client = Session().create_client(
            service,
            region_name="us-east-1",
            endpoint_url=simulator.urls.root,
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="secret",
            config=Config(retries={"max_attempts": 0}),
        )
        answer = getattr(client, operation)(**params)
        for name in ("stream", "body"):
            if name in answer:
                found = answer[name]
                answer[name] = found.read() if hasattr(found, "read") else list(found)
        return answer

    return await asyncio.to_thread(ask)


async def test_converse_and_its_stream(simulator: Simulator) -> None:
    plain = await asked(simulator, "converse", modelId="sim-echo", messages=HELLO)
    streamed = await asked(simulator, "converse_stream", modelId="sim-echo", messages=HELLO)
    text = plain["output"]["message"]["content"][0]["text"]
    deltas = [event["contentBlockDelta"] for event in streamed["stream"] if "contentBlockDelta" in event]
    assert "".join(delta["delta"]["text"] for delta in deltas) == text != ""
    assert [next(iter(event)) for event in streamed["stream"]][-2:] == ["messageStop", "metadata"]
    assert streamed["stream"][-1]["metadata"]["usage"] == plain["usage"]
    assert plain["stopReason"] == "end_turn"


async def test_errors_have_the_names_that_the_client_knows(simulator: Simulator) -> None:
    with pytest.raises(ClientError) as raised:
        await asked(simulator, "converse", modelId="sim-echo+status=429", messages=HELLO)
    assert raised.value.response["Error"]["Code"] == "ThrottlingException"
    with pytest.raises(EventStreamError) as broken:
        await asked(simulator, "converse_stream", modelId="sim-echo+error_at=2", messages=HELLO)
    assert broken.value.response["Error"]["Code"] == "internalServerException"


async def test_claude_and_embeddings_are_invoked(simulator: Simulator) -> None:
    body = json.dumps(
        {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
    )
    plain = await asked(simulator, "invoke_model", modelId="anthropic.claude-v2", body=body)
    streamed = await asked(simulator, "invoke_model_with_response_stream", modelId="anthropic.claude-v2", body=body)
    events = [json.loads(event["chunk"]["bytes"]) for event in streamed["body"]]
    assert (events[0]["type"], events[-1]["type"]) == ("message_start", "message_stop")
    said = "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
    assert json.loads(plain["body"])["content"][0]["text"] == said != ""
    text = json.dumps({"inputText": "Hi", "dimensions": 8})
    made = await asked(simulator, "invoke_model", modelId="amazon.titan-embed-text-v2:0", body=text)
    assert len(json.loads(made["body"])["embedding"]) == 8


async def test_models_are_listed_and_tokens_counted(simulator: Simulator) -> None:
    listed = await asked(simulator, "list_foundation_models", "bedrock")
    assert "sim-think" in {model["modelId"] for model in listed["modelSummaries"]}
    count = await asked(simulator, "count_tokens", modelId="sim-echo", input={"converse": {"messages": HELLO}})
    assert count["inputTokens"] > 0
