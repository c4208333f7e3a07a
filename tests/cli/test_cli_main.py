"""What holds for every command: speed, exit codes, one line in place of a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from spine_process import CANARY, SPINE, NearPlace, Place

from genai_spine import __version__
from genai_spine.cli.main import COMMANDS, Spine, spine
from genai_spine.cli.output import Output
from genai_spine.cli.sources import secrets_in
from genai_spine.model.errors import ConfigError
from genai_spine.settings.load import load_settings
from genai_spine.testing.fixtures import wait_until
from genai_spine.testing.simulator import Simulator


def test_help_costs_less_than_200_ms() -> None:
    process = subprocess.Popen([*SPINE, "--help"], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = status
    assert status == 0
    assert used.ru_utime + used.ru_stime < 0.2


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom genai_spine.cli.main import spine\n"
        "spine.main(['--help'], standalone_mode=False)\n"
        "heavy = {'asyncio', 'msgspec', 'uvloop', 'ssl', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_says_of_each_command_what_the_command_says() -> None:
    for name, line in COMMANDS.items():
        command: click.Command = import_module(f"genai_spine.cli.{name}").command
        assert command.help is not None
        assert command.help.splitlines()[0] == line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(spine, [name, "--help"])
    assert result.exit_code == 0
    assert COMMANDS[name] in result.output


def test_version() -> None:
    assert __version__ in CliRunner().invoke(spine, ["--version"]).output


@pytest.mark.parametrize(
    "command",
    [
        "chat hi",
        "summarize --json",
        "extract --schema {}",
        "classify --labels spam,ham",
        "models --json",
        "models show sim",
        "providers --json",
        "route explain hi",
        "usage",
        "budgets",
        "logs",
        "costs reprice",
        "config check",
    ],
)
def test_a_process_of_its_own_says_what_a_call_within_ours_says(
    command: str, configured: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    near = NearPlace(tmp_path_factory.mktemp("near"))
    text = (configured.path / "spine.toml").read_text()
    for place in (configured, near):
        place.write(text + '[ledger]\nurl = "sqlite:///spine.db"\n')
    alone, called = (place.run(*command.split(), stdin="Grüße".encode()) for place in (configured, near))
    assert (alone.code, alone.out) == (called.code, called.out)
    assert len(alone.err.splitlines()) == len(called.err.splitlines())


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["serve", "--port", "many"], ["serve", "--workers", "0"], ["--what"], ["chat", "-x"]]
)
def test_wrong_usage_is_exit_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(spine, arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


class Failing(Spine):
    """`spine`, and one command that raises."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(callback=spine.callback, params=spine.params)
        self.error = error

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        def fail() -> None:
            raise self.error

        return click.Command("fail", callback=fail)


