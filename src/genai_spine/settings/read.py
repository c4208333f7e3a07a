"""A settings file to plain values, with the line of every key: TOML or YAML, bounded in every direction.

Must not know what the keys mean.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path as File
from typing import Any, NoReturn

import msgspec

from genai_spine.model.errors import ConfigError
from genai_spine.settings.explain import Path, dotted

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_ALIASES = 100
MAX_VALUES = 20_000
"""After aliases are followed: a hundred of them can still stand for billions of values."""

PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")}


class Document(msgspec.Struct, frozen=True):
    name: str
    """As messages show it."""
    tree: dict[str, Any]
    lines: dict[Path, int]

    def label(self, path: Path) -> str:
        """`spine.toml:12`: the key's line, or that of the one-line table around it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return f"{self.name}:{self.lines[path[:end]]}"
        return self.name


def read_document(file: File, name: str) -> Document:
    """Raises: ConfigError, naming the file and, where it can, the line."""
    text = read_text(file, name)
    suffix = file.suffix.lower()
    if suffix == ".toml":
        return _toml(text, name)
    if suffix in (".yaml", ".yml", ".json"):  # JSON is YAML, as far as settings go
        return _yaml(text, name)
    raise ConfigError(f"{name}: settings are .toml or .yaml; rename the file, or name another")


def read_text(file: File, name: str) -> str:
    """The text of a file of bounded size; a byte order mark is dropped."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{name}: no such file; check the path (--config, GENAI_CONFIG)") from None
    except IsADirectoryError:
        raise ConfigError(f"{name}: is a directory; name the file in it") from None
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}; check its owner and mode") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{name}: larger than {MAX_BYTES // 1024} KiB; this is not a settings file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}:{line}: not UTF-8; save the file as UTF-8") from None


# TOML


KEY = r"""(?:[A-Za-z0-9_-]+|"[^"\\]*"|'[^']*')"""
KEYS = rf"{KEY}(?:\s*\.\s*{KEY})*"
HEADER = re.compile(rf"\s*(\[\[?)\s*({KEYS})\s*\]")
ASSIGNMENT = re.compile(rf"\s*({KEYS})\s*=")
TOKEN = re.compile(r'"""|\'\'\'|"(?:[^"\\]|\\.)*"|\'[^\']*\'|#.*|[\[\]{}]')


def _toml(text: str, name: str) -> Document:
    # tomllib takes minutes for a key of many thousand parts.
    for number, line in enumerate(text.splitlines(), start=1):
        if line.count(".", 0, line.find("=")) > MAX_DEPTH:
            raise ConfigError(f"{name}:{number}: nested deeper than {MAX_DEPTH}; this is not a settings file")
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # "Invalid value (at line 3, column 5)": the line goes where all messages have it.
        match = re.fullmatch(r"(.*?) \(at line (\d+), column \d+\)", str(error), re.DOTALL)
        where, reason = (f"{name}:{match[2]}", match[1]) if match else (name, str(error))
        raise ConfigError(f"{where}: not TOML: {reason[:1].lower()}{reason[1:]}") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply; this is not a settings file") from None
    except ValueError:  # Python's own: int() takes 4,300 digits at most
        raise ConfigError(f"{name}: a number of thousands of digits; this is not a settings file") from None
    _check_depth(tree, name)
    return Document(name, tree, _toml_lines(text, tree))


def _check_depth(tree: Any, name: str) -> None:
    level = [tree]
    values = 0
    for _ in range(MAX_DEPTH):
        values += sum(len(value) for value in level)
        if values > MAX_VALUES:
            raise ConfigError(f"{name}: more than {MAX_VALUES} values; this is not a settings file")
        level = [
            part
            for value in level
            for part in (value.values() if isinstance(value, dict) else value)
            if isinstance(part, dict | list)
        ]
        if not level:
            return
    raise ConfigError(f"{name}: nested deeper than {MAX_DEPTH}; this is not a settings file")


def _keys(text: str) -> Path:
    return tuple(part.strip("\"'") for part in re.findall(KEY, text))


def _toml_lines(text: str, tree: dict[str, Any]) -> dict[Path, int]:
    """The line of each key, by a scan that is good enough: what it is not sure of, it leaves out."""
    lines: dict[Path, int] = {}
    seen: set[Path] = set()
    lists: dict[Path, int] = {}
    table: Path = ()
    open_string = ""
    brackets = 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not open_string and not brackets:
            if header := HEADER.match(line):
                table = _keys(header[2])
                for end in range(1, len(table)):
                    lines.setdefault(table[:end], number)
                if header[1] == "[[":
                    lists[table] = lists.get(table, -1) + 1
                    lines.setdefault(table, number)
                    table = (*table, lists[table])
                lines[table] = number
                continue
            assignment = ASSIGNMENT.match(line)
            if assignment is None:
                continue
            path = (*table, *_keys(assignment[1]))
            lines.setdefault(path, number)
            if path in seen:
                del lines[path]
            seen.add(path)
            line = line[assignment.end() :]
        open_string, brackets = _scan(line, open_string, brackets)
    return {path: line for path, line in lines.items() if _holds(tree, path)}


