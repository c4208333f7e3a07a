#!/usr/bin/env python3
"""The reference in README.md and docs/, made of what the code runs on.

    python scripts/generate_docs.py            writes
    python scripts/generate_docs.py --check    says what is out of date, and exits with 1

A page is written by hand, with marked places in it: between `<!-- generated: NAME -->` and
`<!-- /generated -->` stands what the function NAME below returns. tests/docs/test_reference.py runs the check.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin

import click
import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))

import fault_table  # noqa: E402  # beside this file
import model_tables  # noqa: E402
import provider_sections  # noqa: E402
import translations  # noqa: E402

from genai_spine import __version__  # noqa: E402
from genai_spine.catalog.rows import ProviderRow, load_rows  # noqa: E402
from genai_spine.cli.main import COMMANDS, spine  # noqa: E402
from genai_spine.dialects import failure  # noqa: E402
from genai_spine.dialects.quirks import Quirks  # noqa: E402
from genai_spine.engine.manager import ProviderManager  # noqa: E402
from genai_spine.gateway import google, inbounds  # noqa: E402
from genai_spine.gateway.app import ROUTES, Gateway  # noqa: E402
from genai_spine.model import errors  # noqa: E402
from genai_spine.providers import codecs  # noqa: E402
from genai_spine.providers.registry import settings_of  # noqa: E402
from genai_spine.settings import document  # noqa: E402
from genai_spine.testing.simulator import KNOBS  # noqa: E402

MARK = re.compile(r"(?P<open><!-- generated: (?P<name>[\w-]+) -->\n).*?(?P<close><!-- /generated -->)", re.DOTALL)

BLOCKS: dict[str, Callable[[], str]] = {}


def block(function: Callable[[], str]) -> Callable[[], str]:
    BLOCKS[function.__name__.replace("_", "-")] = function
    return function


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def code(words: Iterable[str], between: str = ", ") -> str:
    return between.join(f"`{word}`" for word in words) or "–"


# ------------------------------------------------------------ providers


@block
def providers() -> str:
    """The table of the README."""
    rows = [
        [
            f"[{row.name}]({row.docs})" if row.id != "simulated" else row.name,
            code([row.id, *row.aliases]),
            _key_of(row),
            code(row.dialects),
        ]
        for row in load_rows().values()
    ]
    return table(["provider", "type", "key", "dialects"], rows)


def _key_of(row: ProviderRow) -> str:
    match row.auth:
        case "none":
            return "none"
        case "optional-bearer":
            return "optional" + (f": {code(row.key_variables, ' or ')}" if row.key_variables else "")
        case "aws" | "google" | "azure":
            return " or ".join([f"`{name}`" for name in row.key_variables] + ["the cloud's credentials"])
        case _:
            return code(row.key_variables, " or ")


@block
def provider_rows() -> str:
    return "\n\n".join(provider_sections.section(row) for row in load_rows().values())


@block
def quirks() -> str:
    texts = _field_docs(Quirks)
    rows = []
    for field in msgspec.structs.fields(Quirks):
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        users = [row.id for row in load_rows().values() if getattr(row.quirks, field.name) != default]
        written = f"`{provider_sections.toml(default)}`"
        rows.append([f"`{field.name}`", _values(field.type), written, texts[field.name], code(users)])
    return table(["quirk", "values", "default", "meaning", "rows that set it"], rows)


def _values(type_: Any) -> str:
    words = [word for member in get_args(type_) for word in (get_args(member) or [member])]
    if words and all(isinstance(word, str) or word is type(None) for word in words):
        return code([str(word) if isinstance(word, str) else "none" for word in words])
    if get_origin(type_) is tuple:
        return "list of texts"
    if words:
        return " or ".join("`none`" if word is type(None) else word.__name__ for word in words)
    return {bool: "`true`, `false`"}.get(type_, "text" if type_ is str else type_.__name__)


def _field_docs(struct: type) -> dict[str, str]:
    """The text below each field, as a class body has it."""
    source = inspect.getsource(struct)
    found = re.findall(r'^    (\w+): .*?\n    """(.*?)"""', source, re.DOTALL | re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


# ------------------------------------------------------------ dialects


@block
def dialects() -> str:
    rows = []
    for dialect in dict.fromkeys([*codecs.OUTBOUND, *inbounds.INBOUND, *codecs.EMBEDDINGS, *codecs.RERANKING]):
        paths = [route.path for route in ROUTES if _dialect_behind(route) == dialect] + _methods_behind(dialect)
        users = [row.id for row in load_rows().values() if dialect in row.dialects]
        rows.append([f"`{dialect}`", code(paths), code(users)])
    return table(["dialect", "a caller speaks it at", "providers that speak it"], rows)


def _methods_behind(dialect: str) -> list[str]:
    """Google's paths name a method, and one handler answers them all."""
    methods = dict.fromkeys(google._CHATS, "gemini") | google._EMBEDDINGS
    return [f"/v1beta/models/{{id}}:{method}" for method, behind in methods.items() if behind == dialect]


