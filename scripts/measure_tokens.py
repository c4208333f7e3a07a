"""How far the estimates of policy/tokens.py are off, measured on recorded traffic; and where their weights are from.

    python scripts/measure_tokens.py           prints the table of docs/tokens.md, and writes scripts/token_errors.json
    python scripts/measure_tokens.py --fit     first fits the weights anew: src/genai_spine/policy/token_weights.json

The truth is what services counted (token_samples.py). Seven tenths of the contents are fitted, the errors shown are
those of the other three, which the fit has not seen; the same content is never in both. Needs `tiktoken`.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec
from token_prose import ARTICLE
from token_samples import Sample, samples

from genai_spine.model.content import Text, Thinking, ToolCall, ToolResult
from genai_spine.policy import exact_tokens, tokens
from genai_spine.policy.text_features import NAMES, features

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "src" / "genai_spine" / "policy" / "token_weights.json"
ERRORS = ROOT / "scripts" / "token_errors.json"

FITTED = range(7)
PARENTS = {"claude_new": "claude", "llama_new": "llama", "qwen_new": "qwen", "grok_new": "grok", "gpt_oss": "openai"}
LEAST_TOKENS = 20
"""Answers shorter than this say more about how a service counts its end than about its vocabulary."""


class Error(NamedTuple):
    """How far estimates are off, as parts of the truth."""

    samples: int
    median: float
    p90: float
    bias: float


# ------------------------------------------------------------ fitting


def least_deviations(rows: list[list[float]], truths: list[float]) -> list[float]:
    """The non-negative weights whose sums are least off, as parts of the truth, all samples together.

    One weight after the other is set to its best: a weighted median, so that outliers have no pull. That ends in
    a corner as often as not, so it is begun in several places.
    """
    text, request = 0, 1
    rest = weighted_median([(truth - row[text], 1 / truth) for row, truth in zip(rows, truths, strict=True)])
    begins = [
        (scale, base, steps) for scale in (0.95, 1.05, 1.15, 1.3) for base in (0.0, 4.0, rest) for steps in (0.3, 0.7)
    ]
    found = []
    for scale, base, step in begins:
        start = [0.0] * len(rows[0])
        start[text], start[request] = scale, max(0.0, base)
        found.append(_descended(rows, truths, start, step))
    return min(found, key=lambda weights: _off(rows, truths, weights))


def _off(rows: list[list[float]], truths: list[float], weights: list[float]) -> float:
    sums = (sum(w * v for w, v in zip(weights, row, strict=True)) for row in rows)
    # What is more than all of it off counts no more than that: it was something else that was counted.
    return sum(min(1.0, abs(sum_ - truth) / truth) for sum_, truth in zip(sums, truths, strict=True))


def _descended(rows: list[list[float]], truths: list[float], found: list[float], part: float) -> list[float]:
    sums = [sum(w * v for w, v in zip(found, row, strict=True)) for row in rows]
    for turn in range(200):
        moved = 0.0
        for column in range(len(found)):
            wanted = [
                ((truth - sum_) / row[column] + found[column], row[column] / truth)
                for row, sum_, truth in zip(rows, sums, truths, strict=True)
                if row[column]
            ]
            if wanted:
                # A part of the way at first: a full step of one weight takes away the others' room.
                step = (max(0.0, weighted_median(wanted)) - found[column]) * (part if turn < 50 else 1.0)
                moved += abs(step)
                found[column] += step
                sums = [sum_ + step * row[column] for sum_, row in zip(sums, rows, strict=True)]
        if moved < 1e-4:
            break
    return found


def weighted_median(values: list[tuple[float, float]]) -> float:
    values.sort()
    half = sum(weight for _, weight in values) / 2
    for value, weight in values:
        half -= weight
        if half <= 0:
            return value
    return values[-1][0]


def least_squares(rows: list[list[float]], truths: list[float], trust: list[float]) -> list[float]:
    """Non-negative weights by coordinate descent on squares, reweighted so that outliers lose their pull."""
    found = [0.0] * len(rows[0])
    importance = list(trust)
    for _ in range(15):
        scale = [i / max(t, 5.0) ** 1.5 for i, t in zip(importance, truths, strict=True)]
        size = len(found)
        gram = [
            [sum(s * r[i] * r[j] for s, r in zip(scale, rows, strict=True)) for j in range(size)] for i in range(size)
        ]
        moment = [sum(s * r[i] * t for s, r, t in zip(scale, rows, truths, strict=True)) for i in range(size)]
        for _ in range(2000):
            change = 0.0
            for i in range(size):
                if gram[i][i] > 0:
                    pull = moment[i] - sum(gram[i][j] * found[j] for j in range(size))
                    new = max(0.0, found[i] + pull / gram[i][i])
                    change = max(change, abs(new - found[i]))
                    found[i] = new
            if change < 1e-6:
                break
        sums = [sum(w * v for w, v in zip(found, row, strict=True)) for row in rows]
        off = [abs(s - t) / t for s, t in zip(sums, truths, strict=True)]
        importance = [t / max(o, 0.03) for t, o in zip(trust, off, strict=True)]
    return found


def fit_vocabulary(name: str, texts: list[str]) -> list[float]:
    """The weights of a text's features, by what tiktoken makes of the texts. Prose in many languages counts more."""
    rows = [[float(number) for number in features(text)] for text in texts]
    truths = [float(exact_tokens.count(text, name) or 1) for text in texts]
    prose = set(ARTICLE.values())
    return [round(weight, 4) for weight in least_squares(rows, truths, [8.0 if t in prose else 1.0 for t in texts])]


