"""What a gateway's caller may not read of a cloud: secrets, hosts, files of credentials."""

from __future__ import annotations

from genai_spine.engine.manager import ProviderManager
from genai_spine.gateway.discretion import Discretion
from genai_spine.settings import load_settings


def test_secrets_hosts_and_files_of_clouds_are_taken_out(tmp_path: object) -> None:
    settings = load_settings(
        environ={},
        cwd=tmp_path,  # type: ignore[arg-type]  # pytest's Path
        overrides={
            "providers.azure": {"resource": "ours", "client_secret": "hush-hush-hush", "tenant_id": "t"},
            "providers.vertex": {"project": "p", "location": "us-east5", "credentials_file": "/etc/keys/account.json"},
            "providers.bedrock": {
                "region": "us-east-1",
                "secret_access_key": "secret-access",
                "session_token": "session-x",
            },
        },
    )
    discretion = Discretion(ProviderManager.from_settings(settings).registry, settings)
    told = discretion(
        "hush-hush-hush secret-access session-x ours.openai.azure.com:443 us-east5-aiplatform.googleapis.com:443 "
        "bedrock-runtime.us-east-1.amazonaws.com:443 /etc/keys/account.json"
    )
    assert told == "[redacted] [redacted] [redacted] [address] [address] [address] [address]"
