"""Ollama's own chat: `POST /api/chat`, and inbound its older sister `POST /api/generate`.

Sources: docs.ollama.com/api (chat, generate, errors, usage, tags, ps, show) and /capabilities/thinking, for
version 0.40; the service's published schema; github.com/ollama/ollama api/types.go and server/routes.go.
All read 2026-11.

A message is flat here: one text, a list of images, one thought, a list of tool calls. So the order of
texts and images in a message, and of thoughts, text and calls in an answer, is not on the wire.

schema.py holds what is written the same way in both directions, outbound.py and decoder.py speak to an
Ollama, inbound.py, inbound_generate.py and encoder.py answer a caller, models.py is the list of models
and what stands around it (tags, ps, show, version).
"""
