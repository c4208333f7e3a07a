"""AWS credentials, from where AWS's own clients take them and in their order: the settings, the environment, a web
identity (EKS), a profile, the container, the instance. Kept until shortly before they end, and fetched by one
task at a time.

Must not know: requests, models. Source (read 2026-11):
docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from math import inf

from genai_spine.model.errors import ConfigError
from genai_spine.providers.access_tokens import Absent, Token, TokenCache
from genai_spine.providers.aws_metadata import ask_container, ask_instance
from genai_spine.providers.aws_profiles import ELSEWHERE, ask_botocore, keys_in, read_profile
from genai_spine.settings import ProviderSettings
from genai_spine.wire.sigv4 import AwsCredentials


class AwsCredentialSource:
    """The credentials of one provider. Used by many tasks, and by one event loop after another."""

    def __init__(
        self,
        settings: ProviderSettings,
        environ: Mapping[str, str] = os.environ,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._cache = TokenCache(self._fetch, clock=clock)
        self._found: AwsCredentials | None = None

    async def current(self) -> AwsCredentials:
        """Credentials that are good now.

        Raises: ConfigError where there are none, naming every source that was looked at; what a source raises that
        is there and fails.
        """
        await self._cache.get()
        assert self._found is not None, "the cache has fetched them"
        return self._found

    def forget(self) -> None:
        """They were refused: the next caller waits for others."""
        self._cache.forget()

    @property
    def profile(self) -> str:
        """The profile that is meant, though it may not be there."""
        names = (self._environ.get(name) for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"))
        return self._settings.profile or next((name for name in names if name), "default")

    def region(self) -> str | None:
        """The region of the settings, the environment or the profile."""
        found = self._settings.region or self._environ.get("AWS_REGION") or self._environ.get("AWS_DEFAULT_REGION")
        return found or (read_profile(self.profile, self._environ) or {}).get("region")

    async def _fetch(self) -> Token:
        """For the cache, which keeps the time; the credentials themselves are kept here."""
        found = self._found = await self._first()
        lives_s = inf if found.expires is None else found.expires.timestamp() - time.time()
        return Token(value=found.access_key_id, lives_s=lives_s)

    async def _first(self) -> AwsCredentials:
        sources: dict[str, Callable[[], Awaitable[AwsCredentials]]] = {
            "the settings": self._from_settings,
            "the environment": self._from_environment,
            "a web identity": self._from_web_identity,
            "a profile": self._from_profile,
            "the container": lambda: ask_container(self._environ),
            "the instance": lambda: ask_instance(self._environ),
        }
        reasons = []
        for name, source in sources.items():
            try:
                return await source()
            except Absent as absent:
                reasons.append(f"{name} ({absent})")
        raise ConfigError(
            "no AWS credentials: set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            f"profile; looked at: {'; '.join(reasons)}"
        )

    async def _from_settings(self) -> AwsCredentials:
        key, secret, token = (
            self._settings.access_key_id,
            self._settings.secret_access_key,
            self._settings.session_token,
        )
        if key is None and secret is None:
            raise Absent("no access_key_id")
        if key is None or secret is None:
            missing = "secret_access_key" if secret is None else "access_key_id"
            raise ConfigError(f"AWS credentials of the settings: {missing} is missing")
        return AwsCredentials(
            access_key_id=key,
            secret_access_key=secret.reveal(),
            session_token=token.reveal() if token is not None else None,
        )

    async def _from_environment(self) -> AwsCredentials:
        if self._settings.profile is not None:
            raise Absent("passed over: the settings name a profile")
        key, secret = self._environ.get("AWS_ACCESS_KEY_ID"), self._environ.get("AWS_SECRET_ACCESS_KEY")
        if not key and not secret:
            raise Absent("AWS_ACCESS_KEY_ID is not set")
        if not key or not secret:
            missing = "AWS_ACCESS_KEY_ID" if not key else "AWS_SECRET_ACCESS_KEY"
            raise ConfigError(f"AWS credentials of the environment: {missing} is missing")
        token = self._environ.get("AWS_SESSION_TOKEN") or None
        return AwsCredentials(access_key_id=key, secret_access_key=secret, session_token=token)

    async def _from_web_identity(self) -> AwsCredentials:
        if self._settings.profile is not None:
            raise Absent("passed over: the settings name a profile")
        if not self._environ.get("AWS_WEB_IDENTITY_TOKEN_FILE") or not self._environ.get("AWS_ROLE_ARN"):
            raise Absent("AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN are not set")
        return await ask_botocore(None, "AWS_WEB_IDENTITY_TOKEN_FILE")

    async def _from_profile(self) -> AwsCredentials:
        name = self.profile
        keys = read_profile(name, self._environ)
        if keys is None:
            if name != "default":
                raise ConfigError(f'AWS credentials: no profile "{name}" in ~/.aws/config or ~/.aws/credentials')
            raise Absent("neither ~/.aws/credentials nor ~/.aws/config has a profile default")
        if (found := keys_in(keys)) is not None:
            return found
        if (elsewhere := next((key for key in ELSEWHERE if key in keys), None)) is not None:
            return await ask_botocore(name, f'the AWS profile "{name}" with {elsewhere}')
        raise Absent(f"the profile {name} has no keys")
