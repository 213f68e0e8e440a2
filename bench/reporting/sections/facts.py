"""What was compared and on what, in words; what the models wrote; what has no result and why."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.analysis import budgets
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import format_bytes, format_count
from bench.analysis.rows import each
from bench.analysis.sessions import MeasuredSession


def glance(part: Comparison, sittings: Sequence[MeasuredSession]) -> list[tuple[str, str]]:
    """The few facts that stand beside the answer."""
    rows = part.rows
    machines = {sitting.machine: sitting.environment for sitting in sittings}
    where = [
        f"{e.get('accelerator') or e.get('processor', name)}, {e.get('threads', '?')} thread(s)"
        for name, e in machines.items()
    ]
    return [
        ("data", " · ".join(sorted(set(rows["data"])))),
        ("tokens are", " · ".join(sorted(set(rows["tokenizer"])))),
        (
            "scored by",
            " · ".join(sorted({f"{row.protocol}, {row.part} part" for row in each(rows)})),
        ),
        ("digest of the tokens", " · ".join(sorted(set(rows["data_digest"])))),
        (
            "order of blocks",
            "equal within each seed" if part.equal_order else "DIFFERS within a seed",
        ),
        ("speeds measured on", " · ".join(where) or "nothing was measured"),
    ]


def facts(part: Comparison) -> list[tuple[str, str]]:
    """What was compared and on what, as pairs of a name and a value."""
    rows, config = part.rows, part.runs["config"].iloc[0]
    about: Mapping[str, Any] = next(
        (p["data"] for p in part.runs["provenance"] if isinstance(p.get("data"), Mapping)), {}
    )
    recipes = sorted(
        {
            f"{c['train']['steps']:,} steps of {c['train']['batch']} × {c['size']['context']} tokens"
            for c in part.runs["config"]
        }
    )
    rates = part.runs.assign(rate=[budgets.learning_rate(c) for c in part.runs["config"]])[
        "rate"
    ].dropna()
    pairs = [
        ("data", " · ".join(sorted(set(rows["data"])))),
        ("tokenizer", " · ".join(sorted(set(rows["tokenizer"])))),
        ("digest of the text", " · ".join(sorted(set(rows["text_digest"])))),
        ("digest of the tokens", " · ".join(sorted(set(rows["data_digest"])))),
        ("budget", f"{rows['matched'].iloc[0]}; width is solved for each architecture"),
        ("context", f"{rows['context'].iloc[0]} tokens"),
        ("training", " · ".join(recipes)),
        (
            "learning rate",
            f"{_span(rates)}, the same recipe otherwise"
            if len(rates)
            else "as each architecture's YAML says",
        ),
        ("precision", str(config["train"].get("precision", ""))),
        ("kernels", _kernels(part.runs)),
    ]
    return [pair for pair in pairs if pair[1]] + [
        (str(key).replace("_", " "), _plain(value, str(key))) for key, value in about.items()
    ]


def _kernels(runs: pd.DataFrame) -> str:
    """What the recurrences of each architecture ran on, where they had a choice."""
    chose = runs[runs["kernels"] != ""]
    return " · ".join(
        sorted(
            {
                f"{arch}: {kernels}"
                for arch, kernels in zip(chose["arch"], chose["kernels"], strict=True)
            }
        )
    )


def _span(numbers: "pd.Series[float]") -> str:
    low, high = float(numbers.min()), float(numbers.max())
    return f"{low:g} to {high:g}" if low < high else f"{low:g}"


def _plain(value: Any, key: str) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return (
            format_bytes(value)
            if key.endswith("bytes") and value >= 1000
            else format_count(value)
            if float(value).is_integer()
            else f"{value:g}"
        )
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(one, str(name))}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(one, key) for one in value)
    return str(value)


def lines(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (str(key).replace("_", " "), _plain(value, str(key)))
        for key, value in environment.items()
        if value not in ("", None, {}, [])
    ]


def distinct(environments: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for one in environments:
        if one:
            entry = found.setdefault(
                repr(sorted(one.items(), key=str)), {"runs": 0, "lines": lines(one)}
            )
            entry["runs"] += 1
    return list(found.values())


def commits(provenances: Iterable[Mapping[str, Any]]) -> list[str]:
    gits = [p.get("git") or {} for p in provenances]
    return sorted(
        {
            f"{g.get('commit', '')[:12]}{' with uncommitted changes' if g.get('dirty') else ''}"
            for g in gits
            if g.get("commit")
        }
    )


def texts(part: Comparison) -> list[dict[str, Any]]:
    """The text of the lowest finished seed of each row that wrote one."""
    written = (
        part.runs[(part.runs["text"] != "") & ~part.runs["control"]]
        .sort_values("seed")
        .drop_duplicates("row")
        .set_index("row")
    )
    found = []
    written = written.drop(columns="label").join(part.rows[["label", "colour"]])
    for row in each(written.sort_values("label")):
        prompt = str(row.config.get("evaluate", {}).get("prompt", ""))
        start = prompt if prompt and row.text.startswith(prompt) else ""
        found.append(
            {
                "label": row.label,
                "colour": row.colour,
                "seed": row.seed,
                "prompt": start,
                "text": row.text[len(start) :],
            }
        )
    return found


def failures(
    runs: pd.DataFrame, aside: pd.DataFrame, measures: pd.DataFrame
) -> list[dict[str, str]]:
    """Every run and measurement that has no numbers, with its reason and the command that tries again; and what was set aside."""
    wrong = runs[runs["status"] != "done"].sort_values(["status", "arch", "seed"])
    found = [
        {
            "name": r.run,
            "status": r.status,
            "reason": r.reason or "no reason was recorded",
            "rerun": r.rerun or r.provenance.get("command", ""),
        }
        for r in each(wrong)
    ]
    found += [
        {"name": r.run, "status": r.status, "reason": r.reason, "rerun": r.rerun}
        for r in each(aside)
    ]
    dead = measures[measures["status"] != "done"].drop_duplicates(["sitting", "subject", "twin"])
    return found + [
        {
            "name": f"measurement of {r.arch} on machine {r.machine}",
            "status": r.status,
            "reason": r.reason,
            "rerun": "",
        }
        for r in each(dead)
    ]
