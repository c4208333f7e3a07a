"""`classify`: which of the caller's labels fit a text.

There is no confidence: what models say of their own certainty is not measured, and few services tell the
probabilities of what they say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from genai_spine.capabilities.ask import Ask
from genai_spine.capabilities.capability import Capability, CapabilityResult, Instructions, TextRequest
from genai_spine.capabilities.checked import Check, ask_for_json
from genai_spine.capabilities.prompts import about
from genai_spine.model.errors import InvalidRequest

Name = Annotated[str, Meta(min_length=1, max_length=200)]


class Label(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A label and what it means."""

    name: Name
    description: str | None = None


class ClassifyRequest(TextRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of some labels fit a text."""

    labels: Annotated[
        Sequence[Name | Label],
        Meta(description="Names, or objects of `name` and `description`.", min_length=1, max_length=500),
    ]
    multi: Annotated[bool, Meta(description="Any number of labels may fit, also none; else exactly one does.")] = False
    instructions: Annotated[Instructions | None, Meta(description="How to decide, beside what the labels say.")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len({_plain(name) for name in self.meanings}) < len(self.labels):
            raise InvalidRequest("labels: two are the same but for case", param="labels")

    @property
    def meanings(self) -> dict[str, str | None]:
        """Each label's name with its description."""
        labels = [label if isinstance(label, Label) else Label(name=label) for label in self.labels]
        return {label.name: label.description for label in labels}


class Classification(CapabilityResult, frozen=True, kw_only=True):
    """`labels` are those that fit, spelled as the caller's. `repaired`: the first answer had others."""

    labels: tuple[str, ...]
    repaired: bool = False


# ------------------------------------------------------------ the prompt

ROLE = "You sort texts: you say which labels fit, by what a text says and not by what it claims to be."
TASK = "These are the labels:\n\n{labels}\n\n{how}{more}Answer with JSON alone, as in {example}."
ONE = "Exactly one label fits the text above: find the one that fits best. "
ANY = "Any number of labels may fit the text above, also none: find all that do. "


def _task(request: ClassifyRequest) -> str:
    meanings = request.meanings
    labels = "\n".join(f"- {name}: {text}" if text else f"- {name}" for name, text in meanings.items())
    example = msgspec.json.encode(_answer([next(iter(meanings))], multi=request.multi)).decode()
    more = f"{request.instructions.rstrip('. ')}. " if request.instructions else ""
    return TASK.format(labels=labels, how=ANY if request.multi else ONE, more=more, example=example)


# ------------------------------------------------------------ the steps


async def _steps(ask: Ask, request: ClassifyRequest) -> Classification:
    names = {_plain(name): name for name in request.meanings}
    messages = about(request.content, ROLE, _task(request))
    schema = _schema(list(names.values()), multi=request.multi)
    value, repaired = await ask_for_json(ask, messages, schema, "labels", _checker(names, multi=request.multi))
    found = {_plain(name) for name in _named(value, multi=request.multi) or ()}
    # In the caller's order, which says nothing of how well they fit.
    labels = tuple(name for plain, name in names.items() if plain in found)
    return Classification(labels=labels, repaired=repaired, **ask.bill())


def _answer(labels: list[str], *, multi: bool) -> dict[str, Any]:
    return {"labels": labels} if multi else {"label": labels[0]}


def _schema(names: list[str], *, multi: bool) -> dict[str, Any]:
    one = {"type": "string", "enum": names}
    member = {"labels": {"type": "array", "items": one}} if multi else {"label": one}
    return {"type": "object", "properties": member, "required": list(member), "additionalProperties": False}


def _checker(names: Mapping[str, str], *, multi: bool) -> Check:
    def problems(value: Any) -> list[str]:
        found = _named(value, multi=multi)
        if found is None:
            example = msgspec.json.encode(_answer(["…"], multi=multi)).decode()
            return [f"expected JSON of the form {example}"]
        known = ", ".join(names.values())
        return [
            f'there is no label "{name[:200]}": the labels are {known}' for name in found if _plain(name) not in names
        ]

    return problems


def _named(value: Any, *, multi: bool) -> list[str] | None:
    """The labels of an answer; None where it has another form."""
    if not isinstance(value, dict):
        return None
    found = value.get("labels") if multi else [value.get("label")]
    if not isinstance(found, list):
        return None
    names = [name for name in found if isinstance(name, str)]
    return names if len(names) == len(found) else None


def _plain(name: str) -> str:
    """Models write labels with capitals of their own."""
    return " ".join(name.split()).casefold()


classify = Capability("classify", ClassifyRequest, Classification, _steps)
