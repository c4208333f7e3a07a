"""Documents that are text, for services that take texts but not such files.

Gemini's callers send them as `inlineData`, those of Responses as `input_file`: base64 both. "Chat Completions accepts
only PDF files as file content parts … read the file in your application and send its contents as a text content part"
(developers.openai.com/api/docs/guides/file-inputs, 2026-11).
"""

from __future__ import annotations

import base64
import binascii

from genai_spine.dialects.media_types import spelled
from genai_spine.model.content import Document


def text_of(document: Document) -> str | None:
    """What is written in it; None where that takes more than decoding, or is elsewhere."""
    if document.text is not None or document.data is None:
        return document.text
    kind = spelled(document.media_type) or ""
    if not (kind.startswith("text/") or kind == "application/json"):
        return None
    try:
        return base64.b64decode(document.data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
