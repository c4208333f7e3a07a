"""The package of docs/adding-providers.md: built, installed into a fresh environment, and spoken to from there."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from page_examples import ROOT, Example, examples_of

pytestmark = pytest.mark.slow

HERE = "elsewhere"
FILE = "tests/docs/test_entry_point.py"

ASK = """
import json, sys
from genai_spine import ProviderManager, SyncManager
with SyncManager(ProviderManager.from_settings("spine.toml")) as manager:
    answer = manager.complete("Polly wants a cracker", provider="polly")
    streamed = "".join(manager.text_stream("Polly wants a cracker", provider="polly"))
    origin = sys.modules["parrot"].__file__
    print(json.dumps([answer.content, answer.provider, streamed, origin]))
"""


def _of_page() -> tuple[str, str, str]:
    """The class, the package's pyproject.toml, and the settings."""
    found = list(examples_of(ROOT / "docs" / "adding-providers.md"))
    (parrot,) = [example.code for example in found if _is_file(example, "parrot.py")]
    project, settings = [example.code for example in found if (example.option, example.argument) == (HERE, FILE)]
    return parrot, project, settings


def _is_file(example: Example, name: str) -> bool:
    return example.option == "file" and example.argument == name


def _run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_strangers_package_is_a_type_of_the_settings(tmp_path: Path) -> None:
    parrot, project, settings = _of_page()
    package, place = tmp_path / "package", tmp_path / "place"
    package.mkdir()
    place.mkdir()
    (package / "parrot.py").write_text(parrot, encoding="utf-8")
    (package / "pyproject.toml").write_text(project, encoding="utf-8")
    (place / "spine.toml").write_text(settings, encoding="utf-8")

    pip = ("-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "-w", tmp_path / "wheels")
    _run(sys.executable, *pip, package, cwd=tmp_path)
    _run(sys.executable, *pip, ROOT, cwd=tmp_path)
    (built,) = (tmp_path / "wheels").glob("genai_spine_parrot-*.whl")
    assert "parrot.py" in zipfile.ZipFile(built).namelist()

    _run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    bin = tmp_path / "env" / "bin"
    wheels = sorted((tmp_path / "wheels").glob("*.whl"))
    _run(bin / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wheels, cwd=tmp_path)

    said, by, streamed, origin = json.loads(_run(bin / "python", "-I", "-c", ASK, cwd=place))
    assert (said, by, streamed) == ("Polly wants a cracker", "polly", "Polly wants a cracker")
    assert Path(origin).is_relative_to(tmp_path / "env")
    assert "polly" in _run(bin / "spine", "providers", cwd=place)
