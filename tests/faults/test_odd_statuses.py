"""A provider, or a proxy before it, that answers with a status that HTTP does not have."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import httpx2 as httpx
import pytest

from genai_spine.testing.fixtures import running_gateway


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """Answers with the status that the model is named for."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        status = json.loads(await reader.readexactly(length))["model"]
        writer.write(f"HTTP/1.1 {status} Odd\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}".encode())
        await writer.drain()
        writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(("status", "told"), [("600", 500), ("999", 500), ("000", 502), ("042", 502)])
def test_fault_14_a_status_that_http_does_not_have_is_the_providers_failure(
    upstream: str, caplog: pytest.LogCaptureFixture, status: str, told: int, stream: bool
) -> None:
    provider = {"type": "openai_compatible", "base_url": upstream, "api_key": "sk-none-but-long-enough"}
    with running_gateway({"providers": {"one": provider}, "retry": {"max_retries": 0}}) as gateway:
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat"):
            asked = [{"role": "user", "content": "hi"}]
            said = {"input": asked} if path == "/v1/responses" else {"messages": asked, "max_tokens": 5}
            answer = httpx.post(gateway.url + path, json={"model": f"one/{status}", "stream": stream, **said})
            assert answer.status_code == told, path
            assert answer.headers["x-spine-attempts"] == "1"
            assert "error" in answer.json()
    assert "Traceback" not in caplog.text
