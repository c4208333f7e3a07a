"""`spine chat`: one answer, streamed; or, on a terminal and without a prompt, a conversation.

stdout has the answer and nothing else: what is beside the matter (notices, use, cost) goes to stderr. A
terminal also sees thoughts, dim, and never an escape sequence of a model's. The providers are called here,
by the library, with the same settings as the gateway's.
"""

from __future__ import annotations

import asyncio
import base64
import mimetypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import msgspec

from genai_spine.cli.loop import new_runner, run
from genai_spine.cli.output import Output, has_colour, is_terminal, neutralise
from genai_spine.cli.sources import config_option, load_usable
from genai_spine.engine.manager import ProviderManager
from genai_spine.engine.record import CallRecord
from genai_spine.model.content import Document, Image, Part, Refusal, Text, Thinking
from genai_spine.model.errors import InvalidRequest, SpineError
from genai_spine.model.events import MessageEnd, PartDelta, PartStart, StreamEvent
from genai_spine.model.fold import Collector
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage

MAX_FILE_BYTES = 64 * 1024 * 1024
HELP = """\
/model NAME   ask another model from now on (/model alone: which one)
/clear        forget the conversation
/exit         leave, as Ctrl-D does
Ctrl-C        stop an answer"""

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"

_FINISHES = {
    FinishReason.LENGTH: "cut at the limit of output tokens (--max-tokens)",
    FinishReason.CONTENT_FILTER: "stopped by the provider's content filter",
    FinishReason.PAUSE: "paused by the provider before its end",
    FinishReason.ERROR: "ended with an error at the provider",
}


@click.command()
@click.argument("prompt", required=False)
@config_option
@click.option("-m", "--model", metavar="MODEL", help="`provider/model`, a model, or a route.")
@click.option("--provider", metavar="P", help="Ask only this provider.")
@click.option("-s", "--system", metavar="TEXT", help="The system prompt.")
@click.option("--image", "images", multiple=True, metavar="FILE", help="An image for the model: a file or a URL.")
@click.option("--file", "files", multiple=True, metavar="FILE", help="A document for the model: a text file or a PDF.")
@click.option("--thinking/--no-thinking", default=None, help="Turn the model's thinking on or off.")
@click.option("--schema", metavar="JSON", help="JSON Schema of the answer: a file, or the schema itself.")
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="Most tokens in the answer.")
@click.option("-t", "--temperature", type=click.FloatRange(0, 2), metavar="T")
@click.option("--json", "is_json", is_flag=True, help="Print the whole response as JSON, not streamed.")
@click.pass_obj
def command(
    output: Output,
    prompt: str | None,
    config: Path | None,
    model: str | None,
    provider: str | None,
    system: str | None,
    images: tuple[str, ...],
    files: tuple[str, ...],
    thinking: bool | None,
    schema: str | None,
    max_tokens: int | None,
    temperature: float | None,
    is_json: bool,
) -> None:
    """Ask a model; without a prompt, start a conversation.

    Piped input is the prompt, or is appended to the prompt that you give:

        git diff | spine chat "Write a commit message for this."
    """
    text = _prompt(prompt)
    wants_talk = not text and not images and not files
    if wants_talk and (is_json or not (is_terminal(sys.stdin) and is_terminal(sys.stdout))):
        raise click.UsageError("no prompt: give one, or pipe it in; a conversation needs a terminal")
    attached = [*(_image(image) for image in images), *(_document(file) for file in files)]
    request = CompletionRequest(
        messages=(),
        model=model,
        provider=provider,
        thinking=thinking,
        output_schema=read_schema(schema) if schema is not None else None,
        max_tokens=max_tokens,
        temperature=temperature,
    )
    settings = load_usable(output, config, provider, model)
    manager = ProviderManager.from_settings(settings)
    talk = Talk(output, manager, request, system)
    if wants_talk:
        Conversation(talk).run()
        return
    parts: list[Part] = [*attached, *([Text(text=text)] if text else [])]
    question = Message(role="user", content=tuple(parts))
    run(_once(talk, question, is_json))


