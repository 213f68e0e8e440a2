"""Build sessions from the rows of measurements."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.sessions import (
    COMPILED_CPU_RATE,
    COMPILED_RATE,
    DECODE_RATE,
    EAGER_RATE,
    PAIRED_METRICS,
    RATES,
    MeasuredSession,
    Point,
)
from bench.records.tables import by_session_precedence
from bench.stats.intervals import Numbers, Ratio, paired_ratios, ratio_within_processes

DUPLICATE = "-again"  # stands for the second entry of the reference
COMPILED_NAMES = {COMPILED_RATE: DECODE_RATE, COMPILED_CPU_RATE: RATES[DECODE_RATE]}
Samples = dict[Point, dict[str, Numbers]]


def build_sessions(
    measures: pd.DataFrame, calibrations: Mapping[str, dict[str, Any]] | None = None
) -> list[MeasuredSession]:
    """Return the sessions in use, in order: the latest complete one of a machine and subject."""
    measures = _without_invalid(measures)
    latest = by_session_precedence(measures).groupby(["machine", "subject"])["sitting"].last()
    used = measures[measures["sitting"].isin(set(latest))]
    return [
        _build_session(str(name), _with_faster_form(rows), (calibrations or {}).get(str(name), {}))
        for name, rows in used.groupby("sitting")
    ]


def _without_invalid(measures: pd.DataFrame) -> pd.DataFrame:
    """Return the measurements with a reason in place of each sample that cannot be.

    Samples are finite; rates and times are above 0.
    """
    values = measures["value"].astype(float)
    invalid = np.isinf(values) | (measures["metric"].isin(PAIRED_METRICS) & (values <= 0))
    if not invalid.any():
        return measures
    reasons = "the sample is " + values.astype(str) + ", which cannot be"
    return measures.assign(value=values.mask(invalid), note=measures["note"].mask(invalid, reasons))


def _build_session(name: str, rows: pd.DataFrame, calibration: dict[str, Any]) -> MeasuredSession:
    duplicate = rows["twin"].astype(bool)
    entries = rows[~duplicate]
    medians, reference = _medians(rows)
    host_state = _first_dict(rows["surroundings"])
    paired = rows[~duplicate | rows["subject"].eq(reference)]
    samples, processes = _samples(paired, host_state)
    aa_ratios = _ratios(_merge_duplicate(samples, reference), processes, reference)
    return MeasuredSession(
        name=name,
        machine=str(rows["machine"].iloc[0]),
        environment=_first_dict(rows["environment"]),
        reference=reference,
        medians=medians,
        points=_points(entries),
        gaps=_gaps(entries),
        samples=samples,
        processes=processes,
        ratios=_ratios(samples, processes, reference),
        aa_ratios={metric: ratio for (_, metric), ratio in aa_ratios.items()},
        has_duplicate=bool(duplicate.any()),
        **_architectures(entries),
        options=_first_dict(rows["options"]),
        facts=_facts(rows, entries, reference),
        calibration=calibration,
        host_state=host_state,
    )


def _with_faster_form(rows: pd.DataFrame) -> pd.DataFrame:
    """Let the decoding rates at batch 1 be those of each subject's faster form of the step.

    The eager rates are EAGER_RATE then. Rows stay as they are where no compiled step was measured.
    """
    medians = _scalar_medians(rows)
    if COMPILED_RATE not in medians or DECODE_RATE not in medians:
        return rows
    faster = medians.index[medians[COMPILED_RATE] > medians[DECODE_RATE]]
    is_scalar, of_faster = rows["axis"].eq(""), rows["subject"].isin(faster)
    eager = rows[is_scalar & rows["metric"].eq(DECODE_RATE)].assign(metric=EAGER_RATE)
    compiled = rows[of_faster & rows["metric"].isin(COMPILED_NAMES)]
    compiled = compiled.assign(metric=compiled["metric"].map(COMPILED_NAMES))
    replaced = is_scalar & of_faster & rows["metric"].isin(COMPILED_NAMES.values())
    return pd.concat([rows[~replaced], eager, compiled], ignore_index=True)


def _scalar_medians(rows: pd.DataFrame) -> pd.DataFrame:
    scalars = rows[rows["axis"].eq("") & rows["value"].notna()]
    return scalars.groupby(["subject", "metric"])["value"].median().unstack("metric")


def _medians(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the median of each subject and scalar metric, and the reference of the ratios."""
    duplicate, scalar = rows["twin"].astype(bool), rows["axis"] == ""
    medians = _scalar_medians(rows[~duplicate])
    candidates = [*rows.loc[duplicate, "subject"], *rows.loc[~duplicate & scalar, "subject"]]
    return medians, next((str(one) for one in candidates if one in medians.index), "")


