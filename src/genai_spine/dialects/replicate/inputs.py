"""The inputs of a model: what each is called, and a request said in them.

Every model publishes the schema of its inputs (`openapi_schema` of a version, replicate.com/docs/reference/http,
2026-11), and models name the same thing differently: `max_tokens` and `max_new_tokens`, `stop_sequences` as one
text and `stop` as a list. What the schema names is used. `learned` puts it on the model's card, from where
`inputs_of` reads it; where it could not be had, the names are those of Meta's models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from genai_spine.dialects import effort
from genai_spine.dialects.foreign import foreign_to
from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.turns import Talk, Writer, data_url
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Image
from genai_spine.model.errors import BadReply, InvalidRequest
from genai_spine.model.request import CompletionRequest
from genai_spine.wire import json

DIALECT = "replicate"

NAMES: dict[str, tuple[str, ...]] = {
    "system": ("system_prompt", "system_instruction", "system"),
    "max_tokens": ("max_tokens", "max_new_tokens", "max_completion_tokens", "max_output_tokens", "max_length"),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "top_k": ("top_k",),
    "frequency_penalty": ("frequency_penalty",),
    "presence_penalty": ("presence_penalty",),
    "stop": ("stop_sequences", "stop"),
    "seed": ("seed",),
    "effort": ("reasoning_effort",),
    "images": ("image_input", "images", "image"),
}
"""What a request says, and what models call it; the first that a model's schema has."""

_ASSUMED: Mapping[str, str] = {
    **dict.fromkeys(("prompt", "system_prompt", "stop_sequences"), "string"),
    **dict.fromkeys(("max_tokens", "top_k", "seed"), "integer"),
    **dict.fromkeys(("temperature", "top_p", "frequency_penalty", "presence_penalty"), "number"),
}

Inputs = Mapping[str, str]
"""Name to JSON type: string, number, integer, boolean, array, object, or "any"."""


# ---------------------------------------------------------------- a model's own schema


class Schemas(msgspec.Struct, frozen=True):
    schemas: dict[str, Any] = {}


class OpenAPI(msgspec.Struct, frozen=True):
    components: Schemas = Schemas()


class Version(msgspec.Struct):
    id: str | None = None
    openapi_schema: OpenAPI | None = None


class Described(msgspec.Struct):
    """`GET /models/{owner}/{name}`, or `GET …/versions/{id}`, which is a version itself."""

    latest_version: Version | None = None
    openapi_schema: OpenAPI | None = None


_described = msgspec.json.Decoder(Described)


def learned(card: ModelCard, body: bytes) -> ModelCard:
    """The card with the model's inputs, and whether what comes out is text, from what Replicate tells of it.

    Raises: BadReply.
    """
    described = json.decode_outbound(body, _described)
    found = described.openapi_schema or (described.latest_version.openapi_schema if described.latest_version else None)
    schemas = found.components.schemas if found is not None else {}
    told: dict[str, Any] = {}
    properties = schemas["Input"].get("properties") if isinstance(schemas.get("Input"), dict) else None
    if isinstance(properties, dict):
        told["inputs"] = {name: _type_of(schema) for name, schema in properties.items()}
    if _is_file(schemas.get("Output")):
        told["makes_files"] = True
    own = keep(DIALECT, {**kept(card.extra, DIALECT), **told})
    return msgspec.structs.replace(card, extra={**(card.extra or {}), **(own or {})}) if told else card


def _type_of(schema: Any) -> str:
    kind = schema.get("type") if isinstance(schema, dict) else None
    return kind if isinstance(kind, str) else "any"


def _is_file(schema: Any) -> bool:
    """Whether an output is a file, or a list of them: a string whose format is a URI."""
    if not isinstance(schema, dict):
        return False
    if schema.get("type") == "array":
        return _is_file(schema.get("items"))
    return schema.get("format") == "uri"