async def _once(talk: Talk, question: Message, is_json: bool) -> None:
    async with talk.manager:
        if is_json:
            await talk.ask_for_json(question)
        else:
            await talk.ask(question)


# ------------------------------------------------------------ what is asked


def _prompt(given: str | None) -> str:
    """The prompt, and what is piped in behind it. Raises: InvalidRequest for what is no text."""
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return given or ""
    data = sys.stdin.buffer.read()
    try:
        piped = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("stdin is no UTF-8 text: give pictures with --image, PDFs with --file") from None
    return "\n\n".join(text for text in (given or "", piped.strip("\r\n")) if text.strip())


def _image(name: str) -> Part:
    if name.startswith(("https://", "http://")):
        return Image(url=name)
    data = read_file(name)
    media_type = _picture_type(data) or (_named_type(name) if data else None)
    if media_type is None:
        raise InvalidRequest(f"{name}: no PNG, JPEG, GIF or WebP picture; --file takes text and PDFs")
    return Image(data=base64.b64encode(data).decode(), media_type=media_type)


_FIRST_BYTES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}


def _picture_type(data: bytes) -> str | None:
    """By its first bytes, since a file's name may lie."""
    if data.startswith(b"RIFF") and data[8:12] != b"WEBP":
        return None
    return next((kind for first, kind in _FIRST_BYTES.items() if data.startswith(first)), None)


def _named_type(name: str) -> str | None:
    """By its name, such as HEIC: a picture of a kind whose first bytes are not known here."""
    kind = mimetypes.guess_type(name)[0] or ""
    return kind if kind.startswith("image/") and kind not in _FIRST_BYTES.values() else None


def _document(name: str) -> Part:
    """A PDF as it is; text in the prompt's own words, which every model can read."""
    data = read_file(name)
    base = Path(name).name
    if data.startswith(b"%PDF"):
        return Document(data=base64.b64encode(data).decode(), media_type="application/pdf", name=base)
    try:
        return Text(text=f"{base}:\n\n{data.decode('utf-8-sig')}\n")
    except UnicodeDecodeError:
        raise InvalidRequest(f"{name}: neither text nor a PDF; --image takes pictures") from None


def read_file(name: str) -> bytes:
    """Raises: InvalidRequest."""
    try:
        with open(name, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(f"{name}: {error.strerror}: give the path of a file that can be read") from None
    except ValueError as error:  # a null byte in the name
        raise InvalidRequest(f"{neutralise(name)}: {error}") from None
    if len(data) > MAX_FILE_BYTES:
        raise InvalidRequest(f"{name}: longer than {MAX_FILE_BYTES // 2**20} MiB")
    return data


def read_schema(given: str) -> Any:
    """A JSON Schema, given as such or as a file. Raises: InvalidRequest."""
    is_file = not given.lstrip().startswith("{")
    data = read_file(given) if is_file else given.encode()
    try:
        schema = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"--schema{f' {given}' if is_file else ''}: no JSON: {error}") from None
    if not isinstance(schema, dict):
        raise InvalidRequest("--schema: expected a JSON object, which a JSON Schema is")
    return schema


# ------------------------------------------------------------ one answer


