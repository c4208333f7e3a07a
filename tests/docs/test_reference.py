"""The generated parts of README.md and docs/ are what the code says now; their links lead somewhere."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from genai_spine.settings import document

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "scripts" / "generate_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_places_are_up_to_date(generate: ModuleType) -> None:
    pages = [str(page.relative_to(ROOT)) for page, _, _ in generate.outdated()]
    assert not pages, f"run `make reference`: {', '.join(pages)}"


def test_a_change_by_hand_is_found(generate: ModuleType) -> None:
    text = "<!-- generated: commands -->\n\nby hand\n\n<!-- /generated -->"
    assert "by hand" not in generate.generated(text, "page")
    with pytest.raises(SystemExit, match="no block is called nothing"):
        generate.generated("<!-- generated: nothing -->\n<!-- /generated -->", "page")


def test_every_generated_block_stands_on_a_page(generate: ModuleType) -> None:
    used = {name for page in generate.pages() for name in re.findall(r"<!-- generated: ([\w-]+)", page.read_text())}
    assert used == generate.BLOCKS.keys()


def test_every_setting_stands_in_the_reference() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    missing = [entry.key for entry in document() if f"| `{entry.key.rpartition('.')[2]}` |" not in text]
    assert not missing


def test_every_code_of_a_dialect_stands_on_the_page_of_errors() -> None:
    text = (ROOT / "docs" / "errors.md").read_text()
    tables = [
        *(f"{dialect}.schema:ERROR_CODES" for dialect in ("openai_chat", "anthropic_messages", "cohere_chat")),
        *(f"{dialect}.errors:ERROR_CODES" for dialect in ("openai_responses", "bedrock_converse")),
        *("gemini.errors:CODES", "hf_text_generation:_CODES"),
    ]
    for table in tables:
        module, _, name = table.partition(":")
        codes = getattr(importlib.import_module(f"genai_spine.dialects.{module}"), name)
        assert not [code for code in codes if f"| `{code}` |" not in text], table


def test_what_a_path_answers_is_no_list_of_errors() -> None:
    text = (ROOT / "docs" / "gateway.md").read_text()
    paths = re.findall(r"^\| `(?:GET|POST|DELETE) [^|]*\|([^|]*)\|", text, re.MULTILINE)
    assert len(paths) > 30
    assert not [said for said in paths if "raises:" in said.lower()]


def test_every_dependency_has_its_reason_on_the_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for group in project["optional-dependencies"].values() for r in group)]
    names = [re.split(r"[<>=;\[ ]", requirement)[0] for requirement in wanted]
    reasons = (ROOT / "docs" / "libraries.md").read_text().partition("## Why each")[2]
    assert not [name for name in names if f"**{name}**" not in reasons]
    assert not [name for name in re.findall(r"\*\*([\w-]+)\*\*", reasons) if name not in names]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: os.path.relpath(page, ROOT))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text)
    broken = []
    for target in (one or other for one, other in targets):
        if re.match(r"[a-z]+://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in _anchors(file)):
            broken.append(target)
    assert not broken


def _anchors(page: Path) -> set[str]:
    found = set()
    for title in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE):
        named = re.search(r"\{ *#([\w.-]+) *\}", title)
        plain = re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
        found.add(named[1] if named else plain)
    return found


def test_no_page_names_a_package_index_or_this_machine() -> None:
    files = [*PAGES, ROOT / "Makefile", ROOT / ".ci" / "run", ROOT / ".pre-commit-config.yaml", ROOT / "mkdocs.yml"]
    hosts = re.compile(r"pypi\.org|pythonhosted|npmjs|deb\.debian|archive\.ubuntu|/home/|/root/|/work/")
    found = [f"{file.name}: {hit[0]}" for file in files if (hit := hosts.search(file.read_text()))]
    assert not found


def test_the_contributors_table_has_every_target_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert set(re.findall(r"^\| `make ([a-z-]+)`", text, re.MULTILINE)) | {"help"} == targets
    named = set(re.findall(r"`make ([a-z-]+)", text + (ROOT / "README.md").read_text()))
    assert named <= targets
