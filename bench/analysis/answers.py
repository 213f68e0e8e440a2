"""The answers to the questions that a comparison is made for, as far as the numbers allow them.

A question has several winners where they are not distinguishable. Controls and baselines never win.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import starmap
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis.answer import MEMORY, QUALITY, Answer, Gap, Order, Rank
from bench.analysis.badges import Badge, baseline_badges, form_badges, step_badges, table_badges
from bench.analysis.comparisons import Comparison
from bench.analysis.families import CONTROL, contenders
from bench.analysis.sessions import (
    DECODE_RATE,
    TRAIN_RATE,
    TRAINING_MEMORY,
    TRAINING_PEAKS,
    MeasuredSession,
    Point,
    scalar_point,
)
from bench.analysis.speed_groups import SpeedGroup
from bench.analysis.verdicts import Verdicts, seed_verdicts
from bench.stats import BETTER, UNKNOWN, Ratio


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


# --- quality ------------------------------------------------------------------------------------


def _quality(
    name: str, table: pd.DataFrame, verdicts: Verdicts, about: tuple[str, tuple[Badge, ...]]
) -> Iterator[Answer]:
    """Yield the lowest mean of a table with the rows that are not clearly worse."""
    (metric, badges), rows = about, contenders(table)
    if len(rows):
        columns = (rows["label"], rows.index, rows[metric])
        order = _order_scores([*starmap(_rank, zip(*columns, strict=True))], verdicts)
        noise = next((_difference(pair) for pair in verdicts.control.itertuples()), None)
        yield Answer(QUALITY, metric, name, "", *order, noise, badges)


def _order_scores(ranks: Sequence[Rank], verdicts: Verdicts) -> Order:
    first, *others = ranks
    pairs: dict[int, Any] = {}
    for pair in verdicts.of(first.row).itertuples():
        pairs[int(str(pair.row))] = pairs[int(str(pair.other_row))] = pair
    kinds = {rank.row: pairs[rank.row].kind for rank in others}
    if others and set(kinds.values()) == {UNKNOWN}:
        return Order((first,), reason="no-verdict")
    level = [rank for rank in others if kinds[rank.row] != BETTER]
    behind = next((rank for rank in others if kinds[rank.row] == BETTER), None)
    return Order((first, *level), behind, _difference(pairs[behind.row]) if behind else None)


def _difference(pair: Any) -> Gap:
    value, half = float(pair.difference), float(pair.half)
    return Gap(value, value - half, value + half, float(pair.adjusted))


# --- speed and memory ----------------------------------------------------------------------------


RATES: dict[str, Point] = {
    "training": scalar_point(TRAIN_RATE),
    "decoding-1": scalar_point(DECODE_RATE),
    "decoding-32": (DECODE_RATE, "batch", 32.0),
}


class Field(NamedTuple):
    """The rows that a question is asked about: of one comparison, by subject of one session."""

    comparison: str
    session: MeasuredSession
    rows: dict[str, list[Rank]]  # by subject: rows that share its measurement

    def ranks(self, values: Mapping[Any, float]) -> tuple[Rank, ...]:
        """Return the rows of subjects with their values."""
        return tuple(
            rank._replace(value=float(values[subject]))
            for subject in values
            for rank in self.rows[subject]
        )


def cost_answers(field: Field) -> Iterator[Answer]:
    """Yield the answers about rates and memory, where several rows were measured."""
    for question in RATES:
        yield from _rate_answer(field, question)
    peaks = field.session.medians.reindex(columns=list(TRAINING_PEAKS), index=list(field.rows))
    peaks = peaks.dropna(how="all").dropna(axis="columns").astype(float)
    if len(peaks) > 1 and len(peaks.columns):
        about = (MEMORY, TRAINING_MEMORY, field.comparison, field.session.name)
        yield Answer(*about, *_order_peaks(field, peaks), noise=None, badges=())


def _rate_answer(field: Field, question: str) -> Iterator[Answer]:
    session, point = field.session, RATES[question]
    measured = [subject for subject in field.rows if subject in session.samples.get(point, ())]
    if len(measured) > 1:
        pair = session.noise(point[0])
        about = (question, point[0], field.comparison, session.name)
        noise = _ratio_gap(pair) if pair else None
        labels = {subject: field.rows[subject][0].label for subject in measured}
        badges = tuple(form_badges(session, point, labels))
        badges += tuple(step_badges(session, labels)) if point == RATES["decoding-1"] else ()
        yield Answer(*about, *_order_rates(field, point, measured), noise, badges)


def _order_rates(field: Field, point: Point, measured: Sequence[str]) -> Order:
    """Compare the highest median with each other one over their shared rounds."""
    session = field.session
    if reason := session.no_claim_reason(point[0]):
        return Order(reason=reason)
    rates = {subject: session.at(subject, point) for subject in measured}
    first, *others = sorted(rates, key=lambda one: -rates[one])
    clear = session.clearly_behind(point, first, others)
    winners = field.ranks({one: rates[one] for one in (first, *others) if one not in clear})
    if not clear:
        return Order(winners)
    nearest = min(clear, key=lambda one: clear[one].value)
    return Order(winners, field.ranks({nearest: rates[nearest]})[0], _ratio_gap(clear[nearest]))


def _ratio_gap(ratio: Ratio) -> Gap:
    return Gap(ratio.value, ratio.low, ratio.high)


def _order_peaks(field: Field, peaks: pd.DataFrame) -> Order:
    """Rank by the larger peak; a row is behind the first where every peak of it is larger."""
    if field.session.failed_checks:
        return Order(reason="calibration-failed")
    sizes = peaks.max(axis=1).sort_values(kind="stable")
    is_more = peaks.gt(peaks.loc[sizes.index[0]]).all(axis=1)
    winners = field.ranks(dict(sizes[~is_more]))
    if not is_more.any():
        return Order(winners)
    nearest = field.ranks(dict(sizes[is_more].head(1)))[0]
    ratio = nearest.value / float(sizes.iloc[0])
    return Order(winners, nearest, Gap(ratio, ratio, ratio))
