"""`[costs.alerts]`: who is told when a budget is nearly used up, and when it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from genai_spine.model.errors import InvalidRequest
from genai_spine.settings.explain import Problem
from genai_spine.settings.prices import doc
from genai_spine.settings.values import Secret
from genai_spine.wire.http import parse_url
from genai_spine.wire.webhooks import key_of


class AlertSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is told when a budget reaches `alert_threshold`, and its limit: once in each window."""

    log: Annotated[bool, doc("Write alerts to the log.")] = True
    webhook: Annotated[Secret | None, doc("URL that gets each alert, as JSON by POST.")] = None
    webhook_secret: Annotated[
        Secret | None, doc("Secret to sign webhooks with: at least 24 random bytes in base64, as `whsec_…`.")
    ] = None


def alert_problems(alerts: AlertSettings) -> Iterator[Problem]:
    path = ("costs", "alerts")
    if alerts.webhook is not None:
        try:
            parse_url(alerts.webhook.reveal())
        except InvalidRequest:
            yield Problem((*path, "webhook"), "expected a URL such as https://hooks.example.com/budgets")
    if alerts.webhook_secret is not None:
        try:
            key_of(alerts.webhook_secret.reveal())
        except ValueError as error:
            yield Problem((*path, "webhook_secret"), str(error))
        if alerts.webhook is None:
            yield Problem((*path, "webhook_secret"), "there is nothing to sign: webhook is not set")
