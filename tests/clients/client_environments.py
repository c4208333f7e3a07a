"""Environments of their own for the SDKs' versions, made once, outside the checkout.

    ${GENAI_CACHE:-~/.cache/genai-spine}/clients/openai-2.54.0/

The first version of each is the newest at the time of writing; the others are the last ones of the major
versions before it. `ready` in the folder says that all is installed.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

VERSIONS = {
    "openai": ("3.52.0", "2.54.0", "1.109.1"),
    "anthropic": ("2.11.0", "1.17.0", "0.125.0"),
    "ollama": ("0.6.3",),
}
GOOGLE = ("google-genai", "3.4.0")
"""Heavy, with scenarios of its own: test_google_genai.py."""
ORACLES = {"cohere": "7.3.1"}
"""SDKs of services that we only speak to: what they send is what we should send."""
CACHE = Path(os.environ.get("GENAI_CACHE") or Path.home() / ".cache" / "genai-spine")


def python_of(name: str, version: str, *more: str) -> Path:
    """The interpreter that has this SDK and nothing of ours; `more` are further requirements.

    Raises: CalledProcessError, with pip's words.
    """
    folder = CACHE / "clients" / f"{name}-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "env" / "bin" / "python"
    stamp = folder / "ready"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several pytest processes may want it at once
        if not stamp.exists():
            _run(sys.executable, "-m", "venv", "--clear", str(folder / "env"))
            _run(
                *(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
                *(f"{name}=={version}", *more),
            )
            stamp.touch()
    return python


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":  # python tests/clients/client_environments.py makes all of them
    for name, versions in VERSIONS.items():
        for version in versions:
            print(python_of(name, version), flush=True)
    print(python_of(*GOOGLE), flush=True)
    for name, version in ORACLES.items():
        print(python_of(name, version), flush=True)