def _scan(line: str, open_string: str, brackets: int) -> tuple[str, int]:
    """Whether a value goes on in the next line: inside which long string, inside how many brackets."""
    place = 0
    while place < len(line):
        if open_string:
            end = line.find(open_string, place)
            if end < 0:
                return open_string, brackets
            open_string, place = "", end + 3
            continue
        token = TOKEN.search(line, place)
        if token is None:
            break
        place = token.end()
        if token[0] in ('"""', "'''"):
            open_string = token[0]
        elif token[0] in "[{":
            brackets += 1
        elif token[0] in "]}":
            brackets -= 1
    return open_string, brackets


def _holds(tree: Any, path: Path) -> bool:
    for part in path:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


# YAML


def _yaml(text: str, name: str) -> Document:
    import yaml  # noqa: PLC0415 - 40 ms that only those who write YAML should pay

    # The C parser where it is installed: the other one takes seconds for a megabyte.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    def refuse(mark: Any, reason: str) -> NoReturn:
        raise ConfigError(f"{name}:{mark.line + 1}: {reason}")

    try:
        _check_events(yaml.parse(text, Loader=loader), refuse)
        root = yaml.compose(text, Loader=loader)
        if root is None:
            return Document(name, {}, {})
        reader = _YamlReader(yaml.SafeLoader(""), refuse)
        tree = reader.value(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError(f"{where}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not YAML: {str(error).splitlines()[0]}") from None
    if tree is None:
        return Document(name, {}, {})
    if not isinstance(tree, dict):
        refuse(root.start_mark, "the file must hold a table of settings, such as `providers:`")
    return Document(name, tree, reader.lines)


def _check_events(events: Iterable[Any], refuse: Callable[[Any, str], NoReturn]) -> None:
    """Depth and aliases, before anything is built."""
    depth = aliases = 0
    for event in events:
        kind = type(event).__name__
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            depth += 1
            if depth > MAX_DEPTH:
                refuse(event.start_mark, f"nested deeper than {MAX_DEPTH}; this is not a settings file")
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            depth -= 1
        elif kind == "AliasEvent":
            aliases += 1
            if aliases > MAX_ALIASES:
                refuse(event.start_mark, f"more than {MAX_ALIASES} aliases; this is not a settings file")


class _YamlReader:
    """Nodes to plain values, noting the line of each key; refuses what is not plain data."""

    def __init__(self, constructor: Any, refuse: Callable[[Any, str], NoReturn]) -> None:
        self.lines: dict[Path, int] = {}
        self._constructor = constructor
        self._refuse = refuse
        self._values = 0

    def value(self, node: Any, path: Path) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            reason = f"more than {MAX_VALUES} values, aliases followed; this is not a settings file"
            return self._refuse(node.start_mark, reason)
        if len(path) > MAX_DEPTH:  # an alias inside its own anchor
            return self._refuse(node.start_mark, f"nested deeper than {MAX_DEPTH}; this is not a settings file")
        match type(node).__name__:
            case "MappingNode" if node.tag == "tag:yaml.org,2002:map":
                return self._mapping(node, path)
            case "SequenceNode" if node.tag == "tag:yaml.org,2002:seq":
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            case "ScalarNode" if node.tag in PLAIN_TAGS:
                try:
                    return self._constructor.construct_object(node)
                except ValueError:  # such as `!!int x`
                    return self._refuse(node.start_mark, f"{dotted(path)}: not what its tag says")
            case "ScalarNode" if node.tag in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"):
                return node.value  # `2024-10-22` and `=` are text to us
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        where = f"{dotted(path)}: " if path else ""
        return self._refuse(node.start_mark, f"{where}the tag {tag} is refused: settings are plain data")

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        table: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            mark = key_node.start_mark
            if key_node.tag == "tag:yaml.org,2002:merge":
                parts = value_node.value if type(value_node).__name__ == "SequenceNode" else [value_node]
                for part in parts:
                    inherited = self.value(part, path)
                    if not isinstance(inherited, dict):
                        self._refuse(mark, "`<<` takes a table")
                    merged = {**inherited, **merged}
                continue
            key = self.value(key_node, path)
            if not isinstance(key, str):
                self._refuse(mark, "a key that is not text; put it in quotes")
            if key in table:
                first = self.lines[(*path, key)]
                self._refuse(mark, f"{dotted((*path, key))}: twice in one table, first in line {first}")
            self.lines[(*path, key)] = mark.line + 1
            table[key] = self.value(value_node, (*path, key))
        return {**merged, **table}
