"""What a relay of `/api/generate` needs: the path is its own, all else is as in chat.

Only relayed: a request for another provider goes through inbound_generate.py and that provider's dialect.
"""

from __future__ import annotations

from genai_spine.dialects.ollama_chat.outbound import (
    concerns,
    decode_embedded_error,
    decode_error,
    decode_usage,
)

__all__ = ["PATH", "concerns", "decode_embedded_error", "decode_error", "decode_usage"]

PATH = "/api/generate"
