"""The public names: what a program may import from `genai_spine`."""

import ast
from pathlib import Path

import pytest

import genai_spine

STUB = Path(genai_spine.__file__).with_suffix(".pyi")


def test_the_stub_names_the_same_homes_as_the_package() -> None:
    tree = ast.parse(STUB.read_text())
    stubbed = {
        alias.name: str(node.module).removeprefix("genai_spine.")
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert stubbed == genai_spine._HOME_OF


def test_every_public_name_is_there() -> None:
    for name in dir(genai_spine):
        assert getattr(genai_spine, name) is not None


def test_the_names_of_the_specifications_are_public() -> None:
    wanted = """LLMProvider CompletionRequest CompletionResponse Message ContentPart Tool TokenUsage
        ProviderRegistry ProviderManager ManagerConfig RoutingStrategy RetryConfig HealthChecker
        ProviderStatus ProviderMetrics ProviderError StreamManager ErrorType Settings ProviderConfig
        ProvidersConfig LLMMessage LLMResponse ChatRequest ChatResponse"""
    assert set(wanted.split()) <= set(dir(genai_spine))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="NoSuchThing"):
        genai_spine.NoSuchThing  # the access is the test
