"""The numbers of the page as JSON: each is inlined once and shared by all charts."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from bench.analysis.build import Analysis
from bench.analysis.sessions import (
    DECODE_RATE,
    PEAK_MEMORY,
    RATES,
    TRAINING_MEMORY,
    MeasuredSession,
    Point,
    scalar_point,
)
from bench.records.metric_table import MetricSpec
from bench.records.metrics import TRAINING_FLOPS_FACTOR, describe
from bench.reporting.html_table import format_unit
from bench.reporting.views import View
from bench.stats.intervals import Ratio, paired_ratios

BATCHED = f"{DECODE_RATE} batched"  # decoding of several sequences at once, as a measure of its own
ROW_COLUMNS = "key label base arch family control light dark dash shape seeds flops".split()
NORMAL_95 = 1.96

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


# --- rows and their measures ----------------------------------------------------------------------


def row_table(views: Sequence[View], analysis: Analysis) -> pd.DataFrame:
    """Return each row of a view once: its names, its style, its training FLOPs per token."""
    tables = [view.rows.assign(flops=_training_flops(view, analysis)) for view in views]
    table = pd.concat(tables or [pd.DataFrame(columns=ROW_COLUMNS)]).drop_duplicates("key")
    return table.reindex(columns=ROW_COLUMNS)


def _training_flops(view: View, analysis: Analysis) -> "float | pd.Series[float]":
    """Return the FLOPs of training per token by row; of what was not trained nothing is drawn."""
    means = analysis.variants.means
    if not view.quality or "flops_per_token" not in means:
        return math.nan
    return TRAINING_FLOPS_FACTOR * means["flops_per_token"].reindex(view.rows.index)


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
        spec = describe(DECODE_RATE)
        return spec._replace(title=f"{spec.title}, batched", help=f"{spec.help} Of 32 at once.")
    if metric == TRAINING_MEMORY:
        help = "The larger of live tensors and the allocator's peak in one training step."
        return describe(PEAK_MEMORY)._replace(name=metric, title="training memory", help=help)
    return describe(metric)


def measure_text(metric: str, value: float) -> str:
    """Return a measure in the format of its unit."""
    return format_unit(measure_spec(metric).unit, value)


def _measures_of(view: View, means: pd.DataFrame) -> Iterator[tuple[str, list[Measure]]]:
    row: Any
    by_session = [session_measures(session) for session in view.sessions]
    for row in view.rows.itertuples():
        measures = [_quality(row, view.quality)] if view.quality else []
        if view.quality:
            own = means.loc[row.Index]
            measures += [
                ("", str(metric), float(value), math.nan, math.nan)
                for metric, value in own.items()
                if metric != view.quality and describe(str(metric)).section
            ]
        for of_subject in by_session:
            measures += of_subject.get(str(row.subject), [])
        yield str(row.key), measures


def _quality(row: Any, metric: str) -> Measure:
    """Return the score that ranks a row with its 95 % interval."""
    value = float(getattr(row, metric))
    if metric == "bits_per_byte":
        return "", metric, value, float(row.bits_per_byte_low), float(row.bits_per_byte_high)
    half = NORMAL_95 * float(getattr(row, f"{metric}_standard_error"))
    return "", metric, value, value - half, value + half


def session_measures(session: MeasuredSession) -> dict[str, list[Measure]]:
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


def _derived_measures(session: MeasuredSession, subject: str) -> Iterator[Measure]:
    yield session.name, TRAINING_MEMORY, session.training_memory(subject), math.nan, math.nan
    point = batched_point(session)
    ratio = session.points.get((subject, point)) if point else None
    if ratio is not None:
        yield session.name, BATCHED, ratio.value, *_ends(ratio, ratio.value)


def batched_point(session: MeasuredSession) -> Point | None:
    """Return the point of decoding at the largest batch up to 32; None where there is none."""
    places = [place for place in session.places(DECODE_RATE, "batch") if 1 < place <= 32]
    return (DECODE_RATE, "batch", max(places)) if places else None


def _rate_intervals(session: MeasuredSession) -> dict[tuple[str, str], Ratio]:
    """Return the intervals of the rates themselves over rounds and processes."""
    keys = [
        (subject, metric)
        for metric in RATES
        for subject in session.samples.get(scalar_point(metric), {})
    ]
    samples = [session.samples[scalar_point(metric)][subject] for subject, metric in keys]
    processes = [session.processes[scalar_point(metric)] for _, metric in keys]
    ratios = zip(keys, paired_ratios(samples, processes), strict=True)
    return {key: ratio for key, ratio in ratios if ratio is not None}


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


# --- verdicts -------------------------------------------------------------------------------------


def verdict_data(views: Sequence[View]) -> pd.DataFrame:
    """Return a row per tested pair: keys, kind, difference ± half, p, wins, sentence."""
    tables = [
        view.verdicts.pairs.assign(
            key="r" + view.verdicts.pairs["row"].astype(str),
            other="r" + view.verdicts.pairs["other_row"].astype(str),
            p=view.verdicts.pairs["adjusted"],
        )
        for view in views
        if view.verdicts is not None and len(view.verdicts.pairs)
    ]
    columns = "key other kind difference half p wins sentence".split()
    return pd.concat(tables)[columns] if tables else pd.DataFrame(columns=columns)


def metric_facts(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return title, unit, direction and help of metrics, for axes and the glossary."""
    facts = {}
    for name in names:
        spec = measure_spec(name)
        facts[name] = {
            "title": spec.title, "unit": spec.unit, "better": spec.better, "help": spec.help
        }  # fmt: skip
    return facts


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
