"""Whose proof a thought carries. A signature, like a redacted thought, is good only where it was made: Anthropic
answers OpenAI's `encrypted_content` with 400, and OpenAI Anthropic's `signature`.

In the middle Anthropic's stand as they are, which is how users write them, too. Another maker's bears the maker's
name: "openai:gAAAAAB…". A caller of any dialect gets it as it stands here or in its dialect's own words for the
maker, brings it back, and the name tells whether it may go on to the provider of the next turn. The maker itself
never sees its name. Which of several services made it that speak one dialect (OpenAI or Azure) is not known.
"""

from __future__ import annotations

import re

from genai_spine.model.content import Thinking

ANTHROPIC = "anthropic"
"""Also Claude's on Bedrock and Vertex, which take one another's (…/docs/en/build-with-claude/thinking, 2026-11). Its
name is written only where an unnamed proof would be taken for another's."""

OPENAI, XAI, GOOGLE, MISTRAL = "openai", "xai", "google", "mistral"
OTHERS = (OPENAI, XAI, GOOGLE, MISTRAL)
"""A closed list, for a proof may be any text. Of real ones, base64, none has a colon."""


def named(maker: str, proof: str) -> str:
    """As it stands in the middle."""
    return proof if maker == ANTHROPIC else f"{maker}:{proof}"


def split(proof: str) -> tuple[str, str]:
    """The maker of what stands in the middle, and the proof as the maker knows it."""
    maker, colon, bare = proof.partition(":")
    return (maker, bare) if colon and maker in OTHERS else (ANTHROPIC, proof)


def is_proven_by(maker: str, thought: Thinking) -> bool:
    """Whether it carries a proof, and this maker's."""
    proof = thought.signature if thought.redacted is None else thought.redacted
    return proof is not None and split(proof)[0] == maker


_NAMED = re.compile(f'"(?:{"|".join(OTHERS)}):'.encode()).search


def may_be_named(messages: bytes) -> bool:
    """Whether JSON of a caller may hold a proof with its maker's name; it is then not relayed. Too often costs a
    translation, never a wrong request."""
    return _NAMED(messages) is not None
