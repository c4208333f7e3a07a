"""What becomes of each thing a caller can say, in each dialect: asked of the dialects themselves.

Every row of the tables in docs/translations.md is one request that is really encoded here; what is shown is
what came out. Must not know: how a page is laid out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from genai_spine.catalog.rows import find_row
from genai_spine.dialects import effort, hf_text_generation
from genai_spine.dialects.anthropic_messages import schema as anthropic
from genai_spine.dialects.bedrock_converse import errors as bedrock
from genai_spine.dialects.cohere_chat import schema as cohere
from genai_spine.dialects.gemini import errors as gemini
from genai_spine.dialects.interface import Target
from genai_spine.dialects.ollama_chat import schema as ollama
from genai_spine.dialects.openai_chat import schema as openai
from genai_spine.dialects.openai_responses import errors as responses
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.content import (
    Audio,
    CacheMark,
    Document,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.request import CompletionRequest, Message, OutputSchema, ProviderTool, Tool, ToolChoice
from genai_spine.model.response import FinishReason
from genai_spine.providers import codecs

SOURCES = Path(__file__).parent.parent / "src" / "genai_spine" / "dialects"

Row = list[str]


class Column(msgspec.Struct, frozen=True):
    """One target to encode for."""

    title: str
    dialect: str
    quirks: Quirks = Quirks()
    capabilities: Capabilities = Capabilities()
    model: str = "some-model"

    def target(self) -> Target:
        card = ModelCard(id=self.model, provider="some", capabilities=self.capabilities)
        return Target(card=card, quirks=self.quirks)


def _quirks_of(row: str) -> Quirks:
    found = find_row(row)
    assert found is not None, f"the catalog has a row {row}"
    return found.quirks


COLUMNS = (
    Column("`openai_chat` at OpenAI", "openai_chat", _quirks_of("openai")),
    Column("`openai_chat`, any server", "openai_chat"),
    Column("`anthropic_messages`", "anthropic_messages"),
    Column("`ollama_chat`", "ollama_chat"),
)

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
_PDF = "JVBERi0xLjQK"
_CALL = ToolCall(id="call_1", name="weather", arguments='{"city":"Oslo"}')
_TOOL = Tool(name="weather", description="The weather.", parameters={"type": "object", "properties": {}})


def _asking(*parts: Part, **options: Any) -> CompletionRequest:
    message = Message(role="user", content=parts or (Text(text="Hello"),))
    return CompletionRequest(messages=(message,), max_tokens=4096, **options)


def _after(*parts: Part) -> CompletionRequest:
    """A conversation whose earlier answer had these parts."""
    said = Message(role="assistant", content=(*parts, Text(text="Hello")))
    question = Message(role="user", content=(Text(text="Go on"),))
    return CompletionRequest(messages=(question, said, question), max_tokens=4096)


def _resulting(result: ToolResult) -> CompletionRequest:
    question = Message(role="user", content=(Text(text="The weather in Oslo?"),))
    call = Message(role="assistant", content=(_CALL,))
    answer = Message(role="tool", content=(result,))
    return CompletionRequest(messages=(question, call, answer), tools=(_TOOL,), max_tokens=4096)


def _talking(*messages: Message) -> CompletionRequest:
    return CompletionRequest(messages=messages, max_tokens=4096)


_USER = Message(role="user", content=(Text(text="Hello"),))
_ASSISTANT = Message(role="assistant", content=(Text(text="Hello"),))
_SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}

CONTENT: dict[str, CompletionRequest] = {
    "text": _asking(Text(text="Hello")),
    "image, base64": _asking(Image(data=_PIXEL, media_type="image/png")),
    "image, by URL": _asking(Image(url="https://example.com/cat.png")),
    "image, by file id": _asking(Image(file_id="file_1")),
    "audio": _asking(Audio(data="AAAA", format="wav")),
    "PDF, base64": _asking(Document(data=_PDF, media_type="application/pdf", name="a.pdf")),
    "PDF, by URL": _asking(Document(url="https://example.com/a.pdf")),
    "text document": _asking(Document(text="Some text", media_type="text/plain")),
    "earlier thought, signed": _after(Thinking(text="Hm", signature="sig")),
    "earlier thought, redacted": _after(Thinking(redacted="abc")),
    "earlier refusal": _after(Refusal(text="No")),
    "tool call and its result": _resulting(ToolResult(call_id="call_1", content=(Text(text="4 °C"),))),
    "tool result that is an error": _resulting(
        ToolResult(call_id="call_1", content=(Text(text="no such city"),), is_error=True)
    ),
    "tool result with an image": _resulting(
        ToolResult(call_id="call_1", content=(Image(data=_PIXEL, media_type="image/png"),))
    ),
    "system message at the start": _talking(Message(role="system", content=(Text(text="Be brief"),)), _USER),
    "system message amid the talk": _talking(
        _USER, _ASSISTANT, Message(role="system", content=(Text(text="Be brief"),)), _USER
    ),
    "developer message": _talking(Message(role="developer", content=(Text(text="Be brief"),)), _USER),
    "name of a message": _talking(Message(role="user", name="ann", content=(Text(text="Hello"),))),
    "prompt-cache mark": _asking(Text(text="Hello", cache=CacheMark())),
}
"""What a conversation may hold."""

OPTIONS: dict[str, CompletionRequest] = {
    "max_tokens": _asking(),
    "temperature": _asking(temperature=0.5),
    "top_p": _asking(top_p=0.9),
    "top_k": _asking(top_k=40),
    "seed": _asking(seed=7),
    "stop": _asking(stop=("END",)),
    "frequency_penalty": _asking(frequency_penalty=0.5),
    "presence_penalty": _asking(presence_penalty=0.5),
    "n": _asking(n=2),
    "user": _asking(user="ann"),
    "tools": _asking(tools=(_TOOL,)),
    "tools, strict": _asking(tools=(msgspec.structs.replace(_TOOL, strict=True),)),
    "tools, free text (`custom`)": _asking(tools=(Tool(name="shell", kind="custom"),)),
    "tools run by the provider": _asking(
        tools=(ProviderTool(dialect="another", name="code_execution", raw=msgspec.Raw(b"{}")),)
    ),
    "tool_choice: required": _asking(tools=(_TOOL,), tool_choice=ToolChoice(mode="required")),
    "tool_choice: one tool": _asking(tools=(_TOOL,), tool_choice=ToolChoice(mode="tool", name="weather")),
    "tool_choice: none": _asking(tools=(_TOOL,), tool_choice=ToolChoice(mode="none")),
    "parallel_tool_calls: false": _asking(tools=(_TOOL,), parallel_tool_calls=False),
    "output_schema": _asking(output_schema=OutputSchema(schema=_SCHEMA, name="answer")),
    "output_schema, strict": _asking(output_schema=OutputSchema(schema=_SCHEMA, name="answer", strict=True)),
    "output_schema: any JSON": _asking(output_schema=OutputSchema()),
    "thinking: on": _asking(thinking=True),
    "thinking: off": _asking(thinking=False),
    "thinking: effort high": _asking(thinking="high"),
    "thinking: budget of 2,000 tokens": _asking(thinking=2000),
    "context_window": _asking(context_window=8192),
    "extra fields of another dialect": _asking(extra={"another": {"some_field": 1}}),
}
"""What may be asked for beside the conversation."""


def said(request: CompletionRequest, column: Column) -> str:
    """`said`, or what the dialect noticed or refused."""
    encode = codecs.outbound(column.dialect).encode_request
    try:
        outgoing = encode(request, column.target(), stream=False)
    except InvalidRequest as error:
        return f"refused: {_short(error.message)}"
    if not outgoing.notices:
        return "✓"
    return "; ".join(dict.fromkeys(f"{notice.code}: {notice.message}" for notice in outgoing.notices))


def _short(message: str) -> str:
    """Without the place in the message that this request happens to have."""
    place, colon, rest = message.partition(": ")
    return rest if colon and place.startswith(("messages[", "tools[")) else message


def matrix(requests: dict[str, CompletionRequest]) -> tuple[list[str], list[Row]]:
    return (
        ["", *(column.title for column in COLUMNS)],
        [[name, *(said(request, column) for column in COLUMNS)] for name, request in requests.items()],
    )


# ------------------------------------------------------------ thinking

_THINKERS = (
    Column("OpenAI", "openai_chat", _quirks_of("openai")),
    Column("OpenRouter", "openai_chat", _quirks_of("openrouter")),
    Column("DeepSeek", "openai_chat", _quirks_of("deepseek")),
    Column("Claude with budgets", "anthropic_messages", capabilities=Capabilities(thinking_style="budget")),
    Column("Claude, adaptive", "anthropic_messages", capabilities=Capabilities(thinking_style="adaptive")),
    Column("Ollama", "ollama_chat"),
    Column("Ollama, gpt-oss", "ollama_chat", model="gpt-oss:20b"),
)
_ABOUT_THINKING = ("reasoning_effort", "reasoning", "thinking", "output_config", "think")

THINKING: dict[str, Any] = {
    **{f'`"{name}"`': name for name in ("none", "minimal", "low", "medium", "high", "xhigh", "max")},
    **{f"`{budget}`": budget for budget in (1024, 4000, 16000, 32000)},
    "`True`": True,
    "`False`": False,
    '`{"type": "adaptive"}`': {"type": "adaptive"},
}
"""What `thinking=` may be: an effort, a budget of tokens, on or off, or the model's own choice."""


