"""What only the gateway knows that runs with these settings: it is asked over HTTP, at the port it listens on."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from genai_spine.model.errors import APIConnectionError, ConfigError, ProviderError, SpineError
from genai_spine.providers.http_transport import HttpTransport
from genai_spine.providers.transport import HttpRequest, Timeouts
from genai_spine.settings import ServerSettings
from genai_spine.wire.http import parse_url

KEY_VARIABLE = "SPINE_KEY"
"""A key for a gateway whose settings know only the hash of it."""
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_MEMBER = {"GET": "data", "DELETE": "id"}
"""What every answer has that is asked for here."""
_TIMEOUTS = Timeouts(connect_s=2.0, first_byte_s=10.0, idle_s=10.0, total_s=30.0)


async def ask_gateway(server: ServerSettings, path: str, method: str = "GET") -> Any:
    """The JSON that the gateway answers. Raises: SpineError where none runs, or where it refuses."""
    host = _HERE.get(server.host, server.host)
    where = f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"
    transport = HttpTransport()
    headers = (("authorization", f"Bearer {key}"),) if (key := _key_of(server)) else ()
    try:
        response = await transport.send(
            HttpRequest(method=method, url=parse_url(f"http://{where}{path}"), headers=headers, timeouts=_TIMEOUTS)
        )
        body = await response.read()
    except APIConnectionError as error:
        raise SpineError(f"no gateway runs at {where}: start it with `spine serve`") from error
    finally:
        await transport.close()
    if response.status == 401:
        raise ConfigError(f"the gateway at {where} wants one of its api_keys: set {KEY_VARIABLE}")
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise SpineError(f"what listens at {where} is no gateway") from None
    if response.status != 200:
        raise ProviderError(f"the gateway at {where} answered {response.status}: {_message_of(answer)}")
    if not isinstance(answer, dict) or _MEMBER[method] not in answer:
        raise SpineError(f"what listens at {where} is no gateway")
    return answer


def _key_of(server: ServerSettings) -> str | None:
    plain = (text for key in server.all_keys if not (text := key.reveal()).startswith("sha256:"))
    return next(plain, None) or os.environ.get(KEY_VARIABLE)


def _message_of(answer: Any) -> str:
    error = answer.get("error") if isinstance(answer, dict) else None
    return str(error.get("message") if isinstance(error, dict) else error or "no reason")
