"""A card per architecture: what it is, how its costs grow, contract results, settings, command."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bench.analysis import formatting as fmt
from bench.analysis.build import Analysis
from bench.analysis.comparisons import Comparison
from bench.analysis.families import family_rank, family_title
from bench.analysis.sessions import scalar_point
from bench.analysis.speed_groups import SpeedGroup
from bench.config.identity import architecture_id
from bench.reporting.sections.facts import Pairs
from bench.reporting.sentences import say

CHECK_COMMAND = "python -m bench.check arch={} --keep"
# of the command, not of what is trained
NO_SETTINGS = ("results", "suite", "again", "figures", "dry")
GROWTH: tuple[tuple[str, str, Callable[[float], str]], ...] = (  # title, metric, format
    ("forward, by formula", "flops_per_token",
     lambda value: f"{fmt.format_large(value)}FLOP per token"),
    ("training, measured", "train_tokens_per_second",
     lambda value: f"{fmt.format_seconds(1 / value)} per token"),
    ("a further token, measured", "decode_seconds_per_token", fmt.format_seconds),
    ("state", "state_bytes", fmt.format_bytes),
)  # fmt: skip


class RowSettings(NamedTuple):
    """What a row was trained with, apart from what all rows share."""

    label: str
    labels: list[str]  # of the row, for the page's filter
    command: str
    settings: Pairs


def cards_by_family(
    analysis: Analysis, settings: Mapping[str, Sequence[RowSettings]]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the cards of every architecture under its family's title.

    `settings`: by architecture, of its rows.
    """
    cards: dict[str, dict[str, Any]] = {}
    for name, arch, lines in _members(analysis):
        rows, check = settings.get(name, ()), analysis.records.checks.get(architecture_id(arch))
        lines = [*lines, ("contract", _contract_line(name, check, bool(rows)))]
        cards.setdefault(name, _texts(name, arch) | {"lines": lines, "rows": rows})
    families: dict[str, list[dict[str, Any]]] = {}
    for card in sorted(cards.values(), key=lambda one: (family_rank(one["family"]), one["name"])):
        families.setdefault(family_title(card["family"]), []).append(card)
    return list(families.items())


def _texts(name: str, arch: Mapping[str, Any]) -> dict[str, Any]:
    about, family = arch.get("card") or {}, str(arch.get("family", ""))
    summary = " ".join(str(about.get("summary", "")).split())
    paper = str(about.get("paper") or "")
    return {"name": name, "family": family, "summary": summary, "paper": paper}


def _members(analysis: Analysis) -> Iterator[tuple[str, Mapping[str, Any], Pairs]]:
    """Yield each trained row, then each measured subject: name, YAML, and how its costs grow."""
    row: Any
    groups = analysis.groups
    for part in analysis.comparisons:
        configs = part.runs.drop_duplicates("row").set_index("row")["config"]
        for row in part.rows[~part.rows["control"].astype(bool)].itertuples():
            group = next((one for one in groups if row.subject in one.names.index), None)
            lines = _cost_lines(group, str(row.subject)) if group else []
            yield str(row.arch), configs[row.Index]["arch"], lines
    for group in groups:
        for row in group.names.itertuples():
            arch = group.session.described.get(str(row.Index), {})
            yield str(row.arch), arch, _cost_lines(group, str(row.Index))


def _cost_lines(group: SpeedGroup, subject: str) -> Pairs:
    lines = [(title, _growth_text(group, subject, name, show)) for title, name, show in GROWTH]
    return [line for line in lines if line[1]]


def _growth_text(group: SpeedGroup, subject: str, metric: str, show: Callable[[float], str]) -> str:
    """Return a metric at the shortest and the longest measured context, and its growth."""
    session, once = group.session, group.session.value(subject, metric)
    lengths = session.places(metric, "length")
    values = {n: session.at(subject, (metric, "length", n)) for n in lengths}
    values = {n: value for n, value in values.items() if math.isfinite(value)}
    if values:
        ends, rate = (*min(values.items()), *max(values.items())), metric.endswith("per_second")
        return say("growth", *ends, show, rate)[0]
    reason = session.gaps.get((subject, scalar_point(metric)))
    missing = f"none: {reason}" if reason and metric == "state_bytes" else ""
    return f"{show(once)} at the full context" if once > 0 else missing


def _contract_line(name: str, result: Mapping[str, Any] | None, trained: bool) -> str:
    names: dict[str, list[str]] = {"failed": [], "passed": [], "skipped": []}
    for one in result["findings"] if result else ():
        names.setdefault(str(one.get("status")), []).append(str(one.get("name")))
    is_stale = bool(result and result.get("stale"))
    checked = names if result is not None else None
    return say("contract", checked, trained, is_stale, CHECK_COMMAND.format(name))[0]


def row_settings(parts: Sequence[Comparison]) -> tuple[Pairs, dict[str, list[RowSettings]]]:
    """Return the settings that all rows share, and by architecture the others of each row."""
    rows = [
        (part.title, str(row.label), run, dict(_settings(run.config)))
        for part in parts
        for row, run in _first_runs(part)
    ]
    every = [set(own.items()) for *_, own in rows]
    shared = set.intersection(*every) if len(every) > 1 else set()
    cards: dict[str, list[RowSettings]] = {}
    for title, label, run, own in rows:
        settings = [pair for pair in own.items() if pair not in shared]
        row = RowSettings(title if len(parts) > 1 else label, [label], _rerun(run), settings)
        cards.setdefault(str(run.arch), []).append(row)
    return sorted(shared), cards


def _rerun(run: Any) -> str:
    return str(run.rerun or run.provenance.get("command", "")).replace("=failed", "=all")


def _first_runs(part: Comparison) -> Iterator[tuple[Any, Any]]:
    """Yield each row but the A/A controls, with its first finished run."""
    runs = part.runs.sort_values("seed").drop_duplicates("row").set_index("row")
    first = {run.Index: run for run in runs.itertuples()}
    for row in part.rows[~part.rows["control"].astype(bool)].itertuples():
        yield row, first[row.Index]


def _settings(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the settings of a run by dotted key, without those of the command."""
    for key, value in config.items():
        if key == "card" or (not prefix and key in NO_SETTINGS):
            continue
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "" if value is None else str(value)
