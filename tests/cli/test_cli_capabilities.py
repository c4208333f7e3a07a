"""`spine summarize`, `extract` and `classify`: what goes in, what comes out, and what goes wrong."""

from __future__ import annotations

import json

import pytest
from spine_process import CANARY, Place

from genai_spine.testing.simulator import Simulator, Step

NEAR = True  # what commands say: conftest.py

SCHEMA = {"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]}
COMMANDS = {
    "summarize": (),
    "extract": ("--schema", json.dumps(SCHEMA)),
    "classify": ("--labels", "spam, ham"),
}
each_command = pytest.mark.parametrize("name", COMMANDS)


def saying(simulator: Simulator, *answers: str) -> None:
    simulator.run(*(Step(answer=answer) for answer in answers))


def sent(simulator: Simulator, at: int = -1) -> str:
    prompt: str = simulator.received[at].json()["messages"][-1]["content"]
    return prompt


# ------------------------------------------------------------ what comes out


def test_a_summary_goes_to_stdout_and_what_it_took_to_stderr(configured: Place, simulator: Simulator) -> None:
    saying(simulator, "It is short.")
    file = configured.write("A long text. Grüße, 世界!", "text.txt")
    result = configured.run("summarize", str(file), "-m", "openai/gpt-4o-mini")
    assert (result.code, result.out) == (0, "It is short.\n")
    assert "openai/gpt-4o-mini · 1 call · " in result.err and "$0.0000" in result.err
    assert "A long text. Grüße, 世界!" in sent(simulator)


def test_what_is_piped_in_is_the_text(configured: Place, simulator: Simulator) -> None:
    for arguments in (("summarize",), ("summarize", "-")):
        saying(simulator, "Short.")
        assert configured.run(*arguments, stdin=b"\xef\xbb\xbfpiped text").out == "Short.\n"
        assert "\npiped text\n" in sent(simulator)


def test_options_reach_the_prompt(configured: Place, simulator: Simulator) -> None:
    saying(simulator, "Short.")
    options = ["--length", "33", "--format", "bullets", "--language", "French", "--focus", "money"]
    assert configured.run("summarize", *options, "--provider", "anthropic", stdin=b"text").code == 0
    assert simulator.received[-1].path == "/v1/messages"
    for words in ("about 33 words", "beginning with `- `", "Write in French.", "Look above all at this: money."):
        assert words in json.dumps(simulator.received[-1].json())


def test_a_summary_as_json(configured: Place, simulator: Simulator) -> None:
    saying(simulator, "Short.")
    value = json.loads(configured.run("summarize", "--json", stdin=b"text").out)
    assert value["summary"] == "Short."
    assert (value["provider"], value["model"], value["parts"], value["calls"]) == ("openai", "sim", 1, 1)
    assert value["cost_usd"] is None
    assert value["notices"][0]["code"] == "cost_unknown"
    assert value["usage"]["output_tokens"] > 0


def test_notices_are_told_beside(configured: Place, simulator: Simulator) -> None:
    saying(simulator, "Short.")
    result = configured.run("summarize", stdin=b"text")
    assert result.err.splitlines() == [
        "cost_unknown: 1 of 1 calls have no known price: openai/sim",
        next(line for line in result.err.splitlines() if line.startswith("openai/sim · 1 call · ")),
    ]


def test_data_of_a_schema_in_a_file(configured: Place, simulator: Simulator) -> None:
    schema = configured.write(json.dumps(SCHEMA), "schema.json")
    text = configured.write("You owe us 12.", "letter.txt")
    saying(simulator, '```json\n{"total": 12}\n```')
    result = configured.run("extract", "--schema", str(schema), "--instructions", "Round it.", str(text))
    assert (result.code, json.loads(result.out)) == (0, {"total": 12})
    assert "Round it. " in sent(simulator)


def test_data_that_never_fits_is_one_line_and_exit_1(configured: Place, simulator: Simulator) -> None:
    saying(simulator, "no idea", "none at all")
    result = configured.run("extract", *COMMANDS["extract"], stdin=b"text")
    assert result.code == 1 and result.out == ""
    assert len(result.err.splitlines()) == 1
    assert "It said: none at all" in result.err


def test_labels(configured: Place, simulator: Simulator) -> None:
    saying(simulator, '{"label": "Spam"}', '{"labels": ["b", "a"]}')
    assert configured.run("classify", "--labels", "spam, ham", stdin=b"Buy!").out == "spam\n"
    assert configured.run("classify", "--labels", "a,b,c", "--multi", stdin=b"Buy!").out == "a\nb\n"


def test_a_model_cannot_command_a_terminal(configured: Place, simulator: Simulator) -> None:
    saying(simulator, "red \x1b[31malert")
    file = configured.write("text", "text.txt")
    with configured.terminal("summarize", str(file)) as terminal:
        assert terminal.wait() == 0
    assert "\x1b[31m" not in terminal.screen and "red" in terminal.screen


# ------------------------------------------------------------ what goes wrong


@each_command
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\xff", "is no text: not UTF-8 at byte 0"),
        (b"text\x00text", "is no text: a null byte"),
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
    ],
)
def test_what_is_no_text_is_one_line_and_exit_1(
    configured: Place, simulator: Simulator, name: str, data: bytes, said: str
) -> None:
    file = configured.path / "input.bin"
    file.write_bytes(data)
    for result in (
        configured.run(name, *COMMANDS[name], str(file)),
        configured.run(name, *COMMANDS[name], stdin=data),
    ):
        assert result.code == 1 and result.out == ""
        assert said in result.err and len(result.err.splitlines()) == 1
    assert not simulator.received


