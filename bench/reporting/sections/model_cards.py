"""A card per architecture, by family: what it is, how its costs grow, and its contract results."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.analysis.comparisons import Comparison
from bench.analysis.families import family_rank, family_title
from bench.analysis.formatting import (
    format_bytes,
    format_large,
    format_number,
    format_seconds,
    join_words,
    plural,
)
from bench.analysis.sessions import MeasuredSession, scalar_point
from bench.analysis.speed_groups import SpeedGroup
from bench.config.identity import architecture_id
from bench.reporting.sections.settings import RowSettings

CHECK_COMMAND = "python -m bench.check arch={} --keep"
GROWTH: tuple[tuple[str, str, Callable[[float], str]], ...] = (  # title, metric, format
    ("forward, by formula", "flops_per_token",
     lambda value: f"{format_large(value)}FLOP per token"),
    ("training, measured", "train_tokens_per_second",
     lambda value: f"{format_seconds(1 / value)} per token"),
    ("a further token, measured", "decode_seconds_per_token", format_seconds),
    ("state", "state_bytes", format_bytes),
)  # fmt: skip


@dataclass(frozen=True)
class ModelCard:
    """One architecture on the page."""

    name: str
    family: str
    summary: str
    paper: str
    lines: list[tuple[str, str]]
    rows: Sequence[RowSettings]


def cards_by_family(
    parts: Sequence[Comparison],
    groups: Sequence[SpeedGroup],
    checks: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Sequence[RowSettings]],
) -> list[tuple[str, list[ModelCard]]]:
    """Return the cards of every architecture under its family's title.

    `settings`: by architecture, of its rows.
    """
    cards: dict[str, ModelCard] = {}
    for row, arch, lines in _members(parts, groups):
        rows = settings.get(str(row.arch), ())
        contract = _contract_line(row.arch, checks.get(architecture_id(arch)), bool(rows))
        cards.setdefault(row.arch, _card(row.arch, arch, [*lines, ("contract", contract)], rows))
    families: dict[str, list[ModelCard]] = {}
    for card in sorted(cards.values(), key=lambda one: (family_rank(one.family), one.name)):
        families.setdefault(family_title(card.family), []).append(card)
    return list(families.items())


def _card(
    name: str, arch: Mapping[str, Any], lines: list[tuple[str, str]], rows: Sequence[RowSettings]
) -> ModelCard:
    about = arch.get("card") or {}
    summary = " ".join(str(about.get("summary", "")).split())
    family, paper = str(arch.get("family", "")), str(about.get("paper") or "")
    return ModelCard(name, family, summary, paper, lines, rows)


def _members(
    parts: Sequence[Comparison], groups: Sequence[SpeedGroup]
) -> Iterator[tuple[Any, Mapping[str, Any], list[tuple[str, str]]]]:
    """Yield each trained row, then each measured subject: names, YAML, and how its costs grow."""
    row: Any
    for part in parts:
        configs = part.runs.drop_duplicates("row").set_index("row")["config"]
        for row in part.rows[~part.rows["control"].astype(bool)].itertuples():
            yield row, configs[row.Index]["arch"], _first_cost_lines(groups, str(row.subject))
    for group in groups:
        for row in group.names.itertuples():
            subject = str(row.Index)
            yield row, group.session.described.get(subject, {}), _cost_lines(group, subject)


def _first_cost_lines(groups: Sequence[SpeedGroup], subject: str) -> list[tuple[str, str]]:
    """Return how the costs of a subject grow in the first group that has it, if any."""
    group = next((one for one in groups if subject in one.names.index), None)
    return _cost_lines(group, subject) if group else []


def _cost_lines(group: SpeedGroup, subject: str) -> list[tuple[str, str]]:
    lines = [
        (title, _growth_text(group.session, subject, metric, show))
        for title, metric, show in GROWTH
    ]
    return [line for line in lines if line[1]]


def _growth_text(
    session: MeasuredSession, subject: str, metric: str, show: Callable[[float], str]
) -> str:
    """Return a metric at the shortest and the longest measured context, and its growth."""
    lengths = session.places(metric, "length")
    values = {n: session.at(subject, (metric, "length", n)) for n in lengths}
    values = {n: value for n, value in values.items() if math.isfinite(value)}
    if not values:
        once, reason = (
            session.value(subject, metric),
            session.gaps.get((subject, scalar_point(metric))),
        )
        if once > 0:
            return f"{show(once)} at the full context"
        return f"none: {reason}" if reason and metric == "state_bytes" else ""
    return _growth_between(values, metric, show)


def _growth_between(
    values: Mapping[float, float], metric: str, show: Callable[[float], str]
) -> str:
    (first, start), (last, end) = min(values.items()), max(values.items())
    if first == last:
        return f"{show(start)} at {first:,g} tokens"
    if math.isclose(start, end):
        return f"{show(start)} at every length from {first:,g} to {last:,g}"
    text = f"{show(start)} at {first:,g} tokens, {show(end)} at {last:,g}"
    if min(start, end) <= 0:
        return text
    rate = metric.endswith("per_second")  # shown as seconds
    return f"{text}: ×{format_number(start / end if rate else end / start)}"


def _contract_line(name: str, result: Mapping[str, Any] | None, trained: bool) -> str:
    """Return the stored contract results, or what was checked without them."""
    command = CHECK_COMMAND.format(name)
    if result is None:
        before = "Shape, precision and causality were checked before training, the rest was not: "
        return f"{before if trained else 'Not checked: '}{command}"
    names: dict[str, list[str]] = {}
    for one in result["findings"]:
        names.setdefault(str(one.get("status")), []).append(str(one.get("name")))
    failed, passed, skipped = (names.get(key, []) for key in ("failed", "passed", "skipped"))
    text = (
        f"failed: {join_words(failed)}; {len(passed)} passed"
        if failed
        else f"all {plural(len(passed), 'check')} passed"
    )
    text += f"; skipped: {join_words(skipped)}" if skipped else ""
    return text + (f". Sources changed since: {command}" if result.get("stale") else "")
