from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from genai_spine.model.errors import ConfigError
from genai_spine.settings import Settings, load_settings


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Settings of a directory that holds a file of this text and a .env."""

    def load(
        text: str | bytes = "",
        environ: Mapping[str, str] = {},
        *,
        name: str = "spine.toml",
        dotenv: str = "",
        overrides: Mapping[str, Any] | None = None,
        plugins: tuple[str, ...] = (),
    ) -> Settings:
        if text:
            (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        if dotenv:
            (tmp_path / ".env").write_text(dotenv)
        return load_settings(environ=environ, cwd=tmp_path, overrides=overrides, plugins=plugins)

    return load


@pytest.fixture
def refusal(load: Any) -> Any:
    """The message with which settings of this text are refused."""

    def refusal(*args: Any, **options: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            load(*args, **options)
        return str(caught.value)

    return refusal
