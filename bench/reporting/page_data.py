"""The numbers of the page as JSON: each is inlined once and shared by all charts."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis import sessions
from bench.analysis.build import Analysis
from bench.records.metric_table import MetricSpec
from bench.records.metrics import TRAINING_FLOPS_FACTOR, describe
from bench.reporting.html_table import format_unit
from bench.reporting.views import View
from bench.stats.intervals import Ratio, paired_ratios

BATCHED = f"{sessions.DECODE_RATE} batched"  # of several sequences at once: a measure of its own
ROW_COLUMNS = "key label base arch family control light dark dash shape seeds flops".split()
PAIR_COLUMNS = "row other_row adjusted kind difference half wins sentence".split()
NORMAL_95 = 1.96
MAX_BATCH = 32  # of `BATCHED`: the largest measured batch up to it

MAX_POINTS = 100  # of a curve; a longer one is thinned evenly, curves.csv has every point
MAX_CURVE_POINTS = 24_000  # of all curves together
MIN_POINTS = 12
Grid = tuple[int, ...]  # the tokens of the logged steps
KINDS = {"train": "nats", "held-out": "validation_nats"}  # a curve's kind, and its column

Measure = tuple[str, str, float, float, float]  # session or "", metric, value, low, high


def as_json(value: Any) -> str:
    """Return JSON that no text in it can end early inside an HTML script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def encode_table(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Return a table by column with plain values; what is not finite becomes null."""
    return {str(name): [_plain(value) for value in table[name].tolist()] for name in table.columns}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: six digits of a number, null for what is not finite."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return None if value is pd.NA else value


def row_table(views: Sequence[View], analysis: Analysis) -> pd.DataFrame:
    """Return each row of a view once: its names, its style, its training FLOPs per token."""
    means = analysis.variants.means.reindex(columns=["flops_per_token"])
    flops = TRAINING_FLOPS_FACTOR * means["flops_per_token"]
    tables = [  # of what was not trained nothing is drawn over FLOPs
        view.rows.assign(flops=flops.reindex(view.rows.index) if view.quality else math.nan)
        for view in views
    ]
    table = pd.concat(tables or [pd.DataFrame(columns=ROW_COLUMNS)]).drop_duplicates("key")
    return table.reindex(columns=ROW_COLUMNS)


def measure_table(views: Sequence[View], means: pd.DataFrame) -> pd.DataFrame:
    """Return a row per row of a view, session and metric: value, 95 % interval, text."""
    lines = [
        (key, session, metric, value, low, high, measure_text(metric, value))
        for view in views
        for key, measures in _measures_of(view, means)
        for session, metric, value, low, high in measures
        if math.isfinite(value)
    ]
    columns = "key session metric value low high text".split()
    return pd.DataFrame(lines, columns=columns).drop_duplicates(["key", "session", "metric"])


def measure_spec(metric: str) -> MetricSpec:
    """Return the entry of a measure of the page: a metric, or what is derived from some."""
    if metric == BATCHED:
        spec = describe(sessions.DECODE_RATE)
        return spec._replace(title=f"{spec.title}, batched", help=f"{spec.help} Of 32 at once.")
    if metric == sessions.TRAINING_MEMORY:
        help = "The larger of live tensors and the allocator's peak in one training step."
        return describe(sessions.PEAK_MEMORY)._replace(
            name=metric, title="training memory", help=help
        )
    return describe(metric)


def measure_text(metric: str, value: float) -> str:
    """Return a measure in the format of its unit."""
    return format_unit(measure_spec(metric).unit, value)


def _measures_of(view: View, means: pd.DataFrame) -> Iterator[tuple[str, list[Measure]]]:
    row: Any
    by_session = [session_measures(session) for session in view.sessions]
    for row in view.rows.itertuples():
        measures = [measure for own in by_session for measure in own.get(str(row.subject), [])]
        if view.quality:
            own = means.loc[row.Index].drop(view.quality, errors="ignore").items()
            further = [(str(name), float(value)) for name, value in own]
            measures[:0] = [
                _quality(row, view.quality),
                *(("", *one, math.nan, math.nan) for one in further if describe(one[0]).section),
            ]
        yield str(row.key), measures


def _quality(row: Any, metric: str) -> Measure:
    value = float(getattr(row, metric))
    if metric == "bits_per_byte":
        return "", metric, value, float(row.bits_per_byte_low), float(row.bits_per_byte_high)
    half = NORMAL_95 * float(getattr(row, f"{metric}_standard_error"))
    return "", metric, value, value - half, value + half


def session_measures(session: sessions.MeasuredSession) -> dict[str, list[Measure]]:
    """Return by subject the medians of a session; rates with the interval over its processes."""
    intervals = _rate_intervals(session)
    measures: dict[str, list[Measure]] = {}
    for metric in map(str, session.medians.columns):
        for subject, value in session.medians[metric].dropna().items():
            ends = _ends(intervals.get((str(subject), metric)), float(value))
            line = (session.name, metric, float(value), *ends)
            measures.setdefault(str(subject), []).append(line)
    for subject, own in measures.items():
        own += _derived_measures(session, subject)
    return measures


def _derived_measures(session: sessions.MeasuredSession, subject: str) -> Iterator[Measure]:
    memory = session.training_memory(subject)
    yield session.name, sessions.TRAINING_MEMORY, memory, math.nan, math.nan
    metric, axis = sessions.DECODE_RATE, "batch"
    batches = [place for place in session.places(metric, axis) if 1 < place <= MAX_BATCH]
    ratio = session.points.get((subject, (metric, axis, max(batches, default=0.0))))
    if ratio is not None:
        yield session.name, BATCHED, ratio.value, *_ends(ratio, ratio.value)


def _rate_intervals(session: sessions.MeasuredSession) -> dict[tuple[str, str], Ratio]:
    keys = [
        (subject, point)
        for point in map(sessions.scalar_point, sessions.RATES)
        for subject in session.samples.get(point, {})
    ]
    samples = [session.samples[point][subject] for subject, point in keys]
    ratios = paired_ratios(samples, [session.processes[point] for _, point in keys])
    pairs = zip(keys, ratios, strict=True)
    return {(subject, point[0]): ratio for (subject, point), ratio in pairs if ratio is not None}


def _ends(ratio: Ratio | None, value: float) -> tuple[float, float]:
    """Return the ends of an interval, widened to hold the median that is shown."""
    if ratio is None or not math.isfinite(ratio.low):
        return math.nan, math.nan
    return min(ratio.low, value), max(ratio.high, value)


def level_table(views: Iterable[View]) -> pd.DataFrame:
    """Return the reference lines of each view: baselines without an architecture."""
    lines = [
        (view.name, line.name, metric, getattr(line, metric))
        for view in views
        if view.baselines is not None
        for line in view.baselines.lines
        for metric in ("bits_per_byte", "validation_nats")
        if math.isfinite(getattr(line, metric))
    ]
    return pd.DataFrame(lines, columns="view name metric value".split())


def verdict_data(views: Sequence[View]) -> pd.DataFrame:
    """Return a row per tested pair: keys, kind, difference ± half, p, wins, sentence."""
    columns = "key other kind difference half p wins sentence".split()
    tested = [view.verdicts.pairs for view in views if view.verdicts is not None]
    pairs = pd.concat([one for one in tested if len(one)] or [pd.DataFrame(columns=PAIR_COLUMNS)])
    keys, others = ("r" + pairs[name].astype(str) for name in ("row", "other_row"))
    return pairs.assign(key=keys, other=others, p=pairs["adjusted"])[columns]


def view_facts(views: Iterable[View]) -> list[dict[str, Any]]:
    """Return what the script has to know of each view."""
    return [
        {
            "name": view.name,
            "choices": view.choices,
            "quality": view.quality,
            "reference": view.reference,
            "comparison": view.comparison.name if view.comparison else "",
            "keys": [str(key) for key in view.rows["key"]],
            "sessions": [
                {"name": one.name, "title": f"machine {one.machine}, session {one.name}"}
                for one in view.sessions
            ],
        }
        for view in views
    ]


def curve_data(views: Sequence[View], curves: pd.DataFrame) -> dict[str, Any]:
    """Return the logged losses: `grids` of tokens, and `lines` that name one each.

    A line: key of the row, seed, train or held-out, number of its grid, losses in nats per token.
    """
    tables = [view.comparison.runs for view in views if view.comparison is not None]
    table = pd.concat(tables or [pd.DataFrame(columns=["run", "row", "seed"])])
    keys = ["r" + table["row"].astype(str), table["seed"].astype(int)]
    runs = dict(zip(table["run"].astype(str), zip(*keys, strict=True), strict=True))
    grids: dict[Grid, int] = {}
    lines = [
        (*runs[run], kind, grids.setdefault(grid, len(grids)), nats)
        for run, kind, grid, nats in _curve_lines(curves[curves["run"].isin(runs)], len(runs))
    ]
    drawn = pd.DataFrame(lines, columns="key seed kind grid nats".split())
    return {"grids": [*map(list, grids)], "lines": encode_table(drawn)}


def _curve_lines(curves: pd.DataFrame, runs: int) -> Iterator[tuple[str, str, Grid, list[float]]]:
    """Yield the run, kind, tokens and losses of each curve: finite points, always with the last."""
    limit = min(MAX_POINTS, max(MIN_POINTS, MAX_CURVE_POINTS // (2 * runs + 1)))
    tokens, *losses = curves[["tokens", *KINDS.values()]].to_numpy(dtype=float).T
    for run, places in curves.groupby("run", sort=False).indices.items():
        for kind, values in zip(KINDS, losses, strict=True):
            finite = places[np.isfinite(values[places])]
            kept = finite[:: -max(1, math.ceil(len(finite) / limit))][::-1]
            if len(kept):
                rounded = [float(f"{value:.4g}") for value in values[kept].tolist()]
                yield str(run), kind, tuple(tokens[kept].astype(int).tolist()), rounded