def test_a_fault_of_ours_is_one_line_with_a_hint() -> None:
    result = CliRunner().invoke(Failing(KeyError("who\nknows")), ["fail"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "KeyError" in result.stderr
    assert "--verbose" in result.stderr


def test_verbose_shows_where_a_fault_comes_from() -> None:
    result = CliRunner().invoke(Failing(KeyError("who knows")), ["--verbose", "fail"])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "in fail" in result.stderr


def test_an_error_is_its_message_and_nothing_that_a_terminal_obeys() -> None:
    result = CliRunner().invoke(Failing(ConfigError("bad \x1b]0;evil\x07 key")), ["fail"])
    assert result.exit_code == 1
    assert result.stderr == "Error: bad ␛]0;evil␇ key\n"


def test_an_interrupt_is_exit_130_without_a_word() -> None:
    result = CliRunner().invoke(Failing(KeyboardInterrupt()), ["fail"])
    assert result.exit_code == 130
    assert result.output == ""


def test_a_secret_of_the_settings_is_struck_out_of_whatever_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(is_verbose=True)
    output.conceal([CANARY])
    output.line(f"a {CANARY}")
    output.warn(f"b {CANARY}")
    output.fail(ConfigError(f"c {CANARY}"))
    output.fail_unexpectedly(ValueError(f"d {CANARY}"))
    output.table(["e"], [[CANARY]])
    said = capsys.readouterr()
    assert CANARY not in said.out + said.err
    assert said.out.startswith("a ***")


def test_ctrl_c_while_waiting_is_exit_130_and_drops_the_upstream(configured: Place, simulator: Simulator) -> None:
    simulator.run("stall=head")
    with configured.started("chat", "hello") as running:
        wait_until(lambda: len(simulator.received) == 1)
        running.signal(signal.SIGINT)
        assert running.wait() == 130
        assert running.out == ""
        assert "Traceback" not in running.err
    wait_until(lambda: simulator.received[-1].outcome == "gone")


def test_a_reader_who_has_left_is_no_error(place: Place) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*SPINE, "providers", "--all"],
        stdin=subprocess.DEVNULL,
        stdout=write,
        stderr=subprocess.PIPE,
        cwd=place.path,
        env=place.environ(),
        check=False,
    )
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
@pytest.mark.parametrize("arguments", [("config", "schema"), ("--help",), ("--version",)], ids=" ".join)
def test_a_full_disk_is_one_line(place: Place, arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*SPINE, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=place.path,
            env=place.environ(),
            check=False,
        )
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["--help", "config show", "providers --all", "chat --provider simulated hi"])
def test_a_closed_output_is_no_fault(place: Place, command: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"{' '.join(SPINE)} {command} >&-"],
        capture_output=True,
        cwd=place.path,
        env=place.environ(),
        check=False,
    )
    assert done.returncode == 0
    assert b"Error" not in done.stderr


def test_closed_streams_and_no_home_are_survived(configured: Place) -> None:
    environ = configured.environ()
    del environ["HOME"]
    done = subprocess.run(
        ["/bin/sh", "-c", f"{' '.join(SPINE)} chat hi <&- 2>&-"],
        capture_output=True,
        cwd=configured.path,
        env=environ,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"You said: hi\n")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_gateway_whose_standard_files_were_closed_ends_cleanly(configured: Place, workers: int) -> None:
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {' '.join(SPINE)} serve -p 0 --workers {workers} <&- 2>&-"],
        stdout=subprocess.PIPE,
        cwd=configured.path,
        env=configured.environ(),
    )
    with process:
        assert process.stdout is not None
        assert b"http://127.0.0.1:" in process.stdout.readline()
        process.terminate()
        assert process.wait(60) == 0


def test_a_working_directory_that_is_gone_is_one_line(place: Place) -> None:
    gone = place.path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", f'rmdir "{gone}"; {" ".join(SPINE)} providers'],
        capture_output=True,
        cwd=gone,
        env=place.environ(),
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_thread_that_hangs_holds_nothing_back() -> None:
    code = (
        "import asyncio, time\nfrom genai_spine.cli.loop import run\n"
        "async def main():\n"
        "    loop = asyncio.get_running_loop()\n"
        "    assert await loop.run_in_executor(None, lambda: 7) == 7\n"
        "    try:\n"
        "        async with asyncio.timeout(0.1):\n"
        "            await loop.run_in_executor(None, time.sleep, 20)\n"
        "    except TimeoutError:\n"
        "        print('in time')\n"
        "run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=10, check=True)
    assert (done.stdout, done.stderr) == ("in time\n", "")


def test_a_servers_url_is_a_secret_where_a_password_may_be_in_it(tmp_path: Path) -> None:
    urls = {"redis://10.0.0.7:6379/0": False, "redis://:p4ssword@10.0.0.7": True, "redis://10.0.0.7?password=p": True}
    for url, is_secret in urls.items():
        for name in ("state", "cache"):
            settings = load_settings(environ={}, cwd=tmp_path, overrides={f"{name}.url": url})
            assert (url in secrets_in(settings)) is is_secret


def test_a_key_that_is_its_servers_name_is_no_secret(place: Place) -> None:
    place.write('[providers.ollama]\napi_key = "ollama"\n')
    assert "ollama" in place.run("config", "check").out
