"""Anthropic's Messages, the dialect of Claude and of the services that copy its format.

Sources: platform.claude.com/docs/en/api/messages, …/build-with-claude/{streaming, thinking, effort,
structured-outputs, prompt-caching, pdf-support, mid-conversation-system-messages, handling-stop-reasons},
…/api/errors (read 2026-11), the service's published schema, and the types of its SDK 2.11.

schema.py holds what is written the same way in both directions, blocks.py the content blocks;
outbound.py speaks to a provider, inbound.py answers a caller.
"""
