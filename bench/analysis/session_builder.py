"""Build sessions from the rows of measurements."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.sessions import PAIRED_METRICS, MeasuredSession, Point
from bench.records.tables import by_session_precedence
from bench.stats.intervals import Numbers, Ratio, paired_ratios, ratio_within_processes

DUPLICATE = "-again"  # stands for the second entry of the reference
Samples = dict[Point, dict[str, Numbers]]


def build_sessions(
    measures: pd.DataFrame, calibrations: Mapping[str, dict[str, Any]] | None = None
) -> list[MeasuredSession]:
    """Return the sessions in use, in order: the latest complete one of a machine and subject."""
    latest = by_session_precedence(measures).groupby(["machine", "subject"])["sitting"].last()
    used = measures[measures["sitting"].isin(set(latest))]
    return [
        _build_session(str(name), rows, (calibrations or {}).get(str(name), {}))
        for name, rows in used.groupby("sitting")
    ]


def _build_session(name: str, rows: pd.DataFrame, calibration: dict[str, Any]) -> MeasuredSession:
    duplicate = rows["twin"].astype(bool)
    entries = rows[~duplicate]
    scalars = entries[(entries["axis"] == "") & entries["value"].notna()]
    medians = scalars.groupby(["subject", "metric"])["value"].median().unstack("metric")
    candidates = [*rows.loc[duplicate, "subject"], *entries.loc[entries["axis"] == "", "subject"]]
    reference = next((str(one) for one in candidates if one in medians.index), "")
    host_state = _first_dict(rows["surroundings"])
    samples, processes = _samples(
        rows[~duplicate | (rows["subject"] == reference)], host_state.get("process_starts", [])
    )
    aa_samples = _merge_duplicate(samples, reference)
    about = entries[entries["subject"] == reference] if reference else rows
    return MeasuredSession(
        name=name,
        machine=str(rows["machine"].iloc[0]),
        environment=_first_dict(rows["environment"]),
        reference=reference,
        medians=medians,
        points=_points(entries[entries["axis"] != ""]),
        gaps=_gaps(entries),
        samples=samples,
        processes=processes,
        ratios=_ratios(samples, processes, reference),
        aa_ratios={m: one for (_, m), one in _ratios(aa_samples, processes, reference).items()},
        has_duplicate=bool(duplicate.any()),
        arches=dict(zip(entries["subject"], entries["arch"], strict=True)),
        described=dict(zip(entries["subject"], entries["described"], strict=True)),
        options=_first_dict(rows["options"]),
        facts=_first_dict(about["facts"]),
        calibration=calibration,
        host_state=host_state,
    )


def _first_dict(column: "pd.Series[Any]") -> dict[str, Any]:
    return next((value for value in column if isinstance(value, dict) and value), {})


def _merge_duplicate(samples: Samples, reference: str) -> Samples:
    """Make the reference the geometric mean of its two entries; return both as they were."""
    pairs: Samples = {}
    for point, by_subject in samples.items():
        if DUPLICATE in by_subject:
            second, first = by_subject.pop(DUPLICATE), by_subject[reference]
            mean = np.sqrt(second * first)
            by_subject[reference] = np.where(np.isfinite(mean), mean, first)
            pairs[point] = {DUPLICATE: second, reference: first}
    return pairs


def _samples(rows: pd.DataFrame, starts: Sequence[int]) -> tuple[Samples, dict[Point, Numbers]]:
    """Return by point each subject's samples over the same rounds, and the process of each round.

    `starts`: the first round of each process. What is measured along an axis has one process.
    """
    rows = rows[rows["metric"].isin(PAIRED_METRICS) & rows["value"].notna()]
    codes, names = pd.factorize(rows["subject"].where(~rows["twin"].astype(bool), DUPLICATE))
    values, rounds = rows["value"].to_numpy(dtype=float), rows["round"].to_numpy()
    samples: Samples = {}
    processes: dict[Point, Numbers] = {}
    for key, places in rows.groupby(["metric", "axis", "place"]).indices.items():
        taken, column = np.unique(rounds[places], return_inverse=True)
        present, row = np.unique(codes[places], return_inverse=True)
        table = np.full((len(present), len(taken)), np.nan)
        table[row, column] = values[places]
        point = _point(key)
        samples[point] = {str(names[n]): own for n, own in zip(present, table, strict=True)}
        firsts = [] if point[1] else starts
        processes[point] = np.searchsorted(firsts, taken, side="right").astype(float)
    return samples, processes


def _point(key: Any) -> Point:
    metric, axis, place = key
    return str(metric), str(axis), float(place)


def _points(rows: pd.DataFrame) -> dict[tuple[str, Point], Ratio]:
    """Return the median with its interval at each point of an axis."""
    rows, points = rows[rows["value"].notna()], {}
    for (subject, *key), column in rows.groupby(["subject", "metric", "axis", "place"])["value"]:
        values = column.to_numpy(dtype=float)
        median = ratio_within_processes(values, (0.0, float("inf")))
        points[str(subject), _point(key)] = median or _exact_ratio(float(np.median(values)))
    return points


def _exact_ratio(value: float) -> Ratio:
    """Return a value without spread, as the 0 bytes that a constant state grows by."""
    return Ratio(value, value, value, value, value, value, 1)


def _gaps(rows: pd.DataFrame) -> dict[tuple[str, Point], str]:
    missing = rows[rows["value"].isna() & (rows["metric"] != "")]
    keys = zip(missing["metric"], missing["axis"], missing["place"], strict=True)
    return {
        (str(subject), _point(key)): str(note)
        for subject, key, note in zip(missing["subject"], keys, missing["note"], strict=True)
    }


def _ratios(
    samples: Samples, processes: Mapping[Point, Numbers], reference: str
) -> dict[tuple[str, str], Ratio]:
    """Return by (subject, metric) the ratio of each scalar rate to the reference."""
    pairs = [
        (point, subject)
        for point, by_subject in samples.items()
        for subject in by_subject
        if not point[1] and reference in by_subject and subject != reference
    ]
    quotients = [samples[point][subject] / samples[point][reference] for point, subject in pairs]
    ratios = paired_ratios(quotients, [processes[point] for point, _ in pairs])
    return {
        (subject, point[0]): ratio
        for (point, subject), ratio in zip(pairs, ratios, strict=True)
        if ratio is not None
    }
