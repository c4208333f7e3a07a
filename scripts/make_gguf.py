"""Writes a tiny llama model with random weights in GGUF, for tests against a real model server.

    python scripts/make_gguf.py tiny.gguf        needs the packages gguf and numpy

Two layers of width 64 and a vocabulary of bytes, ASCII and a few words: it loads in no time and says
nothing sensible, the same nonsense every time. No weights are downloaded.
Source: github.com/ggml-org/ggml/blob/master/docs/gguf.md (read 2026-11).
"""

from __future__ import annotations

import sys

import gguf
import numpy as np

WIDTH, LAYERS, HEADS, FEED_FORWARD, CONTEXT = 64, 2, 4, 128, 4096
WORDS = ("▁the", "▁a", "▁hello", "▁world", "ing", "▁is", "▁of", "▁to")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def vocabulary() -> list[tuple[bytes, float, int]]:
    """Token, score and type: control tokens first, every byte, printable ASCII, some words, the end of a turn last."""
    kind = gguf.TokenType
    tokens = [(b"<unk>", 0.0, kind.UNKNOWN), (b"<s>", 0.0, kind.CONTROL), (b"</s>", 0.0, kind.CONTROL)]
    tokens += [(b"<0x%02X>" % byte, 0.0, kind.BYTE) for byte in range(256)]
    pieces = ["▁", *map(chr, range(33, 127)), *WORDS]
    tokens += [(piece.encode(), -float(rank), kind.NORMAL) for rank, piece in enumerate(pieces)]
    tokens += [(b"<|im_start|>", 0.0, kind.CONTROL), (b"<|im_end|>", 0.0, kind.CONTROL)]
    return [(text, score, int(kind)) for text, score, kind in tokens]


def write(path: str) -> None:
    tokens = vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny-random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _, _ in tokens])
    writer.add_token_scores([score for _, score, _ in tokens])
    writer.add_token_types([kind for _, _, kind in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)
    add_weights(writer, len(tokens))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_weights(writer: gguf.GGUFWriter, vocabulary_size: int) -> None:
    random = np.random.default_rng(7)

    def drawn(name: str, *shape: int) -> None:
        writer.add_tensor(name, (random.standard_normal(shape) * 0.2).astype(np.float32))

    def ones(name: str) -> None:
        writer.add_tensor(name, np.ones(WIDTH, np.float32))

    drawn("token_embd.weight", vocabulary_size, WIDTH)
    ones("output_norm.weight")
    drawn("output.weight", vocabulary_size, WIDTH)
    for layer in range(LAYERS):
        ones(f"blk.{layer}.attn_norm.weight")
        ones(f"blk.{layer}.ffn_norm.weight")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            drawn(f"blk.{layer}.{part}.weight", WIDTH, WIDTH)
        drawn(f"blk.{layer}.ffn_gate.weight", FEED_FORWARD, WIDTH)
        drawn(f"blk.{layer}.ffn_up.weight", FEED_FORWARD, WIDTH)
        drawn(f"blk.{layer}.ffn_down.weight", WIDTH, FEED_FORWARD)


if __name__ == "__main__":
    write(sys.argv[1])
