"""`spine streams`: what a running gateway writes now, and the end of it."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from spine_process import CANARY, Place

from genai_spine.testing.fixtures import wait_until
from genai_spine.testing.simulator import Simulator


@contextmanager
def stream(port: int, into: list[bytes]) -> Iterator[None]:
    """A stream of the simulator that takes long; what comes of it goes `into` the list."""
    body = {"model": "openai/sim", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(body).encode(), {"authorization": f"Bearer {CANARY}"}
    )

    def read() -> None:
        with urllib.request.urlopen(request, timeout=20) as answer:
            into.extend(answer)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    yield
    reader.join(20)


def test_streams_are_listed_and_cancelled(configured: Place, free_port: int, simulator: Simulator) -> None:
    text = (configured.path / "spine.toml").read_text()
    configured.write(text + f'[server]\nport = {free_port}\napi_keys = ["{CANARY}"]\n')
    simulator.run("stall=3")
    with configured.started("serve") as running:
        running.expect("OPENAI_BASE_URL")
        assert "No streams are under way" in configured.run("streams").err
        came: list[bytes] = []
        with stream(free_port, came):
            wait_until(lambda: json.loads(configured.run("streams", "--json").out) != [], 15)
            (found,) = json.loads(configured.run("streams", "--json").out)
            assert (found["provider"], found["dialect"]) == ("openai", "openai_chat")
            listed = configured.run("streams")
            assert found["id"] in listed.out
            assert configured.run("streams", "cancel", found["id"]).code == 0
        assert "cancelled" in b"".join(came).decode()
        again = configured.run("streams", "cancel", found["id"])
        assert (again.code, "no stream" in again.err) == (1, True)
        assert CANARY not in listed.said + again.said
        url = f"http://127.0.0.1:{free_port}"
        assert "SPINE_KEY" in configured.run("streams", "--url", url).err
        assert configured.run("streams", "--url", url, SPINE_KEY=CANARY).code == 0


def test_an_address_that_is_none_is_wrong_usage(place: Place) -> None:
    for url in ("https://x", "http://", "127.0.0.1:x"):
        assert place.run("streams", "--url", url).code == 2
