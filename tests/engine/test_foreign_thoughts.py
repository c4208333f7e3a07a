"""A conversation that goes from one provider to another: thoughts that only the first can vouch for."""

import json
from urllib.request import Request, urlopen

from genai_spine.testing.fixtures import running_gateway, running_simulator

THOUGHT = {"type": "thinking", "thinking": "hm", "signature": ""}


def test_an_unsigned_thought_is_left_out_on_its_way_to_anthropic() -> None:
    with running_simulator() as simulator:
        settings = {"providers": {"anthropic": {"api_key": "k", "base_url": simulator.urls.anthropic}}}
        with running_gateway(settings) as gateway:
            body = {
                "model": "anthropic/claude-sonnet-4-5",
                "max_tokens": 100,
                "messages": [
                    {"role": "user", "content": "hi"},
                    {"role": "assistant", "content": [THOUGHT, {"type": "text", "text": "hello"}]},
                    {"role": "user", "content": "again"},
                ],
            }
            request = Request(
                f"{gateway.url}/v1/messages", json.dumps(body).encode(), {"content-type": "application/json"}
            )
            with urlopen(request, timeout=5) as answer:
                assert "omitted_thinking" in answer.headers["x-spine-notices"]
        sent = simulator.received[-1].json()["messages"][1]["content"]
    assert "hm" not in json.dumps(sent)
