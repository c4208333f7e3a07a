"""Clouds in `spine doctor` and `spine providers`: where they are, and what stands for a key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from spine_process import CANARY, Place

NEAR = True  # what commands say: conftest.py

NOWHERE = {"NO_GCE_CHECK": "true", "AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:9"}


def findings(place: Place, **environ: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for check in json.loads(place.run("doctor", "--json", **NOWHERE, **environ).out)["checks"]:
        found.setdefault(check["subject"], []).append(check)
    return found


@pytest.mark.parametrize(
    ("id", "table", "start"),
    [
        ("azure", 'resource = "ours"', "no Azure credentials: set AZURE_OPENAI_API_KEY or api_key"),
        ("vertex", 'project = "p"', "no Google Cloud credentials: set GOOGLE_APPLICATION_CREDENTIALS"),
        ("vertex", "", '"vertex" needs project, a part of its address: set GOOGLE_CLOUD_PROJECT or providers.vertex'),
    ],
)
def test_the_doctor_says_what_a_cloud_lacks(place: Place, id: str, table: str, start: str) -> None:
    place.write(f"[providers.{id}]\n{table}\n")
    (check,) = findings(place)[id]
    assert check["status"] == "failure"
    assert check["detail"].startswith(start)


def test_the_doctor_never_shows_an_applications_secret(place: Place) -> None:
    place.write('[providers.azure]\nresource = "ours"\n')
    secret = {"AZURE_CLIENT_SECRET": CANARY, "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c"}
    result = place.run("doctor", **NOWHERE, **secret, AZURE_AUTHORITY_HOST="http://127.0.0.1:9")
    assert CANARY not in result.said
    assert "127.0.0.1:9" in result.said


def test_the_list_shows_an_address_as_far_as_it_is_known(place: Place) -> None:
    place.write(
        '[providers.azure]\nresource = "ours"\n[providers.vertex]\n[providers.mine]\ntype = "azure"\napi_key = "k"\n'
    )
    listed = {one["id"]: one for one in json.loads(place.run("providers", "--json").out)["providers"]}
    assert listed["azure"]["base_url"] == "https://ours.openai.azure.com/openai/v1"
    assert listed["azure"]["key"] == "cloud"
    assert listed["mine"]["base_url"] == "https://{resource}.openai.azure.com/openai/v1"
    assert listed["mine"]["key"] == "set"
    assert "/projects/{project}/locations/global/" in listed["vertex"]["base_url"]


def test_variables_of_a_cloud_are_all_the_configuration_it_needs(place: Place) -> None:
    environ = {"AZURE_OPENAI_API_KEY": CANARY, "AZURE_OPENAI_ENDPOINT": "https://ours.openai.azure.com"}
    result = place.run("providers", "--json", **environ)
    listed = {one["id"]: one for one in json.loads(result.out)["providers"]}
    assert (listed["azure"]["state"], listed["azure"]["key"]) == ("found", "set")
    assert listed["azure"]["key_from"] == "AZURE_OPENAI_API_KEY"
    assert CANARY not in result.said
