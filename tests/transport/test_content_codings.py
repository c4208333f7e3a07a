"""Content codings: undone in pieces, cut anywhere, and bombs that stay small in memory."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from functools import cache
from itertools import pairwise

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_peers import answering, ok, serve

from genai_spine.model.errors import BadReply, StreamBroken
from genai_spine.wire.codings import PIECE_BYTES, BodyDecoder, decoder_for


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACK = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


def unpack(decoder: BodyDecoder, *parts: bytes) -> bytes:
    data = b"".join(piece for part in parts for piece in decoder.feed(part))
    decoder.finish()
    return data


@pytest.mark.parametrize("coding", PACK)
@settings(max_examples=60)
@given(data=st.binary(max_size=3000), cuts=st.lists(st.integers(0, 4000), max_size=6))
def test_fault_17_packed_bytes_may_be_cut_anywhere(coding, data, cuts):
    packed = PACK[coding](data)
    places = sorted({0, *(min(cut, len(packed)) for cut in cuts), len(packed)})
    parts = [packed[a:b] for a, b in pairwise(places)]
    assert unpack(BodyDecoder(coding), *parts) == data


@pytest.mark.parametrize("coding", PACK)
def test_what_is_flushed_is_given_out_at_once(coding):
    """A packed stream of events is as fresh as a plain one."""
    if coding == "br":
        packer = brotli.Compressor()
        first = packer.process(b"data: one\n\n") + packer.flush()
    elif coding == "zstd":
        packer = zstandard.ZstdCompressor().compressobj()
        first = packer.compress(b"data: one\n\n") + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    else:
        packer = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
        first = packer.compress(b"data: one\n\n") + packer.flush(zlib.Z_SYNC_FLUSH)
    assert b"".join(BodyDecoder(coding).feed(first)) == b"data: one\n\n"


def test_raw_deflate_is_taken_too():
    assert unpack(BodyDecoder("deflate"), raw_deflate(b"hello" * 100)) == b"hello" * 100


def test_members_and_frames_may_follow_each_other():
    assert unpack(BodyDecoder("gzip"), gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"
    assert unpack(BodyDecoder("zstd"), PACK["zstd"](b"a") + PACK["zstd"](b"b")) == b"ab"


def test_two_codings_are_undone_in_reverse():
    packed = brotli.compress(gzip.compress(b"hello" * 100))
    assert unpack(BodyDecoder("gzip, br"), packed) == b"hello" * 100


@pytest.mark.parametrize("name", ["", "identity", " Identity "])
def test_identity_is_nothing_to_undo(name):
    assert decoder_for(name) is None


@pytest.mark.parametrize("name", ["compress", "x-unknown", "gzip, gzip, gzip"])
def test_an_unknown_coding_is_refused(name):
    with pytest.raises(BadReply):
        decoder_for(name)


@pytest.mark.parametrize("coding", PACK)
def test_an_end_inside_the_data_is_a_broken_stream(coding):
    packed = PACK[coding](bytes(range(256)) * 100)
    with pytest.raises(StreamBroken):
        unpack(BodyDecoder(coding), packed[: len(packed) // 2])


@pytest.mark.parametrize("coding", PACK)
def test_an_empty_body_is_whole(coding):
    assert unpack(BodyDecoder(coding)) == b""


@pytest.mark.parametrize("coding", PACK)
@settings(max_examples=60)
@given(data=st.binary(min_size=1, max_size=400))
def test_garbage_raises_only_bad_reply(coding, data):
    try:
        unpack(BodyDecoder(coding), data)
    except BadReply:
        pass


@cache
def bomb(coding: str, size: int = 100_000_000) -> bytes:
    block = bytes(1_000_000)
    count = size // len(block)
    if coding == "br":
        packer = brotli.Compressor(quality=5)
        return b"".join(packer.process(block) for _ in range(count)) + packer.finish()
    if coding == "zstd":
        packer = zstandard.ZstdCompressor().compressobj()
        return b"".join(packer.compress(block) for _ in range(count)) + packer.flush()
    packer = zlib.compressobj(9, wbits=31 if coding == "gzip" else 15)
    return b"".join(packer.compress(block) for _ in range(count)) + packer.flush()


@pytest.mark.parametrize("coding", PACK)
async def test_fault_13_a_bomb_is_refused_and_memory_stays_flat(transport, coding):
    packed = bomb(coding)
    assert len(packed) < 1_000_000
    async with serve(answering(ok(packed, b"content-encoding: " + coding.encode()))) as peer:
        response = await transport.send(peer.request())
        size = 0

        async def drain() -> None:
            nonlocal size
            async for piece in response.chunks():
                assert len(piece) <= 2 * PIECE_BYTES
                size += len(piece)

        tracemalloc.start()
        try:
            with pytest.raises(BadReply, match="times its size") as caught:
                await drain()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert caught.value.code == "decompression_bomb"
        assert peak < 12_000_000
        assert size < 1_100_000 + 200 * len(packed)


async def test_a_zstd_frame_may_not_ask_for_a_huge_window(transport):
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=-1)
    packed = packer.compress(bytes(range(256)) * 10) + packer.flush()
    async with serve(answering(ok(packed, b"content-encoding: zstd"))) as peer:
        with pytest.raises(BadReply):
            await (await transport.send(peer.request())).read()


async def test_fault_13_an_unknown_coding_closes_the_connection(transport):
    long = b"HTTP/1.1 200 OK\r\ncontent-encoding: lzma\r\ncontent-length: 100000000\r\n\r\n" + bytes(1000)
    async with serve(answering(long, then="hang")) as peer:
        with pytest.raises(BadReply, match="unknown coding"):
            await transport.send(peer.request())
        await peer.ended.wait()
