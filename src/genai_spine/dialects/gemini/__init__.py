"""Gemini's generateContent, the dialect of Google's Gemini API and of Gemini on Vertex AI.

Sources: ai.google.dev/api/{generate-content, caching, models, tokens}, ai.google.dev/gemini-api/docs/{function-calling,
thought-signatures, thinking, structured-output, file-input-methods, troubleshooting} (read 2026-11), the published
discovery document of aiplatform.googleapis.com v1, and the types of the google-genai SDK 3.4.

The model and whether to stream stand in the URL: `path` in schema.py writes them, `addressed` in inbound.py puts
those of a caller into the body, where our own reader finds them. schema.py holds what is written the same way in
both directions, parts.py the parts; outbound.py speaks to a provider, inbound.py answers a caller; vertex.py is
what Vertex wants said differently, tap.py reads along with what is relayed.

A signature is kept as metadata of this dialect, never as `Thinking.signature`, which is another service's: so neither
is ever sent to the other, and a thought that Anthropic signed comes back from a caller of this dialect unsigned.
"""
