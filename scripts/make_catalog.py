"""Writes the data files of src/genai_spine/catalog that are read at run time.

    make catalog      prices/*.json, from the PyPI package `genai-prices` (MIT), in an environment that has it
    make cards        cards.json, which is models.toml in a form that is read in a tenth of the time

The package's version is pinned below, so that the same files come out everywhere; to take a newer one, change
VERSION and READ. What it does not know (capabilities, output limits, retired models) is in models.toml.

Each file is one row of our catalog: its models in the order in which their names are tried, each name an exact
one, a pattern with `*`, or `~` and a regular expression. Prices are what model/card.py says of them.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

VERSION = "0.2.3"
READ = date(2026, 11, 21)

CATALOG = Path(__file__).parents[1] / "src" / "genai_spine" / "catalog"
TARGET = CATALOG / "prices"
CARDS = CATALOG / "cards.json"

ROWS = {
    "x-ai": "xai",
    "google": "gemini",
    "aws": "bedrock",
    "moonshotai": "moonshot",
    "voyageai": "voyage",
}
"""Where our name for a provider is another than theirs."""

LEFT_OUT = ("cursor", "github-copilot", "openai-decisions", "quicksilverpro", "typesafe", "elevenlabs", "modal")
"""Not to be called with a key of one's own for text, or resellers that nobody has asked for."""

RESELLERS = {"google": "vertex", "azure": "azure"}
"""Who sells others' models at their makers' prices, and the row that does: Google's key does not buy Claude,
a project of its cloud does."""

SEARCHES = {"gpt-4o-search-preview": "25", "gpt-4o-mini-search-preview": "25", "gpt-5-search-api": "10"}
"""USD for a thousand requests to OpenAI's models that search the web before each answer, beside their tokens, which are
all that the package knows: developers.openai.com/api/docs/pricing and …/guides/tools-web-search, read 2026-11."""

RATES = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_reasoning_mtok": "reasoning_output",
    "output_citation_mtok": "citation",
    "input_audio_mtok": "audio_input",
    "output_audio_mtok": "audio_output",
    "cache_audio_read_mtok": "cached_audio",
    "input_image_mtok": "image_input",
    "output_image_mtok": "image_output",
    "cache_image_read_mtok": "cached_image",
    "input_video_mtok": "video_input",
    "output_video_mtok": "video_output",
    "input_mchars": "characters_per_1m",
    "requests_kcount": "requests_per_1k",
    "input_text_messages_kcount": "messages_per_1k",
    "web_searches_kcount": "searches_per_1k",
    "storage_searches_kcount": "file_searches_per_1k",
    "input_document_kpages": "pages_per_1k",
    "input_annotated_document_kpages": "annotated_pages_per_1k",
    "audio_hours": "audio_hour",
    "input_audio_hours": "audio_input_hour",
}

SERVICES = {("processing", "batch"): "batch", ("service_tier", "default"): None}


def main() -> None:
    CARDS.write_text(cards(), encoding="utf-8")
    if "--cards" not in sys.argv[1:]:
        make_prices()


def cards() -> str:
    """models.toml as JSON, one line an entry."""
    tables = tomllib.loads((CATALOG / "models.toml").read_text(encoding="utf-8"))
    names = tables.pop("names")
    lines = [
        f"{json.dumps(row)}: [\n" + ",\n".join(json.dumps(e, ensure_ascii=False, default=str) for e in entries) + "]"
        for row, entries in tables.items()
    ]
    return '{"names": ' + json.dumps(names, indent=0) + ',\n"entries": {\n' + ",\n".join(lines) + "}}\n"


def make_prices() -> None:
    from genai_prices.data import providers  # noqa: PLC0415  # only this script's environment has it

    if (found := version("genai-prices")) != VERSION:
        sys.exit(f"genai-prices {found} is installed, and this script is written for {VERSION}")
    TARGET.mkdir(exist_ok=True)
    for old in TARGET.glob("*.json"):
        old.unlink()
    merged: dict[str, dict[str, Any]] = {}
    by_id = {provider.id: provider for provider in providers}
    for provider in providers:
        if provider.id in LEFT_OUT:
            continue
        row, _, partner = provider.id.partition("_")
        row = ROWS.get(row, row)
        file = merged.setdefault(row, new_file(provider))
        file["models"] += [model_of(model, f":{partner}" if partner else "") for model in provider.models]
        if row == "gemini":
            file["models"] = [model for model in file["models"] if not model["id"].startswith("claude")]
        if provider.id in RESELLERS:
            file = merged.setdefault(RESELLERS[provider.id], new_file(provider))
            file["models"] = [model_of(model, "") for model in provider.models]
            for other in provider.fallback_model_providers:
                file["models"] += [model_of(model, "") for model in by_id[other].models]
    merged["openai"]["models"] = [found for model in merged["openai"]["models"] for found in searching(model)]
    for row, file in sorted(merged.items()):
        (TARGET / f"{row}.json").write_text(written(file), encoding="utf-8")


