"""The vocabularies of OpenAI's models, cl100k_base and o200k_base: which bytes are a token, and in what order.

They are OpenAI's own files, as its library tiktoken (MIT) loads them from openaipublic.blob.core.windows.net, and
the same to the byte: scripts/make_ranks.py packs them and `as_tiktoken` gives them back; their SHA-256 are those in
tiktoken's source. Packed: the length of each token, one byte each in the order of their ranks, then all their bytes.
"""

from __future__ import annotations

import base64
import lzma
from importlib import resources
from itertools import accumulate, pairwise

FOLDER = resources.files("genai_spine.catalog") / "ranks"
SIZES = {"cl100k_base": 100_256, "o200k_base": 199_998}
SHA256 = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}


def load_ranks(name: str) -> dict[bytes, int]:
    """Each token's rank. Takes about a tenth of a second: keep what is made of it, and do it in a thread."""
    size = SIZES[name]
    packed = lzma.decompress((FOLDER / f"{name}.xz").read_bytes())
    ends = accumulate(packed[:size], initial=size)
    return {packed[begin:end]: rank for rank, (begin, end) in enumerate(pairwise(ends))}


def pack(tiktoken_file: bytes) -> bytes:
    """A vocabulary as this module keeps it, of OpenAI's file: on each line a token in base64, and its rank."""
    lines = [line.split() for line in tiktoken_file.splitlines()]
    tokens = [base64.b64decode(token) for token, _ in lines]
    assert [int(rank) for _, rank in lines] == list(range(len(tokens)))
    packed = bytes(len(token) for token in tokens) + b"".join(tokens)
    return lzma.compress(packed, preset=9 | lzma.PRESET_EXTREME)


def as_tiktoken(name: str) -> bytes:
    """The file as OpenAI publishes it."""
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in load_ranks(name).items())
