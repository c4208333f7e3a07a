"""Anthropic's Messages where another cloud hosts the model: the same body, but for what the address says
already, and with that cloud's own version in place of a header.

Sources: platform.claude.com/docs/en/build-with-claude/{claude-on-amazon-bedrock, claude-on-vertex-ai} (2026-11),
and the clients for both in Anthropic's SDK 2.11.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from genai_spine.dialects.interface import Outgoing
from genai_spine.wire import json


def hosted_body(outgoing: Outgoing, version: str, *, without: Collection[str]) -> dict[str, msgspec.Raw]:
    """The members of a request to Anthropic, with `anthropic_version`; each value as the bytes that it was."""
    members = {name: value for name, value in json.OBJECT.decode(outgoing.body).items() if name not in without}
    members.setdefault("anthropic_version", msgspec.Raw(json.encode(version)))
    return members


def betas_of(outgoing: Outgoing) -> list[str]:
    """What the request asks for in `anthropic-beta`."""
    return [beta for name, value in outgoing.headers if name == "anthropic-beta" for beta in value.split(",")]
