"""The gateways that are measured: how each is installed, started, asked and stopped.

Every peer has an environment of its own under `bench/.envs` (kept between runs; `--upgrade` renews
them) and all are asked the same thing: an OpenAI chat request that leads to one of the bench's
upstreams. Must not know: what is measured, and how.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

from answers import MODELS, chat_request, path_of
from upstream import Ports

BENCH = Path(__file__).resolve().parent
ENVS = BENCH / ".envs"
KEY = "bench-key"
LITELLM_KEY = "sk-bench-key"

# Every (dialect, upstream) that a gateway is configured with.
ROUTES = [("openai", name) for name in ("plain", "stream", "tls", "paced", "trickle")] + [
    (dialect, name) for dialect in ("anthropic", "gemini", "bedrock") for name in ("plain", "stream")
]
BASES = {"openai": "/v1", "gemini": "/v1beta"}  # what a provider's base URL has after its origin


class Unavailable(Exception):
    """A peer cannot be measured here; the message says why, and goes into the results."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One kind of request: which upstream, which dialect it speaks, streamed or not."""

    upstream: str
    dialect: str = "openai"
    stream: bool = False
    is_long: bool = False

    def body(self, model: str) -> bytes:
        return chat_request(model, stream=self.stream, is_long=self.is_long)


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A call as one peer wants it."""

    port: int
    path: str
    headers: dict[str, str]
    body: bytes
    event_mark: str = "data: "  # what every event of its stream has in it


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without proxies and without anybody's API keys, plus `more`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith(("_proxy", "_api_key", "_base_url"))
        and not name.startswith(("GENAI_", "LITELLM_", "PYTHON"))
    }
    return kept | more


def spine_environment() -> dict[str, str]:
    """A clean environment in which `import genai_spine` finds this checkout."""
    return clean_environment(PYTHONPATH=str(BENCH.parent / "src"))


class Processes:
    """Starts processes in groups of their own and stops every one of them, whatever happens."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, command: list[str], env: dict[str, str] | None = None) -> int:
        """Starts a command, its output in `logs/NAME.log`; returns its pid. Raises: Unavailable."""
        with (self.logs / f"{name}.log").open("wb") as log:
            try:
                process = subprocess.Popen(
                    command,
                    env=clean_environment() if env is None else env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise Unavailable(f"{name} does not start: {error.strerror}") from None
        self.running[name] = process
        return process.pid

    def ended(self, name: str) -> str | None:
        """The last line that a process wrote, if it has ended; None while it runs."""
        process = self.running.get(name)
        if process is not None and process.poll() is None:
            return None
        lines = (self.logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it ended without a word"

    def stop(self, name: str, patience_s: float = 10.0) -> None:
        """SIGTERM to the process's group, SIGKILL when it does not end in time."""
        process = self.running.pop(name, None)
        if process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
            with suppress(ProcessLookupError):  # children that outlived their parent
                os.killpg(process.pid, signal.SIGKILL)
            return

    def stop_all(self) -> None:
        for name in reversed(list(self.running)):
            self.stop(name, patience_s=3.0)


@contextmanager
def processes(logs: Path) -> Iterator[Processes]:
    """Processes that are stopped at the end of the block, on Ctrl-C and on SIGTERM too."""
    started = Processes(logs)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield started
    finally:
        ours = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave orphans
        started.stop_all()
        signal.signal(signal.SIGINT, ours)
        signal.signal(signal.SIGTERM, before)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def answers(port: int, path: str, headers: dict[str, str] | None = None) -> bool:
    """Whether `GET path` gives 200 now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=headers or {})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def run_quietly(command: Sequence[str | Path], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Runs a command and returns its output. Raises: Unavailable with the last line of its errors."""
    try:
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=1800, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{Path(command[0]).name}: {type(error).__name__}") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"{Path(command[0]).name} failed: {lines[-1] if lines else done.returncode}")
    return done.stdout


def make_venv(name: str, requirements: list[str], *, upgrade: bool) -> Path:
    """The Python of the environment `bench/.envs/NAME`, made when it is missing. Raises: Unavailable."""
    python = ENVS / name / "bin" / "python"
    complete = ENVS / name / "complete"
    if complete.exists() and not upgrade:
        return python
    if not python.exists():
        run_quietly([sys.executable, "-m", "venv", ENVS / name])
    run_quietly([python, "-m", "pip", "install", "--quiet", "--upgrade", *requirements])
    complete.touch()
    return python


def venv_version(python: Path, distribution: str) -> str:
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    return run_quietly([python, "-c", code]).strip()


def refuse_others(call: Call) -> None:
    """For peers that are set up for OpenAI's and Anthropic's upstreams only. Raises: Unavailable."""
    if call.dialect not in ("openai", "anthropic"):
        raise Unavailable(f"not set up for {call.dialect}")


class Peer(Protocol):
    """A gateway under measurement."""

    name: str
    label: str
    weight: float  # share of the full number of requests: slow peers get fewer

    def prepare(self, *, upgrade: bool) -> str:
        """Makes the environment; returns the version. Raises: Unavailable."""
        ...

    def command(self, port: int, ports: Ports, folder: Path) -> tuple[list[str], dict[str, str]]:
        """What to run, and in which environment."""
        ...

    def ask(self, call: Call, port: int, ports: Ports) -> Ask:
        """The call as this peer wants it. Raises: Unavailable where it is not measured with such a call."""
        ...

    def is_ready(self, port: int) -> bool:
        """Whether it answers its health check with 200."""
        ...


class Nginx:
    """nginx `proxy_pass`: no key check, no parsing; the upstream's own bytes in whatever dialect."""

    name, label, weight = "nginx", "nginx proxy_pass", 1.0

    def prepare(self, *, upgrade: bool) -> str:
        program = shutil.which("nginx")
        if program is None:
            raise Unavailable("nginx is not installed")
        done = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)
        return done.stderr.strip().rpartition("/")[2]

    def command(self, port: int, ports: Ports, folder: Path) -> tuple[list[str], dict[str, str]]:
        return ["nginx", "-c", str(folder / "floor.conf")], clean_environment()

    def ask(self, call: Call, port: int, ports: Ports) -> Ask:
        path = path_of(call.dialect, stream=call.stream)
        body = call.body(MODELS[call.dialect])
        mark = ":event-type" if call.dialect == "bedrock" else "data: "
        return Ask(port=port, path=f"/{call.upstream}{path}", headers={}, body=body, event_mark=mark)

    def is_ready(self, port: int) -> bool:
        return answers(port, "/health")


class Spine:
    """Our gateway, from the interpreter that runs the bench: one worker, key check on, access log off."""

    name, label, weight = "spine", "GenAI Spine", 1.0

    def prepare(self, *, upgrade: bool) -> str:
        run_quietly([sys.executable, "-c", "import genai_spine.cli.main"], env=spine_environment())
        try:
            return version("genai-spine")
        except PackageNotFoundError:
            return "of the checkout"

    def config(self, ports: Ports, folder: Path) -> str:
        """The gateway's settings: one provider per upstream and dialect."""
        lines = ["[server]", f'api_keys = ["{KEY}"]', "access_log = false", "workers = 1"]
        for dialect, upstream in ROUTES:
            lines += [f"[providers.{dialect}_{upstream}]", f'type = "{dialect}"']
            lines += [f'base_url = "{ports.origin(upstream)}{BASES.get(dialect, "")}"']
            if dialect == "bedrock":  # no key but credentials: every request is signed
                lines += ['access_key_id = "AKIABENCH"', 'secret_access_key = "s"', 'region = "us-east-1"']
            else:
                lines += ['api_key = "k"']
            if upstream == "tls":
                lines += [f'ca_file = "{folder / "ca.pem"}"']
        return "\n".join(lines) + "\n"

    def command(self, port: int, ports: Ports, folder: Path) -> tuple[list[str], dict[str, str]]:
        file = folder / "spine.toml"
        file.write_text(self.config(ports, folder))
        command = [sys.executable, "-m", "genai_spine", "serve", "--config", str(file), "--port", str(port)]
        return command, spine_environment()

    def ask(self, call: Call, port: int, ports: Ports) -> Ask:
        model = f"{call.dialect}_{call.upstream}/{MODELS[call.dialect]}"
        return Ask(
            port=port,
            path="/v1/chat/completions",
            headers={"Authorization": f"Bearer {KEY}"},
            body=call.body(model),
        )

    def is_ready(self, port: int) -> bool:
        return answers(port, "/health/ready")


class Governed(Spine):
    """Our gateway with everything on that decides about calls: limits of the key, the provider and the model that
    count requests, tokens and calls at a time, learned and adaptive ones, hedging, and a route of two targets whose
    order is decided anew for each call. The limits are too wide to be met."""

    name, label, weight = "governed", "GenAI Spine, limits, routes and hedging on", 1.0
    _WIDE = ("requests_per_min = 1000000000", "tokens_per_min = 1000000000000", "max_concurrency = 100000")

    def config(self, ports: Ports, folder: Path) -> str:
        lines = ["[limits]", *self._WIDE, "adaptive = true", "[hedge]", "budget = 0.05"]
        for dialect in ("openai", "anthropic"):
            for number in (1, 2):
                lines += [f"[providers.{dialect}_{number}]", f'type = "{dialect}"', 'api_key = "k"', *self._WIDE]
                lines += [f'base_url = "{ports.origin("plain")}{BASES.get(dialect, "")}"']
                lines += [f'[providers.{dialect}_{number}.limits."{MODELS[dialect]}"]', *self._WIDE]
            targets = ", ".join(f'"{dialect}_{number}/{MODELS[dialect]}"' for number in (1, 2))
            lines += [f"[routes.{dialect}]", f"targets = [{targets}]", 'strategy = "latency"']
        server = ["[server]", f'api_keys = ["{KEY}"]', "access_log = false", "workers = 1"]
        return "\n".join([*server, *lines]) + "\n"

    def ask(self, call: Call, port: int, ports: Ports) -> Ask:
        if call.upstream != "plain" or call.dialect not in ("openai", "anthropic"):
            raise Unavailable("measured with plain calls only")
        return Ask(
            port=port,
            path="/v1/chat/completions",
            headers={"Authorization": f"Bearer {KEY}"},
            body=call.body(call.dialect),
        )


class Accountable(Governed):
    """All of that, and every cent in the ledger: a SQLite database, and three budgets that concern each call."""

    name, label, weight = "accountable", "GenAI Spine, everything on", 1.0

    def config(self, ports: Ports, folder: Path) -> str:
        ledger = ["[ledger]", f'url = "sqlite:///{folder / "ledger.db"}"']
        costs = ["[costs]", "daily_limit = 100000.0", "monthly_budget = 1000000.0", "[costs.limits]"]
        costs += [f"{dialect}_{number}_daily = 100000.0" for dialect in ("openai", "anthropic") for number in (1, 2)]
        return super().config(ports, folder) + "\n".join([*ledger, *costs]) + "\n"


class LiteLLM:
    """LiteLLM's proxy: one worker, master key, no database, no telemetry, prices from its own package."""

    name, label, weight = "litellm", "LiteLLM proxy", 0.02

    def prepare(self, *, upgrade: bool) -> str:
        python = make_venv("litellm", ["litellm[proxy]", "uvloop"], upgrade=upgrade)
        return venv_version(python, "litellm")

    def command(self, port: int, ports: Ports, folder: Path) -> tuple[list[str], dict[str, str]]:
        models = []
        for dialect, upstream in ROUTES:
            if dialect not in ("openai", "anthropic"):
                continue
            base = ports.origin(upstream) + BASES.get(dialect, "")
            target = {"model": f"{dialect}/{MODELS[dialect]}", "api_base": base, "api_key": "k"}
            models.append({"model_name": f"{dialect}-{upstream}", "litellm_params": target})
        config = {
            "model_list": models,
            "litellm_settings": {"telemetry": False, "set_verbose": False, "num_retries": 0},
            "general_settings": {"master_key": LITELLM_KEY},
        }
        file = folder / "litellm.yaml"
        file.write_text(json.dumps(config, indent=1))  # JSON is YAML
        command = [str(ENVS / "litellm" / "bin" / "litellm"), "--config", str(file), "--host", "127.0.0.1"]
        command += ["--port", str(port), "--num_workers", "1", "--telemetry", "False"]
        return command, clean_environment(
            LITELLM_MASTER_KEY=LITELLM_KEY,
            LITELLM_LOCAL_MODEL_COST_MAP="True",
            LITELLM_MODE="PRODUCTION",
            LITELLM_LOG="ERROR",
            SSL_CERT_FILE=str(folder / "ca.pem"),
        )

    def ask(self, call: Call, port: int, ports: Ports) -> Ask:
        refuse_others(call)
        return Ask(
            port=port,
            path="/v1/chat/completions",
            headers={"Authorization": f"Bearer {LITELLM_KEY}"},
            body=call.body(f"{call.dialect}-{call.upstream}"),
        )

    def is_ready(self, port: int) -> bool:
        return answers(port, "/health/readiness")


class Portkey:
    """Portkey's open gateway on Node: it has no key check; provider and upstream are named by headers."""

    name, label, weight = "portkey", "Portkey gateway", 0.125

    # Portkey 1.15 streams only with this version of the server (README).
    SERVER = "1.13.8"

    def prepare(self, *, upgrade: bool) -> str:
        folder = ENVS / "portkey"
        installed = folder / "node_modules" / "@portkey-ai" / "gateway" / "package.json"
        if upgrade or not installed.exists():
            npm = shutil.which("npm")
            if npm is None:
                raise Unavailable("npm is not installed")
            folder.mkdir(parents=True, exist_ok=True)
            wanted = {
                "private": True,
                "dependencies": {"@portkey-ai/gateway": "latest"},
                "overrides": {"@hono/node-server": self.SERVER},
            }
            (folder / "package.json").write_text(json.dumps(wanted, indent=1))
            (folder / "package-lock.json").unlink(missing_ok=True)
            run_quietly([npm, "install", "--no-audit", "--no-fund"], cwd=folder)
        return str(json.loads(installed.read_text())["version"])

    def command(self, port: int, ports: Ports, folder: Path) -> tuple[list[str], dict[str, str]]:
        script = ENVS / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        command = ["node", str(script), f"--port={port}", "--headless"]
        return command, clean_environment(NODE_ENV="production", NODE_EXTRA_CA_CERTS=str(folder / "ca.pem"))

    def ask(self, call: Call, port: int, ports: Ports) -> Ask:
        refuse_others(call)
        headers = {
            "Authorization": "Bearer k",
            "x-portkey-provider": call.dialect,
            "x-portkey-custom-host": f"{ports.origin(call.upstream)}/v1",
        }
        body = call.body(MODELS[call.dialect])
        return Ask(port=port, path="/v1/chat/completions", headers=headers, body=body)

    def is_ready(self, port: int) -> bool:
        return answers(port, "/")


PEERS: list[Peer] = [Nginx(), Spine(), Governed(), Accountable(), LiteLLM(), Portkey()]


@dataclass(kw_only=True)
class Running:
    """A peer that is up: its process and its port."""

    peer: Peer
    pid: int
    port: int
    ready_s: float


def launch(peer: Peer, started: Processes, ports: Ports, folder: Path, patience_s: float = 180.0) -> Running:
    """Starts a peer and waits until it is ready. Raises: Unavailable with its last words."""
    port = ports.floor if peer.name == "nginx" else free_ports(1)[0]
    command, env = peer.command(port, ports, folder)
    began = time.perf_counter()
    pid = started.start(peer.name, command, env)
    while time.perf_counter() - began < patience_s:
        if peer.is_ready(port):
            return Running(peer=peer, pid=pid, port=port, ready_s=time.perf_counter() - began)
        if last_words := started.ended(peer.name):
            started.stop(peer.name)
            raise Unavailable(f"{peer.label} ended at start: {last_words[:300]}")
        time.sleep(0.005)
    started.stop(peer.name)
    raise Unavailable(f"{peer.label} was not ready after {patience_s:.0f} s")
