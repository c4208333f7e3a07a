"""Settings seen from outside: warnings, a dump without secrets, the JSON Schema, the reference's table."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import msgspec

from genai_spine.catalog.rows import find_row
from genai_spine.settings import budget_checks
from genai_spine.settings.build import DURATION, describe, field_types, is_struct, is_union, split, words_of
from genai_spine.settings.caller_keys import idle_patterns
from genai_spine.settings.canonical import PROVIDER_ALIASES, RETRY_ALIASES
from genai_spine.settings.explain import dotted
from genai_spine.settings.idle import idle_keys
from genai_spine.settings.tree import ProvidersSettings, RouteTarget, Settings
from genai_spine.settings.values import Duration, Secret


def warnings_of(settings: Settings) -> list[str]:
    """What to tell the operator at start and in `spine config check`; nothing here stops the program."""
    warnings = list(settings.loaded.warnings)
    for id, provider in settings.providers.by_id.items():
        row = find_row(provider.type)
        if row is not None and row.note:
            warnings.append(f"providers.{id}: {row.note}")
        warnings += [f"providers.{id}.safety_settings: {words}" for words in _strange_safety(provider.safety_settings)]
    warnings += idle_patterns(settings)
    warnings += idle_keys(settings)
    warnings += budget_checks.warnings(settings)
    return warnings


def _strange_safety(given: Any) -> Iterator[str]:
    """Words of `safety_settings` that Gemini is not known to have; what is in no form at all is refused elsewhere."""
    if not given:
        return
    from genai_spine.dialects.gemini.safety import unknown_words  # noqa: PLC0415  # who sets none pays nothing

    if isinstance(given, list):
        given = {each.get("category"): each.get("threshold") for each in given if isinstance(each, dict)}
    if isinstance(given, dict):
        texts = [pair for pair in given.items() if all(isinstance(text, str) for text in pair)]
        for word, known in unknown_words(texts):
            yield f'Gemini is not known to have "{word}", but {", ".join(sorted(known))}'


# A dump without secrets


def redacted(settings: Settings) -> dict[str, Any]:
    """The settings as plain data in the shape of a file, each secret as `***`, without what is unset."""
    result: dict[str, Any] = _plain(settings)
    del result["loaded"]
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return "***"
    if isinstance(value, ProvidersSettings):
        own = {name: getattr(value, name) for name in value.__struct_fields__ if name != "by_id"}
        return _plain(own) | _plain(value.by_id)
    if isinstance(value, msgspec.Struct):
        return _plain({name: getattr(value, name) for name in value.__struct_fields__})
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items() if part is not None}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Duration):
        return int(value) if value.is_integer() else float(value)
    return str(value) if isinstance(value, str) else value


# The JSON Schema


REFERENCE = {"type": "string", "pattern": r"\$\{"}
"""`"${PORT}"` may stand for a number."""


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a settings file, for editors."""
    body = _schema_of(Settings)
    del body["properties"]["loaded"]
    providers = body["properties"]["providers"]
    table = providers["properties"].pop("by_id")["additionalProperties"]
    for alias, name in PROVIDER_ALIASES.items():
        table["properties"][alias] = table["properties"][name] | {"description": f"The same key as `{name}`."}
    # Mixed: known keys, and a table for every other. S1's list of tables is taken too.
    providers["additionalProperties"] = table
    providers = {
        "anyOf": [providers, {"type": "array", "items": table}],
        "description": providers["description"],
    }
    body["properties"]["providers"] = providers
    for alias in RETRY_ALIASES:
        body["properties"]["retry"]["properties"][alias] = {"type": "number", "minimum": 0}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "GenAI Spine settings",
        **body,
    }


def _schema_of(annotation: Any) -> dict[str, Any]:
    type_, meta = split(annotation)
    result = _schema_of_type(type_)
    if meta is not None:
        bounds = {"minimum": meta.ge, "exclusiveMinimum": meta.gt, "maximum": meta.le}
        bounds = {name: bound for name, bound in bounds.items() if bound is not None}
        for number in (result, *result.get("anyOf", ())):
            if number.get("type") in ("integer", "number"):
                number |= bounds
        result = result | {"description": meta.description}
    return result


