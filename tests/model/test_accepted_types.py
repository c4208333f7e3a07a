"""What type checkers are told that a request takes: every field, by its name."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any, get_args, get_type_hints

import pytest

from genai_spine import (
    CompletionRequest,
    EmbeddingRequest,
    InvalidRequest,
    Message,
    ProviderManager,
    RerankRequest,
    SyncManager,
    ToolResult,
)
from genai_spine.engine import keywords as keywords_of_calls
from genai_spine.model.embedding import EmbeddingKeywords, EmbeddingOptions
from genai_spine.model.request import CompletionKeywords, Options
from genai_spine.model.rerank import RerankKeywords, RerankOptions

_OPTIONS = {CompletionRequest: Options, EmbeddingRequest: EmbeddingOptions, RerankRequest: RerankOptions}


@pytest.mark.parametrize("kind", [CompletionRequest, EmbeddingRequest, Message, RerankRequest, ToolResult])
def test_each_field_is_in_the_signature(kind: Any) -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    (signature,) = [node.args for node in ast.walk(tree) if getattr(node, "name", "") == "__init__"]  # type: ignore[attr-defined]
    names = {argument.arg for argument in signature.kwonlyargs}
    if signature.kwarg is not None:
        names |= set(_OPTIONS[kind].__annotations__)
    assert names == set(kind.__struct_fields__)


@pytest.mark.parametrize(
    ("kind", "keywords"),
    [
        (CompletionRequest, CompletionKeywords),
        (EmbeddingRequest, EmbeddingKeywords),
        (RerankRequest, RerankKeywords),
    ],
)
def test_each_field_is_a_keyword_of_a_call(kind: Any, keywords: Any) -> None:
    assert set(keywords.__annotations__) == set(kind.__struct_fields__)


@pytest.mark.parametrize("method", ["complete", "stream", "text_stream", "embed", "rerank"])
def test_a_call_takes_the_same_keywords_with_async_and_without(method: str) -> None:
    def keywords(of: type) -> set[str]:
        parameters = inspect.signature(getattr(of, method)).parameters.values()
        names = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
        hints = get_type_hints(
            getattr(of, method), {**vars(keywords_of_calls), **vars(inspect.getmodule(of))}, include_extras=True
        )
        return names | set(get_args(hints["options"])[0].__annotations__)

    assert keywords(ProviderManager) == keywords(SyncManager)


def test_a_checker_sees_keywords_that_are_none() -> None:
    """Each comment is an error of mypy's of its own, where it sees nothing to ignore."""
    with SyncManager.from_settings({"simulated": {}}) as manager:
        with pytest.raises(InvalidRequest, match="temprature"):
            manager.complete("Hello", temprature=0.2)  # type: ignore[call-arg]
        with pytest.raises(InvalidRequest, match="temperature"):
            manager.complete("Hello", temperature="hot")  # type: ignore[arg-type]
        with pytest.raises(InvalidRequest, match="dimension"):
            manager.embed("Hello", dimension=3)  # type: ignore[call-arg]
        with pytest.raises(InvalidRequest, match="topn"):
            manager.rerank("Hello", documents=["a"], topn=3)  # type: ignore[call-arg]
        assert manager.complete(messages="Hello", timeout=5, n=1, tools=[{"name": "f", "input_schema": {}}]).tool_calls
