"""OpenAI's Responses, the dialect of its newer models and agents, and of the services that copy its format.

Sources: developers.openai.com/api/reference/resources/responses (create, streaming events), …/api/docs/guides/
{migrate-to-responses, reasoning, function-calling, streaming-responses}, the service's published schema, and
the types of its SDK 3.54 (read 2026-11); openresponses.org for what compatible services share; recordings of
OpenAI, Azure, xAI, DeepSeek, OpenRouter, Bedrock and Codex.

A conversation is a list of items here, and an answer too: messages with content, thoughts, calls, and what
tools of the service did. Items of the assistant that follow one another are one message of the middle.

schema.py holds the tables and shapes of both directions; items.py reads items to parts, history.py writes
parts as items; outbound.py speaks to a provider, inbound.py answers a caller.
"""
