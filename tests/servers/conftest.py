"""Two llama.cpp servers, and one gateway in front of both.

llama_plain, llama_tools          type llamacpp: it speaks OpenAI's and Anthropic's dialect, both are relayed
compatible_plain, …_tools         openai_compatible: OpenAI's is relayed, Anthropic's translated
messages_plain, …_tools           llamacpp in Anthropic's dialect: that is relayed, OpenAI's translated
responses_plain, …_tools          llamacpp in OpenAI's Responses, which its row leaves out: that is relayed
locked                            with a wrong key
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "clients"))

from client_gateway import gateway_process
from client_stage import KEY as GATEWAY_KEY
from llama_server import KEY, MODEL, LlamaServer, built, running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if built() is not None:
        return
    skip = pytest.mark.skip(reason="llama-server is not built: make test-servers builds it (12 minutes)")
    for item in items:
        if item.get_closest_marker("servers"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """Chat without a model's template, and embeddings; its answers may go on for ever."""
    folder = built()
    assert folder is not None
    log = tmp_path_factory.mktemp("llama") / "plain.log"
    with running(folder, log, "--embeddings", "--pooling", "mean", "--context-shift") as server:
        yield server


@pytest.fixture(scope="session")
def tool_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """With Llama 3.1's template, which knows tools."""
    folder = built()
    assert folder is not None
    log = tmp_path_factory.mktemp("llama") / "tools.log"
    with running(folder, log, "--chat-template-file", str(folder / "llama-3.1.jinja")) as server:
        yield server


@pytest.fixture(scope="session")
def rank_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """Ranks, as it can with any weights; started for that it does nothing else."""
    folder = built()
    assert folder is not None
    with running(folder, tmp_path_factory.mktemp("llama") / "rank.log", "--reranking") as server:
        yield server


def provider_tables(plain: LlamaServer, tools: LlamaServer) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {}
    for kind, server in (("plain", plain), ("tools", tools)):
        tables[f"llama_{kind}"] = {"type": "llamacpp", "base_url": f"{server.url}/v1"}
        tables[f"compatible_{kind}"] = {"type": "openai_compatible", "base_url": f"{server.url}/v1"}
        tables[f"messages_{kind}"] = {
            "type": "llamacpp",
            "base_url": f"{server.url}/v1",
            "dialect": "anthropic_messages",
        }
        tables[f"responses_{kind}"] = {**tables[f"llama_{kind}"], "dialect": "openai_responses"}
    for table in tables.values():
        table.update(api_key=KEY, model=MODEL, embed_model=MODEL)
    tables["locked"] = {**tables["llama_plain"], "api_key": "wrong-key-0123456789"}
    return tables


@pytest.fixture(scope="session")
def tables(plain_server: LlamaServer, tool_server: LlamaServer) -> dict[str, dict[str, Any]]:
    return provider_tables(plain_server, tool_server)


@pytest.fixture(scope="session")
def gateway_url(tables: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    written = "".join(
        f"[providers.{id}]\n" + "".join(f'{key} = "{value}"\n' for key, value in table.items())
        for id, table in tables.items()
    )
    head = f'[server]\nport = 0\napi_keys = ["{GATEWAY_KEY}"]\n[retry]\nmax_retries = 0\nenable_fallback = false\n'
    with gateway_process(head + written, tmp_path_factory.mktemp("gateway")) as url:
        yield url
