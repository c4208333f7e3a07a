"""Tokens of images, sounds and documents, by the rules that their makers publish.

    OpenAI     85, and 170 for each tile of 512 pixels after scaling (platform.openai.com/docs/guides/images-vision)
    Anthropic  width times height by 750, at most some 1,600 (platform.claude.com/docs/en/build-with-claude/vision)
    Gemini     258 for each tile of 768 pixels, or for a small image (ai.google.dev/gemini-api/docs/tokens)

All read 2026-11. The size is read from the first bytes of the data; an image whose size is not known counts as one
of about a megapixel. Sound is 32 tokens a second (Gemini's rule), taken at 16 kilobytes a second; a page of a PDF
counts as 1,500 to 3,000 at Anthropic, and is taken to be 50 kilobytes long.
"""

from __future__ import annotations

import base64
import binascii
import struct
from math import ceil

from genai_spine.model.content import Audio, Document, Image

_UNKNOWN = (1024, 1024)
_HEAD = 64 * 1024
_BYTES_PER_SECOND = 16_000
_BYTES_PER_PAGE = 50_000
_PER_PAGE = 2_000


def image_tokens(image: Image, family: str) -> int:
    width, height = size_of(image.data) or _UNKNOWN
    if family.startswith("claude"):
        shrunk = min(1.0, 1568 / max(width, height))
        return min(1600, ceil(width * shrunk * height * shrunk / 750))
    if family == "gemini":
        return 258 if max(width, height) <= 384 else 258 * ceil(width / 768) * ceil(height / 768)
    if image.detail == "low":
        return 85
    shrunk = min(1.0, 2048 / max(width, height))
    shrunk *= min(1.0, 768 / (min(width, height) * shrunk))
    return 85 + 170 * ceil(width * shrunk / 512) * ceil(height * shrunk / 512)


def audio_tokens(audio: Audio) -> int:
    return 32 * max(1, _length(audio.data) // _BYTES_PER_SECOND)


def document_tokens(document: Document) -> int:
    if document.text is not None:
        return 0
    return _PER_PAGE * max(1, _length(document.data) // _BYTES_PER_PAGE)


def _length(data: str | None) -> int:
    return len(data or "") * 3 // 4


def size_of(data: str | None) -> tuple[int, int] | None:
    """Width and height of an image in base64: PNG, GIF, JPEG or WebP; None where they cannot be read."""
    if not data:
        return None
    try:
        head = base64.b64decode(data[: _HEAD // 4 * 4], validate=False)
        found = _png(head) or _gif(head) or _webp(head) or _jpeg(head)
    except (binascii.Error, ValueError, struct.error, IndexError):
        return None
    return found if found and min(found) > 0 else None


def _png(head: bytes) -> tuple[int, int] | None:
    return struct.unpack(">II", head[16:24]) if head.startswith(b"\x89PNG") else None


def _gif(head: bytes) -> tuple[int, int] | None:
    return struct.unpack("<HH", head[6:10]) if head.startswith(b"GIF8") else None


def _webp(head: bytes) -> tuple[int, int] | None:
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    match head[12:16]:
        case b"VP8X":
            return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
        case b"VP8 ":
            width, height = struct.unpack("<HH", head[26:30])
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _jpeg(head: bytes) -> tuple[int, int] | None:
    """The size stands in the frame's header, after segments of which each says how long it is."""
    if not head.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 < len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return width, height
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None