def inputs_of(card: ModelCard) -> Inputs:
    """Raises: InvalidRequest for a model that is known to make files, or to take no prompt."""
    told = kept(card.extra, DIALECT)
    if told.get("makes_files"):
        raise InvalidRequest(f"{card.id} makes files, not text: it cannot answer a conversation", param="model")
    inputs = told.get("inputs")
    if inputs is None:
        return _ASSUMED
    if not isinstance(inputs, dict):
        raise BadReply("a model's inputs that are no object")
    if "prompt" not in inputs:
        raise InvalidRequest(f"{card.id} takes no prompt: it cannot answer a conversation", param="model")
    return inputs


# ---------------------------------------------------------------- a request in them


def written(request: CompletionRequest, inputs: Inputs, writer: Writer) -> dict[str, Any]:
    """The `input` of a prediction. What the model has no input for is left out with a Notice.

    Raises: InvalidRequest for content that cannot be said: tools and their calls, audio, PDFs, n > 1.
    """
    if request.n is not None and request.n > 1:
        raise InvalidRequest("n: one answer a call; ask several times for several", param="n")
    writer.refuse_tools(request)
    names = {asked: _name(asked, inputs) for asked in NAMES}
    body = _said(writer.talk(request.messages), names, inputs, writer)
    for asked in ("max_tokens", "temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed"):
        if (value := getattr(request, asked)) is not None:
            _put(body, names[asked], value, asked, writer)
    if request.stop:
        _put_stop(body, names["stop"], request.stop, inputs, writer)
    _put_effort(body, names["effort"], request, writer)
    for param in ("output_schema", "user", "cache"):
        if getattr(request, param) is not None:
            writer.notice("dropped", f"Replicate has no {param}", param)
    for name, value in kept(request.extra, DIALECT).items():
        body.setdefault(name, value)
    for found in foreign_to(DIALECT, request):
        writer.notice(found.code, found.message, found.param)
    return body


def takes_images(inputs: Inputs) -> bool:
    return _name("images", inputs) is not None


def _name(asked: str, inputs: Inputs) -> str | None:
    return next((name for name in NAMES[asked] if name in inputs), None)


def _said(talk: Talk, names: Mapping[str, str | None], inputs: Inputs, writer: Writer) -> dict[str, Any]:
    body: dict[str, Any] = {"prompt": talk.prompt}
    if talk.system is not None:
        if (name := names["system"]) is not None:
            body[name] = talk.system
        else:
            body["prompt"] = f"{talk.system}\n\n{talk.prompt}"
            writer.notice("changed", "the model has no system prompt: it stands before the prompt", "messages")
    if talk.images and (name := names["images"]) is not None:
        body[name] = _images(talk.images, inputs[name], name)
    return body


def _images(images: tuple[Image, ...], kind: str, name: str) -> Any:
    urls = [data_url(image) for image in images]
    if kind == "array":
        return urls
    if len(urls) > 1:
        raise InvalidRequest(f"this model takes one image ({name}), and {len(urls)} were given", param="messages")
    return urls[0]


def _put(body: dict[str, Any], name: str | None, value: Any, param: str, writer: Writer) -> None:
    if name is None:
        writer.notice("dropped", f"the model has no input for {param}", param)
    else:
        body[name] = value


def _put_stop(body: dict[str, Any], name: str | None, stop: tuple[str, ...], inputs: Inputs, writer: Writer) -> None:
    if name is not None and inputs[name] != "array":
        sayable = [text for text in stop if "," not in text]  # a comma is what parts them
        if len(sayable) < len(stop):
            writer.notice("dropped", "a stop sequence with a comma cannot be said here", "stop")
        if sayable:
            body[name] = ",".join(sayable)
        return
    _put(body, name, list(stop), "stop", writer)


def _put_effort(body: dict[str, Any], name: str | None, request: CompletionRequest, writer: Writer) -> None:
    thinking = request.thinking
    if thinking is None:
        return
    level = thinking.effort
    if level is None and thinking.budget_tokens is not None:
        level = effort.effort_of(thinking.budget_tokens)
    if name is None or level is None or thinking.enabled is False:
        writer.notice("dropped", "how much the model thinks cannot be said here", "thinking")
        return
    body[name] = level
    if thinking.effort is None:
        writer.notice("changed", f"a budget is sent as {level!r}", "thinking")
