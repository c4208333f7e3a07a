"""Where settings come from, and in which order: defaults < file < .env < environment < arguments.

`load_settings` is the only function here that a caller needs; it reads at most two files, and takes the
environment and the working directory as arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path as File
from typing import Any

import msgspec

from genai_spine.model.errors import ConfigError
from genai_spine.settings.build import BAD, Text, build
from genai_spine.settings.canonical import Canonical
from genai_spine.settings.complete import complete
from genai_spine.settings.environment import Names, read_variables
from genai_spine.settings.expand import expand
from genai_spine.settings.explain import Origins, Problem, fail, unknown_key
from genai_spine.settings.read import Document, read_document, read_text
from genai_spine.settings.tree import Loaded, Settings

FILES = ("spine.toml", "spine.yaml", "spine.yml")


def load_settings(
    path: File | None = None,
    *,
    environ: Mapping[str, str],
    cwd: File,
    overrides: Mapping[str, Any] | None = None,
    plugins: Collection[str] = (),
    strategies: Callable[[], Collection[str]] = tuple,
) -> Settings:
    """The settings in force for a process with this environment, started in `cwd`.

    `path` is the file of `--config`; else GENAI_CONFIG names it, else the first of spine.toml, spine.yaml
    and spine.yml in `cwd` is read, else there is none. `overrides` is nested (`{"server": {"port": 1}}`) or
    dotted (`{"server.port": 1}`); None values are left out. `plugins` are provider types that entry points
    registered, and `strategies` gives the routing strategies that they did. Where no source configures a
    provider, those that the environment has keys for are configured, and Ollama (`discover`).

    Raises: ConfigError, with every problem found.
    """
    problems: list[Problem] = []
    origins = Origins()
    warnings: list[str] = []
    dotenv = _read_dotenv(cwd, warnings)
    variables = {**dotenv, **{name: text for name, text in environ.items() if text.strip() or name not in dotenv}}

    document = _find_document(path, variables, cwd, warnings)
    tree: dict[str, Any] = {}
    sources: list[str] = []
    if document is not None:
        sources.append(document.name)
        Canonical(document.tree, document.label, origins, problems).merge_into(tree)
        tree = expand(tree, (), variables.get, problems)
    sources += [".env"] * bool(dotenv)
    for values, place in ((dotenv, ".env: "), (environ, "")):
        found, labels, noticed = read_variables(values, Names(_types(tree), tree), place)
        sources += sorted(labels.values()) if values is environ else ()
        Canonical(found, labels.get, origins, problems).merge_into(tree)
        warnings += noticed
    Canonical(_nested(overrides or {}), lambda _: "argument", origins, problems).merge_into(tree)

    if "loaded" in tree:
        problems.append(Problem(("loaded",), unknown_key("loaded", Settings.__struct_fields__[:-1])))
    settings = build(Settings, tree, (), problems)
    if settings is BAD or problems:
        fail(problems, origins)
    discovered = not settings.providers.by_id
    settings = complete(settings, variables, plugins, problems, strategies, warnings)
    if problems:
        fail(problems, origins)
    loaded = Loaded(
        file=document.name if document is not None else None,
        keys=origins.keys(),
        sources=tuple(sources),
        warnings=tuple(warnings),
        discovered=discovered,
    )
    return msgspec.structs.replace(settings, loaded=loaded)


# The sources


def _read_dotenv(cwd: File, warnings: list[str]) -> dict[str, str]:
    """What its lines set; of one that cannot be read there is a warning, since it may be the key that is missed."""
    file = cwd / ".env"
    if not file.is_file():
        return {}
    from io import StringIO  # noqa: PLC0415 - only those who have a .env pay for its parser

    from dotenv.parser import parse_stream  # noqa: PLC0415  # only where there is such a file

    values: dict[str, str] = {}
    for line in parse_stream(StringIO(read_text(file, ".env"))):
        if line.error:
            warnings.append(f".env:{line.original.line}: sets nothing: expected NAME=value")
        elif line.key is not None and line.value is not None:
            values[line.key] = line.value
    return values


def _find_document(path: File | None, variables: Mapping[str, str], cwd: File, warnings: list[str]) -> Document | None:
    if path is None and variables.get("GENAI_CONFIG", "").strip():
        path = File(variables["GENAI_CONFIG"].strip())
    folder = cwd
    if path is not None:
        path = cwd / path.expanduser()
        if not path.is_dir():
            return read_document(path, _shown(path, cwd))
        folder = path
    found = [folder / name for name in FILES if (folder / name).exists()]
    if not found:
        if path is None:
            return None
        raise ConfigError(f"{_shown(folder, cwd)}: a directory without {', '.join(FILES)}; name a file")
    if len(found) > 1:
        warnings.append(f"{_shown(found[1], cwd)}: not read, since there is {found[0].name}; keep one of the two")
    return read_document(found[0], _shown(found[0], cwd))


def _shown(path: File, cwd: File) -> str:
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as tables, without what is None; texts may stand for numbers, as on a command line.

    Raises: ConfigError for a key that is no text, or one within what is no table.
    """
    tree: dict[str, Any] = {}
    for name, value in overrides.items():
        _check_key(name)
        if value is None:
            continue
        value = _given(value)
        *tables, key = name.split(".")
        table = tree
        for part in tables:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"argument: {name}: {part} is no table here, since it has a value of its own")
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            table[key] |= value
        else:
            table[key] = value
    return tree


def _given(value: Any) -> Any:
    """The same for what stands under one key; there a name is a name, whatever its dots: `gpt-4.1`."""
    if isinstance(value, Mapping):
        return {_check_key(name): _given(part) for name, part in value.items() if part is not None}
    if isinstance(value, list | tuple):
        return [_given(part) if isinstance(part, Mapping) else part for part in value]
    return Text(value) if isinstance(value, str) else value


def _check_key(name: Any) -> str:
    if not isinstance(name, str):
        raise ConfigError(f"argument: {name!r}: a key that is not text; put it in quotes")
    return name


def _types(tree: Mapping[str, Any]) -> dict[str, str]:
    """The type of each provider in a tree that is not yet checked."""
    providers = tree.get("providers")
    by_id = providers.get("by_id") if isinstance(providers, dict) else None
    if not isinstance(by_id, dict):
        return {}
    return {id: str(table.get("type") or id) for id, table in by_id.items() if isinstance(table, dict)}
