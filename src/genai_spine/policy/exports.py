"""What OpenAI and Anthropic say that was used and what they charge: the files that both hand out, as sums by day and
model.

    OpenAI     JSON of /v1/organization/usage/completions (and embeddings) and /v1/organization/costs; CSV of the
               dashboard's export, whose columns are the same names
               developers.openai.com/api/reference/resources/admin (schema of 2026-11)
    Anthropic  JSON of /v1/organizations/usage_report/messages and /v1/organizations/cost_report, whose amounts are
               in cents: platform.claude.com/docs/en/api/admin (2026-11); CSV of the console's export of usage and of
               cost, whose amounts are rounded to cents: support.claude.com/en/articles/9534590 (2026-11)

A column that nobody knows is told, never guessed at. Pure: reads no file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from genai_spine.model.errors import InvalidRequest
from genai_spine.policy.model_names import model_of_line_item

Measure = str
MEASURES = ("input", "cache_read", "cache_write", "output", "requests", "usd")
"""What can be told of a day and a model. Input includes what was read from and written to a cache."""

EXPECTED = (
    "OpenAI's usage (input_tokens, num_model_requests …) or costs (amount_value … or amount), Anthropic's usage "
    "(uncached_input_tokens …, or usage_input_tokens_no_cache …) or costs (amount, or cost_usd), as CSV or JSON"
)


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of file: by which columns it is known, and what each says."""

    name: str
    provider: str
    marks: frozenset[str]
    """Columns that are there whenever anything is told."""
    day: str
    model: str | None
    line_item: str | None = None
    counts: dict[str, tuple[Measure, ...]] = {}
    amount: str | None = None
    unit: Decimal = Decimal(1)
    """USD in one of the amounts."""
    rounding_usd: Decimal = Decimal(0)
    """By how much each of its amounts may be off."""
    beside: frozenset[str] = frozenset()
    """Columns that say nothing more about these sums."""

    @property
    def known(self) -> frozenset[str]:
        named = {self.day, self.model, self.line_item, self.amount, *self.counts, "object"} - {None}
        return frozenset(name for name in named if name is not None) | self.beside | self.marks

    @property
    def measures(self) -> tuple[Measure, ...]:
        told = {measure for measures in self.counts.values() for measure in measures}
        return tuple(name for name in MEASURES if name in told or (name == "usd" and self.amount is not None))


_OPENAI_BESIDE = frozenset((
    "start_time", "end_time", "start_time_iso", "end_time_iso", "project_id", "project_name", "organization_id",
    "organization_name", "user_id", "user_email", "api_key_id", "api_key_name", "batch", "service_tier", "api_source",
    "input_uncached_tokens", "input_text_tokens", "output_text_tokens", "input_cached_text_tokens",
    "input_audio_tokens", "input_cached_audio_tokens", "output_audio_tokens", "input_image_tokens",
    "input_cached_image_tokens", "output_image_tokens", "amount_currency", "quantity", "quantity_unit",
))  # fmt: skip
_ANTHROPIC_BESIDE = frozenset((
    "starting_at", "ending_at", "account_id", "service_account_id", "api_key_id", "api_key", "api_key_status",
    "workspace_id", "workspace", "context_window", "inference_geo", "speed", "service_tier", "usage_type",
    "cost_type", "token_type", "description", "currency", "list_price_usd", "web_search_count",
    "server_tool_use_web_search_requests", "product",
))  # fmt: skip

