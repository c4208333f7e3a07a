"""What the subprocess tests serve: `python serving_app.py '<json of ServerSettings>' [open files]`."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from server_peers import PathApp, answer

from genai_spine.gateway.server import run
from genai_spine.model.errors import SpineError
from genai_spine.settings.tree import ServerSettings, Settings
from genai_spine.settings.values import Secret


class ProcessApp(PathApp):
    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/pid":
            await answer(send, 200, b"%d" % os.getpid())
        elif scope["path"] == "/ready":
            await answer(send, 503 if self.draining else 200, b"")
        else:
            await super()._answer(scope, receive, send)


def create(settings: Settings) -> ProcessApp:
    return ProcessApp()


def create_badly(settings: Settings) -> ProcessApp:
    raise SpineError("the application does not want to")


def create_unless_broken(settings: Settings) -> ProcessApp:
    if Path(os.environ["SERVING_APP_BROKEN"]).exists():
        raise SpineError("the application has broken since")
    return ProcessApp()


def announce(host: str, port: int) -> None:
    print(f"ready {host} {port}", flush=True)


if __name__ == "__main__":
    values = json.loads(sys.argv[1])
    values["api_keys"] = [Secret(key) for key in values.get("api_keys", [])]
    factory = create_badly if values.pop("fails", False) else create
    if "SERVING_APP_BROKEN" in os.environ:
        factory = create_unless_broken
    if len(sys.argv) > 2:
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]), int(sys.argv[2])))
    try:
        run(factory, Settings(server=ServerSettings(**values)), ready=announce)
    except SpineError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
