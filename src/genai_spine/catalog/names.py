"""What a model is called: the same one has a name of its own wherever it is sold.

    us.anthropic.claude-3-5-sonnet-20241022-v2:0      Bedrock, by way of a region
    anthropic/claude-3.5-sonnet:beta                  OpenRouter
    models/gemini-2.5-pro                             Gemini
    accounts/fireworks/models/llama-v3p1-8b-instruct  Fireworks
    claude-sonnet-4@20250514                          Vertex

Names that nobody has are answered with those that look like them. Must not know: prices, providers' settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

_REGION = re.compile(r"^(?:global|regional|us-gov|us|eu|apac|jp|au|ca|in|sa)\.(?=[a-z0-9]+\.)")
_MAKER = re.compile(
    r"^(?:anthropic|amazon|meta|mistral|cohere|deepseek|openai|google|qwen|ai21|moonshotai|nvidia|zai)\."
)
_VERSION = re.compile(r"-v\d+(?::\d+)?(?::\d+k)?$")
_FLAVOUR = re.compile(r":(?:free|beta|nitro|floor|online|extended|thinking|exacto|batch|latest)$")
_DOTTED_CLAUDE = re.compile(r"^(claude\D*\d)\.(\d)")


def plain(name: str) -> str:
    """The maker's own name for a model, as far as it can be told: in lower case, without region, reseller and flavour.

    plain("us.anthropic.claude-3-5-sonnet-20241022-v2:0") == "claude-3-5-sonnet-20241022"
    """
    found = name.lower().rpartition("/")[2]
    found = _FLAVOUR.sub("", _REGION.sub("", found))
    if (match := _MAKER.match(found)) is not None:
        found = _VERSION.sub("", found[match.end() :])
    return _DOTTED_CLAUDE.sub(r"\1-\2", found.replace("@", "-"))


def has_maker(name: str) -> bool:
    """Whether a name begins with its maker's, after a region perhaps: `eu.anthropic.claude-…` is Bedrock's."""
    return _MAKER.match(_REGION.sub("", name)) is not None


def candidates(name: str) -> tuple[str, ...]:
    """What to look a model up by: its name as written, then ever plainer ones, in lower case, each once."""
    lower = name.lower()
    shorter = lower.removeprefix("models/")
    return tuple(dict.fromkeys((lower, shorter, lower.rpartition("/")[2], _FLAVOUR.sub("", lower), plain(name))))


def alike(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The names nearest to one that is not known, nearest first; none where nothing is near."""
    known = list(known)
    if name in known:
        return []
    by_plain: dict[str, str] = {}
    for one in known:
        by_plain.setdefault(one.lower(), one)
    wanted = name.lower()
    begins = [one for low, one in by_plain.items() if low.startswith(wanted)] if len(wanted) > 3 else []
    near = [by_plain[low] for low in get_close_matches(wanted, by_plain, n=most, cutoff=0.6)]
    return list(dict.fromkeys((*sorted(begins, key=len), *near)))[:most]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean "gpt-4o" or "gpt-4o-mini"?`, or nothing."""
    found = alike(name, known)
    return f"; did you mean {' or '.join(f'{chr(34)}{one}{chr(34)}' for one in found)}?" if found else ""