SHAPES = (
    Shape(
        name="OpenAI's usage", provider="openai", marks=frozenset({"start_time", "input_tokens", "num_model_requests"}),
        day="start_time", model="model", beside=_OPENAI_BESIDE,
        counts={
            "input_tokens": ("input",), "input_cached_tokens": ("cache_read",),
            "input_cache_write_tokens": ("cache_write",), "output_tokens": ("output",),
            "num_model_requests": ("requests",),
        },
    ),
    Shape(
        name="OpenAI's costs", provider="openai", marks=frozenset({"start_time", "amount_value"}), day="start_time",
        model=None, line_item="line_item", amount="amount_value", beside=_OPENAI_BESIDE,
    ),
    Shape(
        name="Anthropic's usage", provider="anthropic", marks=frozenset({"starting_at", "uncached_input_tokens"}),
        day="starting_at", model="model", beside=_ANTHROPIC_BESIDE,
        counts={
            "uncached_input_tokens": ("input",), "cache_read_input_tokens": ("input", "cache_read"),
            "cache_creation_ephemeral_5m_input_tokens": ("input", "cache_write"),
            "cache_creation_ephemeral_1h_input_tokens": ("input", "cache_write"), "output_tokens": ("output",),
        },
    ),
    Shape(
        name="Anthropic's costs", provider="anthropic", marks=frozenset({"starting_at", "amount"}), day="starting_at",
        model="model", line_item="description", amount="amount", unit=Decimal("0.01"), beside=_ANTHROPIC_BESIDE,
    ),
    Shape(
        name="Anthropic's usage", provider="anthropic",
        marks=frozenset({"usage_date_utc", "usage_input_tokens_no_cache"}), day="usage_date_utc", model="model_version",
        beside=_ANTHROPIC_BESIDE,
        counts={
            "usage_input_tokens_no_cache": ("input",), "usage_input_tokens_cache_read": ("input", "cache_read"),
            "usage_input_tokens_cache_write": ("input", "cache_write"),
            "usage_input_tokens_cache_write_5m": ("input", "cache_write"),
            "usage_input_tokens_cache_write_1h": ("input", "cache_write"), "usage_output_tokens": ("output",),
        },
    ),
    Shape(
        name="Anthropic's costs", provider="anthropic", marks=frozenset({"usage_date_utc", "cost_usd"}),
        day="usage_date_utc", model="model", amount="cost_usd", rounding_usd=Decimal("0.005"), beside=_ANTHROPIC_BESIDE,
    ),
)  # fmt: skip
_BY_KIND = "OpenAI's usage"
_COMPARED = ("organization.usage.completions.result", "organization.usage.embeddings.result")


_KINDS = frozenset({"answers", "vectors"})


class Cell(msgspec.Struct, kw_only=True):
    """What was told of one model on one day."""

    sums: dict[Measure, Decimal] = {}
    rounding_usd: Decimal = Decimal(0)
    batch_tokens: Decimal = Decimal(0)


class Export(msgspec.Struct, kw_only=True):
    """One file, or several of the same kind."""

    name: str
    provider: str
    measures: tuple[Measure, ...]
    cells: dict[tuple[date, str], Cell] = {}
    """By day (UTC) and the model as the file names it; "" where it names none."""
    spans: list[tuple[date, date]] = []
    """The first and the last day of each file."""
    notes: list[str] = []
    """What the reader should know of it: unknown columns, pages that are missing."""
    kinds: frozenset[str] = _KINDS
    """Of which calls it tells: OpenAI hands out the usage of each kind by itself."""

    @property
    def since(self) -> date:
        return min(first for first, _ in self.spans)

    @property
    def until(self) -> date:
        return max(last for _, last in self.spans)

    def tells_of(self, day: date) -> bool:
        """Whether a day is one of a file's, though nothing may have been used on it."""
        return any(first <= day <= last for first, last in self.spans)

    @property
    def names_models(self) -> bool:
        return all(model for (_, model), cell in self.cells.items() if any(cell.sums.values()))


