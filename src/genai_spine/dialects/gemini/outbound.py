"""Speaking Gemini's generateContent to a provider: `POST {base_url}/models/{model}:generateContent`.

Must not know which provider it is: the Gemini API (base URL …/v1beta) or Vertex AI (…/publishers/google).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from genai_spine.dialects.failure import unreadable
from genai_spine.dialects.foreign import check_thread, foreign_to
from genai_spine.dialects.gemini import errors
from genai_spine.dialects.gemini import schema as wire
from genai_spine.dialects.gemini.answer import extra_of, parts_of_chunk, read_answer
from genai_spine.dialects.gemini.citations import grounded
from genai_spine.dialects.gemini.decoder import GeminiStreamDecoder
from genai_spine.dialects.gemini.history import HistoryWriter
from genai_spine.dialects.gemini.json_schema import fitted
from genai_spine.dialects.gemini.parts import ANOTHERS_PROOF
from genai_spine.dialects.gemini.search_count import with_searches
from genai_spine.dialects.gemini.thinking import thinking_of
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.lenient import counted_tokens
from genai_spine.dialects.metadata import extend, kept
from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.shortened import Renaming
from genai_spine.model.content import ToolCall
from genai_spine.model.errors import BadReply, InvalidRequest, ProviderError
from genai_spine.model.events import StreamEvent
from genai_spine.model.fold import collect
from genai_spine.model.free_text import as_functions
from genai_spine.model.request import CompletionRequest, ProviderTool, Tool, ToolChoice
from genai_spine.model.response import CompletionResponse, Notice, TokenUsage
from genai_spine.model.tool_names import GEMINI
from genai_spine.wire import json

DIALECT = wire.DIALECT
PATH = "/models/{model}:generateContent"
"""For the eye: where a request goes depends on its model, see `path`."""
path = wire.path

_INT32 = 2**31
_JSON = "application/json"
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "tool": "ANY"}


# ---------------------------------------------------------------- request


def encode_request(request: CompletionRequest, target: Target, *, stream: bool) -> Outgoing:
    """The request as this target takes it.

    Raises: InvalidRequest for content that cannot be said here: another dialect's opaque parts, files by an id of
    another service, tool calls whose arguments are no object, results of unknown calls, n > 1.
    """
    check_thread(DIALECT, request)
    writer = Writer(target)
    body = writer.body(request)
    return Outgoing(path=path(target.model, stream=stream), body=json.encode(body), notices=tuple(writer.notices))


def encode_count_request(request: CompletionRequest, target: Target) -> Outgoing:
    """The question how many input tokens the request has; what bears only on the answer is left out.

    Contents alone stand at the top; with instructions or tools the whole request stands under
    `generateContentRequest` (ai.google.dev/api/tokens, 2026-11). Raises: InvalidRequest, as `encode_request` does.
    """
    body = counted(request, target)
    if body.keys() != {"contents"}:
        body = {"generateContentRequest": {"model": wire.resource_of(target.model), **body}}
    return Outgoing(path=wire.method_path(target.model, "countTokens"), body=json.encode(body))


def counted(request: CompletionRequest, target: Target) -> dict[str, Any]:
    """What of a request is input."""
    body = Writer(target).body(request)
    return {name: body[name] for name in ("systemInstruction", "contents", "tools") if name in body}


class Writer:
    """Writes one request; collects the notices on the way."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.notices: list[Notice] = []
        self.names = Renaming(None, self.notice, GEMINI)

    def notice(self, code: str, message: str, param: str | None = None) -> None:
        self.notices.append(Notice(code=code, message=message, param=param))

    def body(self, request: CompletionRequest) -> dict[str, Any]:
        if request.n is not None and request.n > 1:
            raise InvalidRequest("n: one answer a call; ask several times for several", param="n")
        request = as_functions(request, self.notice)
        history = HistoryWriter(self.target.model, self.notice, self.names)
        system, contents = history.written(request.messages)
        own = kept(request.extra, DIALECT)
        body: dict[str, Any] = {}
        if system is not None:
            body["systemInstruction"] = system
        body["contents"] = contents
        body |= history.cached
        self.tools(request, body, own)
        config = self.config(request)
        if config:
            body["generationConfig"] = config
        self.unsaid(request)
        extend(body, request.extra, DIALECT)
        return body

    # ------------------------------------------------------------ generationConfig

    def config(self, request: CompletionRequest) -> dict[str, Any]:
        config: dict[str, Any] = {}
        sampling = {"temperature": request.temperature, "topP": request.top_p, "topK": request.top_k}
        for name, value in sampling.items():
            if value is not None and self.target.card.capabilities.sampling is False:
                self.notice("dropped", f"the model takes no {name}", name)
            elif value is not None:
                config[name] = value
        given = {
            "candidateCount": request.n,
            "maxOutputTokens": self.max_tokens(request.max_tokens),
            "stopSequences": request.stop or None,
            "seed": self.seed(request.seed),
            "frequencyPenalty": self.penalty(request.frequency_penalty, "frequency_penalty"),
            "presencePenalty": self.penalty(request.presence_penalty, "presence_penalty"),
            "thinkingConfig": thinking_of(request.thinking, self.target.card, self.notice),
        }
        config |= {name: value for name, value in given.items() if value is not None}
        self.output_schema(request, config)
        return config

    def max_tokens(self, asked: int | None) -> int | None:
        """No more than the model writes: Vertex answers 400 to more (BerriAI/litellm#10548), the Gemini API writes no
        more either (mnfst/modelparams.dev#334)."""
        most = self.target.card.max_output_tokens
        if asked is not None and most is not None and asked > most:
            self.notice("changed", f"max_tokens {asked} sent as the model's {most}", "max_tokens")
            return most
        return asked or None  # 0 is "no limit" to some that Ollama answers

    def penalty(self, value: float | None, name: str) -> float | None:
        """0 is taken of any model (google-gemini/cookbook#1290)."""
        if value and self.target.card.capabilities.penalties is False:
            self.notice("dropped", f"the model takes no {name}", name)
            return None
        return value

    def seed(self, seed: int | None) -> int | None:
        if seed is not None and not -_INT32 <= seed < _INT32:
            self.notice("dropped", "a seed has 32 bits here", "seed")
            return None
        return seed

    def output_schema(self, request: CompletionRequest, config: dict[str, Any]) -> None:
        wanted = request.output_schema
        if wanted is None:
            return
        if self.target.card.capabilities.structured_output is False:
            self.notice("dropped", "the model takes no output schema", "response_format")
            return
        config["responseMimeType"] = _JSON
        if wanted.schema is None:
            return
        schema = fitted(wanted.schema)
        if schema != wanted.schema:
            self.notice("changed", "the schema was fitted to what the service heeds", "response_format")
        named = {"title": wanted.name, "description": wanted.description}
        for key, value in named.items():
            if value is not None:
                schema.setdefault(key, value)
        config["responseJsonSchema"] = schema

    # ------------------------------------------------------------ tools

    def tools(self, request: CompletionRequest, body: dict[str, Any], own: Mapping[str, Any]) -> None:
        """The functions in one tool, where the first of them stands; each of the service's own in one."""
        tools: list[Any] = []
        functions: list[dict[str, Any]] = []
        for tool in request.tools:
            if isinstance(tool, ProviderTool):
                if self.is_sayable(tool):
                    tools.append(tool.raw)
            elif self.is_sayable(tool):
                if not functions:
                    tools.append({"functionDeclarations": functions})
                functions.append(self.function(tool))
        if tools:
            body["tools"] = tools
        choice = request.tool_choice
        if choice is not None and not _has_mode(own):
            self.tool_choice(choice, {function["name"] for function in functions}, body)
        if request.parallel_tool_calls is False and functions:
            self.notice("dropped", "calls cannot be kept to one at a time", "parallel_tool_calls")

    def tool_choice(self, choice: ToolChoice, names: set[str], body: dict[str, Any]) -> None:
        if "tools" not in body:
            self.notice("dropped", "there is no tool to choose", "tool_choice")
            return
        name = choice.name and self.names.tool(choice.name)
        if choice.mode == "tool" and name not in names:
            self.notice("dropped", f"there is no function {choice.name}", "tool_choice")
            return
        calling: dict[str, Any] = {"mode": _MODES[choice.mode]}
        if choice.mode == "tool":
            calling["allowedFunctionNames"] = [name]
        body["toolConfig"] = {"functionCallingConfig": calling}

    def is_sayable(self, tool: Tool | ProviderTool) -> bool:
        if isinstance(tool, ProviderTool):
            if tool.dialect != DIALECT:
                self.notice("dropped", f"the tool {tool.name} is known to {tool.dialect} only", "tools")
            return tool.dialect == DIALECT
        return True

    def function(self, tool: Tool) -> dict[str, Any]:
        written: dict[str, Any] = {"name": self.names.tool(tool.name)}
        if tool.description is not None:
            written["description"] = tool.description
        own = kept(tool.provider_metadata, DIALECT)
        if tool.parameters is not None and "parameters" not in own and "parametersJsonSchema" not in own:
            schema = fitted(tool.parameters)
            if schema != tool.parameters:
                self.notice("changed", f"the schema of {tool.name} was fitted to what the service heeds", "tools")
            written["parametersJsonSchema"] = schema
        if tool.strict:
            self.notice("dropped", f"{tool.name}: a function cannot be strict here", "tools")
        return extend(written, tool.provider_metadata, DIALECT)

    # ------------------------------------------------------------ what cannot be said

    def unsaid(self, request: CompletionRequest) -> None:
        for name, value in (("user", request.user), ("context_window", request.context_window)):
            if value is not None:
                self.notice("dropped", f"the service takes no {name}", name)
        parts = (part for message in request.messages for part in message.content)
        functions = (tool for tool in request.tools if isinstance(tool, Tool))
        if request.cache is not None or any(each.cache is not None for each in (*parts, *functions)):
            self.notice("dropped", "prompts are cached unasked here, or by their name", "cache_control")
        for found in foreign_to(DIALECT, request):
            self.notice(found.code, found.message, found.param)


