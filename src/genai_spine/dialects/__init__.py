"""Wire formats, each read from both ends: pure functions between bytes and the model, no I/O.

A dialect must not know where its bytes are sent, who pays, or when to try again. What it looks like is
written down in interface.py; `openai_chat` is the one to read first.
"""
