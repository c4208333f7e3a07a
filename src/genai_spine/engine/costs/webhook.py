"""One place on the web that is told of things, by POST as JSON, signed, and again until it has heard.

A 2xx is success, 410 says that nobody listens any more, and all else is tried again after a wait that grows; no
redirect is followed. Source: Standard Webhooks 1.0.0 (wire/webhooks.py, 2026-11). Must not know: alerts, budgets.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence

from genai_spine import __version__
from genai_spine.model.errors import ConfigError, SpineError
from genai_spine.providers.transport import HttpRequest, HttpResponse, Timeouts, Transport
from genai_spine.settings import Secret
from genai_spine.wire.http import parse_url
from genai_spine.wire.webhooks import key_of, signature

RETRY_AFTER_S = (5.0, 15.0, 45.0, 120.0, 300.0, 600.0, 1200.0)
"""Waits between the tries: after some 40 minutes it is given up."""
LONGEST_WAIT_S = 3600.0
"""Of a Retry-After."""
JITTER = 0.2
_TIMEOUTS = Timeouts(connect_s=5.0, first_byte_s=15.0, idle_s=15.0, total_s=15.0)
_MOST_ANSWERED = 64 * 1024

logger = logging.getLogger(__name__)


class Gone(Exception):
    """Nobody listens there any more (410)."""

    def __init__(self) -> None:
        super().__init__("it is gone (410)")


class Webhook:
    """A URL with its secret, and how often it is tried. The URL may hold a secret itself: no log shows its path."""

    def __init__(
        self, url: Secret, secret: Secret | None, transport: Transport, retry_after_s: Sequence[float] = RETRY_AFTER_S
    ) -> None:
        """Raises: ConfigError for a URL or a secret that is none."""
        try:
            self._url = parse_url(url.reveal())
            self._key = key_of(secret.reveal()) if secret is not None else None
        except (SpineError, ValueError) as error:
            raise ConfigError(f"[costs.alerts]: {error}") from None
        self._transport = transport
        self._retry_after_s = retry_after_s

    @property
    def peer(self) -> str:
        return self._url.peer

    async def send(self, id: str, body: bytes, tries: int) -> float | None:
        """Try once, after `tries` others. None where it was heard, else the seconds to wait before the next try.

        Raises: Gone; Exhausted where there is no next one.
        """
        asked_s = None
        try:
            response = await self._transport.send(self._request(id, body))
            await response.read(_MOST_ANSWERED)
        except SpineError as error:
            said = error.message
        else:
            if 200 <= response.status < 300:
                return None
            if response.status == 410:
                raise Gone
            said, asked_s = f"it answered {response.status}", _retry_after_s(response)
        if tries >= len(self._retry_after_s):
            raise Exhausted(said)
        wait_s = self._retry_after_s[tries] * (1 + JITTER * random.random())
        if asked_s is not None:
            wait_s = max(wait_s, asked_s)
        logger.info("the webhook at %s did not take %s (%s): again in %.0f s", self.peer, id, said, wait_s)
        return wait_s

    def _request(self, id: str, body: bytes) -> HttpRequest:
        now = int(time.time())
        headers = [
            ("content-type", "application/json"),
            ("user-agent", f"genai-spine/{__version__}"),
            ("webhook-id", id),
            ("webhook-timestamp", str(now)),
        ]
        if self._key is not None:
            headers.append(("webhook-signature", signature(self._key, id, now, body)))
        return HttpRequest(
            method="POST", url=self._url, headers=tuple(headers), body=body, timeouts=_TIMEOUTS, unique=len(headers)
        )

    async def close(self) -> None:
        await self._transport.close()


class Exhausted(Exception):
    """It was tried as often as it may be; says what came last."""


def _retry_after_s(response: HttpResponse) -> float | None:
    """Whole seconds; a date is not read, since our own wait stands for it."""
    text = response.header("retry-after") or ""
    return min(float(text), LONGEST_WAIT_S) if text.isascii() and text.isdigit() else None
