"""Clouds: what their own variables set, and when they appear without configuration."""

from __future__ import annotations

from typing import Any

import pytest

from genai_spine.catalog.rows import load_rows
from genai_spine.settings import discover, warnings_of
from genai_spine.settings.tree import ProviderSettings

AZURE_APPLICATION = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "s"}
AWS_KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://ours.openai.azure.com"}, ["azure"]),
        ({"AZURE_OPENAI_API_KEY": "k"}, []),  # a key without an address calls nobody
        ({"AZURE_OPENAI_ENDPOINT": "https://ours.openai.azure.com"}, []),
        ({**AZURE_APPLICATION, "AZURE_OPENAI_ENDPOINT": "https://ours.openai.azure.com"}, ["azure"]),
        (AZURE_APPLICATION, []),
        ({"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "http://localhost:8100"}, []),  # our own gateway
        ({"AWS_BEARER_TOKEN_BEDROCK": "k"}, ["bedrock"]),
        ({**AWS_KEYS, "AWS_REGION": "us-east-1"}, []),  # there for other things
        (AWS_KEYS, []),
        ({"AWS_PROFILE": "p", "AWS_REGION": "us-east-1"}, []),
        ({"GEMINI_API_KEY": "k"}, ["gemini"]),
        ({"GOOGLE_API_KEY": "k"}, ["gemini"]),
        ({"GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_APPLICATION_CREDENTIALS": "f.json"}, ["vertex"]),
        ({"GOOGLE_CLOUD_PROJECT": "p"}, []),
        ({"GOOGLE_APPLICATION_CREDENTIALS": "f.json"}, []),
        (
            {"GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_APPLICATION_CREDENTIALS": "f.json", "CLOUD_ML_REGION": "us-east5"},
            ["vertex", "vertex_anthropic"],
        ),
    ],
)
def test_a_cloud_appears_where_its_variables_say_enough_to_call_it(environ: dict[str, str], found: list[str]) -> None:
    assert sorted(set(discover(environ, load_rows())) - {"ollama"}) == found


def test_a_discovered_azure_is_whole(load: Any) -> None:
    settings = load(
        environ={
            "AZURE_OPENAI_API_KEY": "k",
            "AZURE_OPENAI_ENDPOINT": "https://ours.openai.azure.com/",
            "OPENAI_API_VERSION": "2024-10-21",
        }
    )
    azure = settings.providers["azure"]
    assert azure.api_key.reveal() == "k"
    assert (azure.base_url, azure.api_version) == ("https://ours.openai.azure.com/", "2024-10-21")
    assert warnings_of(settings) == []


def test_variables_fill_what_the_file_leaves_open_and_nothing_else(load: Any) -> None:
    environ = {
        **AZURE_APPLICATION,
        "AZURE_OPENAI_ENDPOINT": "https://other.openai.azure.com",
        "GOOGLE_CLOUD_PROJECT": "environments",
        "GOOGLE_CLOUD_LOCATION": "eu",
    }
    settings = load(
        """
        [providers.azure]
        resource = "ours"
        client_id = "mine"
        [providers.vertex]
        project = "files"
        """,
        environ,
    )
    azure, vertex = settings.providers["azure"], settings.providers["vertex"]
    assert azure.base_url is None  # the file names the resource: the variable's is another one
    assert (azure.tenant_id, azure.client_id, azure.client_secret.reveal()) == ("t", "mine", "s")
    assert (vertex.project, vertex.location) == ("files", "eu")


def test_variables_may_stand_in_dotenv(load: Any) -> None:
    settings = load("[providers.vertex]\n", dotenv="GOOGLE_CLOUD_PROJECT=p\nGOOGLE_APPLICATION_CREDENTIALS=key.json\n")
    vertex = settings.providers["vertex"]
    assert (vertex.project, vertex.credentials_file) == ("p", "key.json")


def test_aws_keys_may_stand_in_dotenv(load: Any) -> None:
    dotenv = "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=s\nAWS_SESSION_TOKEN=t\n"
    bedrock = load("[providers.bedrock]\n", dotenv=dotenv).providers["bedrock"]
    assert bedrock.access_key_id == "a"
    assert (bedrock.secret_access_key.reveal(), bedrock.session_token.reveal()) == ("s", "t")


def test_an_aws_profile_may_stand_in_dotenv_and_comes_after_keys_and_a_web_identity(load: Any) -> None:
    dotenv = "AWS_PROFILE=work\n"
    for environ, profile in (
        ({}, "work"),
        (AWS_KEYS, None),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/run/token"}, None),
    ):
        assert load("[providers.bedrock]\n", environ, dotenv=dotenv).providers["bedrock"].profile == profile


@pytest.mark.parametrize(
    ("own", "dotenv"),
    [
        ('profile = "work"', "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=s\n"),
        ('access_key_id = "own"\nsecret_access_key = "own"', "AWS_SESSION_TOKEN=t\n"),
        ("", "AWS_ACCESS_KEY_ID=a\nAWS_SESSION_TOKEN=t\n"),
    ],
)
def test_aws_keys_of_two_sources_are_not_mixed(load: Any, own: str, dotenv: str) -> None:
    given = load(f"[providers.bedrock]\n{own}\n", dotenv=dotenv).providers["bedrock"]
    assert given.session_token is None
    assert given.access_key_id == ("own" if "own" in own else None)


def test_an_address_from_a_variable_is_checked_too(refusal: Any) -> None:
    message = refusal("[providers.azure]\n", {"AZURE_OPENAI_ENDPOINT": "ours.openai.azure.com"})
    assert "base_url: expected a URL such as https://api.example.com/v1" in message


@pytest.mark.parametrize("row", load_rows().values(), ids=lambda row: row.id)
def test_what_a_row_says_of_settings_exists(row: Any) -> None:
    fields = ProviderSettings.__struct_fields__
    assert row.settings_used <= set(fields)
    assert set(row.variables) | set(row.defaults) <= set(fields)
    assert row.is_cloud or not row.credential_variables
    for variant in row.variants:
        assert set(variant.when) <= set(fields)


def test_secrets_from_variables_are_secrets(load: Any) -> None:
    settings = load("[providers.azure]\nresource = 'r'\n", {**AZURE_APPLICATION, "AZURE_CLIENT_SECRET": "hush-hush"})
    assert "hush-hush" not in repr(settings)
