"""What was compared and on what, what the models wrote, and what has no result and why."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from bench.analysis import budgets
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import format_bytes, format_count

Pairs = list[tuple[str, str]]  # names and values


def _join_unique(values: Iterable[Any]) -> str:
    return " · ".join(sorted({str(value) for value in values}))


def comparison_facts(part: Comparison) -> Pairs:
    """Return what was compared and on what."""
    rows, configs = part.rows, list(part.runs["config"])
    data: Mapping[str, Any] = next(
        (one["data"] for one in part.runs["provenance"] if isinstance(one.get("data"), Mapping)), {}
    )
    pairs = [
        ("data", _join_unique(rows["data"])),
        ("tokenizer", _join_unique(rows["tokenizer"])),
        ("digest of the text", _join_unique(rows["text_digest"])),
        ("digest of the tokens", _join_unique(rows["data_digest"])),
        ("budget", f"{rows['matched'].iloc[0]}; the width of each architecture is solved for it"),
        ("context", f"{rows['context'].iloc[0]} tokens"),
        ("training", _join_unique(map(_steps_text, configs))),
        ("learning rate", _rate_text(configs)),
        ("precision", str(configs[0]["train"].get("precision", ""))),
        ("kernels", _kernels_text(part.runs)),
    ]
    return [pair for pair in pairs if pair[1]] + value_pairs(data, empty=True)


def _kernels_text(runs: pd.DataFrame) -> str:
    """Return the kernels of each architecture that has a choice."""
    chosen = runs[runs["kernels"] != ""]
    return _join_unique(chosen["arch"] + ": " + chosen["kernels"])


def _steps_text(config: Mapping[str, Any]) -> str:
    """Return the length of a training and the tokens of each step."""
    train = config["train"]
    return f"{train['steps']:,} steps of {train['batch']} × {config['size']['context']} tokens"


def _rate_text(configs: Iterable[Mapping[str, Any]]) -> str:
    """Return the span of the learning rates that were set for runs."""
    rates = pd.Series([budgets.learning_rate(config) for config in configs]).dropna()
    if rates.empty:
        return "as each architecture's YAML says"
    low, high = float(rates.min()), float(rates.max())
    span = f"{low:g} to {high:g}" if low < high else f"{low:g}"
    return f"{span}, the same recipe otherwise"


def _plain(value: Any, key: str) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        if key.endswith("bytes") and value >= 1000:
            return format_bytes(value)
        return format_count(value) if float(value).is_integer() else f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(one, str(name))}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(one, key) for one in value)
    return str(value)


def value_pairs(values: Mapping[str, Any], empty: bool = False) -> Pairs:
    """Return a mapping as names and readable values; without the empty ones by default."""
    return [
        (str(key).replace("_", " "), _plain(value, str(key)))
        for key, value in values.items()
        if empty or value not in ("", None, {}, [])
    ]


def distinct_environments(environments: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each environment once: how many runs it had, and its values."""
    distinct: dict[str, dict[str, Any]] = {}
    for one in filter(None, environments):
        key = repr(sorted(one.items(), key=str))
        distinct.setdefault(key, {"runs": 0, "lines": value_pairs(one)})["runs"] += 1
    return list(distinct.values())


def source_commits(provenances: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the commits that the runs were made by."""
    gits = [one.get("git") or {} for one in provenances]
    return sorted(
        {
            f"{git['commit'][:12]}{' with uncommitted changes' if git.get('dirty') else ''}"
            for git in gits
            if git.get("commit")
        }
    )


def generated_texts(part: Comparison) -> list[dict[str, Any]]:
    """Return the text of the lowest finished seed of each row that generated one."""
    runs = part.runs[(part.runs["text"] != "") & ~part.runs["control"]].sort_values("seed")
    runs = runs.drop_duplicates("row").set_index("row").drop(columns="label")
    texts = []
    for row in runs.join(part.rows[["label"]]).sort_values("label").to_dict("records"):
        prompt = str(row["config"].get("evaluate", {}).get("prompt", ""))
        prompt = prompt if row["text"].startswith(prompt) else ""
        shown = {key: row[key] for key in ("label", "seed")}
        texts.append(shown | {"prompt": prompt, "text": row["text"][len(prompt) :]})
    return texts


def failures(runs: pd.DataFrame, excluded: pd.DataFrame, measures: pd.DataFrame) -> list[Any]:
    """Return each run and measurement without numbers: name, status, reason and rerun command."""
    failed = runs[runs["status"] != "done"].sort_values(["status", "arch", "seed"])
    commands = [one.get("command", "") for one in failed["provenance"]]
    failed = failed.assign(
        reason=failed["reason"].where(failed["reason"] != "", "no reason was recorded"),
        rerun=failed["rerun"].where(failed["rerun"] != "", commands),
    )
    measures = measures[measures["status"] != "done"]
    measures = measures.drop_duplicates(["sitting", "subject", "twin"])
    names = "measurement of " + measures["arch"] + " on machine " + measures["machine"]
    tables = (failed, excluded, measures.assign(run=names, rerun=""))
    columns = ["run", "status", "reason", "rerun"]
    return [row for table in tables for row in table[columns].to_dict("records")]
