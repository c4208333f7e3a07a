"""Packs OpenAI's vocabularies into src/genai_spine/catalog/ranks.

    python scripts/make_ranks.py FOLDER

FOLDER holds cl100k_base and o200k_base as tiktoken caches them, by the SHA-1 of their addresses: in the folder that
TIKTOKEN_CACHE_DIR names, or in the wheel of `litellm` (MIT), litellm/litellm_core_utils/tokenizers, where these were
taken from. What they must be is told by the SHA-256 in tiktoken's own source.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from genai_spine.catalog.ranks import FOLDER, SHA256, pack


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: make_ranks.py FOLDER")
    found = {hashlib.sha256(data).hexdigest(): data for data in _files(Path(sys.argv[1]))}
    for name, digest in SHA256.items():
        if digest not in found:
            sys.exit(f"{name} is not in {sys.argv[1]}: no file there has the SHA-256 {digest}")
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{name}.xz").write_bytes(pack(found[digest]))


def _files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir() if path.is_file()]


if __name__ == "__main__":
    main()