def new_file(provider: Any) -> dict[str, Any]:
    return {"source": provider.pricing_urls[0], "as_of": READ.isoformat(), "models": []}


def model_of(model: Any, suffix: str) -> dict[str, Any]:
    """`suffix` is Hugging Face's, which names the partner behind a model: `model:partner`."""
    said = {
        "id": model.id + suffix,
        "name": model.name,
        "match": [name + suffix for name in names_of(model.match) if name != model.id.lower()],
        "context_window": model.context_window,
        "deprecated": model.deprecated,
        "prices": [*ordinary(model.prices), *special(model.price_variants or ())],
    }
    return {key: value for key, value in said.items() if value not in (None, [])}


def searching(model: dict[str, Any]) -> list[dict[str, Any]]:
    """The model; one that searches has the fee, and where it is listed under another's name it is taken out."""
    found = [name for name in SEARCHES if name in (model["id"], *model.get("match", ()))]
    made = []
    for name in found:
        rates = {rate: price for rate, price in model["prices"][0].items() if not rate.endswith("_per_1k")}
        kept = {key: model[key] for key in ("name", "context_window") if key in model}
        if name != model["id"]:
            del kept["name"]
        prices = [{**rates, "requests_per_1k": SEARCHES[name]}]
        made.append({"id": name, **kept, "match": [f"{name}-*"], "prices": prices})
    if model["id"] in SEARCHES:
        return made
    match = [name for name in model.get("match", ()) if not name.startswith(tuple(SEARCHES))]
    return [*made, {**model, "match": match}] if made else [model]


def names_of(clause: Any) -> list[str]:
    """The names that a clause takes, in lower case."""
    match type(clause).__name__:
        case "ClauseOr":
            return list(dict.fromkeys(name for inner in clause.or_ for name in names_of(inner)))
        case "ClauseEquals":
            return [clause.equals.lower()]
        case "ClauseStartsWith":
            return [clause.starts_with.lower() + "*"]
        case "ClauseEndsWith":
            return ["*" + clause.ends_with.lower()]
        case "ClauseContains":
            return ["*" + clause.contains.lower() + "*"]
        case "ClauseRegex":
            return ["~" + clause.regex]
        case "ClauseAnd":
            return ["~^" + "".join(f"(?={_searched(name)})" for inner in clause.and_ for name in names_of(inner))]
        case other:
            sys.exit(f"a clause that this script does not know: {other}")


def _searched(name: str) -> str:
    """A name as a regular expression that is tried at the beginning."""
    if name.startswith("~"):
        return name[2:] if name.startswith("~^") else ".*" + name[1:]
    return "".join(".*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", name))


def ordinary(prices: Any) -> list[dict[str, Any]]:
    if not isinstance(prices, list):
        return [price_of(prices)] if price_of(prices) else []
    return [{**in_force(one.constraint), **price_of(one.prices)} for one in prices]


def special(variants: Any) -> list[dict[str, Any]]:
    found = []
    for variant in variants:
        ((key, value),) = variant.when.items()
        service = SERVICES.get((key, value), value if key in ("service_tier", "speed") else f"{key}={value}")
        # Some are there without a rate of their own: they cost what the ordinary service costs, or nobody knows.
        if service is not None and (rates := price_of(variant.prices)):
            found.append({"service": service, **in_force(variant.constraint), **rates})
    return found


def in_force(constraint: Any) -> dict[str, Any]:
    if constraint is None:
        return {}
    if hasattr(constraint, "start_date"):
        return {"since": constraint.start_date.isoformat()}
    return {"hours": [f"{end:%H:%M:%S}" for end in (constraint.start_time, constraint.end_time)]}


def price_of(prices: Any) -> dict[str, Any]:
    said: dict[str, Any] = {}
    tiers: dict[int, dict[str, str]] = {}
    for key, value in sorted(vars(prices).items(), key=lambda item: list(RATES).index(item[0]) if item[1] else -1):
        if value is None:
            continue
        rate = RATES[key]
        if hasattr(value, "tiers"):
            said[rate] = number(value.base)
            for tier in value.tiers:
                tiers.setdefault(tier.start, {})[rate] = number(tier.price)
        else:
            said[rate] = number(value)
    if tiers:
        said["tiers"] = [{"above": start, **rates} for start, rates in sorted(tiers.items())]
    return said


def number(value: Any) -> str:
    return f"{value.normalize():f}"


def written(file: dict[str, Any]) -> str:
    """One line a model: a change of one price is a change of one line."""
    head = {key: value for key, value in file.items() if key != "models"}
    lines = ",\n".join(json.dumps(model, ensure_ascii=False, separators=(",", ":")) for model in file["models"])
    return json.dumps(head, ensure_ascii=False)[:-1] + ', "models": [\n' + lines + "\n]}\n"


if __name__ == "__main__":
    main()
