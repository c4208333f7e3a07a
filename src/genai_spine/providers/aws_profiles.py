"""AWS's shared files, `~/.aws/credentials` and `~/.aws/config`: the keys of a profile, and its region.

Keys that stand in the files are read here. A profile that gets them elsewhere (`credential_process`, IAM Identity
Center, a role) is left to botocore, the extra `aws`: these are protocols of their own.

Must not know: requests, models. Source (read 2026-11):
docs.aws.amazon.com/sdkref/latest/guide/{file-format, standardized-credentials}.html.
"""

from __future__ import annotations

import asyncio
import configparser
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

from genai_spine.model.errors import AuthenticationError, ConfigError
from genai_spine.wire.sigv4 import AwsCredentials

ELSEWHERE = (
    "credential_process",
    "sso_session",
    "sso_start_url",
    "login_session",
    "role_arn",
    "web_identity_token_file",
)
"""The keys of a profile whose credentials do not stand in it."""

_ASKED_AGAIN = timedelta(minutes=15)


def read_profile(name: str, environ: Mapping[str, str]) -> dict[str, str] | None:
    """The keys of a profile in both files, those of `credentials` first; None where neither has it.

    Raises: ConfigError for a file that cannot be read.
    """
    found: dict[str, str] = {}
    is_there = False
    for variable, default, section in (
        ("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name),
    ):
        home = environ.get("HOME") or environ.get("USERPROFILE") or "~"
        # Of a user without a home, such as a container's, "~" stays as it is: there are no such files.
        path = Path(os.path.expanduser(environ.get(variable) or f"{home}/.aws/{default}"))
        sections = _read(path)
        is_there = is_there or section in sections
        found |= sections.get(section, {})
    return found if is_there else None


def _read(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(default_section="", interpolation=None, strict=False)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise ConfigError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


def keys_in(profile: Mapping[str, str]) -> AwsCredentials | None:
    """The credentials that stand in a profile."""
    key, secret = profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")
    if not key or not secret:
        return None
    token = profile.get("aws_session_token") or None
    return AwsCredentials(access_key_id=key, secret_access_key=secret, session_token=token)


async def ask_botocore(profile: str | None, why: str) -> AwsCredentials:
    """What botocore finds for this profile; it runs processes and asks services, so in a thread. None is the profile
    that its own variables name. `why` says in errors what needs it.

    Raises: ConfigError without the extra; AuthenticationError for what botocore cannot get.
    """
    try:
        session, exceptions = import_module("botocore.session"), import_module("botocore.exceptions")
    except ImportError:
        raise ConfigError(f"{why} needs the extra: pip install 'genai-spine[aws]'") from None

    def ask() -> AwsCredentials | None:
        credentials = session.Session(profile=profile).get_credentials()
        if credentials is None:
            return None
        frozen = credentials.get_frozen_credentials()
        if not frozen.access_key or not frozen.secret_key:
            return None
        return AwsCredentials(
            access_key_id=frozen.access_key,
            secret_access_key=frozen.secret_key,
            session_token=frozen.token,
            expires=datetime.now(UTC) + _ASKED_AGAIN,
        )

    try:
        found = await asyncio.to_thread(ask)
    except (exceptions.BotoCoreError, exceptions.ClientError) as error:
        raise AuthenticationError(f"{why}: botocore: {error}") from None
    if found is None:
        raise AuthenticationError(f"{why}: botocore finds no credentials")
    return found
