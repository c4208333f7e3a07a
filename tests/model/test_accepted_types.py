"""What type checkers are told that a request takes: every field, by its name."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

import pytest

from genai_spine import CompletionRequest, EmbeddingRequest, Message, RerankRequest, ToolResult
from genai_spine.model.request import Options


@pytest.mark.parametrize("kind", [CompletionRequest, EmbeddingRequest, Message, RerankRequest, ToolResult])
def test_each_field_is_in_the_signature(kind: Any) -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    (signature,) = [node.args for node in ast.walk(tree) if getattr(node, "name", "") == "__init__"]  # type: ignore[attr-defined]
    names = {argument.arg for argument in signature.kwonlyargs}
    if signature.kwarg is not None:
        names |= set(Options.__annotations__)
    assert names == set(kind.__struct_fields__)
