"""Content codings undone piece by piece: gzip, deflate, br, zstd, with caps against bombs.

A piece that comes out is at most about 64 KiB and the next is made only when it is asked for, so
memory stays flat whatever the ratio (FAULTS 13). More than `MAX_RATIO` times the input, past the
first `RATIO_FREE_BYTES`, is a bomb and not an answer.

brotli (from 1.2 on, the first that can bound its output) and zstandard are used where installed;
Python 3.14 brings zstd itself. They are looked for on first use.

Must not know: sockets, messages, who sent what.
Sources (read 2026-11): RFC 9110 §8.4 (Content-Encoding), RFC 1950–1952, RFC 7932, RFC 8878 §3.1.1
(a block is at most 128 KiB, and four bytes can be one).
"""

from __future__ import annotations

import importlib
import sys
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any, Protocol

from genai_spine.model.errors import BadReply, StreamBroken

MAX_RATIO = 200
RATIO_FREE_BYTES = 1024 * 1024
MAX_CODINGS = 2
PIECE_BYTES = 64 * 1024
# python-zstandard bounds no output: 256 bytes can be 64 blocks of 128 KiB, so at most 8 MiB at once.
_ZSTD_SLICE = 256
_ZSTD_MAX_WINDOW = 8 * 1024 * 1024  # RFC 8878 §3.1.1.1.2: what every decoder should support


class _Coding(Protocol):
    """One coding being undone. `pieces` raises anything on bad input; `is_done` says that it may end here."""

    @property
    def is_done(self) -> bool: ...
    def pieces(self, data: bytes) -> Iterator[bytes]: ...


