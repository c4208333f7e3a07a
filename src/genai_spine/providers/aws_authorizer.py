"""Requests to Bedrock signed with AWS credentials, for those who use no API key.

The region of a signature is that of the address it goes to: `bedrock-runtime.eu-west-1.amazonaws.com`. An
address that tells none (a proxy, a private endpoint's own name) is signed for the settings' region.

Must not know: models, dialects. Source (read 2026-11): docs.aws.amazon.com/general/latest/gr/bedrock.html.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from genai_spine.model.errors import ProviderError
from genai_spine.providers.aws_credentials import AwsCredentialSource
from genai_spine.providers.transport import HttpRequest
from genai_spine.settings import ProviderSettings
from genai_spine.wire.http import Headers
from genai_spine.wire.sigv4 import sign

SERVICE = "bedrock"
DEFAULT_REGION = "us-east-1"
_MOST_HOSTS = 100

_REGION_IN_HOST = re.compile(r"(?:^|\.)bedrock(?:-[a-z]+)*\.([a-z]{2,}(?:-[a-z]+)+-\d+)\.")

# What says that the credentials are no longer good; any other refusal is about what they allow.
_STALE = frozenset(
    ("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "InvalidSignatureException",
     "UnrecognizedClientException")
)  # fmt: skip


class AwsAuthorizer:
    """The signature of one provider's credentials; see `authorize.Authorizer`."""

    def __init__(self, settings: ProviderSettings, environ: Mapping[str, str] = os.environ) -> None:
        self._credentials = AwsCredentialSource(settings, environ)
        self._regions: dict[str, str] = {}  # by host

    async def headers(self, request: HttpRequest) -> Headers:
        return sign(
            request.method,
            request.url,
            request.headers,
            request.body,
            credentials=await self._credentials.current(),
            region=self._regions.get(request.url.host) or self._region_of(request.url.host),
            service=SERVICE,
            now=datetime.now(UTC),
        )

    def _region_of(self, host: str) -> str:
        found = _REGION_IN_HOST.search(host)
        region = found[1] if found else self._credentials.region() or DEFAULT_REGION
        if len(self._regions) < _MOST_HOSTS:  # an ARN names a region, and callers name ARNs
            self._regions[host] = region
        return region

    def refused(self, error: ProviderError) -> None:
        if error.code in _STALE:
            self._credentials.forget()