def read_export(data: bytes) -> Export:
    """What a file tells. Raises: InvalidRequest for one of another shape, saying what was expected."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"that is no text in UTF-8 ({error.reason} at byte {error.start})") from error
    notes: list[str] = []
    is_json = text.lstrip()[:1] in ("{", "[")
    rows = list(_json_rows(text, notes) if is_json else _csv_rows(text))
    return _summed(rows, notes)


def _summed(rows: list[dict[str, Any]], notes: list[str]) -> Export:
    told = [row for row in rows if not _is_empty(row)]
    if not rows:
        raise InvalidRequest(f"there is nothing in it: {EXPECTED}")
    shape = _shape_of(told or rows)
    days = [_day(row, shape.day) for row in rows]
    export = Export(
        name=shape.name,
        provider=shape.provider,
        measures=_told(shape, told),
        spans=[(min(days), max(days))],
        notes=notes,
        kinds=_kinds(shape, told),
    )
    others: dict[str, int] = {}
    unknown: set[str] = set()
    for row, day in zip(rows, days, strict=True):
        kind = row.get("object")
        if isinstance(kind, str) and "usage" in kind and kind not in _COMPARED:
            others[kind] = others.get(kind, 0) + 1
        elif not _is_empty(row):
            unknown |= {name for name, value in row.items() if value not in (None, "")} - shape.known
            _add(export, shape, day, row)
    _remark(export, rows, unknown, others)
    return export


def _told(shape: Shape, rows: list[dict[str, Any]]) -> tuple[Measure, ...]:
    """Older files lack some columns: what no row tells is not compared."""
    columns = {name for row in rows for name in row}
    told = {measure for name, measures in shape.counts.items() if name in columns for measure in measures}
    return tuple(name for name in shape.measures if name == "usd" or name in told)


def _kinds(shape: Shape, rows: list[dict[str, Any]]) -> frozenset[str]:
    """Vectors have no output, and a column of it neither."""
    if shape.name != _BY_KIND or not rows:
        return _KINDS
    return frozenset("answers" if row.get("output_tokens") is not None else "vectors" for row in rows)


def _remark(export: Export, rows: list[dict[str, Any]], unknown: set[str], others: Mapping[str, int]) -> None:
    if unknown:
        export.notes.append(f"columns that are not known, and left out: {', '.join(sorted(unknown))}")
    for kind, number in sorted(others.items()):
        export.notes.append(f"{number} results of {kind} are not compared")
    if any(_begins_within_a_day(row) for row in rows):
        export.notes.append("its days do not begin at midnight UTC, as those of the ledger do")


def _begins_within_a_day(row: Mapping[str, Any]) -> bool:
    try:
        begin, end = int(float(row["start_time"])), int(float(row["end_time"]))
    except (KeyError, ValueError, TypeError):
        return False
    return end - begin >= 86_400 and begin % 86_400 != 0


def _add(export: Export, shape: Shape, day: date, row: Mapping[str, Any]) -> None:
    cell = export.cells.setdefault((day, _model(shape, row)), Cell(sums={}))
    is_batch = str(row.get("batch")).lower() == "true" or "batch" in (row.get("service_tier"), row.get("usage_type"))
    for column, measures in shape.counts.items():
        number = _number(row.get(column), column)
        for measure in measures:
            cell.sums[measure] = cell.sums.get(measure, Decimal(0)) + number
        if is_batch and measures[0] in ("input", "output"):
            cell.batch_tokens += number
    if shape.amount is not None:
        currency = row.get("amount_currency") or row.get("currency") or "usd"
        if str(currency).lower() != "usd":
            raise InvalidRequest(f"an amount is in {str(currency)[:20]}: only US dollars are counted")
        cell.sums["usd"] = cell.sums.get("usd", Decimal(0)) + _number(row.get(shape.amount), shape.amount) * shape.unit
        cell.rounding_usd += shape.rounding_usd


def _model(shape: Shape, row: Mapping[str, Any]) -> str:
    if shape.model is not None and (name := row.get(shape.model)):
        return str(name)
    item = row.get(shape.line_item) if shape.line_item is not None else None
    return model_of_line_item(str(item)) if item else ""


def merged(exports: Sequence[Export]) -> list[Export]:
    """Pages of the same kind as one, and what tells of vectors with what tells of answers. Raises: InvalidRequest
    where two tell the same."""
    found: dict[tuple[str, tuple[Measure, ...]], Export] = {}
    for export in sorted(exports, key=lambda export: "answers" not in export.kinds):
        page = export.name, export.measures
        if "answers" not in export.kinds:
            page = next((each for each in found if each[0] == export.name), page)
        whole = found.setdefault(page, export)
        if whole is export:
            continue
        whole.kinds |= export.kinds
        for key, cell in export.cells.items():
            known = whole.cells.setdefault(key, cell)
            if known is cell:
                continue
            if known == cell:
                raise InvalidRequest(f"two files tell the same of {key[1] or 'all models'} on {key[0]}: name one")
            known.rounding_usd += cell.rounding_usd
            known.batch_tokens += cell.batch_tokens
            for measure, number in cell.sums.items():
                known.sums[measure] = known.sums.get(measure, Decimal(0)) + number
        whole.spans += export.spans
        whole.notes = list(dict.fromkeys((*whole.notes, *export.notes)))
    for whole in found.values():
        whole.notes += [f"{first} to {last} is in none of the files, and not compared" for first, last in _holes(whole)]
    return list(found.values())


def _holes(export: Export) -> Iterator[tuple[date, date]]:
    """The days between files."""
    spans = sorted(export.spans)
    known = spans[0][1]
    for first, last in spans[1:]:
        if (first - known).days > 1:
            yield known + timedelta(1), first - timedelta(1)
        known = max(known, last)


# ---------------------------------------------------------------- the rows of a file


def _json_rows(text: str, notes: list[str]) -> Iterator[dict[str, Any]]:
    """Of the pages, each result of each bucket, with the bucket's times; a bucket alone where it has none."""
    try:
        found = msgspec.json.Decoder(float_hook=Decimal).decode(text)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"that is no JSON ({error}): {EXPECTED}") from error
    for page in found if isinstance(found, list) else [found]:
        data = page.get("data") if isinstance(page, dict) else None
        if not isinstance(data, list):
            raise InvalidRequest(f"no page with a list `data` of buckets: {EXPECTED}")
        if page.get("has_more") and page is (found[-1] if isinstance(found, list) else found):
            notes.append("`has_more`: the pages behind it are missing")
        for bucket in data:
            results = bucket.get("results") if isinstance(bucket, dict) else None
            if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
                raise InvalidRequest(f"a bucket without a list `results`: {EXPECTED}")
            times = {name: value for name, value in bucket.items() if name not in ("results", "object")}
            yield from ({**times, **_flat(result)} for result in results or [{}])


