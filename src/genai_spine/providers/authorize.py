"""Authorisation that is made anew for each request: signatures, and tokens that end.

A row with a key sends a header that never changes, and costs nothing here. A row of a cloud without a key
(`row.is_cloud`) has an `Authorizer`, which HttpProvider asks before each request. They are made when they
are first needed: a program that uses no cloud imports none of this.

Must not know: dialects, models, what a request asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Protocol, cast

from genai_spine.catalog.rows import ProviderRow
from genai_spine.model.errors import ProviderError
from genai_spine.providers.transport import HttpRequest
from genai_spine.settings import ProviderSettings
from genai_spine.wire.http import Headers


class Authorizer(Protocol):
    """One provider's credentials. Used by many tasks, and by one event loop after another."""

    async def headers(self, request: HttpRequest) -> Headers:
        """The headers to add to this request, which is otherwise complete.

        Raises: ConfigError where there are no credentials, naming every source that was looked at and
        what to set; AuthenticationError where they were refused; the transport's errors.
        """
        ...

    def refused(self, error: ProviderError) -> None:
        """The service refused a request with these headers (401 or 403): what is cached may be of no use."""
        ...


AUTHORIZERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "aws": ("genai_spine.providers.aws_authorizer", "AwsAuthorizer"),
        "google": ("genai_spine.providers.google_authorizer", "GoogleAuthorizer"),
        "azure": ("genai_spine.providers.azure_authorizer", "AzureAuthorizer"),
    }
)
"""`row.auth` to module and class; the class is called with the provider's settings."""


def authorizer_for(row: ProviderRow, settings: ProviderSettings) -> Authorizer:
    """The authorizer of a provider of a cloud that has no key. Raises: ConfigError, as its class does."""
    module, name = AUTHORIZERS[row.auth]
    return cast("Callable[[ProviderSettings], Authorizer]", getattr(import_module(module), name))(settings)