class Talk:
    """What was said so far. `ask` adds a turn: the question, and its answer once it is there."""

    def __init__(
        self, output: Output, manager: ProviderManager, request: CompletionRequest, system: str | None
    ) -> None:
        self.output = output
        self.manager = manager
        self.request = request
        self._system = (Message(role="system", content=(Text(text=system),)),) if system else ()
        self.messages: tuple[Message, ...] = ()

    async def ask(self, question: Message) -> None:
        """Show the answer as it comes. Raises: SpineError.

        A turn that fails is as if never said; of one that is stopped, what was read stays.
        """
        collector, view, record, begun = Collector(), View(), CallRecord(), time.perf_counter()
        try:
            async with aclosing(self.manager.stream(self._with(question), record=record)) as events:
                async for event in events:
                    collector.add(event)
                    view.show(event)
        except asyncio.CancelledError:
            said = tuple(part for part in collector.parts() if isinstance(part, Text) and part.text)
            if said:
                self._keep(question, said)
            raise
        finally:
            view.close()
        response = collector.response()
        self._keep(question, response.parts)
        self._say_beside(response, record, time.perf_counter() - begun)

    async def ask_for_json(self, question: Message) -> None:
        """Raises: SpineError."""
        response = await self.manager.complete(self._with(question))
        told = msgspec.json.decode(msgspec.json.encode(response))
        self.output.json({**told, "content": response.content})

    def _with(self, question: Message) -> CompletionRequest:
        messages = (*self._system, *self.messages, question)
        return msgspec.structs.replace(self.request, messages=messages)

    def _keep(self, question: Message, parts: tuple[Part, ...]) -> None:
        self.messages += (question, Message(role="assistant", content=parts))

    def _say_beside(self, response: CompletionResponse, record: CallRecord, duration_s: float) -> None:
        for attempt in record.attempts:
            if attempt.error is not None:  # others were slower than the one that answered
                self.output.note(f"{attempt.provider} failed: {attempt.error}")
        for notice in response.notices:
            self.output.note(f"{notice.code}{f' {notice.param}' if notice.param else ''}: {notice.message}")
        if response.finish_reason is not None and response.finish_reason in _FINISHES:
            self.output.note(_FINISHES[response.finish_reason])
        others = {part.__struct_config__.tag for part in response.parts if not isinstance(part, _SHOWN)}
        if others:
            self.output.note(f"not shown: {', '.join(sorted(map(str, others)))}; --json has it")
        if record.cached is not None:  # an answer that was given before: nobody was asked
            provider = record.cached.provider
            cost: Decimal | None = Decimal(0)
        else:
            assert record.answered_by is not None
            provider = record.answered_by.provider
            cost = self.manager.registry.get(provider).cost(response.model, response.usage)
        said = [f"{provider}/{response.model}", *said_of_usage(response.usage), usd(cost)]
        self.output.note(" · ".join([*said, f"{duration_s:.1f} s"]))


_SHOWN = (Text, Refusal, Thinking)


def said_of_usage(usage: TokenUsage | None) -> Iterator[str]:
    if usage is None or usage.total_tokens is None:
        yield "tokens not told"
        return
    cached = f" ({usage.cache_read_tokens:,} cached)" if usage.cache_read_tokens else ""
    thought = f" ({usage.reasoning_tokens:,} thinking)" if usage.reasoning_tokens else ""
    yield f"{usage.input_tokens or 0:,} in{cached}, {usage.output_tokens or 0:,} out{thought}"


def usd(cost: Decimal | None) -> str:
    return "cost unknown" if cost is None else f"${cost.normalize():f}" if cost else "$0"


class View:
    """An answer on stdout: as it is for a file or a pipe, made harmless and with thoughts for a terminal."""

    def __init__(self) -> None:
        self._is_terminal = is_terminal(sys.stdout)
        self._has_colour = has_colour(sys.stdout)
        self._kinds: dict[int, type[Part]] = {}
        self._shown: type[Part] | None = None
        self._at_line_start = True

    def show(self, event: StreamEvent) -> None:
        match event:
            case PartStart(index=index, part=part):
                self._kinds[index] = type(part)
            case PartDelta(index=index, text=text):
                self._say(self._kinds[index], text)
            case MessageEnd():
                self.close()
            case _:
                pass

    def close(self) -> None:
        """End the line, and whatever style is on."""
        if self._shown is not None:
            self._leave()
            self._end_line()
            sys.stdout.flush()
        self._shown = None

    def _say(self, kind: type[Part], text: str) -> None:
        if kind not in _SHOWN or (kind is Thinking and not self._is_terminal) or not text:
            return
        if kind is not self._shown:
            if self._shown is not None:
                self._leave()
            if kind is Thinking:
                self._write(_DIM if self._has_colour else "[thinking]\n")
            self._shown = kind
        self._write(neutralise(text) if self._is_terminal else text)
        self._at_line_start = text.endswith("\n")
        sys.stdout.flush()

    def _leave(self) -> None:
        """From thoughts to something else."""
        if self._shown is Thinking:
            self._end_line()
            self._write(_PLAIN if self._has_colour else "[/thinking]\n")
            self._at_line_start = True

    def _end_line(self) -> None:
        if not self._at_line_start:
            self._write("\n")
            self._at_line_start = True

    def _write(self, text: str) -> None:
        sys.stdout.write(text)