def _facts(rows: pd.DataFrame, entries: pd.DataFrame, reference: str) -> dict[str, Any]:
    of_reference = entries[entries["subject"].eq(reference)]
    return _first_dict((of_reference if reference else rows)["facts"])


def _architectures(entries: pd.DataFrame) -> dict[str, Any]:
    """Return by subject the name of its architecture and its YAML."""
    columns = {"arches": "arch", "described": "described"}.items()
    return {
        field: dict(zip(entries["subject"], entries[column], strict=True))
        for field, column in columns
    }


def _first_dict(column: "pd.Series[Any]") -> dict[str, Any]:
    return next((value for value in column if isinstance(value, dict) and value), {})


def _merge_duplicate(samples: Samples, reference: str) -> Samples:
    """Make the reference the geometric mean of its two entries; return both as they were."""
    pairs: Samples = {}
    for point, by_subject in samples.items():
        if (second := by_subject.pop(DUPLICATE, None)) is not None:
            first = by_subject[reference]
            mean = np.sqrt(second * first)
            by_subject[reference] = np.where(np.isfinite(mean), mean, first)
            pairs[point] = {DUPLICATE: second, reference: first}
    return pairs


def _samples(rows: pd.DataFrame, host_state: Any) -> tuple[Samples, dict[Point, Numbers]]:
    """Return by point each subject's samples over the same rounds, and the process of each round.

    `host_state["process_starts"]`: the first round of each process; one process along an axis.
    """
    rows = rows[rows["metric"].isin(PAIRED_METRICS) & rows["value"].notna()]
    codes, names = pd.factorize(rows["subject"].where(~rows["twin"].astype(bool), DUPLICATE))
    columns: list[Any] = [rows["round"].to_numpy(), codes, rows["value"].to_numpy(dtype=float)]
    samples: Samples = {}
    processes: dict[Point, Numbers] = {}
    for key, places in rows.groupby(["metric", "axis", "place"]).indices.items():
        point = _point(key)
        taken, present, table = _by_round(*(column[places] for column in columns))
        samples[point] = dict(zip(map(str, names[present]), table, strict=True))
        processes[point] = _processes(point, host_state, taken)
    return samples, processes


def _processes(point: Point, host_state: dict[str, Any], rounds: Any) -> Numbers:
    starts = [] if point[1] else host_state.get("process_starts", [])
    return np.searchsorted(starts, rounds, side="right").astype(float)


def _by_round(rounds: Any, subjects: Any, values: Numbers) -> tuple[Any, Any, Numbers]:
    """Return the distinct rounds and subjects, and the values by subject and round or NaN."""
    taken, column = np.unique(rounds, return_inverse=True)
    present, row = np.unique(subjects, return_inverse=True)
    table = np.full((len(present), len(taken)), np.nan)
    table[row, column] = values
    return taken, present, table


def _point(key: Any) -> Point:
    metric, axis, place = key
    return str(metric), str(axis), float(place)


def _points(rows: pd.DataFrame) -> dict[tuple[str, Point], Ratio]:
    """Return the median with its interval at each point of an axis."""
    rows, points = rows[rows["axis"].ne("") & rows["value"].notna()], {}
    for (subject, *key), column in rows.groupby(["subject", "metric", "axis", "place"])["value"]:
        values = column.to_numpy(dtype=float)
        median = ratio_within_processes(values, (0.0, float("inf")))
        # else without spread, as the 0 bytes that a constant state grows by
        value = float(np.median(values))
        exact = Ratio(value, value, value, value, value, value, 1)
        points[str(subject), _point(key)] = median or exact
    return points


def _gaps(rows: pd.DataFrame) -> dict[tuple[str, Point], str]:
    missing = rows[rows["value"].isna() & (rows["metric"] != "")]
    columns = [missing[name] for name in ("subject", "metric", "axis", "place", "note")]
    return {
        (str(subject), _point(key)): str(note) for subject, *key, note in zip(*columns, strict=True)
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