def _has_mode(own: Mapping[str, Any]) -> bool:
    """Whether the caller, speaking this dialect, chose a mode that the middle has no word for (VALIDATED)."""
    config = own.get("toolConfig")
    calling = config.get("functionCallingConfig") if isinstance(config, dict) else None
    return isinstance(calling, dict) and "mode" in calling


# ---------------------------------------------------------------- answer


def decode_response(body: bytes, target: Target) -> CompletionResponse:
    """A plain answer; or the chunks of a stream as an array, as it comes without `alt=sse`.

    Raises: BadReply where it is none; the provider's error where a 200 carries one; ContentFiltered where the
    prompt was blocked.
    """
    if body.lstrip()[:1] == b"[":
        return _of_array(body, target)
    chunk = read_answer(body)
    if not chunk.has_candidate:
        raise BadReply("an answer without candidates")
    parts = grounded(parts_of_chunk(chunk), chunk.candidate)
    has_calls = any(isinstance(part, ToolCall) for part in parts)
    return CompletionResponse(
        id=chunk.id,
        model=chunk.model or target.model,
        created_s=chunk.created_s,
        parts=tuple(parts),
        finish_reason=wire.finish_of(chunk.finish, has_calls=has_calls),
        raw_finish_reason=chunk.finish,
        usage=wire.usage_of(with_searches(chunk.usage, chunk.model or target.model, chunk.candidate)),
        extra=extra_of(chunk.rest, chunk.candidate),
        raw=msgspec.Raw(body),
    )


