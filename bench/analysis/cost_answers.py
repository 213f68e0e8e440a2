"""The answers about speed and memory by what one session measured."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis.answer import MEMORY, Answer, Gap, Order, Rank, make_answer
from bench.analysis.badges import form_badges
from bench.analysis.sessions import (
    DECODE_RATE,
    TRAIN_RATE,
    TRAINING_MEMORY,
    TRAINING_PEAKS,
    MeasuredSession,
    Point,
    scalar_point,
)
from bench.stats import Ratio

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
        pairs = values.items()
        return tuple(
            rank._replace(value=float(value))
            for subject, value in pairs
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
        yield make_answer(about, _order_peaks(field, peaks), None, ())


def _rate_answer(field: Field, question: str) -> Iterator[Answer]:
    session, point = field.session, RATES[question]
    measured = [subject for subject in field.rows if subject in session.samples.get(point, ())]
    if len(measured) > 1:
        pair = session.noise(point[0])
        about = (question, point[0], field.comparison, session.name)
        noise = _ratio_gap(pair) if pair else None
        labels = {subject: field.rows[subject][0].label for subject in measured}
        badges = tuple(form_badges(session, point, labels))
        yield make_answer(about, _order_rates(field, point, measured), noise, badges)


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