def thinking() -> tuple[list[str], list[Row]]:
    rows = []
    for name, wanted in THINKING.items():
        request = CompletionRequest(messages=(_USER,), max_tokens=64000, thinking=wanted)
        rows.append([name, *(_thought(request, column) for column in _THINKERS)])
    return ["`thinking=`", *(column.title for column in _THINKERS)], rows


def _thought(request: CompletionRequest, column: Column) -> str:
    try:
        outgoing = codecs.outbound(column.dialect).encode_request(request, column.target(), stream=False)
    except InvalidRequest as error:
        return f"refused: {_short(error.message)}"
    body = msgspec.json.decode(outgoing.body)
    written = {name: body[name] for name in _ABOUT_THINKING if name in body}
    shown = f"`{msgspec.json.encode(written).decode()[1:-1]}`" if written else "–"
    return f"{shown} (notice)" if outgoing.notices else shown


def efforts() -> tuple[list[str], list[Row]]:
    """An effort as tokens, and tokens as an effort."""
    names = [[f"`{name}`", f"{budget:,}", f"`{effort.effort_of(budget)}`"] for name, budget in effort.BUDGETS.items()]
    return ["effort", "thinking tokens that stand for it", "effort that stands for so many tokens"], names


# ------------------------------------------------------------ finish reasons


