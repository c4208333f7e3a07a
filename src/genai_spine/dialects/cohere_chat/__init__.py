"""Cohere's chat, version 2: `POST {base_url}/v2/chat`. Outbound only.

Sources: docs.cohere.com/reference/chat, /reference/chat-stream, /reference/errors and /v2/docs/streaming; the
types of Cohere's own Python client, 7.3.1; recorded traffic. All read 2026-11.

Version 1 (`/v1/chat`, with `message`, `chat_history` and `preamble` in place of messages) is not spoken: Cohere
documents it as superseded, everything it says can be said in version 2, and so does every model still served.
Nor is `/v1/tokenize` used to count a request's tokens: it takes one text of at most 65,536 characters, and knows
neither messages nor tools nor images.

    {"id", "finish_reason", "message": {"role", "content": [{"type": "text"…}, {"type": "thinking"…}],
     "tool_plan", "tool_calls", "citations"}, "usage": {"billed_units", "tokens", "cached_tokens"}, "logprobs"}

A tool plan, which older models write in place of a thought before they call, is a `Thinking` marked as one, so that
it goes back as `tool_plan`. Citations stand on the part that they cite; they are the message's on the wire.

schema.py holds the shapes and tables, outbound.py writes a request, messages.py its messages, answer.py reads an
answer, decoder.py a stream.
"""
