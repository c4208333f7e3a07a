from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import trustme
from spine_process import CANARY, Place

from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Simulator

sys.path.append(str(Path(__file__).parents[1] / "engine"))
from redis_server import RedisServer

NEAR = True  # what commands say: conftest.py


def examine(place: Place, *options: str, **environ: str) -> tuple[int, dict[str, list[dict[str, str]]], str]:
    """The exit code, the findings by subject, and all that was said."""
    result = place.run("doctor", "--json", *options, **environ)
    told = json.loads(result.out)
    assert told["ok"] is (result.code == 0)
    found: dict[str, list[dict[str, str]]] = {}
    for check in told["checks"]:
        found.setdefault(check["subject"], []).append(check)
    return result.code, found, result.said


def failures(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (subject, check["detail"])
        for subject, checks in found.items()
        for check in checks
        if check["status"] == "failure"
    ]


@pytest.fixture
def healthy(configured: Place, free_port: int) -> Place:
    """Everything configured works: models that are listed, a port that is free."""
    text = (configured.path / "spine.toml").read_text().replace('"sim"', '"sim-think"')
    configured.write(f"{text}[server]\nport = {free_port}\n")
    return configured


def test_all_is_well(healthy: Place) -> None:
    code, found, _ = examine(healthy)
    assert failures(found) == []
    assert code == 0
    for id in ("openai", "anthropic", "ollama"):
        details = " / ".join(check["detail"] for check in found[id])
        assert "is reached: DNS" in details
        assert "answers: " in details
    for subject in ("python", "versions", "extras", "TLS", "proxies", "settings", "port"):
        assert subject in found


def test_every_extra_is_told_of(healthy: Place) -> None:
    """Who wants `spine extract` or a ledger in Postgres heard of neither."""
    _, found, _ = examine(healthy)
    told = " ".join(f"{check['detail']} {check.get('mend', '')}" for check in found["extras"])
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for extra, packages in project["optional-dependencies"].items():
        names = [re.split(r"[\[>=]", package)[0].replace("-", "_") for package in packages]
        assert f"genai-spine[{extra}]" in told or any(f"{name} " in told for name in names), extra


def test_people_get_lines(healthy: Place) -> None:
    result = healthy.run("doctor")
    assert result.code == 0
    assert result.out.splitlines()[0].startswith("ok       python")
    assert "\x1b" not in result.out


@pytest.mark.usefixtures("no_ollama")
def test_nothing_configured_is_no_failure_but_worth_a_word(place: Place, free_port: int) -> None:
    code, found, said = examine(place, GENAI_SERVER_PORT=str(free_port))
    assert code == 0
    assert found["ollama"][0]["status"] == "info"
    assert "ollama pull" in found["ollama"][0]["mend"]
    assert "OPENAI_API_KEY" in said


def test_a_missing_key_names_its_variable(place: Place) -> None:
    place.write("[providers.groq]\n")
    code, found, _ = examine(place)
    assert code == 1
    assert found["groq"] == [
        {
            "status": "failure",
            "subject": "groq",
            "detail": "has no key",
            "mend": "set GROQ_API_KEY; https://console.groq.com/docs/openai tells where to get one",
        }
    ]


def test_a_refused_key_names_where_it_comes_from(place: Place) -> None:
    with running_simulator(key="right") as simulator:
        place.write(f'[providers.openai]\nbase_url = "{simulator.urls.openai}"\n')
        code, found, said = examine(place, OPENAI_API_KEY=CANARY)
        assert code == 1
        assert found["openai"][-1]["mend"] == "check OPENAI_API_KEY"
        assert "refused (401)" in found["openai"][-1]["detail"]
        assert CANARY not in said
        place.write(f'[providers.openai]\nbase_url = "{simulator.urls.openai}"\napi_key = "{CANARY}"\n')
        code, found, said = examine(place)
        assert "providers.openai.api_key" in found["openai"][-1]["mend"]
        assert CANARY not in said


