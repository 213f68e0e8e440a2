"""Tables of measurements: ratios to the reference, and where one overtakes another."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from bench.analysis import crossovers
from bench.analysis.crossovers import SpeedPair
from bench.analysis.sessions import RATES, MeasuredSession, Point
from bench.analysis.speed_groups import SpeedGroup
from bench.reporting.csv_columns import CROSSING_COLUMNS, NAME_COLUMNS, SPEED_COLUMNS
from bench.reporting.csv_runs import with_places
from bench.stats.intervals import Ratio


def speeds_table(sessions: Sequence[MeasuredSession], subjects: pd.DataFrame) -> pd.DataFrame:
    """Return a row per subject and point; ratios are of the metric: of seconds, less is better.

    `subjects`: the names of each subject's row.
    """
    rows = pd.DataFrame([row for session in sessions for row in _speed_rows(session)])
    if rows.empty:
        return pd.DataFrame(columns=SPEED_COLUMNS)
    named = with_places(rows, rows["at"]).join(subjects[NAME_COLUMNS], on="subject")
    return named.reindex(columns=SPEED_COLUMNS)


def _speed_rows(session: MeasuredSession) -> Iterator[dict[str, Any]]:
    keys = [
        (point, str(subject)) for point, samples in session.samples.items() for subject in samples
    ]
    reference = session.reference
    ratios = session.paired_ratios([(point, subject, reference) for point, subject in keys])
    common = {"machine": session.machine, "sitting": session.name}
    for (point, subject), ratio in zip(keys, ratios, strict=True):
        metric, axis, x = point
        clears = subject == reference or session.clear_side(metric, ratio) != 0
        row = {
            **common,
            "metric": metric,
            "at": {axis: x} if axis else {},
            "arch": session.arches.get(subject, ""),
            "subject": subject,
            **_median_values(session, subject, point),
            "clock": "cpu" if _is_by_cpu(metric) else "wall",
            "reference": session.arches.get(reference, ""),
            "claim": clears and _allows_claim(session, metric),
        }
        yield row | (_ratio_values(ratio) if ratio is not None else {})


def _median_values(session: MeasuredSession, subject: str, point: Point) -> dict[str, float]:
    """Return a median and its interval; there is one along an axis only."""
    median = session.points.get((subject, point))
    ends = {"median_low": median.low, "median_high": median.high} if median else {}
    return {"median": session.at(subject, point), **ends}


def _is_by_cpu(metric: str) -> bool:
    """Tell whether a metric is a rate by the processor's clock."""
    return metric in RATES.values()


def _allows_claim(session: MeasuredSession, metric: str) -> bool:
    """Tell whether a metric of a session can support a claim: those by the wall clock alone."""
    return not _is_by_cpu(metric) and session.allows_claim(metric)


def _ratio_values(ratio: Ratio) -> dict[str, float]:
    """Return a ratio to the reference by the columns of speeds.csv."""
    return {
        "ratio_to_reference": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "geometric_mean": ratio.mean,
        "mean_low": ratio.mean_low,
        "mean_high": ratio.mean_high,
        "rounds": ratio.rounds,
    }


def crossovers_table(groups: Sequence[SpeedGroup], subjects: pd.DataFrame) -> pd.DataFrame:
    """Return a row per crossing, and one for each pair and curve without any.

    `subjects`: the names of each subject's row.
    """
    rows = [row for group in groups for pair in group.pairs for row in _crossing_rows(group, pair)]
    table = pd.DataFrame(rows)
    if table.empty:
        return pd.DataFrame(columns=CROSSING_COLUMNS)
    names = subjects[NAME_COLUMNS]
    others = names[["row", "label", "family"]].add_prefix("other_")
    named = table.join(names, on="first_subject").join(others, on="second_subject")
    return named.reindex(columns=CROSSING_COLUMNS)


def _crossing_rows(group: SpeedGroup, pair: SpeedPair) -> Iterator[dict[str, Any]]:
    session = group.session
    row = {
        "machine": session.machine,
        "sitting": session.name,
        "metric": pair.metric,
        "first_subject": pair.first,
        "second_subject": pair.second,
        "first": group.label(pair.first),
        "second": group.label(pair.second),
        "lengths": " ".join(f"{length:g}" for length in pair.lengths),
        "claim": session.allows_claim(pair.metric),
        "sentence": crossovers.pair_sentence(pair, group.label),
    }
    names = [group.label(name) if name else "" for name in (pair.initially_faster, pair.other)]
    if not pair.crossings:
        yield row | {"faster_below": names[0]}
    for n, crossing in enumerate(pair.crossings):
        yield row | {
            "length": crossing.length,
            "between_low": crossing.low,
            "between_high": crossing.high,
            "faster_below": names[n % 2],
        }
