"""A server that speaks OpenAI's chat, with a model that reads: of a text it keeps the marks such as #12, each once.

It takes no more than `most_words` words, as a window does, and records what it was sent.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["ReadingModel", dict[str, Any]], str | tuple[int, dict[str, Any]]]


class ReadingModel:
    def __init__(self, most_words: int | None = None, reply: Reply | None = None) -> None:
        self.most_words = most_words
        self.reply = reply or marks_of
        self.received: list[dict[str, Any]] = []
        self.under_way = 0
        self.most_under_way = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def prompts(self) -> list[str]:
        """What users said, as it came."""
        return [body["messages"][-1]["content"] for body in self.received]

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.received.append(body)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            words = sum(len(message["content"].split()) for message in body["messages"])
            if self.most_words is not None and words > self.most_words:
                error = {"message": f"{words} words are too long", "code": "context_length_exceeded"}
                return 400, {"error": {**error, "type": "invalid_request_error"}}
            said = self.reply(self, body)
        finally:
            with self._lock:
                self.under_way -= 1
        if isinstance(said, tuple):
            return said
        message = {"role": "assistant", "content": said}
        return 200, {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": words, "completion_tokens": len(said.split()), "total_tokens": 0},
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self._say(*model.answer(body))

            def do_GET(self) -> None:
                self._say(404, {"error": {"message": "no lists"}})

            def _say(self, status: int, value: Any) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def marks_of(model: ReadingModel, body: dict[str, Any]) -> str:
    return "It says " + " ".join(dict.fromkeys(re.findall(r"#\d+", body["messages"][-1]["content"])))


@contextmanager
def reading_model(most_words: int | None = None, reply: Reply | None = None) -> Iterator[ReadingModel]:
    model = ReadingModel(most_words, reply)
    try:
        yield model
    finally:
        model.close()


def text_of(prompt: str) -> str:
    """The text that a prompt is about, from between its marks."""
    found = re.search(r"<<<text (\w+)>>>\n(.*)\n<<<end of text \1>>>\n\n", prompt, re.DOTALL)
    assert found is not None, prompt[-300:]
    return found[2]
