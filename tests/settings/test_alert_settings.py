"""`[costs.alerts]`: what cannot work is refused when settings are read, and no secret is shown."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from genai_spine.model.errors import ConfigError
from genai_spine.providers.registry import settings_of

SECRET = "whsec_" + b64encode(bytes(24)).decode()


def of(**alerts: Any) -> Any:
    return settings_of({"providers": {}, "costs": {"alerts": alerts}}).costs.alerts


def test_a_webhook_has_a_url_and_a_secret() -> None:
    alerts = of(webhook="https://hooks.example.com/a", webhook_secret=SECRET, log=False)
    assert (alerts.webhook.reveal(), alerts.webhook_secret.reveal(), alerts.log) == (
        "https://hooks.example.com/a", SECRET, False,
    )  # fmt: skip
    assert "hooks.example.com" not in repr(alerts)
    assert of().webhook is None


@pytest.mark.parametrize(
    ("alerts", "said"),
    [
        ({"webhook": "ftp://a-secret-place"}, "costs.alerts.webhook: expected a URL"),
        ({"webhook": "a-secret-place"}, "costs.alerts.webhook: expected a URL"),
        ({"webhook": "https://a.b/c", "webhook_secret": "a-secret-place"}, "costs.alerts.webhook_secret: no base64"),
        ({"webhook": "https://a.b/c", "webhook_secret": "whsec_AAAA"}, "costs.alerts.webhook_secret: 3 bytes"),
        ({"webhook_secret": SECRET}, "webhook is not set"),
    ],
)
def test_what_cannot_work_is_said_and_not_shown(alerts: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        of(**alerts)
    assert said in str(refused.value)
    assert "a-secret-place" not in str(refused.value)
