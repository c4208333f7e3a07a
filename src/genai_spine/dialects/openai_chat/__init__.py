"""OpenAI's Chat Completions, the dialect that most services speak.

Sources: platform.openai.com/docs/api-reference/chat and the service's published schema (2026-11);
openrouter.ai/docs/guides/best-practices/reasoning-tokens for `reasoning` and `reasoning_details`;
api-docs.deepseek.com/guides/reasoning_model for `reasoning_content`.

mistral.py fits messages to Mistral, functions.py reads calls of the form before tools;
schema.py holds what is written the same way in both directions, outbound.py speaks to a provider,
inbound.py answers a caller.
"""
