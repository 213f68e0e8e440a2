"""What was compared and on what, what the models wrote, and what has no result and why."""

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

import pandas as pd

from bench.analysis import budgets
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import format_bytes, format_count

Pairs = list[tuple[str, str]]  # names and values


NAMES = {"data": "data", "tokenizer": "tokenizer", "digest of the text": "text_digest",
         "digest of the tokens": "data_digest"}  # fmt: skip


def _join_unique(values: Iterable[Any]) -> str:
    return " · ".join(sorted({str(value) for value in values}))


def comparison_facts(part: Comparison) -> Pairs:
    """Return what was compared and on what."""
    rows, first, configs = part.rows, part.rows.iloc[0], list(part.runs["config"])
    chosen = part.runs[part.runs["kernels"] != ""]
    pairs = [
        *((title, _join_unique(rows[name])) for title, name in NAMES.items()),
        ("budget", f"{first['matched']}; the width of each architecture is solved for it"),
        ("context", f"{first['context']} tokens"),
        ("training", _join_unique(map(_steps_text, configs))),
        ("learning rate", _rate_text(configs)),
        ("precision", str(configs[0]["train"].get("precision", ""))),
        ("kernels", _join_unique(chosen["arch"] + ": " + chosen["kernels"])),
    ]
    return [*filter(itemgetter(1), pairs), *value_pairs(_data_facts(part.runs), empty=True)]


def _data_facts(runs: pd.DataFrame) -> Mapping[str, Any]:
    facts = [one.get("data") for one in runs["provenance"]]
    return next((one for one in facts if isinstance(one, Mapping)), {})


def _steps_text(config: Mapping[str, Any]) -> str:
    train = config["train"]
    return f"{train['steps']:,} steps of {train['batch']} × {config['size']['context']} tokens"


def _rate_text(configs: Iterable[Mapping[str, Any]]) -> str:
    rates = pd.Series([budgets.learning_rate(config) for config in configs]).dropna()
    if rates.empty:
        return "as each architecture's YAML says"
    low, high = float(rates.min()), float(rates.max())
    span = f"{low:g} to {high:g}" if low < high else f"{low:g}"
    return f"{span}, the same recipe otherwise"


def _plain(value: Any, key: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
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
    gits = [git for one in provenances if (git := one.get("git") or {}).get("commit")]
    marks = {True: " with uncommitted changes", False: ""}
    return sorted({f"{git['commit'][:12]}{marks[bool(git.get('dirty'))]}" for git in gits})


def split_prompt(text: str, config: Mapping[str, Any]) -> tuple[str, str]:
    """Return the prompt that a generated text begins with, if it does, and the rest."""
    prompt = str((config.get("evaluate") or {}).get("prompt") or "")
    prompt = prompt if text.startswith(prompt) else ""
    return prompt, text.removeprefix(prompt)


def generated_texts(part: Comparison) -> list[dict[str, Any]]:
    """Return the text of the lowest finished seed of each row that generated one."""
    runs = part.runs[(part.runs["text"] != "") & ~part.runs["control"]].sort_values("seed")
    runs = runs.drop_duplicates("row").set_index("row").drop(columns="label")
    rows: Iterable[Any] = runs.join(part.rows[["label"]]).sort_values("label").itertuples()
    return [
        {"label": row.label, "seed": row.seed, "parts": split_prompt(row.text, row.config)}
        for row in rows
    ]


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
