"""Base URLs with places: `https://{resource}.openai.azure.com/openai/v1`, and what is put there.

A place is the name of a setting in braces, or `{model}`, which each call fills. Pure: values are given
as a mapping. Must not know: settings, variables, which provider it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, urlsplit

from genai_spine.model.errors import InvalidRequest

PLACE = re.compile(r"\{(\w+)\}")
_HARMLESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")


def places_of(template: str) -> tuple[str, ...]:
    """The places of a base URL in their order, each once."""
    return tuple(dict.fromkeys(PLACE.findall(template)))


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with these places filled; the others stay. Raises: ValueError for what would change the URL."""

    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        if name not in values:
            return match[0]
        if not _HARMLESS.fullmatch(values[name]):
            raise ValueError(name)
        return values[name]

    return PLACE.sub(value_of, template)


def fill_model(template: str, model: str) -> str:
    """`{model}` filled, whatever characters the name has: callers choose it.

    Raises: InvalidRequest for a name that would lead to another path.
    """
    if "{model}" not in template:
        return template
    if model in (".", ".."):  # no quoting helps: servers take dots out of paths
        raise InvalidRequest(f'no model is called "{model}"', param="model")
    return template.replace("{model}", quote(model, safe=""))


def based(given: str, template: str, others: Iterable[str]) -> str:
    """The template at the user's own address.

    The address may be written as the host alone, with the beginning of the template's path, or with all
    of it; or with the path of one of the row's `others`, which is then replaced. For
    `https://{resource}.openai.azure.com/openai/v1` these are the same place: `https://gw.corp`,
    `https://gw.corp/openai` and `https://gw.corp/openai/v1`. What the user wrote stands: it is not
    replaced by a place.
    """
    parts = urlsplit(given)
    written = [part for part in parts.path.split("/") if part]
    path, mark, query = _path_of(template)
    common = _overlap(written, path)
    for other in others:
        if (size := _overlap(written, _path_of(other)[0])) > common:
            written, common = written[: len(written) - size], 0
            break
    whole = [*written, *path[common:]]
    return f"{parts.scheme}://{parts.netloc}" + "".join(f"/{part}" for part in whole) + mark + query


def _path_of(template: str) -> tuple[list[str], str, str]:
    path, mark, query = template.partition("://")[2].partition("/")[2].partition("?")
    return [part for part in path.split("/") if part], mark, query


def _overlap(written: list[str], path: list[str]) -> int:
    """How many parts at the end of `written` are the first ones of `path`; a place is like anything."""
    for size in range(min(len(written), len(path)), 0, -1):
        if all(_is_like(own, part) for own, part in zip(written[-size:], path, strict=False)):
            return size
    return 0


def _is_like(written: str, part: str) -> bool:
    return PLACE.fullmatch(part) is not None or written == part