def _schema_of_type(type_: Any) -> dict[str, Any]:
    if type_ is Any:
        return {}
    if words := words_of(type_):
        return {"enum": words}
    if is_union(type_):
        members = [_schema_of(member) for member in get_args(type_) if member is not types.NoneType]
        return members[0] if len(members) == 1 else {"anyOf": members}
    if get_origin(type_) in (list, tuple):
        return {"type": "array", "items": _schema_of(get_args(type_)[0])}
    if get_origin(type_) is dict:
        return {"type": "object", "additionalProperties": _schema_of(get_args(type_)[1])}
    if is_struct(type_):
        required = [field.name for field in msgspec.structs.fields(type_) if field.required]
        table: dict[str, Any] = {
            "type": "object",
            "properties": {name: _schema_of(hint) for name, hint in field_types(type_).items()},
            "additionalProperties": False,
        }
        if required:
            table["required"] = required
        return {"anyOf": [{"type": "string"}, table]} if type_ is RouteTarget else table
    if type_ is Duration:
        pattern = rf"^(?:{DURATION.pattern})$|\$\{{"
        return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": pattern}]}
    if type_ in (str, Secret):
        return {"type": "string"}
    name = {int: "integer", float: "number", bool: "boolean"}[type_]
    return {"anyOf": [{"type": name}, dict(REFERENCE)]}


# The settings reference


class Entry(msgspec.Struct, frozen=True):
    """One line of the settings reference."""

    key: str
    """Dotted, `<id>` for a name of your own, `[]` behind a list of tables."""
    type: str
    default: str
    doc: str


def document() -> list[Entry]:
    """Every key that can be set, in the order of tree.py."""
    return list(_entries(Settings, ()))


def _entries(struct: type[msgspec.Struct], path: tuple[str, ...]) -> Iterator[Entry]:
    hints = field_types(struct)
    for field in msgspec.structs.fields(struct):
        type_, meta = split(hints[field.name])
        here = (*path, field.name)
        if field.name == "loaded":
            continue
        if is_struct(type_):
            yield from _entries(type_, here)
            continue
        optional = [member for member in get_args(type_) if is_struct(member)] if is_union(type_) else []
        if optional:
            yield from _entries(optional[0], here)
            continue
        key = dotted(here)
        if get_origin(type_) is dict and is_struct(get_args(type_)[1]):
            inner = (*path, "<id>") if field.name == "by_id" else (*here, "<id>")
            yield from _entries(get_args(type_)[1], inner)
            continue
        default = (
            field.default_factory() if field.default is msgspec.NODEFAULT and not field.required else field.default
        )
        yield Entry(
            key=key,
            type=_type_name(type_),
            default="required" if field.required else _default_name(default),
            doc=(meta.description if meta is not None else None) or "",
        )
        if get_origin(type_) in (list, tuple) and is_struct(get_args(type_)[0]):
            yield from _entries(get_args(type_)[0], (*path, f"{field.name}[]"))


def _type_name(type_: Any) -> str:
    if type_ is Any:
        return "anything"
    if get_origin(type_) in (list, tuple):
        return f"list of {_type_name(get_args(type_)[0])}"
    if get_origin(type_) is dict:
        return f"table of {_type_name(get_args(type_)[1])}"
    if is_union(type_):
        return " or ".join(_type_name(member) for member in get_args(type_) if member is not types.NoneType)
    if words := words_of(type_):
        return " | ".join(words)
    if is_struct(type_):
        return "target" if type_ is RouteTarget else "table"
    return {Secret: "secret text", Duration: "duration"}.get(type_) or describe(type_)


def _default_name(value: Any) -> str:
    match value:
        case None | "":
            return "–"
        case bool():
            return str(value).lower()
        case Duration():
            return f"{value:g}s"
        case list() | tuple() | dict():
            return ", ".join(str(part) for part in value) or "–"
        case float():
            return f"{value:g}"
        case _:
            return str(value)
