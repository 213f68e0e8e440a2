"""Write a model card: what a model is, what it was trained on, how it scores."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.config import Run
from bench.records import read_json
from bench.records.store import require_unchanged

SCORES = {  # of the record, in the card
    "bits_per_byte": "bits per byte",
    "perplexity": "perplexity per token",
    "regret": "regret, nats per token",
    "pseudo_perplexity": "pseudo-perplexity (no likelihood)",
    "parameters": "parameters",
}


def model_card(folder: Path, run: Run, use: str, head: Mapping[str, str]) -> str:
    """Return the README of an exported run.

    `use`: how the model is loaded · `head`: fields of its front matter.
    """
    result, provenance = read_json(folder / "result.json"), read_json(folder / "provenance.json")
    fields = {**head, "tags": ["architecture-benchmark", run.names["arch"]]}
    facts = result.get("facts") or {}
    lines = [
        "---", yaml.safe_dump(fields, sort_keys=False, allow_unicode=True).rstrip(), "---",
        f"# {run.names['arch']} on {run.names['data']}, seed {run.seed}", "",
        f"A run of a benchmark of architectures: {folder.name}.", "", use, "",
        "## Data", "", *_table(_data(run, provenance)), "",
        "## Recipe", "", *_table(_recipe(run, facts)), "",
        f"## Scores on the {facts.get('part', 'held-out')} part, {facts.get('protocol', '')}", "",
        *_table(_scores(folder, result)), "",
        "One seed: another one may differ by more than the interval, which is over documents.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _table(rows: Iterator[tuple[str, str]]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def _data(run: Run, provenance: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "source", run.names["data"]
    yield "tokenizer", run.data.tokenizer
    facts = provenance.get("data") or {}
    for name in ("documents", "bytes", "tokens"):
        parts = facts.get(name)
        if isinstance(parts, dict):
            yield name, ", ".join(f"{part} {count:,}" for part, count in parts.items())
    yield "digest of the tokens", str((provenance.get("digests") or {}).get("data", ""))


def _recipe(run: Run, facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield (
        "steps",
        f"{run.train.steps:,} of {run.train.batch} sequences of {run.size.context} tokens",
    )
    yield "optimizer", run.optimizer.kind
    for name in ("learning_rate", "precision", "objective", "width"):
        if name in facts:
            yield name.replace("_", " "), str(facts[name])
    yield "seed", str(run.seed)


def _scores(folder: Path, result: dict[str, Any]) -> Iterator[tuple[str, str]]:
    values = {one["name"]: one["values"] for one in result["metrics"] if not one.get("at")}
    for name, title in SCORES.items():
        if values.get(name):
            value = f"{values[name][0]:,.4g}" if name != "parameters" else f"{values[name][0]:,.0f}"
            error = _document_error(folder) if name == "bits_per_byte" else ""
            yield title, value + error


def _document_error(folder: Path) -> str:
    """Return the 95 % interval of bits per byte over documents; empty where it is not known."""
    import numpy as np
    import pandas as pd

    from bench.stats import document_variances, effective_n, mean_interval

    if not (folder / "documents.parquet").exists():
        return ""
    require_unchanged(folder, "documents.parquet")
    documents = pd.read_parquet(folder / "documents.parquet")
    sizes = documents["bytes"].to_numpy(dtype=float)
    nats = np.vstack([documents["nats"].to_numpy(dtype=float), np.zeros(len(sizes))])
    half = mean_interval(
        np.zeros(1), document_variances(nats, sizes)[0, 1], effective_n(sizes)
    ).half
    return f" ± {half:.2g}" if half == half else ""