def finish_reasons_read() -> tuple[list[str], list[Row]]:
    tables = {
        "openai_chat": openai.FINISH_REASONS,
        "anthropic_messages": anthropic.STOP_REASONS,
        "ollama_chat": ollama.FINISH_REASONS,
    }
    return ["`FinishReason`", *(f"`{name}`" for name in tables)], [
        [f"`{reason}`", *(_listed(word for word, read in table.items() if read is reason) for table in tables.values())]
        for reason in FinishReason
    ]


def finish_reasons_written() -> tuple[list[str], list[Row]]:
    tables = {
        "openai_chat": openai.WRITTEN_FINISH,
        "anthropic_messages": anthropic.WRITTEN_STOP,
        "ollama_chat": ollama.WRITTEN_FINISH,
    }
    return ["`FinishReason`", *(f"`{name}`" for name in tables)], [
        [f"`{reason}`", *(f"`{table[reason]}`" for table in tables.values())] for reason in FinishReason
    ]


def _listed(words: Iterator[str]) -> str:
    return ", ".join(f"`{word}`" for word in words) or "–"


# ------------------------------------------------------------ error codes


def error_codes() -> tuple[list[str], list[Row]]:
    """The machine codes that say more than the status."""
    tables = {
        "openai_chat": openai.ERROR_CODES,
        "openai_responses": {
            code: kind for code, kind in responses.ERROR_CODES.items() if code not in openai.ERROR_CODES
        },
        "anthropic_messages": anthropic.ERROR_CODES,
        "gemini": gemini.CODES,
        "bedrock_converse": bedrock.ERROR_CODES,
        "cohere_chat": cohere.ERROR_CODES,
        "hf_text_generation": hf_text_generation._CODES,
    }
    rows = [
        [f"`{dialect}`", f"`{code}`", f"`{kind.__name__}`"]
        for dialect, table in tables.items()
        for code, kind in table.items()
    ]
    return ["dialect", "code", "class"], rows


# ------------------------------------------------------------ notices


def notices() -> tuple[list[str], list[Row]]:
    """Every notice that the dialects can give, read from their source."""
    found: dict[tuple[str, str, str], None] = {}
    for file in sorted(SOURCES.rglob("*.py")):
        home = file.relative_to(SOURCES).parts[0].removesuffix(".py")
        for code, message in _notices_in(ast.parse(file.read_text(encoding="utf-8"))):
            found[code, home, message] = None
    return ["code", "dialect", "message"], [
        [f"`{code}`", f"`{home}`", message] for code, home, message in sorted(found)
    ]


def _notices_in(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("notice", "_notice") and len(node.args) >= 2:
            code, message = node.args[:2]
        elif name == "Notice":
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            code, message = keywords.get("code"), keywords.get("message")
        else:
            continue
        if isinstance(code, ast.Constant) and (text := _text_of(message)) is not None:
            yield str(code.value), text


def _text_of(node: ast.AST | None) -> str | None:
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text_of(value) or "" for value in values)
        case ast.FormattedValue():
            return "…"
        case _:
            return None
