"""Headers of one request alone, such as a signature: sent and checked like all, and kept by nobody."""

from __future__ import annotations

import pytest
from transport_peers import answering, ok, serve

from genai_spine.model.errors import InvalidRequest
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.settings import ProviderSettings, Secret
from genai_spine.wire.http import encode_head


async def test_what_changes_with_every_request_does_not_fill_the_cache_of_heads(transport):
    async with serve(answering(ok())) as peer:
        encode_head.cache_clear()
        for number in range(5):
            headers = (("x-fixed", "1"), ("x-date", str(number)), ("authorization", f"signature {number}"))
            response = await transport.send(peer.request(headers=headers, unique=2))
            await response.read()
        assert encode_head.cache_info().currsize == 1
        for number, head in enumerate(peer.heads):
            lines = head.lower().split(b"\r\n")
            for line in (b"x-fixed: 1", b"x-date: %d" % number, b"authorization: signature %d" % number):
                assert lines.count(line) == 1


async def test_they_cannot_break_the_framing_either(transport):
    async with serve(answering(ok())) as peer:
        with pytest.raises(InvalidRequest):
            await transport.send(peer.request(headers=(("a", "1"), ("b", "1\r\nx: y")), unique=1))
        assert peer.connections == 0


async def test_signed_requests_leave_one_head_behind():
    said = b'{"output":{"message":{"role":"assistant","content":[{"text":"hi"}]}},"stopReason":"end_turn","usage":{}}'
    async with serve(answering(ok(said))) as peer:
        settings = ProviderSettings(
            access_key_id="AKIA", secret_access_key=Secret("s"), region="us-east-1", base_url=str(peer.url("/"))
        )
        provider = HttpProvider("bedrock", settings)
        encode_head.cache_clear()
        for number in range(4):
            await provider.complete(messages=[{"role": "user", "content": str(number)}], model="amazon.nova-lite-v1:0")
        await provider.close()
        assert encode_head.cache_info().currsize == 1
        assert (
            len({line for head in peer.heads for line in head.split(b"\r\n") if line.startswith(b"authorization")}) == 4
        )