# ------------------------------------------------------------ a conversation


class Conversation:
    """Questions from a terminal until Ctrl-D; Ctrl-C stops an answer and no more than that."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._output = talk.output

    def run(self) -> None:
        self._output.note("/help lists the commands; Ctrl-C stops an answer, Ctrl-D leaves")
        with new_runner() as runner, _history():
            runner.run(self._talk.manager.start())  # the ledger is to hear of what is said here, and budgets count it
            try:
                self._answer_all(runner)
            finally:
                runner.run(self._talk.manager.close())

    def _answer_all(self, runner: asyncio.Runner) -> None:
        while (line := self._read()) is not None:
            if not line.strip():
                continue
            if line.startswith("/") and (word := line[1:].split(" ")[0]).isalpha():
                if not self._obey(word, line[1 + len(word) :].strip()):
                    return
                continue
            runner.run(self._ask(Message(role="user", content=(Text(text=line),))))

    def _read(self) -> str | None:
        """The next line; None at the end."""
        try:
            return input("> ")
        except EOFError:
            self._output.line()
            return None
        except KeyboardInterrupt:
            self._output.line()
            self._output.note("Ctrl-D or /exit leaves")
            return ""

    def _obey(self, word: str, rest: str) -> bool:
        """Do what a command says; False to leave."""
        talk = self._talk
        match word:
            case "exit" | "quit":
                return False
            case "help":
                self._output.line(HELP)
            case "clear":
                talk.messages = ()
                self._output.note("forgotten")
            case "model" if rest:
                # A name with its provider leaves `--provider`; a bare one is that provider's.
                names_provider = rest.partition("/")[0] in talk.manager.registry
                provider = None if names_provider else talk.request.provider
                talk.request = msgspec.structs.replace(talk.request, model=rest, provider=provider)
            case "model":
                asked = [name for name in (talk.request.provider, talk.request.model) if name]
                self._output.line("/".join(asked) or "the default")
            case _:
                self._output.warn(f"no command /{word}; /help lists them")
        return True

    async def _ask(self, question: Message) -> None:
        answer = asyncio.ensure_future(self._talk.ask(question))
        with _stopped_by_interrupt(answer):
            await asyncio.wait([answer])
        if answer.cancelled():
            self._output.note("stopped")
        elif isinstance(error := answer.exception(), SpineError):
            self._output.fail(error)
        elif error is not None:
            raise error


@contextmanager
def _stopped_by_interrupt(task: asyncio.Future[None]) -> Iterator[None]:
    """Ctrl-C cancels the task, as often as it is pressed, in place of raising."""
    loop = asyncio.get_running_loop()
    previous = signal.getsignal(signal.SIGINT)
    try:
        loop.add_signal_handler(signal.SIGINT, task.cancel)
    except (NotImplementedError, ValueError):  # Windows, where it ends the conversation
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _history() -> Iterator[None]:
    """Line editing, and the lines of earlier conversations, where the system has them."""
    try:
        import readline  # noqa: PLC0415  # not everywhere; and it takes hold of the terminal
    except ImportError:
        yield
        return
    path: Path | None = None
    with suppress(RuntimeError, OSError):  # no home
        state = os.environ.get("XDG_STATE_HOME")
        path = (Path(state) if state else Path.home() / ".local" / "state") / "genai-spine" / "history"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        readline.read_history_file(path)
    readline.set_history_length(1000)
    try:
        yield
    finally:
        if path is not None:
            with suppress(OSError):  # a read-only disk
                path.touch(mode=0o600)  # people's words are their own
                readline.write_history_file(path)