def _flat(result: Mapping[str, Any]) -> dict[str, Any]:
    """{"amount": {"value": 1}} as {"amount_value": 1}."""
    flat: dict[str, Any] = {}
    for name, value in result.items():
        if isinstance(value, dict):
            flat |= {f"{name}_{inner}": part for inner, part in value.items()}
        else:
            flat[name] = value
    return flat


def _csv_rows(text: str) -> Iterator[dict[str, Any]]:
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=separator, strict=True)
    try:
        for row in reader:
            if None in row or any(value is None for value in row.values()):
                raise InvalidRequest(f"line {reader.line_num} has another number of columns than the first line")
            yield {name.strip(): value.strip() for name, value in row.items()}
    except csv.Error as error:
        raise InvalidRequest(f"line {reader.line_num} is no line of a CSV file ({error})") from error


def _is_empty(row: Mapping[str, Any]) -> bool:
    """A day on which nothing was used."""
    times = ("start_time", "end_time", "start_time_iso", "end_time_iso", "starting_at", "ending_at")
    return all(value in (None, "") for name, value in row.items() if name not in times)


def _shape_of(rows: list[dict[str, Any]]) -> Shape:
    columns = {name for row in rows for name in row}
    for shape in SHAPES:
        if shape.marks <= columns:
            return shape
    for shape in SHAPES:
        if shape.day in columns and all(map(_is_empty, rows)):  # nothing was used at all
            return shape
    shown = ", ".join(sorted(columns)[:12]) or "none"
    raise InvalidRequest(f"its columns ({shown[:300]}) are those of no export that is known: {EXPECTED}")


def _day(row: Mapping[str, Any], column: str) -> date:
    """UTC, of seconds since 1970 or of an ISO time."""
    value = row.get(column)
    try:
        if isinstance(value, str) and "-" in value:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo is None else moment.astimezone(UTC)).date()
        return datetime.fromtimestamp(float(str(value)), UTC).date()
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidRequest(f"{column} is {str(value)[:50]!r}, which is no day") from error


def _number(value: Any, column: str) -> Decimal:
    if value in (None, ""):
        return Decimal(0)
    try:
        number = Decimal(str(value).removeprefix("$"))
        if number.is_finite():
            return number
    except InvalidOperation:
        pass
    raise InvalidRequest(f"{column} is {str(value)[:50]!r}, which is no number")