def _dialect_behind(route: Any) -> str | None:
    """The dialect that a route's handler was made for; None where it answers of itself."""
    made = route.handler.keywords if isinstance(route.handler, partial) else None
    cells = made or inspect.getclosurevars(route.handler).nonlocals
    return cells.get("inbound") or cells.get("dialect")


@block
def routes() -> str:
    rows = []
    for route in ROUTES:
        path = f"{route.path}{{id}}" if route.path.endswith("/") and len(route.path) > 1 else route.path
        does = _dialect_behind(route)
        said = f"`{does}`" if does else _first_line(route.handler)
        rows.append([f"`{route.method} {path}`", said, f"`{route.dialect}`", "no" if route.is_open else "yes"])
    return table(["path", "answers", "errors in the shape of", "key"], rows)


@block
def metrics() -> str:
    settings = settings_of({"providers": {"simulated": {}}, "server": {"metrics": "keyed"}})
    gateway = Gateway(ProviderManager(settings=settings))
    assert gateway.metrics is not None
    rows = []
    for family in gateway.metrics.own():
        name = f"{family.name}_total" if family.kind == "counter" else family.name
        rows.append([f"`{name}`", family.kind, code(family.labels), family.help])
    return table(["metric", "type", "labels", "what"], rows)


_WITHOUT_A_WORD = {
    "model": "one model",
    "ollama_tags": "the models, as Ollama lists them",
    "ollama_version": "the version of Ollama's API that is followed",
    "ollama_show": "one model, as Ollama shows it",
    "live": "200 while the process runs",
    "ready": "200 while requests are taken, 503 when draining",
    "root": "200, and a word",
}
"""For handlers without a docstring."""


def _first_line(function: Any) -> str:
    text = inspect.getdoc(function)
    first = " ".join(text.split("\n\n")[0].split()) if text else _WITHOUT_A_WORD[function.__name__]
    return (
        first[0].lower() + first[1:].rstrip(".")
        if not first.startswith(("Anthropic", "Nothing"))
        else first.rstrip(".")
    )


for _name, _table in {
    "content": lambda: translations.matrix(translations.CONTENT),
    "options": lambda: translations.matrix(translations.OPTIONS),
    "thinking": translations.thinking,
    "efforts": translations.efforts,
    "finish-reasons-read": translations.finish_reasons_read,
    "finish-reasons-written": translations.finish_reasons_written,
    "error-codes": translations.error_codes,
    "notices": translations.notices,
    "model-matrix": model_tables.matrix,
    "price-sources": model_tables.sources,
    "token-errors": model_tables.token_errors,
}.items():
    BLOCKS[_name] = lambda made=_table: table(*made())
BLOCKS["fault-tests"] = fault_table.table


# ------------------------------------------------------------ errors


@block
def error_tree() -> str:
    text = inspect.getdoc(errors) or ""
    tree = [line.removeprefix("    ") for line in text.splitlines() if line.startswith("    ")]
    return "\n".join(["```text", *tree, "```"])


@block
def error_classes() -> str:
    rows = []
    for kind in _classes(errors.SpineError):
        rows.append(
            [
                f"`{kind.__name__}`",
                f"`{kind.type}`",
                str(kind.status_code or "–"),
                kind.fault,
                "yes" if kind.retryable else "no",
                "yes" if kind.fallback else "no",
                f"`{kind.code}`" if kind.code else "–",
            ]
        )
    head = ["class", "`type`", "`status_code`", "`fault`", "`retryable`", "`fallback`", "`code`"]
    return table(head, rows)


def _classes(kind: type[errors.SpineError]) -> Iterator[type[errors.SpineError]]:
    if kind.__module__ != errors.__name__:
        return
    yield kind
    for inner in kind.__subclasses__():
        yield from _classes(inner)


