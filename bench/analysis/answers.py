"""The answers to the questions that a comparison is made for, as far as the numbers allow them.

A question has several winners where they are not distinguishable. Controls and baselines never win.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import starmap
from typing import Any

import pandas as pd

from bench.analysis.answer import QUALITY, Answer, Gap, Order, Rank, make_answer
from bench.analysis.badges import Badge, baseline_badges, table_badges
from bench.analysis.comparisons import Comparison
from bench.analysis.cost_answers import Field, cost_answers
from bench.analysis.families import CONTROL, contenders
from bench.analysis.speed_groups import SpeedGroup
from bench.analysis.verdicts import Verdicts, seed_verdicts
from bench.stats import BETTER, UNKNOWN


def build_answers(parts: Sequence[Comparison], groups: Sequence[SpeedGroup]) -> tuple[Answer, ...]:
    """Return the answers of each comparison, or of each group where nothing was trained."""
    answers = [answer for part in parts for answer in _comparison_answers(part)]
    if not parts:
        answers = [answer for group in groups for answer in _measured_answers(group)]
    return tuple(answers)


def _comparison_answers(part: Comparison) -> Iterator[Answer]:
    tables = zip(part.likelihoods, part.verdicts, part.baselines, strict=True)
    for table, verdicts, baselines in tables:
        badges = (*table_badges(table), *baseline_badges(table, baselines))
        yield from _quality(part.name, table, verdicts, ("bits_per_byte", badges))
    for table in part.regrets:
        scores = part.runs.groupby("row")["regret"]
        verdicts = seed_verdicts(table, scores)
        yield from _quality(part.name, table, verdicts, ("regret", tuple(table_badges(table))))
    rows = contenders(part.rows)
    for session in part.sessions:
        ranks = {
            str(subject): [*starmap(_rank, zip(own["label"], own.index, strict=True))]
            for subject, own in rows.groupby("subject")
            if subject in session.medians.index
        }
        yield from cost_answers(Field(part.name, session, ranks))


def _rank(label: Any, row: Any, value: Any = math.nan) -> Rank:
    return Rank(str(label), float(value), int(row))


def _measured_answers(group: SpeedGroup) -> Iterator[Answer]:
    """Yield the answers about a group of which nothing was trained."""
    described = group.session.described
    subjects = [one for one in group.subjects if described.get(one, {}).get("family") != CONTROL]
    ranks = {subject: [Rank(group.label(subject), math.nan)] for subject in subjects}
    yield from cost_answers(Field("", group.session, ranks))


# --- quality --------------------------------------------------------------------------------------


def _quality(
    name: str, table: pd.DataFrame, verdicts: Verdicts, about: tuple[str, tuple[Badge, ...]]
) -> Iterator[Answer]:
    """Yield the lowest mean of a table with the rows that are not clearly worse."""
    (metric, badges), rows = about, contenders(table)
    if len(rows):
        columns = (rows["label"], rows.index, rows[metric])
        order = _order_scores([*starmap(_rank, zip(*columns, strict=True))], verdicts)
        noise = next((_difference(pair) for pair in verdicts.control.itertuples()), None)
        yield make_answer((QUALITY, metric, name, ""), order, noise, badges)


def _order_scores(ranks: Sequence[Rank], verdicts: Verdicts) -> Order:
    first, *others = ranks
    pairs: dict[int, Any] = {}
    for pair in verdicts.of(first.row).itertuples():
        pairs[int(str(pair.row))] = pairs[int(str(pair.other_row))] = pair
    kinds = {rank.row: pairs[rank.row].kind for rank in others}
    if others and set(kinds.values()) == {UNKNOWN}:
        return Order((first,), reason="no-verdict")
    behind = [rank for rank in others if kinds[rank.row] == BETTER]
    level = [rank for rank in others if kinds[rank.row] != BETTER]
    if not behind:
        return Order((first, *level))
    return Order((first, *level), behind[0], _difference(pairs[behind[0].row]))


def _difference(pair: Any) -> Gap:
    value, half = float(pair.difference), float(pair.half)
    return Gap(value, value - half, value + half, float(pair.adjusted))
