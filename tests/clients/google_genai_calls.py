"""What users do with Google's SDK, each as one function of a client; played in the SDK's own environment.

    python google_genai_calls.py http://127.0.0.1:8000 KEY MODEL name…

prints one line of JSON for each: {"said": …} or {"error": …, "code": …}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from google import genai  # type: ignore[import-not-found,unused-ignore]  # in an environment of its own
from google.genai import errors, types  # type: ignore[import-not-found,unused-ignore]

PIXEL = b"\x89PNG\r\n\x1a\n"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = types.FunctionDeclaration(name="get_weather", description="Weather", parameters_json_schema=SCHEMA)
TOOLS = [types.Tool(function_declarations=[FUNCTION])]


def _said(response: Any) -> dict[str, Any]:
    return {
        "text": response.text,
        "calls": [[call.name, call.args] for call in response.function_calls or ()],
        "finish": response.candidates[0].finish_reason.name,
        "tokens": [response.usage_metadata.prompt_token_count, response.usage_metadata.candidates_token_count],
        "model": response.model_version,
    }


def chats(client: Any, model: str) -> Any:
    config = types.GenerateContentConfig(
        system_instruction="Be brief.",
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        max_output_tokens=200,
        stop_sequences=["END"],
        seed=7,
    )
    return _said(client.models.generate_content(model=model, contents="Hi", config=config))


def streams(client: Any, model: str) -> Any:
    chunks = list(client.models.generate_content_stream(model=model, contents="Hi"))
    return {**_said(chunks[-1]), "text": "".join(chunk.text or "" for chunk in chunks), "chunks": len(chunks)}


def shows_media(client: Any, model: str) -> Any:
    contents = [
        types.Part.from_bytes(data=PIXEL, mime_type="image/png"),
        types.Part.from_uri(file_uri="gs://bucket/a.pdf", mime_type="application/pdf"),
        "What is this?",
    ]
    return _said(client.models.generate_content(model=model, contents=contents))


def calls_a_tool(client: Any, model: str) -> Any:
    calling = types.FunctionCallingConfig(mode="ANY", allowed_function_names=["get_weather"])
    config = types.GenerateContentConfig(
        tools=TOOLS,
        tool_config=types.ToolConfig(function_calling_config=calling),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    return _said(client.models.generate_content(model=model, contents="get_weather", config=config))


def answers_a_call(client: Any, model: str) -> Any:
    call = types.FunctionCall(id="c1", name="get_weather", args={"city": "Oslo"})
    response = types.FunctionResponse(id="c1", name="get_weather", response={"output": "sunny"})
    contents = [
        types.Content(role="user", parts=[types.Part(text="Weather?")]),
        types.Content(role="model", parts=[types.Part(function_call=call, thought_signature=b"sig")]),
        types.Content(role="user", parts=[types.Part(function_response=response)]),
    ]
    config = types.GenerateContentConfig(
        tools=TOOLS, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )
    return _said(client.models.generate_content(model=model, contents=contents, config=config))


def wants_json(client: Any, model: str) -> Any:
    config = types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=SCHEMA)
    return json.loads(client.models.generate_content(model=model, contents="Where?", config=config).text)


def thinks(client: Any, model: str) -> Any:
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=2000)
    config = types.GenerateContentConfig(thinking_config=thinking)
    response = client.models.generate_content(model=model, contents="Hi", config=config)
    parts = response.candidates[0].content.parts
    return {"thought": "".join(part.text for part in parts if part.thought), "text": response.text}


def sets_safety(client: Any, model: str) -> Any:
    safety = types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_NONE")
    config = types.GenerateContentConfig(safety_settings=[safety])
    return _said(client.models.generate_content(model=model, contents="Hi", config=config))


def counts(client: Any, model: str) -> Any:
    return client.models.count_tokens(model=model, contents="one two three").total_tokens


def embeds(client: Any, model: str) -> Any:
    config = types.EmbedContentConfig(output_dimensionality=3, task_type="RETRIEVAL_QUERY")
    response = client.models.embed_content(model=model, contents=["one", "two"], config=config)
    return [len(each.values) for each in response.embeddings]


def lists_models(client: Any, model: str) -> Any:
    return [each.name for each in client.models.list()]


def gets_a_model(client: Any, model: str) -> Any:
    return client.models.get(model=model).name


CALLS: dict[str, Callable[[Any, str], Any]] = {
    function.__name__: function
    for function in (
        chats, streams, shows_media, calls_a_tool, answers_a_call, wants_json, thinks, sets_safety, counts, embeds,
        lists_models, gets_a_model,
    )
}  # fmt: skip


def main(url: str, key: str, model: str, names: list[str]) -> None:
    options = types.HttpOptions(base_url=url, retry_options=types.HttpRetryOptions(attempts=1))
    client = genai.Client(api_key=key, http_options=options)
    for name in names:
        try:
            line: dict[str, Any] = {"said": CALLS[name](client, model)}
        except errors.APIError as error:
            line = {"error": type(error).__name__, "code": error.code, "status": error.status, "message": error.message}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
