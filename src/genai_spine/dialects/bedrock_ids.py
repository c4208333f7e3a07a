"""What the name of a model on Bedrock tells: who made it, its bare id, and the region it is bound to.

    anthropic.claude-3-haiku-20240307-v1:0                                        a model of this region
    us.anthropic.claude-sonnet-4-20250514-v1:0                                    an inference profile: any of several
    arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.amazon.nova-lite-v1:0
    arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/k2mqzo1x   tells the region only

Source: docs.aws.amazon.com/bedrock/latest/userguide/{models-supported,inference-profiles-support}.html (2026-11).
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote

_ARN = re.compile(r"arn:aws[a-z-]*:[a-z-]+:([a-z0-9-]*):")
_GEOGRAPHY = re.compile(r"(?:us-gov|us|eu|apac|global|jp|au|ca|sa|me|af)\.(?=[a-z0-9-]+\.)")


def bare_id(model: str) -> str:
    """The model's own id, without a geography and without what stands before it in an ARN."""
    name = model.rpartition("/")[2] if _ARN.match(model) else model
    return _GEOGRAPHY.sub("", name, count=1) if _GEOGRAPHY.match(name) else name


def maker_of(model: str) -> str | None:
    """`anthropic`, `amazon`, `meta` …; None where the name does not tell."""
    maker, dot, _ = bare_id(model).partition(".")
    return maker if dot else None


def region_of(model: str) -> str | None:
    """The region that an ARN is bound to; None for a plain id, which any endpoint takes."""
    found = _ARN.match(model)
    return (found[1] or None) if found else None


@lru_cache(maxsize=1000)
def path_of(model: str, operation: str) -> str:
    """`/model/us.amazon.nova-lite-v1%3A0/converse`"""
    return f"/model/{quote(model, safe='')}/{operation}"
