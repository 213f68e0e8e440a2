"""A card per architecture, by family: what it is, how its costs grow, and its contract results."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    colour: int
    summary: str
    paper: str
    lines: list[tuple[str, str]]


def cards_by_family(
    parts: Sequence[Comparison],
    groups: Sequence[SpeedGroup],
    checks: Mapping[str, Mapping[str, Any]],
) -> list[tuple[str, list[ModelCard]]]:
    """Return the cards of every architecture under its family's title."""
    cards: dict[str, ModelCard] = {}
    for part in parts:
        configs = part.runs.drop_duplicates("row").set_index("row")["config"]
        row: Any
        for row in part.rows[~part.rows["control"].astype(bool)].itertuples():
            lines = _first_cost_lines(groups, str(row.subject))
            _add_card(cards, row, configs[row.Index]["arch"], lines, checks, True)
    for group in groups:
        for row in group.names.itertuples():
            subject = str(row.Index)
            arch = group.session.described.get(subject, {})
            _add_card(cards, row, arch, _cost_lines(group, subject), checks, False)
    return _by_family(cards.values(), lambda card: card)


def _first_cost_lines(groups: Sequence[SpeedGroup], subject: str) -> list[tuple[str, str]]:
    """Return how the costs of a subject grow in the first group that has it, if any."""
    group = next((one for one in groups if subject in one.names.index), None)
    return _cost_lines(group, subject) if group else []


def _add_card(
    cards: dict[str, ModelCard],
    row: Any,
    arch: Mapping[str, Any],
    lines: list[tuple[str, str]],
    checks: Mapping[str, Any],
    trained: bool,
) -> None:
    about = arch.get("card") or {}
    contract = _contract_line(row.arch, checks.get(architecture_id(arch)), trained)
    card = ModelCard(
        name=row.arch,
        family=str(arch.get("family", "")),
        colour=int(row.colour),
        summary=" ".join(str(about.get("summary", "")).split()),
        paper=str(about.get("paper") or ""),
        lines=[*lines, ("contract", contract)],
    )
    cards.setdefault(card.name, card)


def _by_family(items: Iterable[Any], show: Callable[[Any], Any]) -> list[tuple[str, list[Any]]]:
    """Return `show` of each item under its family's title, families in their order."""
    families: dict[str, list[Any]] = {}
    for item in sorted(items, key=lambda one: (family_rank(one.family), one.family, one.colour)):
        families.setdefault(family_title(item.family), []).append(show(item))
    return list(families.items())


def legend(part: Comparison) -> list[tuple[str, list[tuple[str, int]]]]:
    """Return the rows of a comparison under their families: label and colour."""
    rows = part.rows[~part.rows["control"].astype(bool)]
    return _by_family(rows.itertuples(), lambda row: (row.short, int(row.colour)))


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
