"""`spine chat` on a terminal: colour, conversation, Ctrl-C."""

from __future__ import annotations

import json
import re
import time

from spine_process import Place, Terminal

from genai_spine.testing.fixtures import wait_until
from genai_spine.testing.simulator import Simulator

PROMPT = "> "


def ask(terminal: Terminal, text: str) -> str:
    """What is shown between the question and the next prompt."""
    terminal.send(f"{text}\r")
    terminal.expect(text)
    terminal.expect("\n")
    return terminal.expect(PROMPT)


def test_a_conversation_remembers_obeys_and_ends(configured: Place, simulator: Simulator) -> None:
    with configured.terminal("chat") as terminal:
        terminal.expect(PROMPT)
        assert "You said: one" in ask(terminal, "one")
        assert "You said: two" in ask(terminal, "two")
        sent = simulator.received[-1].json()["messages"]
        assert [message["role"] for message in sent] == ["user", "assistant", "user"]
        ask(terminal, "/clear")
        ask(terminal, "three")
        assert len(simulator.received[-1].json()["messages"]) == 1
        ask(terminal, "/model ollama/other")
        assert "ollama/other" in ask(terminal, "/model")
        ask(terminal, "four")
        assert simulator.received[-1].path == "/api/chat"
        assert simulator.received[-1].json()["model"] == "other"
        assert "/clear" in ask(terminal, "/help")
        assert "no command" in ask(terminal, "/nonsense")
        assert "You said: /etc/hosts is a file" in ask(terminal, "/etc/hosts is a file")
        terminal.send("\x04")
        assert terminal.wait() == 0
        assert terminal.modes_now == terminal.modes
        assert "Traceback" not in terminal.screen


def test_a_conversation_is_in_the_ledger_and_budgets_count_it(configured: Place) -> None:
    file = configured.path / "spine.toml"
    configured.write(f'{file.read_text()}[ledger]\nurl = "sqlite:///spine.db"\n[costs]\ndaily_limit = 0.0001\n')
    with configured.terminal("chat", "-m", "openai/gpt-4o-mini", "--max-tokens", "90") as terminal:
        terminal.expect(PROMPT)
        assert "You said: one" in ask(terminal, "one")
        terminal.send("\x04")
        assert terminal.wait() == 0
    logged = [json.loads(line) for line in configured.run("logs", "--json").out.splitlines()]
    assert [(call["status"], call["model"]) for call in logged] == [("answered", "gpt-4o-mini")]


def test_exit_leaves_and_the_history_is_for_its_owner_alone(configured: Place) -> None:
    with configured.terminal("chat") as terminal:
        terminal.expect(PROMPT)
        ask(terminal, "remember me")
        terminal.send("/exit\r")
        assert terminal.wait() == 0
    history = configured.home / ".local/state/genai-spine/history"
    assert "remember me" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_ctrl_c_stops_an_answer_and_keeps_the_conversation(configured: Place, simulator: Simulator) -> None:
    with configured.terminal("chat", "-m", "sim-long-100") as terminal:
        terminal.expect(PROMPT)
        simulator.run("stall=8")
        terminal.send("go on\r")
        terminal.expect("the quick")
        terminal.send("\x03")
        terminal.expect("stopped")
        terminal.expect(PROMPT)
        wait_until(lambda: simulator.received[-1].outcome == "gone")
        ask(terminal, "again")
        sent = simulator.received[-1].json()["messages"]
        assert [message["role"] for message in sent] == ["user", "assistant", "user"]
        assert sent[1]["content"].startswith("the quick")
        terminal.send("\x04")
        assert terminal.wait() == 0
        assert terminal.modes_now == terminal.modes
        assert "Traceback" not in terminal.screen


def test_ctrl_c_before_the_first_word_forgets_the_question(configured: Place, simulator: Simulator) -> None:
    with configured.terminal("chat") as terminal:
        terminal.expect(PROMPT)
        simulator.run("stall=head")
        terminal.send("never mind\r")
        wait_until(lambda: len(simulator.received) == 1)
        terminal.send("\x03\x03")
        terminal.expect("stopped")
        terminal.expect(PROMPT)
        ask(terminal, "other")
        assert len(simulator.received[-1].json()["messages"]) == 1


def test_ctrl_c_at_the_prompt_only_tells_how_to_leave(configured: Place) -> None:
    with configured.terminal("chat") as terminal:
        terminal.expect(PROMPT)
        terminal.send("half a line")
        terminal.expect("half a line")
        time.sleep(0.3)  # CPython's readline sees a signal that comes between two keys at the next one only
        terminal.send("\x03")
        terminal.expect("/exit leaves")
        terminal.expect(PROMPT)
        assert "You said: whole" in ask(terminal, "whole")


def test_an_error_does_not_end_a_conversation(configured: Place, simulator: Simulator) -> None:
    with configured.terminal("chat") as terminal:
        terminal.expect(PROMPT)
        simulator.run("status=400; message=not so")
        assert "not so" in ask(terminal, "bad")
        assert "You said: good" in ask(terminal, "good")
        assert len(simulator.received[-1].json()["messages"]) == 1


def test_a_terminal_sees_thoughts_dim_and_the_cost_below(configured: Place) -> None:
    with configured.terminal("chat", "-m", "anthropic/sim-think", "hi") as terminal:
        assert terminal.wait() == 0
        screen = terminal.screen.replace("\r\n", "\n")
        assert re.search(r"\x1b\[2mI was given 1 tokens to answer\.\n\x1b\[0mYou said: hi\n", screen)
        assert re.search(r"\x1b\[2manthropic/sim-think · .*\x1b\[0m\n$", screen)


def test_no_color_is_honoured(configured: Place) -> None:
    with configured.terminal("chat", "-m", "anthropic/sim-think", "hi", NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        assert "\x1b" not in terminal.screen
        assert "[thinking]" in terminal.screen


def test_a_model_cannot_speak_to_the_terminal(configured: Place) -> None:
    evil = "\x1b]0;title\x07\x1b[2J\x9b31m\rover"
    with configured.terminal("chat", evil, NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        assert "\x1b" not in terminal.screen
        assert "\x9b" not in terminal.screen
        assert "\x07" not in terminal.screen
        assert "You said: ␛]0;title␇␛[2J\\x9b31mover" in terminal.screen


def test_an_error_message_cannot_speak_to_the_terminal_either(configured: Place) -> None:
    with configured.terminal("chat", "--provider", "\x1b[2Jgone\x07", "hi", NO_COLOR="1") as terminal:
        assert terminal.wait() == 1
        assert "\x1b" not in terminal.screen
        assert 'no provider "␛[2Jgone␇"' in terminal.screen


def test_ctrl_c_ends_a_single_answer_with_130_and_a_clean_terminal(configured: Place, simulator: Simulator) -> None:
    simulator.run("stall=4")
    with configured.terminal("chat", "-m", "anthropic/sim-think", "hi") as terminal:
        wait_until(lambda: len(simulator.received) == 1)
        terminal.expect("I was")
        terminal.send("\x03")
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.screen
        assert terminal.screen.rstrip("\r\n").endswith("\x1b[0m"), "the style is put back"
        assert terminal.modes_now == terminal.modes
