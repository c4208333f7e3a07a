"""The section of one provider in docs/providers.md, made of its row and of the comments in providers.toml."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from row_reasons import Reasons, load_reasons

from genai_spine.catalog.cards import card_of
from genai_spine.catalog.rows import KEY_HEADERS, ProviderRow
from genai_spine.dialects.quirks import Quirks
from genai_spine.providers import codecs

EXAMPLES = {
    "resource": "our-resource",
    "region": "eu-central-1",
    "project": "our-project",
    "location": "europe-west1",
}
"""What stands in an example for a part of an address."""
MODELS = {
    "litellm": "watsonx/ibm/granite-4",
    "anthropic": "claude-haiku-4-5",
    "groq": "openai/gpt-oss-120b",
    "gemini": "gemini-3.5-flash",
}
"""Models of examples: where a provider cannot do without, and where its default is gone, or soon is."""


def section(row: ProviderRow) -> str:
    """Heading, what to know, how to configure it, the facts, the quirks with their reasons."""
    reasons = load_reasons().get(row.id, Reasons())
    parts = [f"### {row.name} {{ #{row.id} }}"]
    if row.note:
        parts.append(f"*{_sentence(row.note)}*")
    parts += [*_configuration(row), _facts(row, reasons)]
    parts += [_sentence(said) for said in reasons.service]
    if quirks := list(_quirks(row.quirks, reasons)):
        parts.append("\n".join(["What it wants said differently:", "", *quirks]))
    return "\n\n".join(parts)


def toml(value: Any) -> str:
    match value:
        case None:
            return '"none"'
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple():
            return "[" + ", ".join(toml(item) for item in value) + "]"
        case _:
            return str(value)


# ------------------------------------------------------------ how to configure it


def _configuration(row: ProviderRow) -> Iterator[str]:
    """A table of the settings that loads as it stands, and what of it the environment may say."""
    lines = [f"[providers.{row.id}]"]
    lines += [f'{name} = "{EXAMPLES[name]}"' for name in sorted(row.settings_used) if name in EXAMPLES]
    if row.needs_base_url:
        lines.append('base_url = "https://llm.example.com/v1"')
    if row.id != "simulated":
        lines.append(f'model = "{MODELS.get(row.id) or row.default_model or "…"}"')
    yield "\n".join(["```toml", *lines, "```"])
    if row.needs_key and not row.needs_base_url:
        yield f"Without any configuration it is found by its key: `export {row.key_variables[0]}=…`."


def _key(row: ProviderRow) -> str:
    names = _code(row.key_variables, " or ") if row.key_variables else "`api_key`"
    header = KEY_HEADERS.get(row.auth, ("", ""))[0]
    if row.auth == "none":
        return "none"
    if row.is_cloud:
        return f"{names}, sent as `{header}`; without one, the cloud's own credentials"
    if row.needs_key:
        return "needed" + (f", sent as `{header}`: " if header != "authorization" else ": ") + names
    return f"if the server wants one: {names}"


# ------------------------------------------------------------ what it is and can do


def _facts(row: ProviderRow, reasons: Reasons) -> str:
    facts = [("type", _code([row.id, *row.aliases])), ("key", _key(row)), *_addresses(row)]
    for setting, variables in row.variables.items():
        facts.append((f"`{setting}`, if not set", _code(variables, " or ")))
    for setting, value in row.defaults.items():
        facts.append((f"`{setting}`, if nobody says", f"`{value}`"))
    facts.append(("chat", _code(row.chat)))
    facts.append(("embeddings", f"`{row.embeddings}`" if row.embeddings else "–"))
    facts.append(("reranking", f"`{row.rerank}`" if row.rerank else "–"))
    listed = f"from `{row.models_path.partition('?')[0]}`" if row.models_path else "those of `models` in its settings"
    facts.append(("list of models", _with(listed, reasons.settings.get("models_path"))))
    counted = "by the service" if row.chat[0] in codecs.COUNTING else "estimated"
    facts.append(("tokens before a call", counted))
    for name, model in (("default model", row.default_model), ("default embedding model", row.embed_model)):
        if model:
            key = "default_model" if name == "default model" else "embed_model"
            retired = card_of(row.id, row.id, model).retired
            told = f"`{model}`" + (f", gone from {retired} on: set `model`" if retired is not None else "")
            facts.append((name, _with(told, reasons.settings.get(key))))
    if row.id != "simulated":
        facts.append(("documentation", f"<{row.docs}>"))
    lines = ["|  |  |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {name} | {_cell(value)} |" for name, value in facts)])


def _addresses(row: ProviderRow) -> Iterator[tuple[str, str]]:
    if row.base_url:
        yield "base URL", f"`{row.base_url}`"
    elif row.needs_base_url:
        yield "base URL", "yours: set `base_url`"
    for dialect, url in row.base_urls.items():
        yield f"base URL of `{dialect}`", f"`{url}`"
    for variant in row.variants:
        when = " and ".join(_condition(name, value) for name, value in variant.when.items())
        yield f"base URL where {when}", f"`{variant.base_url}`"


def _condition(setting: str, value: str) -> str:
    return {"*": f"`{setting}` is set", "": f"`{setting}` is not set"}.get(value, f"`{setting}` is `{value}`")


# ------------------------------------------------------------ quirks


def _quirks(quirks: Quirks, reasons: Reasons) -> Iterator[str]:
    """A list of the quirks that are set, each with what providers.toml says of it."""
    plain = Quirks()
    left = {
        name: f"`{name} = {toml(value)}`"
        for name in quirks.__struct_fields__
        if (value := getattr(quirks, name)) != getattr(plain, name)
    }
    for names, said in reasons.quirks:
        written = [left.pop(name) for name in names if name in left]
        yield f"- {', '.join(written)}: {_plain(said)}" if written else f"- {_plain(said)}"
    yield from (f"- {written}" for written in left.values())


# ------------------------------------------------------------ words


def _code(words: Iterable[str], between: str = ", ") -> str:
    return between.join(f"`{word}`" for word in words) or "–"


def _with(text: str, more: str | None) -> str:
    return f"{text} ({_plain(more)})" if more else text


def _sentence(text: str) -> str:
    text = _plain(text)
    return text[0].upper() + text[1:] + ("" if text.endswith((".", ")", "?")) else ".")


def _plain(text: str) -> str:
    """A comment's words as Markdown takes them: what stands in angles or braces is meant as it is."""
    return text.replace("<", "&lt;").replace("[", "\\[")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
