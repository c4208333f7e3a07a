"""Counting tokens: exact where it can be, else an estimate that says so; and never an exception."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
import sys
import zlib
from pathlib import Path

import msgspec
import pytest

from genai_spine import CompletionRequest, Document, Image, Message, SimulatedProvider, Text, Tool, ToolCall, ToolResult
from genai_spine.catalog import ranks
from genai_spine.model.content import Audio, Opaque, Thinking
from genai_spine.model.request import ProviderTool
from genai_spine.policy import exact_tokens, tokens
from genai_spine.policy.media_tokens import image_tokens, size_of
from genai_spine.policy.text_features import NAMES, features

ROOT = Path(__file__).parents[2]

PANGRAM = "The quick brown fox jumps over the lazy dog."
HOSTILE = {
    "a million spaces": " " * 1_000_000,
    "a million letters": "a" * 1_000_000,
    "a million newlines": "\n" * 1_000_000,
    "half a surrogate pair": "x\ud800y" * 1000,
    "special tokens": "<|endoftext|><|im_start|>" * 100,
    "emoji": "👩‍👩‍👧‍👦" * 20_000,
    "controls": "".join(map(chr, range(32))) * 1000,
    "nothing": "",
}


def png(width: int, height: int) -> str:
    head = struct.pack(">II", width, height) + b"\x08\x02\x00\x00\x00"
    chunk = b"IHDR" + head
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return base64.b64encode(data).decode()


# ---------------------------------------------------------------- exact


def test_text_for_openai_is_counted_with_its_own_vocabulary() -> None:
    count = tokens.estimate(PANGRAM, "gpt-4o")
    assert (count, count.method) == (10, "exact")
    old = tokens.estimate("antidisestablishmentarianism 你好", "gpt-4")
    new = tokens.estimate("antidisestablishmentarianism 你好", "gpt-4o")
    assert (old.method, new.method) == ("exact", "exact")
    assert old != new


def test_text_for_a_model_of_which_nothing_is_known_is_an_estimate() -> None:
    for model in ("tiny", "gpt-oss-20b", None):
        assert tokens.estimate(PANGRAM, model).method == "estimate"


@pytest.mark.parametrize("name", ranks.SHA256)
def test_the_vocabularies_are_those_that_openai_publishes(name: str) -> None:
    assert hashlib.sha256(ranks.as_tiktoken(name)).hexdigest() == ranks.SHA256[name]


def test_packing_gives_back_what_was_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = b"".join(base64.b64encode(bytes([byte])) + b" %d\n" % byte for byte in range(256))
    (tmp_path / "bytes.xz").write_bytes(ranks.pack(published))
    monkeypatch.setattr(ranks, "FOLDER", tmp_path)
    monkeypatch.setitem(ranks.SIZES, "bytes", 256)
    assert ranks.as_tiktoken("bytes") == published


def test_the_patterns_are_tiktokens_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from tiktoken_ext import openai_public

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: {})
    for name, pattern in exact_tokens.PATTERNS.items():
        assert getattr(openai_public, name)()["pat_str"] == pattern


def test_without_the_extra_it_is_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    exact_tokens._tiktoken.cache_clear()
    exact_tokens._encoding.cache_clear()
    try:
        assert not exact_tokens.is_installed()
        count = tokens.estimate(PANGRAM, "gpt-4o")
        assert count.method == "estimate"
        assert 8 <= count <= 12
    finally:
        monkeypatch.undo()
        exact_tokens._tiktoken.cache_clear()
        exact_tokens._encoding.cache_clear()


# ---------------------------------------------------------------- never an exception


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4", "claude-sonnet-4-5", None])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_text_is_too_strange(text: str, model: str | None) -> None:
    count = tokens.estimate(text, model)
    assert count >= 0
    assert (count == 0) == (text == "")


def test_every_kind_of_part_counts() -> None:
    parts = (
        Text(text="Look at this."),
        Image(data=png(640, 480)),
        Image(url="https://example.com/cat.png"),
        Image(data="not base64!"),
        Audio(data="UklGRg==", format="wav"),
        Document(data="JVBERi0=", media_type="application/pdf"),
        Document(text="a plain text"),
        Thinking(text="I think."),
        ToolCall(id="1", name="look", arguments='{"at": "it"}'),
        ToolResult(call_id="1", content=(Text(text="seen"), Image(data=png(10, 10)))),
        Opaque(dialect="some", kind="new", raw=msgspec.Raw(b'{"type":"new"}')),
    )
    for model in ("gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro", "never-heard-of-it"):
        before = tokens.estimate(CompletionRequest(messages=(Message(role="user"),)), model)
        for part in parts:
            request = CompletionRequest(messages=(Message(role="user", content=(part,)),))
            if not isinstance(part, Thinking):  # thoughts of the past are not always counted
                assert tokens.estimate(request, model) > before, (model, part)


def test_tools_and_schemas_count() -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string", "description": "Its English name"}}}
    plain = CompletionRequest(messages=("What is the weather in Paris?",))
    tool = Tool(name="weather", description="Today's weather in a city", parameters=parameters)
    for model in ("gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro", "mistral-large-latest"):
        without = tokens.estimate(plain, model)
        one = tokens.estimate(msgspec.structs.replace(plain, tools=(tool,)), model)
        two = tokens.estimate(msgspec.structs.replace(plain, tools=(tool, tool)), model)
        assert without < one < two
    raw = ProviderTool(dialect="anthropic_messages", name="web", raw=msgspec.Raw(b'{"type":"web_search_20250305"}'))
    assert tokens.estimate(msgspec.structs.replace(plain, tools=(raw,)), "claude-sonnet-4-5") > 0
    shaped = msgspec.structs.replace(plain, output_schema=parameters)
    assert tokens.estimate(shaped, "gpt-4o") > tokens.estimate(plain, "gpt-4o")


# ---------------------------------------------------------------- estimates


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4o-mini", "openai"),
        ("gpt-4.1", "openai"),
        ("gpt-4-turbo", "openai_cl100k"),
        ("openai/gpt-oss-120b", "gpt_oss"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude"),
        ("claude-opus-4-8", "claude_new"),
        ("claude-sonnet-5", "claude_new"),
        ("models/gemini-2.5-pro", "gemini"),
        ("mixtral-8x7b-32768", "mistral"),
        ("command-r-plus", "cohere"),
        ("deepseek-chat", "deepseek"),
        ("Qwen/Qwen3-32B", "qwen"),
        ("Qwen/Qwen3.5-9B", "qwen_new"),
        ("llama3.2:latest", "llama"),
        ("meta-llama/llama-4-scout-17b-16e-instruct", "llama_new"),
        ("grok-4.3", "grok_new"),
        (None, "openai"),
    ],
)
def test_a_models_family_is_told_by_its_name(model: str | None, family: str) -> None:
    assert tokens.family_of(model) == family


def test_every_familys_weights_are_there_and_fit_the_features() -> None:
    fitted = tokens.load_weights()
    assert all(len(weights) == len(NAMES) for weights in fitted.vocabularies.values())
    assert len(features("x")) == len(NAMES)
    assert set(fitted.families) <= set(tokens.FAMILIES)


def test_what_a_text_is_made_of() -> None:
    found = dict(zip(NAMES, features("Hello camelCase 12 345!\n\n   é Ж 你 한 か 😀"), strict=True))
    assert {name: count for name, count in found.items() if count} == {
        "words": 3,
        "letters": 14,
        "capitals": 2,
        "humps": 1,
        "long_words": 1,
        "digits": 5,
        "numbers": 2,
        "signs": 1,
        "sign_runs": 1,
        "newlines": 2,
        "indents": 1,
        "accents": 1,
        "cyrillic": 1,
        "kana": 1,
        "han": 1,
        "hangul": 1,
        "emoji": 1,
    }


def test_the_published_errors_are_small() -> None:
    """scripts/measure_tokens.py wrote them, for contents that the weights have not been fitted to."""
    table = json.loads((ROOT / "scripts" / "token_errors.json").read_text(encoding="utf-8"))
    big = {family: kinds["all"] for family, kinds in table.items() if kinds["all"] and kinds["all"][0] >= 15}
    assert {"openai", "claude", "gemini", "mistral", "cohere", "deepseek", "llama"} <= big.keys()
    assert {family: error[1] for family, error in big.items() if error[1] > 0.10} == {}


# ---------------------------------------------------------------- media


def test_the_size_of_an_image_is_read_from_its_head() -> None:
    jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08\x01\xe0\x02\x80\x03" + b"\x00" * 20
    vp8x = b"RIFF\x00\x00\x00\x00WEBPVP8X" + b"\x00" * 8 + (639).to_bytes(3, "little") + (479).to_bytes(3, "little")
    gif = b"GIF89a" + struct.pack("<HH", 640, 480)
    for data in (jpeg, vp8x, gif):
        assert size_of(base64.b64encode(data).decode()) == (640, 480)
    assert size_of(png(640, 480)) == (640, 480)
    for nonsense in (None, "", "....", "iVBORw==", "/9j/", "UklGRgAAAABXRUJQ"):
        assert size_of(nonsense) is None


def test_images_cost_what_their_makers_say() -> None:
    image = Image(data=png(1024, 1024))
    assert image_tokens(image, "openai") == 765
    assert image_tokens(msgspec.structs.replace(image, detail="low"), "openai") == 85
    assert image_tokens(Image(data=png(1000, 1000)), "claude") == 1334
    assert image_tokens(Image(data=png(300, 300)), "gemini") == 258
    assert image_tokens(image, "gemini") == 1032


# ---------------------------------------------------------------- providers


async def test_a_provider_says_how_it_counted() -> None:
    provider = SimulatedProvider()
    count = await provider.count_tokens(PANGRAM, "claude-sonnet-4-5")
    assert isinstance(count, int)
    assert count.method == "estimate"
    assert repr(count) == f"{int(count)} tokens (estimate)"


async def test_a_large_text_does_not_hold_up_the_loop() -> None:
    provider = SimulatedProvider()
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    count = await provider.count_tokens(PANGRAM * 200_000, "gpt-4o")
    ticking.cancel()
    assert count > 1_000_000
    assert turns > 10


def test_a_count_can_be_written_to_every_caller() -> None:
    from genai_spine.dialects.anthropic_messages import inbound as anthropic
    from genai_spine.dialects.gemini import inbound as gemini

    count = tokens.estimate(PANGRAM, "claude-sonnet-4-5")
    assert json.loads(anthropic.encode_count_response(count)) == {"input_tokens": int(count)}
    assert json.loads(gemini.encode_count_response(count)) == {"totalTokens": int(count)}