def texts_of(found: list[Sample]) -> list[str]:
    """What the vocabularies are fitted to: the recordings' texts, among them much code and JSON, and prose."""
    texts = set(ARTICLE.values())
    for sample in found:
        if isinstance(sample.content, str):
            texts.add(sample.content)
            continue
        for message in sample.content.messages:
            for part in message.content:
                if isinstance(part, Text | Thinking | ToolResult):
                    texts.add(part.text)
                elif isinstance(part, ToolCall):
                    texts.add(part.arguments)
    return sorted(text for text in texts if len(text) >= LEAST_TOKENS)


def fit(found: list[Sample]) -> None:
    vocabularies = {name: fit_vocabulary(name, texts_of(found)) for name in exact_tokens.PATTERNS}
    write(vocabularies, {})
    families: dict[str, dict[str, float]] = {}
    of_family = by_family(found)
    for family in sorted(of_family, key=lambda family: family in PARENTS):
        parent = tokens.Weights(**families.get(PARENTS.get(family, ""), {}))
        families[family] = fit_family(family, of_family[family], parent)
    write(vocabularies, {family: families[family] for family in tokens.FAMILIES if family in families})


def write(vocabularies: dict[str, list[float]], families: dict[str, dict[str, float]]) -> None:
    text = json.dumps({"features": NAMES, "vocabularies": vocabularies, "families": families}, indent=1)
    WEIGHTS.write_text(text + "\n", encoding="utf-8")
    tokens.load_weights.cache_clear()


def fit_family(family: str, found: list[Sample], parent: tokens.Weights) -> dict[str, float]:
    """The family's weights; those of which the recordings show nothing are those of the family it comes from."""
    fitted = [sample for sample in found if sample.group in FITTED and is_telling(sample)]
    names = list(tokens.Weights.__struct_fields__)
    spent = [_quantities(sample, family) for sample in fitted]
    truths = [float(sample.tokens) for sample in fitted]
    known = {name for name in names if sum(bool(one.get(name)) for one in spent) < 2}
    if sum(bool(one.get("request")) and not one.get("tools") for one in spent) < 3:
        known |= {"request", "message"}  # without requests that have no tools, nothing tells theirs from the tools'
    defaults = msgspec.structs.asdict(parent)
    rest = [truth - sum(defaults[n] * one.get(n, 0) for n in known) for truth, one in zip(truths, spent, strict=True)]
    rows = [[0.0 if name in known else float(one.get(name, 0)) for name in names] for one in spent]
    weights = least_deviations(rows, [max(1.0, truth) for truth in rest])
    fitted_to = zip(names, weights, strict=True)
    return {name: round(defaults[name] if name in known else weight, 3) for name, weight in fitted_to}


def _quantities(sample: Sample, family: str) -> dict[str, float]:
    if isinstance(sample.content, str):
        vocabulary = tokens.load_weights().vocabularies[tokens.vocabulary_of(family)]
        return {"text": sum(w * n for w, n in zip(vocabulary, features(sample.content), strict=True))}
    return tokens.quantities(sample.content, family)


# ------------------------------------------------------------ measuring


def by_family(found: list[Sample]) -> dict[str, list[Sample]]:
    """The samples of each family, each content once for each number that was counted for it."""
    families: dict[str, dict[tuple[str, int], Sample]] = defaultdict(dict)
    for sample in found:
        families[tokens.family_of(sample.model)].setdefault((sample.digest, sample.tokens), sample)
    return {family: list(families[family].values()) for family in tokens.FAMILIES if family in families}


def is_telling(sample: Sample) -> bool:
    return sample.kind == "request" or sample.tokens >= LEAST_TOKENS


def estimate(sample: Sample) -> int:
    """The estimate, also where the exact count could be had."""
    family = tokens.family_of(sample.model)
    return tokens.estimate(sample.content, None if family.startswith("openai") else sample.model)


def error_of(found: list[Sample]) -> Error | None:
    if not found:
        return None
    off = sorted(abs(estimate(sample) - sample.tokens) / sample.tokens for sample in found)
    bias = median(estimate(sample) / sample.tokens for sample in found) - 1
    return Error(len(off), median(off), off[int(len(off) * 0.9)], bias)


KINDS = {
    "answers": lambda sample: sample.kind == "answer",
    "requests": lambda sample: sample.kind == "request" and not sample.content.tools,
    "requests with tools": lambda sample: sample.kind == "request" and bool(sample.content.tools),
}


def measure(found: list[Sample]) -> dict[str, dict[str, Error | None]]:
    table: dict[str, dict[str, Error | None]] = {}
    for family, of in by_family(found).items():
        unseen = [sample for sample in of if sample.group not in FITTED and is_telling(sample)]
        table[family] = {kind: error_of([s for s in unseen if is_kind(s)]) for kind, is_kind in KINDS.items()}
        table[family]["all"] = error_of(unseen)
    return table


def main() -> None:
    found = list(samples())
    if not found:
        sys.exit("no recordings: set GENAI_WIRE to their folder")
    if "--fit" in sys.argv[1:]:
        fit(found)
    table = measure(found)
    ERRORS.write_bytes(msgspec.json.format(msgspec.json.encode(table)) + b"\n")
    for family, kinds in table.items():
        for kind, error in kinds.items():
            if error is not None:
                said = f"median {error.median:6.1%}  p90 {error.p90:6.1%}  bias {error.bias:+.1%}"
                print(f"{family:14} {kind:20} {error.samples:4}  {said}")


if __name__ == "__main__":
    main()
