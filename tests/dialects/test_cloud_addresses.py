"""Recorded addresses of the clouds: ours for the same model are the same, and Azure's published scope."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pytest
from recorded_exchanges import ROOT

from genai_spine.dialects.gemini import schema as gemini
from genai_spine.providers.azure_authorizer import RESOURCE
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.settings import ProviderSettings

AZURE = {
    "chat": ("openai_chat", "/chat/completions"),
    "embeddings": ("openai_embeddings", "/embeddings"),
    "responses": ("openai_responses", "/responses"),
}


@cache
def recorded(provider: str) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in sorted((ROOT / "exchanges" / provider).glob("*.json"))]
    if not found:
        pytest.skip(f"no recordings in {ROOT}: set GENAI_WIRE")
    return [exchange for exchange in found if (exchange["request"] or {}).get("url")]


def test_every_recorded_vertex_address_is_ours() -> None:
    seen = 0
    for exchange in recorded("vertex"):
        url = exchange["request"]["url"].replace("/v1beta1/", "/v1/")
        found = re.search(r"/locations/([^/<]+)/publishers/google/models/([^:]+):(\w+)(\?.*)?$", url)
        if found is None or found[3] not in ("generateContent", "streamGenerateContent"):
            continue  # a location that was taken out; counting and embeddings have tests of their own
        settings = ProviderSettings(type="vertex", project="example-project", location=found[1])
        path = gemini.path(found[2], stream=found[3] == "streamGenerateContent")
        ours = str(HttpProvider("vertex", settings).url("gemini_vertex", path, found[2]))
        assert ours.partition("?")[0] == url.partition("?")[0]
        seen += 1
    assert seen >= 60


def test_every_recorded_azure_address_is_ours() -> None:
    seen = set()
    for exchange in recorded("azure-openai"):
        url = urlsplit(exchange["request"]["url"])
        if exchange["api"] not in AZURE or "/openai/" not in url.path:
            continue
        version = re.search(r"api-version=([\w-]+)", url.query)
        deployment = re.search(r"/deployments/([^/]+)/", url.path)
        settings = ProviderSettings(
            type="azure", base_url=f"https://{url.netloc}", api_version=version[1] if version else None
        )
        ours = HttpProvider("azure", settings).url(*AZURE[exchange["api"]], deployment[1] if deployment else "any")
        assert str(ours) == exchange["request"]["url"].replace("//openai", "/openai").replace(":///", "://")
        seen.add((exchange["api"], deployment is not None))
    assert seen == {("chat", True), ("chat", False), ("embeddings", True), ("embeddings", False), ("responses", False)}


@pytest.mark.skipif(not ROOT.is_dir(), reason="no schemas: set GENAI_WIRE")
def test_the_scope_of_entra_tokens_is_that_of_the_published_schema() -> None:
    schema = json.loads((ROOT / "schemas" / "azure-openai-v1.openapi.json").read_text())
    flow = schema["components"]["securitySchemes"]["OAuth2Auth"]["flows"]["implicit"]
    assert list(flow["scopes"]) == [f"{RESOURCE}/.default"]