class _Zlib:
    """gzip (members may follow each other) and deflate (with the zlib wrapper, or raw as some send it)."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._raw_allowed = wbits == zlib.MAX_WBITS
        self._inflate = zlib.decompressobj(wbits)
        self._is_fresh = True

    @property
    def is_done(self) -> bool:
        return self._inflate.eof or self._is_fresh

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflate.eof:
                if self._wbits != 31:
                    raise ValueError("bytes after the end")
                self._inflate = zlib.decompressobj(self._wbits)
            try:
                piece = self._inflate.decompress(data, PIECE_BYTES)
            except zlib.error:
                if not (self._is_fresh and self._raw_allowed):
                    raise
                self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
                piece = self._inflate.decompress(data, PIECE_BYTES)
            self._is_fresh = False
            data = self._inflate.unused_data or self._inflate.unconsumed_tail
            if piece:
                yield piece


class _Brotli:
    def __init__(self) -> None:
        self._decompressor = importlib.import_module("brotli").Decompressor()
        self._is_fresh = True

    @property
    def is_done(self) -> bool:
        return self._is_fresh or bool(self._decompressor.is_finished())

    def pieces(self, data: bytes) -> Iterator[bytes]:
        decompressor = self._decompressor
        self._is_fresh = False
        piece = decompressor.process(data, output_buffer_limit=PIECE_BYTES)
        while piece:
            yield piece
            if decompressor.can_accept_more_data():
                return
            piece = decompressor.process(b"", output_buffer_limit=PIECE_BYTES)


class _Zstandard:
    def __init__(self) -> None:
        module = importlib.import_module("zstandard")
        self._decompressor = module.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW)
        self._frame: Any = None

    @property
    def is_done(self) -> bool:
        return self._frame is None or bool(self._frame.eof)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_SLICE):
            rest = data[start : start + _ZSTD_SLICE]
            while rest:
                if self.is_done:
                    self._frame = self._decompressor.decompressobj(write_size=PIECE_BYTES)
                piece = self._frame.decompress(rest)
                rest = self._frame.unused_data if self._frame.eof else b""
                for at in range(0, len(piece), PIECE_BYTES):
                    yield piece[at : at + PIECE_BYTES]


class _StdlibZstd:
    """compression.zstd (Python 3.14, PEP 784): bounds its output as zlib does."""

    def __init__(self) -> None:
        self._module = importlib.import_module("compression.zstd")
        self._frame: Any = None

    @property
    def is_done(self) -> bool:
        return self._frame is None or bool(self._frame.eof)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self.is_done:
                option = {self._module.DecompressionParameter.window_log_max: 23}
                self._frame = self._module.ZstdDecompressor(options=option)
            piece = self._frame.decompress(data, PIECE_BYTES)
            while piece:
                yield piece
                if self._frame.eof or self._frame.needs_input:
                    break
                piece = self._frame.decompress(b"", PIECE_BYTES)
            data = self._frame.unused_data if self._frame.eof else b""


@cache
def _zstd() -> type[_Zstandard] | type[_StdlibZstd] | None:
    if sys.version_info >= (3, 14):
        try:
            importlib.import_module("compression.zstd")
        except ImportError:
            pass
        else:
            return _StdlibZstd
    try:
        importlib.import_module("zstandard")
    except ImportError:
        return None
    return _Zstandard


@cache
def _has_brotli() -> bool:
    try:
        module = importlib.import_module("brotli")
    except ImportError:
        return False
    return hasattr(module.Decompressor, "can_accept_more_data")


def _coding(name: str) -> _Coding:
    match name:
        case "gzip" | "x-gzip":
            return _Zlib(31)
        case "deflate":
            return _Zlib(zlib.MAX_WBITS)
        case "br" if _has_brotli():
            return _Brotli()
        case "zstd" if (zstd := _zstd()) is not None:
            return zstd()
        case "br" | "zstd":
            raise BadReply(f"the answer is packed with {name}: install genai-spine[compression]", retryable=False)
        case _:
            raise BadReply(f"the answer is packed with an unknown coding: {name[:40]!r}", retryable=False)


class BodyDecoder:
    """Undoes one Content-Encoding. Feed what comes, take the pieces, and ask at the end if it was one."""

    def __init__(self, content_encoding: str) -> None:
        """Raises: BadReply for a coding that we do not know or have no decoder for."""
        self.name = content_encoding
        names = [n for part in content_encoding.split(",") if (n := part.strip().lower()) not in ("", "identity")]
        if len(names) > MAX_CODINGS:
            raise BadReply(f"the answer is packed {len(names)} times", retryable=False)
        self._codings = [_coding(name) for name in reversed(names)]  # the last applied is undone first
        self._bytes_in = 0
        self._bytes_out = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pieces that `data` unpacks to, made one at a time. Raises: BadReply (broken, or a bomb)."""
        self._bytes_in += len(data)
        try:
            yield from self._unpack(data, 0)
        except BadReply:
            raise
        except Exception as error:  # each decoder has an exception of its own
            raise BadReply(f"the answer is not {self.name}: {type(error).__name__}") from error

    def _unpack(self, data: bytes, stage: int) -> Iterator[bytes]:
        if stage == len(self._codings):
            yield data
            return
        for piece in self._codings[stage].pieces(data):
            self._bytes_out += len(piece)
            if self._bytes_out > RATIO_FREE_BYTES and self._bytes_out > MAX_RATIO * self._bytes_in:
                raise BadReply(
                    f"the answer unpacks to more than {MAX_RATIO} times its size ({self.name})",
                    code="decompression_bomb",
                    retryable=False,
                )
            yield from self._unpack(piece, stage + 1)

    def finish(self) -> None:
        """Raises: StreamBroken when the body ended inside the packed data."""
        if not all(coding.is_done for coding in self._codings):
            raise StreamBroken(f"the answer ended inside its {self.name} data")


def decoder_for(content_encoding: str) -> BodyDecoder | None:
    """A decoder for a Content-Encoding, None where there is nothing to undo. Raises: BadReply."""
    if content_encoding.strip().lower() in ("", "identity"):
        return None
    return BodyDecoder(content_encoding)
