from __future__ import annotations

import msgspec
import pytest

from genai_spine.model.errors import ConfigError, InvalidRequest
from genai_spine.testing.simulator.faults import KNOBS, NO_FAULT, Fault, fault_of, parse_fault, split_model
from genai_spine.testing.simulator.script import Script, Step, load_script, parse_script


def test_every_field_of_a_fault_is_a_setting_that_says_what_it_does():
    assert list(KNOBS) != [] and set(KNOBS) == set(Fault.__struct_fields__)
    assert all(knob.says for knob in KNOBS.values())


def test_what_a_setting_means_without_a_value_is_a_value_of_it():
    for name, knob in KNOBS.items():
        if knob.plainest is not None:
            assert parse_fault(name) == parse_fault(f"{name}={knob.plainest}")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", NO_FAULT),
        ("ok", NO_FAULT),
        ("status=503; retry_after=2", Fault(status=503, retry_after="2")),
        ("status=503,retry-after=date:30", Fault(status=503, retry_after="date:30")),
        ("stall", Fault(stall=0)),
        ("stall=head;for_s=1.5", Fault(stall="head", for_s=1.5)),
        ("reset=3", Fault(reset=3)),
        ("reset=mid-head", Fault(reset="mid-head")),
        ("length=-5", Fault(length=-5)),
        ("length=+5", Fault(length=5)),
        ("bom, pings", Fault(bom=True, pings=True)),
        ("should_retry=false", Fault(should_retry=False)),
        ("message=a%3B b%2C c", Fault(message="a; b, c")),
        ("drip; every_ms=0.5", Fault(drip=1, every_ms=0.5)),
    ],
)
def test_a_fault_is_read_from_text(text: str, fault: Fault):
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("statsu=503", "unknown setting 'statsu'; known: status, code"),
        ("status", "status needs a value"),
        ("status=99", "status=99: expected an HTTP status from 200 to 599"),
        ("status=503; status=502", "status is given twice"),
        ("reset=later", "expected head, mid-head, first or a number of pieces"),
        ("reset=-1", "expected head, mid-head, first or a number of pieces"),
        ("body=xml", "body=xml: expected error or html or text or empty or plain"),
        ("bom=maybe", "expected true or false"),
        ("rate=0", "expected a number above 0"),
        ("drip=0", "expected a whole number from 1 on"),
        ("length=five", "expected a number such as -5 or \\+5"),
        ("message=a%0Ab", "expected text without control characters"),
    ],
)
def test_what_is_no_fault_is_refused_with_a_reason(text: str, message: str):
    with pytest.raises(InvalidRequest, match=message):
        parse_fault(text)


def test_a_table_is_read_like_text():
    table = {"status": 503, "bom": True, "for_s": 1.5, "stall": "first"}
    assert fault_of(table) == parse_fault("status=503; bom; for_s=1.5; stall")


def test_a_model_carries_its_fault_behind_a_plus():
    assert split_model("sim-echo+status=503,retry_after=2") == ("sim-echo", "status=503,retry_after=2")
    assert split_model("gpt-4o") == ("gpt-4o", None)


SCRIPT = """
[[steps]]
path = "/v1/chat/*"
model = "gpt-*"
times = 2
fault = "status=503; retry_after=1"

[[steps]]
fault = { stall = "first", for_s = 0.5 }

[[steps]]
answer = "canned"
times = "always"
"""


def test_a_script_gives_each_request_the_first_step_that_fits_and_is_not_used_up():
    script = parse_script(SCRIPT)
    chat = "/v1/chat/completions"
    taken = [script.take(path, model) for path, model in [
        (chat, "claude"), (chat, "gpt-4"), ("/api/chat", "gpt-4"), (chat, "gpt-5"), (chat, "gpt-6"),
    ]]  # fmt: skip
    stalled, first, canned, second, after = taken
    assert stalled is not None and stalled.fault == Fault(stall=0, for_s=0.5)
    assert first is not None and first is second and first.fault == Fault(status=503, retry_after="1")
    assert canned is not None and canned is after and canned.answer == "canned"


def test_a_script_ends_or_repeats():
    once = Script(["status=500", "ok"])
    assert [step and step.fault.status for step in (once.take("/", None) for _ in range(3))] == [
        500,
        None,
        None,
    ]
    assert once.is_used_up and once.take("/", None) is None
    again = Script(["status=500", "ok"], repeat=True)
    assert [step and step.fault.status for step in (again.take("/", None) for _ in range(4))] == [
        500,
        None,
    ] * 2


def test_looking_takes_nothing():
    script = Script([Step(fault=Fault(status=500))])
    assert script.find("/", None) is script.find("/", None) is script.take("/", None)
    assert script.find("/", None) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = 3", r"here.toml: .*\$.steps"),
        ("[[steps]]\nfualt = 'ok'", "fualt"),
        ("[[steps]]\n[[steps]]\nfault = 'status=1'", r"steps\[1\]\.fault: status=1: expected an HTTP status"),
        ("[[steps]]\ntimes = 0", r"steps\[0\]\.times: expected 1 or more"),
        ("[[steps]]\ntimes = 'often'", "often"),
        ("steps = [", "here.toml: not TOML"),
    ],
)
def test_a_script_that_cannot_be_read_says_where_and_why(text: str, message: str):
    with pytest.raises(ConfigError, match=message):
        parse_script(text, "here.toml")


def test_a_script_is_loaded_from_a_file(tmp_path):
    path = tmp_path / "script.toml"
    path.write_text(SCRIPT)
    assert len(load_script(path).steps) == 3
    with pytest.raises(ConfigError, match=r"gone\.toml: No such file"):
        load_script(tmp_path / "gone.toml")


def test_faults_survive_json():
    fault = parse_fault("status=503; reset=3; stall=head; bom")
    assert msgspec.json.decode(msgspec.json.encode(fault), type=Fault) == fault
