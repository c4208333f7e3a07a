"""Gemini on Vertex AI: addresses, tokens, keys, safety settings; real servers on loopback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cloud_peers import Asked, running
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from genai_spine.catalog.rows import load_rows
from genai_spine.model.errors import ConfigError, InvalidRequest
from genai_spine.model.request import CompletionRequest
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.settings import ProviderSettings, Secret, load_settings

ANSWER = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
    "modelVersion": "gemini-2.5-flash",
}
PLACE = "v1/projects/our-project/locations/{location}/publishers/google/models/m:generateContent"
PATH = "/models/m:generateContent"


def vertex(**settings: Any) -> HttpProvider:
    return HttpProvider("vertex", ProviderSettings(type="vertex", **settings))


def request(**changes: Any) -> CompletionRequest:
    return CompletionRequest(model="gemini-2.5-flash", messages="hello", **changes)  # type: ignore[arg-type]


# ------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"location": "us-central1"}, f"https://us-central1-aiplatform.googleapis.com/{PLACE}"),
        ({"location": "europe-west4"}, f"https://europe-west4-aiplatform.googleapis.com/{PLACE}"),
        ({"location": "global"}, f"https://aiplatform.googleapis.com/{PLACE}"),
        ({"location": "us"}, f"https://aiplatform.us.rep.googleapis.com/{PLACE}"),
        ({"location": "eu"}, f"https://aiplatform.eu.rep.googleapis.com/{PLACE}"),
        ({}, f"https://aiplatform.googleapis.com/{PLACE}".replace("{location}", "global")),
        (
            {"api_key": Secret("k"), "project": None},
            "https://aiplatform.googleapis.com/v1/publishers/google/models/m:generateContent",
        ),
        ({"location": "us-east5", "base_url": "https://proxy.corp"}, f"https://proxy.corp/{PLACE}"),
        ({"location": "us-east5", "base_url": "https://proxy.corp/vertex/v1/"}, f"https://proxy.corp/vertex/{PLACE}"),
        (
            {"base_url": "https://proxy.corp/v1/projects/other/locations/here"},
            "https://proxy.corp/v1/projects/other/locations/here/publishers/google/models/m:generateContent",
        ),
    ],
)
def test_where_a_request_goes(settings: dict[str, Any], url: str) -> None:
    provider = vertex(**{"project": "our-project", **settings})
    wanted = url.replace("{location}", str(settings.get("location", "global")))
    assert str(provider.url("gemini_vertex", PATH, "m")) == wanted


def test_a_project_is_needed_and_the_error_tells_how_to_give_one() -> None:
    with pytest.raises(ConfigError) as caught:
        vertex(location="us-central1").url("gemini_vertex", PATH)
    assert str(caught.value) == (
        '"vertex" needs project, a part of its address: set GOOGLE_CLOUD_PROJECT or providers.vertex.project'
    )


# ------------------------------------------------------------ tokens and keys


async def test_a_service_account_file_is_all_that_is_needed(tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

    def google(asked: Asked) -> tuple[int, Any]:
        if asked.target == "/token":
            return 200, {"access_token": "ya29.ours", "expires_in": 3599}
        return 200, {"totalTokens": 7} if asked.target.endswith(":countTokens") else ANSWER

    async with running(google) as peer:
        account = {
            "type": "service_account",
            "client_email": "robot@our-project.iam.gserviceaccount.com",
            "private_key_id": "1",
            "private_key": key.decode(),
            "token_uri": f"{peer.url}/token",
        }
        file = tmp_path / "account.json"
        file.write_text(json.dumps(account))
        variables = {
            "GOOGLE_APPLICATION_CREDENTIALS": str(file),
            "GOOGLE_CLOUD_PROJECT": "our-project",
            "GOOGLE_CLOUD_LOCATION": "us-east5",
            "GENAI_VERTEX_BASE_URL": peer.url,
        }
        settings = load_settings(environ=variables, cwd=tmp_path)
        provider = HttpProvider("vertex", settings.providers["vertex"])
        assert (await provider.complete(request())).text == "hi"
        assert await provider.count_tokens("hello", model="gemini-2.5-flash") == 7
        await provider.close()
        token, *calls = peer.asked
    assert token.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    place = "/v1/projects/our-project/locations/us-east5/publishers/google/models/gemini-2.5-flash"
    assert [call.target for call in calls] == [f"{place}:generateContent", f"{place}:countTokens"]
    assert {call.headers["authorization"] for call in calls} == {"Bearer ya29.ours"}


async def test_a_key_is_a_header_and_needs_no_token() -> None:
    async with running(lambda _: (200, ANSWER)) as peer:
        provider = vertex(api_key=Secret("k-1"), base_url=peer.url)
        await provider.complete(request())
        await provider.close()
        (asked,) = peer.asked
    assert asked.target == "/v1/publishers/google/models/gemini-2.5-flash:generateContent"
    assert asked.headers["x-goog-api-key"] == "k-1"
    assert "authorization" not in asked.headers


@pytest.mark.parametrize(
    ("table", "environ", "type_"),
    [
        ({"project": "p", "location": "us-central1"}, {}, "vertex"),
        ({"credentials_file": "account.json"}, {}, "vertex"),
        ({"project": "p"}, {"GEMINI_API_KEY": "k"}, "gemini"),
        ({"project": "p", "api_key": "k"}, {}, "gemini"),
        ({}, {}, "gemini"),
    ],
)
def test_gemini_with_a_project_and_no_key_is_vertex(
    tmp_path: Path, table: dict[str, str], environ: dict[str, str], type_: str
) -> None:
    settings = load_settings(environ=environ, cwd=tmp_path, overrides={"providers.gemini": table or {"model": "m"}})
    assert settings.providers["gemini"].type == type_


def test_every_row_meant_without_a_key_is_there() -> None:
    for row in load_rows().values():
        assert row.keyless is None or load_rows()[row.keyless].is_cloud


# ------------------------------------------------------------ safety settings


async def safety_of(peer_answer: Any, given: Any, **changes: Any) -> Any:
    async with running(lambda _: (200, peer_answer)) as peer:
        provider = vertex(api_key=Secret("k"), base_url=peer.url, safety_settings=given)
        await provider.complete(request(**changes))
        await provider.close()
        return json.loads(peer.asked[0].body).get("safetySettings")


@pytest.mark.parametrize(
    "given",
    [
        {"HARM_CATEGORY_HARASSMENT": "BLOCK_ONLY_HIGH"},
        [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}],
    ],
)
async def test_safety_settings_reach_requests_in_both_spellings(given: Any) -> None:
    assert await safety_of(ANSWER, given) == [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}]
    assert await safety_of(ANSWER, None) is None


async def test_a_requests_own_safety_settings_win() -> None:
    own = {"gemini": {"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}]}}
    given = {"HARM_CATEGORY_HARASSMENT": "BLOCK_ONLY_HIGH", "HARM_CATEGORY_HATE_SPEECH": "BLOCK_NONE"}
    raw = {"gemini": msgspec.Raw(json.dumps(own["gemini"]).encode())}
    assert await safety_of(ANSWER, given, extra=raw) == [
        {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"},
        {"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"},
    ]


@pytest.mark.parametrize("given", ["none", ["x"], {"a": 1}, [{"category": "c"}]])
def test_safety_settings_of_another_shape_are_a_config_error(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"^providers\.vertex\.safety_settings: expected a table such as"):
        vertex(safety_settings=given)


def test_with_safety_settings_nothing_is_relayed() -> None:
    assert not vertex(api_key=Secret("k"), safety_settings={"A": "B"}).relays("gemini_vertex", {})


@pytest.mark.parametrize("model", [".", ".."])
async def test_a_callers_model_name_stays_in_its_place(model: str) -> None:
    async with running(lambda _: (200, ANSWER)) as peer:
        provider = vertex(api_key=Secret("k"), base_url=peer.url)
        try:
            await provider.complete(CompletionRequest(model=model, messages="x"))  # type: ignore[arg-type]
        except InvalidRequest:
            assert not peer.asked
        else:
            assert f"/models/{model}:" in peer.asked[0].target
        await provider.close()
