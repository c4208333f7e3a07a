"""OpenAI's older completions, `POST /v1/completions`: a bare prompt in, its continuation out.

What code editors complete with, base models are asked in, and model servers have to this day. No template is put
around the prompt, `suffix` is what comes after the gap to be filled, and tokens may stand for text.

Sources: developers.openai.com/api/reference/resources/completions/methods/create and OpenAI's openapi.json;
docs.vllm.ai/en/stable/serving/online_serving.html; api-docs.deepseek.com/guides/fim_completion, for `suffix`;
recorded traffic of OpenAI, Ollama, vLLM, Together and Writer. All read 2026-11.

schema.py is what both ends share; outbound.py speaks to a provider, inbound.py answers a caller, whose answer comes
from a chat where the provider has nothing else. Relays are read along by the chat's tap: usage, endings and errors
stand in the same places.
"""