def test_a_dead_upstream_says_at_which_step(place: Place, free_port: int) -> None:
    place.write(f'[providers.vllm]\nbase_url = "http://127.0.0.1:{free_port}/v1"\n')
    code, found, _ = examine(place)
    assert code == 1
    assert found["vllm"][0]["detail"].startswith(f"127.0.0.1:{free_port}: TCP failed: ")
    assert "is vLLM running there?" in found["vllm"][0]["mend"]


def test_a_name_that_does_not_resolve_is_dns(place: Place) -> None:
    place.write('[providers.openai]\napi_key = "k"\nbase_url = "https://no-such-host.invalid/v1"\n')
    code, found, _ = examine(place)
    assert code == 1
    assert "no-such-host.invalid:443: DNS failed" in found["openai"][-1]["detail"]


def test_a_certificate_of_nobody_is_tls(place: Place) -> None:
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        url = f"https://127.0.0.1:{server.getsockname()[1]}/v1"
        place.write(f'[providers.openai]\napi_key = "k"\nbase_url = "{url}"\n')
        code, found, _ = examine(place)
        server.shutdown(socket.SHUT_RDWR)
    assert code == 1
    assert "TLS failed: certificate refused" in found["openai"][-1]["detail"]
    assert "ca_file" in found["openai"][-1]["mend"]


def test_a_configured_model_that_is_not_there_fails_with_the_pull(configured: Place, simulator: Simulator) -> None:
    configured.write(f'[providers.ollama]\nbase_url = "{simulator.urls.ollama}"\nmodel = "llama9"\n')
    code, found, _ = examine(configured)
    assert code == 1
    assert "llama9" in found["ollama"][-1]["detail"]
    assert "ollama pull llama9" in found["ollama"][-1]["mend"]


def test_a_rows_own_default_that_is_not_there_is_a_warning(place: Place, simulator: Simulator, free_port: int) -> None:
    place.write(
        f'[server]\nport = {free_port}\n[providers.openai]\napi_key = "k"\nbase_url = "{simulator.urls.openai}"\n'
    )
    code, found, _ = examine(place)
    assert code == 0
    assert found["openai"][-1]["status"] == "warning"
    assert "providers.openai.model" in found["openai"][-1]["mend"]


