"""Loss against size and amount of data: a law for each architecture, and where one of them overtakes another."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from bench.analysis import families
from bench.analysis.aggregate import VariantTables
from bench.analysis.rows import each
from bench.records.labels import variant_labels, without_size_and_steps
from bench.records.metrics import TRAINING_FLOPS_FACTOR
from bench.stats import scaling_laws
from bench.stats.scaling_laws import AXES, DATA, FLOPS, SIZE, LawCrossover, ScalingLaw, TooFewPoints

STUDY_KEY = [
    "data_digest",
    "context",
    "protocol",
    "part",
    "objective",
    "precision",
]  # what has to be alike along a law
AXIS_COLUMNS = {
    SIZE: "parameters",
    DATA: "tokens_seen",
    FLOPS: "flops",
}  # of the cells, for each axis
NUMERIC_COLUMNS = [
    "parameters",
    "tokens_seen",
    "bits_per_byte",
    "nats_per_token",
    "oracle_nats_per_token",
    "flops_per_token",
]


SCALING_COLUMNS = (
    "data,context,unit,architecture,budget,tokens,parameters,training_flops,loss,seeds,law"
).split(",")
MAX_MISFIT = 0.03  # of the loss: a law that fits worse says nothing beyond the measured points


@dataclass(frozen=True)
class ScalingSeries:
    """One architecture with one recipe, over sizes and amounts of data."""

    label: str
    colour: int
    cells: pd.DataFrame  # a row a size and an amount: budget, parameters, tokens_seen, flops, loss (mean over seeds), seeds
    law: ScalingLaw | None
    reason: str  # why there is no law

    def span(self, axis: str) -> tuple[float, float]:
        column = self.cells[AXIS_COLUMNS[axis]]
        return float(column.min()), float(column.max())


@dataclass(frozen=True)
class LawCrossing:
    """Two laws along one axis: who leads at its low end, and where the other one overtakes."""

    axis: str
    fixed: float  # the other of size and data
    leader: str
    follower: str
    low: float  # the measured range that both have
    high: float
    spread: float  # the larger misfit of the two laws
    meeting: LawCrossover


@dataclass(frozen=True)
class ScalingStudy:
    """What may stand on one axis: the same text, context and protocol."""

    name: str
    data: str
    context: int
    part: str
    unit: str
    floor: float | None  # the least possible loss, where it is known
    series: tuple[ScalingSeries, ...]
    crossings: tuple[LawCrossing, ...]


def scaling_studies(tables: VariantTables) -> list[ScalingStudy]:
    """One for each text on which an architecture was trained at several sizes with several amounts of data."""
    runs = tables.runs[
        (tables.runs["status"] == "done")
        & ~tables.runs["control"]
        & tables.runs["objective"].eq("causal")
    ]
    runs = runs.reindex(columns=list(dict.fromkeys([*runs.columns, *NUMERIC_COLUMNS])))
    runs = runs[runs[["bits_per_byte", "nats_per_token"]].notna().any(axis=1)]
    found = [
        _build_study(group) for _, group in runs.groupby(STUDY_KEY, sort=True) if _is_sweep(group)
    ]
    return [scale for number, group in enumerate(found, 1) for scale in [_rename(group, number)]]


def _is_sweep(runs: pd.DataFrame) -> bool:
    """Whether some recipe has two sizes and two amounts of data; cheap, since most results have not."""
    if runs["budget"].nunique() < 2 or runs["tokens_seen"].nunique() < 2:
        return False
    counts = runs.groupby("recipe")[["budget", "tokens_seen"]].nunique()
    return bool((counts > 1).all(axis=1).any())


def _rename(scale: ScalingStudy, number: int) -> ScalingStudy:
    return ScalingStudy(**{**vars(scale), "name": f"scaling-{number}"})


def _build_study(runs: pd.DataFrame) -> ScalingStudy:
    known = runs["oracle_nats_per_token"].notna().all()
    runs = runs.assign(
        loss=runs["nats_per_token" if known else "bits_per_byte"].astype(float),
        flops=TRAINING_FLOPS_FACTOR
        * runs["flops_per_token"].astype(float)
        * runs["tokens_seen"].astype(float),
        variant=runs["recipe"],
        config=runs["config"].map(without_size_and_steps),
    )
    runs = runs.assign(label=variant_labels(runs))
    floor = float(runs["oracle_nats_per_token"].mean()) if known else None
    hues = families.assign_colours(dict(zip(runs["label"], runs["family"], strict=True)))
    series = tuple(
        _build_series(str(label), hues[str(label)], rows, floor)
        for label, rows in runs.groupby("label")
    )
    first = runs.iloc[0]
    crossings = tuple(one for a, b in combinations(series, 2) for one in _law_crossings(a, b))
    unit = "nats per token" if known else "bits per byte"
    return ScalingStudy(
        "",
        str(first["data"]),
        int(first["context"]),
        str(first["part"]),
        unit,
        floor,
        series,
        crossings,
    )


def _build_series(
    label: str, colour: int, runs: pd.DataFrame, floor: float | None
) -> ScalingSeries:
    names = ["parameters", "tokens_seen", "flops", "loss"]
    groups = runs.astype(dict.fromkeys(names, float)).groupby(["budget", "tokens_seen"])
    cells = (
        groups[["parameters", "flops", "loss"]]
        .mean()
        .assign(seeds=groups["seed"].nunique())
        .reset_index()
    )
    try:
        sizes, tokens, losses = (
            cells[name].to_numpy(dtype=float) for name in ("parameters", "tokens_seen", "loss")
        )
        law = scaling_laws.fit_scaling_law(sizes, tokens, losses, floor)
    except TooFewPoints as why:
        return ScalingSeries(label, colour, cells, None, str(why))
    cost = np.exp(np.log(cells["flops"] / cells["parameters"] / cells["tokens_seen"]).mean())
    return ScalingSeries(label, colour, cells, law._replace(cost=float(cost)), "")


def _law_crossings(one: ScalingSeries, other: ScalingSeries) -> Iterator[LawCrossing]:
    """Where two architectures change places as size, data and FLOPs grow; none where either has no law."""
    if one.law is None or other.law is None:
        return
    for axis in AXES:
        ends = np.array([one.span(axis), other.span(axis)])
        low, high = float(ends[:, 0].max()), float(ends[:, 1].min())
        if not (math.isfinite(low) and low < high):
            continue
        held = {SIZE: DATA, DATA: SIZE}.get(axis)
        fixed = min(one.span(held)[1], other.span(held)[1]) if held else float("nan")
        ahead, met = scaling_laws.find_crossover(one.law, other.law, axis, fixed, low, high)
        if axis == FLOPS and math.isfinite(met.place):
            met = met._replace(
                beyond=max(
                    met.beyond, _extrapolation(one, met.place), _extrapolation(other, met.place)
                )
            )
        leader, follower = (one.label, other.label) if ahead else (other.label, one.label)
        yield LawCrossing(
            axis, fixed, leader, follower, low, high, max(one.law.spread, other.law.spread), met
        )


def _extrapolation(series: ScalingSeries, flops: float) -> float:
    """How far size or data of the best split of so many FLOPs lies beyond what was trained: above 1 it is extrapolated."""
    assert series.law is not None
    size, tokens = series.law.split(flops)
    return max(size / series.span(SIZE)[1], tokens / series.span(DATA)[1])


def gain_per_doubling(series: ScalingSeries) -> float:
    """The share of the loss that a doubling of the data took off at the largest size, from the least to the most data."""
    rows = series.cells[series.cells["budget"] == series.cells["budget"].max()].sort_values(
        "tokens_seen"
    )
    first, last = rows.iloc[0], rows.iloc[-1]
    doublings = (
        math.log2(last["tokens_seen"] / first["tokens_seen"]) if len(rows) > 1 else float("nan")
    )
    return float(1 - (last["loss"] / first["loss"]) ** (1 / doublings))


def count_improving_sizes(series: ScalingSeries) -> tuple[int, int]:
    """At how many sizes every step of more data lowered the mean loss, and of how many with several amounts."""
    groups = series.cells.sort_values("tokens_seen").groupby("budget")["loss"]
    several = [one.to_numpy() for _, one in groups if len(one) > 1]
    return sum(bool((np.diff(one) < 0).all()) for one in several), len(several)


def leaders(study: ScalingStudy) -> pd.DataFrame:
    """Return the lowest mean loss of each size and amount of several architectures, and its lead.

    Columns: those of the cells, `label`, `label_next`, `loss_next`, `ahead`.
    """
    key = ["budget", "tokens_seen"]
    cells = pd.concat([one.cells.assign(label=one.label) for one in study.series])
    groups = cells.sort_values("loss", kind="stable").groupby(key)
    second = groups.nth(1).set_index(key)[["label", "loss"]]
    table = groups.nth(0).join(second, on=key, rsuffix="_next", how="inner")
    return table.assign(ahead=table["loss_next"] - table["loss"])


def scaling_table(found: Sequence[ScalingStudy]) -> pd.DataFrame:
    """scaling.csv: a row a cell, with what its law says."""
    rows = []
    for scale in found:
        for series in scale.series:
            for cell in each(series.cells):
                place = np.array([cell.tokens_seen])
                fitted = (
                    series.law.along(DATA, place, cell.parameters)[0, 0]
                    if series.law
                    else float("nan")
                )
                rows.append(
                    [scale.data, scale.context, scale.unit, series.label, *list(cell)[1:], fitted]
                )
    return pd.DataFrame(rows, columns=SCALING_COLUMNS)


LAW_COLUMNS = (
    "data,context,unit,architecture,floor,floor_low,floor_high,floor_known,size_term,size_exponent,size_exponent_low,"
    "size_exponent_high,data_term,data_exponent,data_exponent_low,data_exponent_high,at_parameters,at_tokens,misfit,cells,reason"
).split(",")


def laws_table(found: Sequence[ScalingStudy]) -> pd.DataFrame:
    """laws.csv: a row an architecture; loss = floor + size_term·(N/at_parameters)^−a + data_term·(D/at_tokens)^−b."""
    rows = []
    for scale in found:
        for series in scale.series:
            head = [scale.data, scale.context, scale.unit, series.label]
            if (law := series.law) is None:
                rows.append([*head, *[None] * 15, len(series.cells), series.reason])
                continue
            e, a, b = (law.interval(place) for place in (0, 2, 4))
            terms = [*e, law.floor_given, law.best[1], *a, law.best[3], *b]
            rows.append([*head, *terms, *law.center, law.spread, law.cells, ""])
    return pd.DataFrame(rows, columns=LAW_COLUMNS)
