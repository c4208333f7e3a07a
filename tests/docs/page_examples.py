"""The examples of README.md and docs/, taken from the pages and run.

A fenced block of python, bash, toml, yaml or json is an example. A comment on the line before it says how it
is meant, where that is not plain:

    <!-- test: skip REASON -->      not run; counted by the tests
    <!-- test: elsewhere FILE -->   run by that file of the project
    <!-- test: file NAME -->        also a file of that name, for the blocks after it
    <!-- test: serve -->            a gateway that goes on running until the page's end
    <!-- test: exit N -->           ends with that code
    <!-- test: output -->           a text block: what the block before it has printed
    <!-- test: script -->           toml: a script of the simulator
    <!-- test: row -->              toml: rows of the catalog
    <!-- test: toml -->             toml of something else: only parsed

The blocks of a page run in one directory, one after the other. Ports and services of the text are replaced by
those of a simulator and of a gateway that has nothing configured, so that no example needs a key.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from genai_spine.catalog.rows import ProviderRow, quirk_values
from genai_spine.settings import load_settings
from genai_spine.testing.simulator import load_script

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("python", "bash", "toml", "yaml", "json")
TIMEOUT_S = 60

_FENCE = re.compile(
    r"^(?P<indent> *)(?:<!-- test: (?P<option>[^\n]*?) -->\n+ *)?```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
OPTIONS = ("skip", "elsewhere", "file", "serve", "exit", "output", "script", "row", "toml")


@dataclass(frozen=True)
class Example:
    page: str
    line: int
    language: str
    code: str
    option: str = ""
    argument: str = ""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    return [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "bench" / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]


def examples_of(page: Path) -> Iterator[Example]:
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        option, _, argument = (found["option"] or "").partition(" ")
        language = found["language"]
        if language not in LANGUAGES and option != "output":
            continue
        indent = len(found["indent"])
        code = "".join(line[indent:] if line.strip() else line for line in found["code"].splitlines(True))
        line = text.count("\n", 0, found.start("code")) + 1
        yield Example(os.path.relpath(page, ROOT), line, language, code, option, argument)


class Page:
    """Runs the examples of one page, in `folder`. `simulator` is the root URL of a simulator."""

    def __init__(self, folder: Path, simulator: str, port: int) -> None:
        self.folder = folder
        self.simulator = simulator
        self.port = port
        self._gateway: subprocess.Popen[str] | None = None
        self._printed = ""
        home = folder / "home"
        home.mkdir()
        # An example that is answered with an error has failed.
        (home / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\nmax-time = 30\n")
        self.bare = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PYTHONWARNINGS": "error::DeprecationWarning:__main__",
        }
        self.environ = {
            **self.bare,
            "SPINE_KEY": "a-key-of-ours",
            "WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "GENAI_SERVER_PORT": str(port),
            **{f"{name}_API_KEY": "sk-unused" for name in ("OPENAI", "ANTHROPIC", "GROQ", "OPENROUTER", "MISTRAL")},
            "GENAI_OPENAI_BASE_URL": f"{simulator}/v1",
            "GENAI_ANTHROPIC_BASE_URL": simulator,
            "GENAI_GROQ_BASE_URL": f"{simulator}/v1",
            "GENAI_OLLAMA_URL": simulator,
        }

    def run(self, example: Example) -> None:
        """Raises: AssertionError, telling the place and what was printed."""
        code = self._here(example.code)
        match example:
            case Example(option="skip" | "elsewhere"):
                return
            case Example(option="output"):
                assert self._printed.split() == code.split(), (
                    f"{example.place}: the page says\n{code}\nand it printed\n{self._printed}"
                )
            case Example(language="json"):
                json.loads(code)
            case Example(language="toml" | "yaml"):
                self._read(example, code)
            case Example(option="serve"):
                code = re.sub(r"^spine serve", "exec spine serve", code, flags=re.MULTILINE)
                self._serve(["bash", "-euo", "pipefail", "-c", code], self.environ, example.place)
            case _:
                self._execute(example, code)

    def close(self) -> None:
        """Raises: AssertionError where the gateway did not end well."""
        gateway, self._gateway = self._gateway, None
        if gateway is not None:
            gateway.send_signal(signal.SIGTERM)
            printed, _ = gateway.communicate(timeout=20)
            assert gateway.returncode == 0, f"the gateway ended with {gateway.returncode}:\n{printed}"

    def _here(self, code: str) -> str:
        """The code with our own addresses in place of the reader's."""
        host = self.simulator.removeprefix("http://")
        code = re.sub(r"(localhost|127\.0\.0\.1):8100", rf"\1:{self.port}", code)
        code = re.sub(r"[\w.-]+:(11434|8199|8000|8080)\b", host, code)
        return code.replace("--port 8100", f"--port {self.port}").replace("https://api.openai.com", self.simulator)

    def _read(self, example: Example, code: str) -> None:
        name = example.argument if example.option == "file" else f"example.{example.language}"
        path = self.folder / name
        path.write_text(code, encoding="utf-8")
        try:
            match example.option:
                case "script":
                    load_script(path)
                case "row":
                    for id, table in tomllib.loads(code).items():
                        table["quirks"] = quirk_values(table.get("quirks", {}))
                        msgspec.convert({"id": id, **table}, ProviderRow)
                case "toml":
                    tomllib.loads(code)
                case _:
                    load_settings(path, environ=self.environ, cwd=self.folder)
        except Exception as error:
            raise AssertionError(f"{example.place}: {error}") from error

    def _serve(self, command: list[str], environ: dict[str, str], place: str) -> None:
        self.close()
        gateway = subprocess.Popen(
            command, cwd=self.folder, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._gateway = gateway
        assert gateway.stdout is not None
        said: list[str] = []
        for line in gateway.stdout:
            said.append(line)
            if " on http://" in line:
                return
        raise AssertionError(f"{place}: no gateway came up:\n{''.join(said)}")

    def _execute(self, example: Example, code: str) -> None:
        if f":{self.port}" in code and self._gateway is None:
            # What a newcomer has: a gateway with nothing configured.
            self._serve(["spine", "serve", "--port", str(self.port)], self.bare, example.place)
        if example.option == "file":
            (self.folder / example.argument).write_text(code, encoding="utf-8")
        wanted = int(example.argument) if example.option == "exit" else 0
        shell = ["bash", "-euo", "pipefail", "-c"] if example.language == "bash" else [sys.executable, "-c"]
        environ = {**self.environ, "PYTHONPATH": str(self.folder)}
        try:
            done = subprocess.run(
                [*shell, code],
                cwd=self.folder,
                env=environ,
                text=True,
                capture_output=True,
                timeout=TIMEOUT_S,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as expired:
            raise AssertionError(f"{example.place}: not done after {TIMEOUT_S} s: {expired.stdout!r}") from None
        self._printed = done.stdout
        assert done.returncode == wanted, (
            f"{example.place}: ended with {done.returncode}, not {wanted}\n{code}\n{_tail(done)}"
        )


def _tail(done: subprocess.CompletedProcess[Any]) -> str:
    return f"stdout: {done.stdout[-3000:]}\nstderr: {done.stderr[-3000:]}"
