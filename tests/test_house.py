"""The house (CONTRIBUTING.md) as checks: what imports what, and what no module may hold."""

from __future__ import annotations

import ast
import importlib
import io
import os
import re
import subprocess
import sys
import tokenize
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import genai_spine
from genai_spine.catalog.rows import load_rows

ROOT = Path(genai_spine.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py"))

FLOORS = {
    "model": 0,
    "wire": 1,
    "dialects": 1,
    "catalog": 1,
    "settings": 1,
    "policy": 2,
    "providers": 3,
    "ledger": 3,
    "engine": 4,
    "capabilities": 5,
    "gateway": 6,
    "cli": 7,
}
"""HOUSE's floors. Within floor 1 and above, pyproject's import-linter has the finer order."""

MOST_LINES = 500

FORBIDDEN_MODULES = {"socket", "asyncio", "httpx", "httpx2", "requests", "aiohttp", "random", "urllib3", "anyio"}
FORBIDDEN_NAMES = {"os.environ", "os.getenv", "time.time", "time.monotonic", "time.sleep", "datetime.now"}
PURE = ("model", "wire", "dialects", "catalog", "settings", "policy")

MAY_NOT_IMPORT = {
    "dialects": ("catalog",),
    "policy": ("dialects",),
    "providers": ("testing", "ledger"),
    "ledger": ("testing", "providers", "dialects", "wire"),
    "engine": ("testing",),
}


def ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def floor_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def each_module(test: Callable[[Path], None]) -> Any:
    """Makes of a test of one module a test of each floor: pytest spends more on 2,500 items than they on their work."""
    floors: dict[str, list[Path]] = {}
    for path in MODULES:
        floors.setdefault(floor_of(path), []).append(path)

    def of_a_floor(floor: str) -> None:
        for path in floors[floor]:
            test(path)

    of_a_floor.__name__, of_a_floor.__doc__ = test.__name__, test.__doc__
    of_a_floor.__module__, of_a_floor.__qualname__ = test.__module__, test.__qualname__
    return pytest.mark.parametrize("floor", list(floors))(of_a_floor)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[tuple[str, bool]]:
    """The modules of the project that this one imports, and whether only for types."""
    for node, for_types in _statements(tree_of(path), False):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        for name in names:
            if name.split(".")[0] == "genai_spine":
                yield name, for_types


def _statements(node: ast.AST, for_types: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, for_types
        else:
            guarded = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from _statements(child, for_types or guarded)


# ---------------------------------------------------------------- floors


@each_module
def test_imports_go_down_only(path: Path) -> None:
    here = floor_of(path)
    if here not in FLOORS:
        return  # the package's own __init__, and `testing`, stand outside
    for name, for_types in imported(path):
        there = name.split(".")[1] if "." in name else ""
        if there not in FLOORS or for_types:
            assert there != "testing" or here == "cli", f"{ids(path)} imports {name}"
            continue
        assert FLOORS[there] <= FLOORS[here], f"{ids(path)} on floor {FLOORS[here]} imports {name}"
        assert there not in MAY_NOT_IMPORT.get(here, ()), f"{ids(path)} imports {name}"


def test_every_folder_has_a_floor() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders - {"testing"} <= FLOORS.keys()


@each_module
def test_the_lower_floors_know_no_network_clock_or_chance(path: Path) -> None:
    if floor_of(path) not in PURE:
        return
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in names:
                assert name.split(".")[0] not in FORBIDDEN_MODULES, f"{ids(path)}:{node.lineno} imports {name}"
            if isinstance(node, ast.ImportFrom):
                full = {f"{node.module}.{alias.name}" for alias in node.names}
                assert not full & FORBIDDEN_NAMES, f"{ids(path)}:{node.lineno} imports {full & FORBIDDEN_NAMES}"
        elif isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in FORBIDDEN_NAMES, f"{ids(path)}:{node.lineno}: {ast.unparse(node)}"


# ---------------------------------------------------------------- modules


@each_module
def test_a_module_says_what_it_is_in_at_most_500_lines(path: Path) -> None:
    assert ast.get_docstring(tree_of(path)), f"{ids(path)} has no docstring"
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{ids(path)} has {lines} lines"


KNOWN_BY_NAME = {
    "providers/registry.py": "which class is made of a row: Ollama's has settings of its own",
    "providers/presence.py": "Ollama counts as configured where it was found, not where a file says so",
    "settings/discover.py": "OLLAMA_HOST is Ollama's own variable, with a grammar of its own",
    "cli/doctor.py": "the mend is a command of Ollama's",
    "cli/reach.py": "the mend is a command of Ollama's",
}
"""`if provider == "groq"` is a quirk, a row or a dialect of its own, never a branch; but for these, with reasons."""


def provider_names_compared(path: Path) -> list[int]:
    names = {*load_rows()} - {"simulated"}  # which is ours
    names |= {alias for row in load_rows().values() for alias in row.aliases}
    about = re.compile(r"\b(provider|provider_id|provider_type|row|name|id|kind)\b")
    return [
        node.lineno
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Compare) and about.search(ast.unparse(node.left))
        for value in ast.walk(node)
        if isinstance(value, ast.Constant) and value.value in names
    ]


@each_module
def test_no_provider_is_known_by_name(path: Path) -> None:
    found = provider_names_compared(path)
    if ids(path) in KNOWN_BY_NAME:
        assert found, "no more: take it from KNOWN_BY_NAME"
    else:
        assert not found, f"{ids(path)}: a provider's name is compared in lines {found}"


@each_module
def test_imports_stand_at_the_top_or_say_why_not(path: Path) -> None:
    tree, lines = tree_of(path), path.read_text(encoding="utf-8").splitlines()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                said = re.search(r"# noqa: PLC0415\s+#? ?(\S.*)", lines[node.lineno - 1])
                assert said, f"{ids(path)}:{node.lineno}: an import within {function.name} without a reason"


@each_module
def test_nothing_is_left_to_do(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    comments = [
        token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.COMMENT
    ]
    for token in comments:
        assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", token.string), f"{ids(path)}:{token.start[0]}"


OF_OTHERS = {"tiktoken_ext/openai_public.py", "asyncio/connection.py"}
"""Files of other packages, which comments name."""


@cache
def files_of_the_project() -> tuple[str, ...]:
    repository = Path(__file__).parents[1]
    folders = ("src", "tests", "scripts", "bench")
    return tuple(
        f"/{file.relative_to(repository).as_posix()}" for name in folders for file in (repository / name).rglob("*.py")
    )


@each_module
def test_files_that_a_text_names_are_there(path: Path) -> None:
    """A module that was renamed left its old name in the texts of others."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type != tokenize.COMMENT and not token.string.startswith('"""'):
            continue
        for named in re.findall(r"[\w/]+\.py\b", re.sub(r"https?://\S+|github\.com/\S+", "", token.string)):
            is_there = any(file.endswith(f"/{named}") for file in files_of_the_project())
            assert is_there or named in OF_OTHERS, f"{ids(path)}:{token.start[0]} names {named}"


@pytest.mark.parametrize("package", ["engine", "gateway", "ledger", "policy", "providers"])
def test_the_map_of_a_package_has_all_its_modules(package: str) -> None:
    named = set(re.findall(r"\w+\.py\b", ast.get_docstring(tree_of(ROOT / package / "__init__.py")) or ""))
    modules = {path.name for path in (ROOT / package).glob("*.py")} - {"__init__.py"}
    assert not modules - named, f"{package}/__init__.py does not name {sorted(modules - named)}"


# ---------------------------------------------------------------- the public names


@pytest.mark.parametrize("name", [name for name in dir(genai_spine) if name != "__version__"])
def test_every_public_name_says_what_it_is(name: str) -> None:
    value = getattr(genai_spine, name)
    if not callable(value) or not getattr(value, "__module__", "").startswith("genai_spine"):
        return
    if isinstance(value, type) and issubclass(value, Exception):
        return  # the tree in errors.py says it
    assert (value.__doc__ or "").strip(), f"{name} has no docstring"
    assert not (value.__doc__ or "").startswith(f"{name}("), f"{name} has only a generated docstring"


ERRORS = importlib.import_module("genai_spine.model.errors")


@pytest.mark.parametrize(
    "name", [n for n, v in vars(ERRORS).items() if isinstance(v, type) and issubclass(v, ERRORS.SpineError)]
)
def test_the_tree_of_errors_shows_every_error(name: str) -> None:
    assert re.search(rf"[├└ ]\s*(── )?{name}\b", ERRORS.__doc__ or ""), f"{name} is not in the drawing"


# ---------------------------------------------------------------- what an import costs

HEAVY = ("uvicorn", "click", "yaml", "aiohttp", "httptools", "asyncio", "anyio", "hypothesis", "pytest")


def test_importing_the_package_imports_nothing_that_it_does_not_need() -> None:
    code = "import genai_spine, sys; print(' '.join(sorted(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in HEAVY if name in loaded]


def test_using_a_provider_needs_neither_server_nor_terminal() -> None:
    code = "from genai_spine import HttpProvider, ProviderManager; import sys; print(' '.join(sorted(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in ("uvicorn", "click", "aiohttp", "hypothesis", "pytest") if name in loaded]


def test_importing_the_testing_package_needs_no_test_framework() -> None:
    code = "import genai_spine.testing.suite, genai_spine.testing.laws, genai_spine.testing.fixtures, sys\n"
    code += "print(' '.join(sorted(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in ("hypothesis", "pytest", "_pytest") if name in loaded]


# ---------------------------------------------------------------- what is packed


def test_the_source_package_holds_what_its_own_commands_need() -> None:
    """`make` and the tests that read other folders failed in an unpacked sdist."""
    repository = Path(__file__).parents[1]
    table = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["sdist"]
    packed = {path.name for pattern in table["include"] for path in repository.glob(pattern.removeprefix("/"))}
    assert {"Makefile", "CONTRIBUTING.md", "README.md", "scripts", "bench", "docs", "tests", "src"} <= packed


def test_the_package_works_from_a_zip(tmp_path: Path) -> None:
    """As in a zipapp: half of its data was looked for as files."""
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in ROOT.rglob("*"):
            if "__pycache__" not in file.parts:
                archive.write(file, Path(ROOT.name) / file.relative_to(ROOT))
    code = """
import genai_spine
from genai_spine import HttpProvider
from genai_spine.catalog.ranking import load_ranking
from genai_spine.catalog.ranks import load_ranks
from genai_spine.engine.costs import shared_budgets
from genai_spine.policy.tokens import load_weights
assert "packed.zip" in genai_spine.__file__, genai_spine.__file__
assert HttpProvider("openai").card("gpt-4o").price.input > 0
assert load_weights() and load_ranking() and len(load_ranks("cl100k_base")) == 100_256
"""
    environ = {**os.environ, "PYTHONPATH": str(packed)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=False)
    assert result.returncode == 0, result.stderr