@block
def error_statuses() -> str:
    by_class: dict[str, list[str]] = {}
    for status, kind in failure.BY_STATUS.items():
        by_class.setdefault(kind.__name__, []).append(str(status))
    rows = [[", ".join(statuses), f"`{name}`"] for name, statuses in by_class.items()]
    rows += [["any other 4xx", "`BadRequest`"], ["any other 5xx", "`ServerError`"]]
    return table(["status", "class"], rows)


# ------------------------------------------------------------ settings


@block
def settings() -> str:
    sections: dict[str, list[Any]] = {}
    for entry in document():
        head = entry.key.rpartition(".")[0]
        sections.setdefault(head, []).append(entry)
    return "\n\n".join(
        "\n".join([f"### `{_heading(head)}`", "", table(["key", "type", "default", "meaning"], map(_setting, entries))])
        for head, entries in sections.items()
    )


def _heading(head: str) -> str:
    """As TOML writes it: `[server]`, `[[ledger.redact]]`."""
    return f"[[{head.removesuffix('[]')}]]" if head.endswith("[]") else f"[{head.replace('[]', '')}]"


def _setting(entry: Any) -> list[str]:
    key = entry.key.rpartition(".")[2]
    default = entry.default if entry.default in ("–", "required") else f"`{entry.default}`"
    return [f"`{key}`", entry.type, default, entry.doc]


# ------------------------------------------------------------ command line


@block
def commands() -> str:
    return table(["command", "what it does"], [[f"`spine {name}`", text] for name, text in COMMANDS.items()])


@block
def cli() -> str:
    parts = [_help(spine, "spine", None)]
    with click.Context(spine, info_name="spine", **spine.context_settings) as context:
        for name in COMMANDS:
            command = spine.get_command(context, name)
            assert command is not None, name
            parts += _helps(command, name, context)
    return "\n\n".join(parts)


def _helps(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    yield _help(command, name, parent)
    if isinstance(command, click.Group):
        with click.Context(command, info_name=name, parent=parent, **command.context_settings) as context:
            for inner, sub in command.commands.items():
                yield from _helps(sub, inner, context)


def _help(command: click.Command, name: str, parent: click.Context | None) -> str:
    settings = {"terminal_width": 100, "max_content_width": 100, **command.context_settings}
    with click.Context(command, info_name=name, parent=parent, **settings) as context:
        text = command.get_help(context)
        return f"### {context.command_path}\n\n```text\n{text.strip()}\n```"


# ------------------------------------------------------------ the simulator


@block
def faults() -> str:
    rows = [[f"`{name}`", f"`{knob.plainest}`" if knob.plainest else "–", knob.says] for name, knob in KNOBS.items()]
    return table(["setting", "alone it is", "what happens"], rows)


# ------------------------------------------------------------ packages


@block
def dependencies() -> str:
    """Names and bounds; the reasons are written beside them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = [["always", code(_requirement(text) for text in project["dependencies"])]]
    rows += [
        [f"extra `{name}`", code(map(_requirement, texts))] for name, texts in project["optional-dependencies"].items()
    ]
    return table(["installed", "packages"], rows)


def _requirement(text: str) -> str:
    return text.partition(";")[0].strip()


@block
def version() -> str:
    return f"This is version {__version__}."


# ------------------------------------------------------------ writing


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def generated(text: str, page: str) -> str:
    """The text with every marked place filled. Raises: SystemExit for a mark that nothing answers to."""
    found = set(re.findall(r"<!-- generated: ([\w-]+) -->", text))
    if unknown := found - BLOCKS.keys():
        raise SystemExit(f"{page}: no block is called {', '.join(sorted(unknown))}; there are {', '.join(BLOCKS)}")
    return MARK.sub(lambda m: f"{m['open']}\n{BLOCKS[m['name']]()}\n\n{m['close']}", text)


def outdated() -> Iterator[tuple[Path, str, str]]:
    """The pages that say something else than they should: path, what stands there, what should."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        wanted = generated(text, page.name)
        if text != wanted:
            yield page, text, wanted


def main() -> int:
    is_check = "--check" in sys.argv[1:]
    count = 0
    for page, text, wanted in outdated():
        count += 1
        name = str(page.relative_to(ROOT))
        if is_check:
            sys.stdout.writelines(
                difflib.unified_diff(text.splitlines(True), wanted.splitlines(True), name, f"{name} (generated)", n=0)
            )
        else:
            page.write_text(wanted, encoding="utf-8")
            print(f"wrote {name}")
    if is_check and count:
        print(f"{count} pages are out of date: run `make reference`")
    return int(is_check and count > 0)


if __name__ == "__main__":
    sys.exit(main())
