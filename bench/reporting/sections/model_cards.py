"""A card for each architecture, by family: what it is, how its cost and its state grow with length, and what its check found."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.analysis import families
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import (
    format_bytes,
    format_large,
    format_number,
    format_seconds,
    join_words,
    plural,
)
from bench.analysis.rows import each
from bench.analysis.sessions import MeasuredSession, scalar_point
from bench.analysis.speed_groups import SpeedGroup
from bench.config.identity import architecture_id

ASK = "python -m bench.check arch={} --keep"
GROWTH: tuple[tuple[str, str, Callable[[float], str]], ...] = (  # title, metric, how it is read
    ("forward, by formula", "flops_per_token", lambda value: f"{format_large(value)}FLOP a token"),
    (
        "training, measured",
        "train_tokens_per_second",
        lambda value: f"{format_seconds(1 / value)} a token",
    ),
    ("a further token, measured", "decode_seconds_per_token", format_seconds),
    ("state", "state_bytes", format_bytes),
)


@dataclass(frozen=True)
class ModelCard:
    """One architecture on the page."""

    name: str
    family: str
    colour: int
    summary: str
    paper: str
    lines: list[tuple[str, str]]


def by_family(
    parts: Sequence[Comparison],
    groups: Sequence[SpeedGroup],
    checks: Mapping[str, Mapping[str, Any]],
) -> list[tuple[str, list[ModelCard]]]:
    """Every architecture of the page under its family's title, families in their order."""
    cards: dict[str, ModelCard] = {}
    for part in parts:
        configs = part.runs.drop_duplicates("row").set_index("row")["config"]
        for row in each(part.rows[~part.rows["control"].astype(bool)]):
            if row.arch not in cards:
                where = next((group for group in groups if row.subject in group.names.index), None)
                cards[row.arch] = _card(
                    row.arch,
                    configs[row.Index]["arch"],
                    row,
                    where,
                    row.subject,
                    checks,
                    trained=True,
                )
    for group in groups:
        for row in each(group.names):
            if row.arch not in cards:
                arch = group.session.described.get(str(row.Index), {})
                cards[row.arch] = _card(
                    row.arch, arch, row, group, str(row.Index), checks, trained=False
                )
    ordered = sorted(
        cards.values(),
        key=lambda card: (families.family_rank(card.family), card.family, card.colour),
    )
    found: dict[str, list[ModelCard]] = {}
    for card in ordered:
        found.setdefault(families.family_title(card.family), []).append(card)
    return list(found.items())


def _card(
    name: str,
    arch: Mapping[str, Any],
    row: Any,
    group: SpeedGroup | None,
    subject: str,
    checks: Mapping[str, Any],
    trained: bool,
) -> ModelCard:
    about = arch.get("card") or {}
    lines = [] if group is None else _lines(group, subject)
    contract = _contract(name, checks.get(architecture_id(arch)), trained)
    return ModelCard(
        name=name,
        family=str(arch.get("family", "")),
        colour=int(row.colour),
        summary=" ".join(str(about.get("summary", "")).split()),
        paper=str(about.get("paper") or ""),
        lines=[*lines, ("contract", contract)],
    )


def _lines(group: SpeedGroup, subject: str) -> list[tuple[str, str]]:
    said = [
        (title, _growth(group.session, subject, metric, read)) for title, metric, read in GROWTH
    ]
    return [line for line in said if line[1]]


def _growth(
    sitting: MeasuredSession, subject: str, metric: str, read: Callable[[float], str]
) -> str:
    """What it is at the shortest and at the longest context that it was taken at, and how much more that is."""
    places = sitting.places(metric, "length")
    values = {place: sitting.at(subject, (metric, "length", place)) for place in places}
    known = {place: value for place, value in values.items() if math.isfinite(value)}
    if not known:
        once = sitting.value(subject, metric)
        gap = sitting.gaps.get((subject, scalar_point(metric)), "")
        return (
            f"{read(once)} at the full context"
            if once > 0
            else f"none: {gap}"
            if gap and metric == "state_bytes"
            else ""
        )
    (first, low), (last, high) = min(known.items()), max(known.items())
    if first == last:
        return f"{read(low)} at {first:,g} tokens"
    if math.isclose(low, high):
        return f"{read(low)} at every length from {first:,g} to {last:,g}"
    if min(low, high) <= 0:
        return f"{read(low)} at {first:,g} tokens, {read(high)} at {last:,g}"
    more = (
        low / high if metric.endswith("per_second") else high / low
    )  # of a rate the seconds are told
    return f"{read(low)} at {first:,g} tokens, {read(high)} at {last:,g}: ×{format_number(more)}"


def _contract(name: str, found: Mapping[str, Any] | None, trained: bool) -> str:
    """What the kept check says, or what was checked without it."""
    if found is None:
        before = (
            "Shape, precision and causality were checked before training, the rest was not: "
            if trained
            else "Not checked: "
        )
        return before + ASK.format(name)
    told: dict[str, list[str]] = {}
    for one in found["findings"]:
        told.setdefault(str(one.get("status")), []).append(str(one.get("name")))
    broken, kept = told.get("failed", []), len(told.get("passed", []))
    aside = f"; skipped: {join_words(told['skipped'])}" if told.get("skipped") else ""
    said = (
        f"failed: {join_words(broken)}; {kept} passed"
        if broken
        else f"{plural(kept, 'check')} passed"
    )
    stale = f". Sources changed since: {ASK.format(name)}" if found.get("stale") else ""
    return f"{said}{aside}{stale}"


def legend(part: Comparison) -> list[tuple[str, list[tuple[str, int]]]]:
    """The rows of a comparison under their families: label and colour."""
    rows = part.rows[~part.rows["control"].astype(bool)]
    ordered = sorted(
        each(rows), key=lambda row: (families.family_rank(row.family), row.family, row.colour)
    )
    found: dict[str, list[tuple[str, int]]] = {}
    for row in ordered:
        found.setdefault(families.family_title(row.family), []).append((row.short, int(row.colour)))
    return list(found.items())