_chunks = msgspec.json.Decoder(list[msgspec.Raw])


def _of_array(body: bytes, target: Target) -> CompletionResponse:
    decoder = GeminiStreamDecoder(target)
    events: list[StreamEvent] = []
    for chunk in json.decode_outbound(body, _chunks):
        decoder.take(chunk, events)
    decoder.end(events)
    return msgspec.structs.replace(collect(events), raw=msgspec.Raw(body))


def stream_decoder(target: Target) -> GeminiStreamDecoder:
    return GeminiStreamDecoder(target)


def decode_count_response(body: bytes) -> int:
    """{"totalTokens": 12}; a prompt of nothing is counted by leaving the number out. Raises: BadReply."""
    return counted_tokens(body, "totalTokens", default=0)


# ---------------------------------------------------------------- errors


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error of an answer that is not 200; whatever the body is."""
    members = json.read_or_none(body)
    return unreadable(status, headers) if members is None else errors.error_of(members, status, headers)


def decode_embedded_error(body: bytes) -> ProviderError | None:
    members = json.read_or_none(body)
    if isinstance(members, list) and members:
        members = members[0]
    found = isinstance(members, dict) and isinstance(members.get("error"), dict)
    return errors.error_of(members, None, {}) if found else None


# ---------------------------------------------------------------- relay


def decode_usage(raw: msgspec.Raw) -> TokenUsage | None:
    try:
        return wire.usage_of(json.ANY.decode(raw))
    except json.UNREADABLE:
        return None  # a number out of range: nobody counted that


def concerns(members: Mapping[str, msgspec.Raw], quirks: Quirks) -> bool:
    """No quirk is about this dialect. But our own fields in its spelling are for us: the service refuses them, and so
    it does another service's proof of a thought, which we showed to a caller as a signature."""
    return "costLimit" in members or "providerHint" in members or _ANOTHERS_PROOF in bytes(members.get("contents", b""))


_ANOTHERS_PROOF = ANOTHERS_PROOF.encode()