@each_command
def test_no_text_at_all_is_wrong_usage(configured: Place, name: str) -> None:
    with configured.terminal(name, *COMMANDS[name]) as terminal:
        terminal.expect("no text: name a file, or pipe it in")
        assert terminal.wait() == 2


@each_command
def test_a_file_that_is_not_there(configured: Place, name: str) -> None:
    result = configured.run(name, *COMMANDS[name], "nowhere.txt")
    assert result.code == 1
    assert result.err.startswith("Error: nowhere.txt: No such file")


@pytest.mark.parametrize(
    "arguments",
    [
        ("summarize", "--length", "tall"),
        ("summarize", "--length", "0"),
        ("summarize", "--format", "haiku"),
        ("extract",),
        ("classify",),
        ("classify", "--labels", " , "),
    ],
)
def test_wrong_options_are_wrong_usage(configured: Place, arguments: tuple[str, ...]) -> None:
    result = configured.run(*arguments, stdin=b"text")
    assert result.code == 2
    assert "Traceback" not in result.said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("summarize", "--length", "99999"), "length"),
        (("extract", "--schema", "{"), "--schema"),
        (("extract", "--schema", "no-such-file.json"), "no-such-file.json"),
        (("extract", "--schema", '{"type": 3}'), "schema: no JSON Schema"),
        (("classify", "--labels", "a,A"), "labels: two are the same"),
        (("summarize", "-m", "nobody/model", "--provider", "nobody"), "nobody"),
    ],
)
def test_what_cannot_be_asked_is_one_line_and_exit_1(
    configured: Place, simulator: Simulator, arguments: tuple[str, ...], said: str
) -> None:
    result = configured.run(*arguments, stdin=b"text")
    assert result.code == 1
    assert said in result.err and len(result.err.splitlines()) == 1
    assert not simulator.received


@each_command
def test_a_provider_that_fails_is_one_line_without_its_key(place: Place, simulator: Simulator, name: str) -> None:
    place.write(
        f'[providers.openai]\napi_key = "{CANARY}"\nbase_url = "{simulator.urls.openai}"\nmodel = "sim"\n'
        "[retry]\nmax_retries = 0\n"
    )
    simulator.run(f"status=401; message=wrong key {CANARY}")
    result = place.run(name, *COMMANDS[name], stdin=b"text")
    assert result.code == 1 and CANARY not in result.said
    assert len(result.err.splitlines()) == 1


def test_what_is_taken_out_is_json_whatever_the_terminal_can_show(configured: Place, simulator: Simulator) -> None:
    wanted = {"name": "Zoë 日本 😀 \x85"}
    schema = json.dumps({"type": "object", "properties": {"name": {"type": "string"}}})
    for encoding in ("ascii", "utf-8"):
        saying(simulator, json.dumps(wanted))
        python = {"PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}
        result = configured.run("extract", "--schema", schema, stdin=b"text", **python)
        assert json.loads(result.raw.decode(encoding)) == wanted