def test_everything_is_asked_at_once_and_not_for_ever(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        tables = [f'[providers.p{n}]\ntype = "openai_compatible"\nbase_url = "{url}"\n' for n in range(5)]
        place.write("".join(tables))
        begun = time.monotonic()
        code, found, _ = examine(place, "--timeout", "2.5")
        assert code == 1
        assert time.monotonic() - begun < 12  # one after the other they would take 12.5
        assert [found[f"p{n}"][-1]["detail"] for n in range(5)] == ["no answer within 2.5 s"] * 5


def test_broken_settings_are_a_finding_and_the_rest_is_still_told(place: Place) -> None:
    place.write("[server]\nprot = 1\n")
    code, found, _ = examine(place)
    assert code == 1
    assert "prot" in found["settings"][0]["detail"]
    assert "python" in found


def test_the_port_is_free_ours_or_taken(place: Place) -> None:
    place.write("[providers.simulated]\n")
    with place.started("serve", "--port", "0") as running:
        out = running.expect("OLLAMA_HOST=")
        port = out.split("http://127.0.0.1:")[1].split("\n")[0].split()[0]
        _, found, _ = examine(place, GENAI_SERVER_PORT=port)
        assert "the gateway is running" in found["port"][0]["detail"]
    code, found, _ = examine(place, GENAI_SERVER_PORT=port)
    assert "free" in found["port"][0]["detail"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, found, _ = examine(place, GENAI_SERVER_PORT=str(taken.getsockname()[1]))
        assert code == 1
        assert found["port"][0]["status"] == "failure"


def test_an_open_gateway_without_keys_is_a_failure(place: Place) -> None:
    place.write('[server]\nhost = "0.0.0.0"\nport = 0\n[providers.simulated]\n')
    code, found, _ = examine(place)
    assert code == 1
    assert "api_keys" in found["port"][0]["detail"]


def test_proxies_are_shown_without_their_password(place: Place) -> None:
    place.write("[providers.simulated]\n")
    _, found, said = examine(place, HTTPS_PROXY=f"http://me:{CANARY}@proxy.corp:3128", NO_PROXY="localhost")
    assert "https through proxy.corp:3128" in found["proxies"][0]["detail"]
    assert "not for localhost" in found["proxies"][0]["detail"]
    assert CANARY not in said
    code, found, _ = examine(place, HTTPS_PROXY="ftp://x")
    assert code == 1
    assert "https_proxy" in found["proxies"][0]["detail"].lower()


def test_an_extra_that_a_provider_cannot_do_without_is_a_failure(
    place: Place, monkeypatch: pytest.MonkeyPatch, simulator: Simulator
) -> None:
    """It was said to be well, and each of its calls failed."""
    for name in ("litellm", "aiohttp", "genai_spine.providers.aiohttp_transport"):
        monkeypatch.setitem(sys.modules, name, None)
    place.write(
        '[providers.litellm]\nmodel = "gpt-4o"\n'
        '[providers.openai]\napi_key = "k"\nproxy = "https://127.0.0.1:9"\n'
        f'[providers.local]\ntype = "openai_compatible"\nbase_url = "{simulator.urls.openai}"\n'
    )
    environ = {"ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": "localhost,127.0.0.1"}
    code, found, _ = examine(place, **environ)
    assert code == 1
    assert {subject for subject, _ in failures(found)} == {"proxies", "litellm", "openai"}
    assert failures({"litellm": found["litellm"]})[0][1] == "needs an extra: pip install 'genai-spine[litellm]'"
    warnings = json.loads(place.run("config", "check", "--json", **environ).out)["warnings"]
    assert warnings == [
        "providers.litellm needs an extra: pip install 'genai-spine[litellm]'",
        "providers.openai is behind a SOCKS or https:// proxy, which needs an extra: "
        "pip install 'genai-spine[aiohttp]'",
    ]


def test_of_several_keys_each_that_is_refused_is_named_by_its_place(place: Place) -> None:
    with running_simulator(key="right-key") as simulator:
        place.write(
            f'[providers.openai]\nbase_url = "{simulator.urls.openai}"\nmodel = "sim-think"\n'
            f'api_keys = ["{CANARY}", "right-key"]\n'
        )
        _, found, said = examine(place)
        details = [(check["status"], check["detail"]) for check in found["openai"]]
        assert ("warning", "key 1 of 2 is refused (401)") in details
        assert not any(status == "failure" for status, _ in details)
        assert any("has 2 keys" in detail for _, detail in details)
        assert any(detail.startswith("answers: ") for _, detail in details)
        assert CANARY not in said
        listed = json.loads(place.run("providers", "--json").out)["providers"]
        assert listed[0]["keys"] == 2


def test_the_server_that_gateways_share_is_asked(healthy: Place, tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    text = (healthy.path / "spine.toml").read_text()
    healthy.write(f'{text}[state]\nurl = "redis://:{CANARY}@127.0.0.1:{server.port}/0"\n')
    with server.client() as client:
        client.config_set("requirepass", CANARY)
        code, found, _ = examine(healthy)
        assert (code, found["state"][0]["status"]) == (0, "ok")
        client.auth(CANARY)
        client.config_set("requirepass", "another")
    code, found, said = examine(healthy)
    assert (code, found["state"][0]["status"]) == (1, "failure")
    assert "invalid username-password" in found["state"][0]["detail"]
    assert CANARY not in said
    server.kill()
    assert "ConnectionError" in examine(healthy)[1]["state"][0]["detail"]
