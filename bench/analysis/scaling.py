"""Fit a scaling law to each architecture, and compute where one overtakes another."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from bench.analysis.aggregate import VariantTables
from bench.records.labels import variant_labels, without_size_and_steps
from bench.records.metrics import TRAINING_FLOPS_FACTOR
from bench.stats import scaling_laws
from bench.stats.scaling_laws import AXES, DATA, FLOPS, SIZE, LawCrossover, ScalingLaw, TooFewPoints

# what the runs of one law have in common
STUDY_KEY = ["data_digest", "context", "protocol", "part", "objective", "precision"]
AXIS_COLUMNS = {SIZE: "parameters", DATA: "tokens_seen", FLOPS: "flops"}  # of ScalingSeries.cells
NUMERIC_COLUMNS = """
    parameters tokens_seen bits_per_byte nats_per_token oracle_nats_per_token flops_per_token
""".split()
MIN_SHARE = 0.95  # of the bootstrap draws in which the leader has to lead
MAX_MISFIT = 0.03  # relative error of the loss above which a law must not be extrapolated


@dataclass(frozen=True)
class ScalingSeries:
    """One architecture with one recipe, over sizes and amounts of data."""

    label: str
    # per size and amount of data: budget, tokens_seen, parameters, flops, loss, seeds, row_key
    cells: pd.DataFrame
    law: ScalingLaw | None
    reason: str  # why there is no law
    family: str = ""

    def span(self, axis: str) -> tuple[float, float]:
        column = self.cells[AXIS_COLUMNS[axis]]
        return float(column.min()), float(column.max())


@dataclass(frozen=True)
class LawCrossing:
    """Two laws along one axis: which leads at its low end, and where the other overtakes."""

    axis: str
    fixed: float  # the value of the other one of size and data
    leader: str
    follower: str
    low: float  # the measured range that both have
    high: float
    spread: float  # the larger misfit of the two laws
    meeting: LawCrossover
    at_bound: tuple[str, ...] = ()  # those of both whose fit has a number at its bound

    @property
    def is_certain(self) -> bool:
        """Tell whether both laws fit inside their bounds, and one leads in enough draws."""
        fits = self.spread <= MAX_MISFIT and not self.at_bound
        return fits and self.meeting.agreement >= MIN_SHARE

    @property
    def is_finite(self) -> bool:
        """Tell whether the laws cross."""
        return math.isfinite(self.meeting.place)


@dataclass(frozen=True)
class ScalingStudy:
    """Architectures that may share one axis: the same text, context and protocol."""

    name: str
    data: str
    context: int
    part: str
    unit: str
    floor: float | None  # the least possible loss, for synthetic text
    series: tuple[ScalingSeries, ...]
    crossings: tuple[LawCrossing, ...]


def scaling_studies(tables: VariantTables) -> list[ScalingStudy]:
    """Return one study per text with several sizes and amounts of data of an architecture."""
    runs = tables.runs[
        (tables.runs["status"] == "done")
        & ~tables.runs["control"]
        & tables.runs["objective"].eq("causal")
    ]
    runs = runs.reindex(columns=list(dict.fromkeys([*runs.columns, *NUMERIC_COLUMNS])))
    runs = runs[runs[["bits_per_byte", "nats_per_token"]].notna().any(axis=1)]
    sweeps = [group for _, group in runs.groupby(STUDY_KEY, sort=True) if _is_sweep(group)]
    return [_build_study(f"scaling-{number}", group) for number, group in enumerate(sweeps, 1)]


def _is_sweep(runs: pd.DataFrame) -> bool:
    """Tell whether some recipe has two sizes and two amounts of data."""
    if runs["budget"].nunique() < 2 or runs["tokens_seen"].nunique() < 2:
        return False
    counts = runs.groupby("recipe")[["budget", "tokens_seen"]].nunique()
    return bool((counts > 1).all(axis=1).any())


def _build_study(name: str, runs: pd.DataFrame) -> ScalingStudy:
    has_oracle = bool(runs["oracle_nats_per_token"].notna().all())
    runs = _add_losses(runs, "nats_per_token" if has_oracle else "bits_per_byte")
    floor = float(runs["oracle_nats_per_token"].mean()) if has_oracle else None
    series = tuple(_build_series(str(label), rows, floor) for label, rows in runs.groupby("label"))
    first = runs.iloc[0]
    return ScalingStudy(
        name=name,
        data=str(first["data"]),
        context=int(first["context"]),
        part=str(first["part"]),
        unit="nats per token" if has_oracle else "bits per byte",
        floor=floor,
        series=series,
        crossings=tuple(one for a, b in combinations(series, 2) for one in _law_crossings(a, b)),
    )


def _add_losses(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Add the loss, the training FLOPs and a label without size and amount of data."""
    per_token = TRAINING_FLOPS_FACTOR * runs["flops_per_token"].astype(float)
    configs = runs["config"].map(without_size_and_steps)
    runs = runs.assign(
        loss=runs[metric].astype(float),
        flops=per_token * runs["tokens_seen"].astype(float),
        variant=runs["recipe"],
        config=configs,
    )
    return runs.assign(label=variant_labels(runs))


def _build_series(label: str, runs: pd.DataFrame, floor: float | None) -> ScalingSeries:
    names = ["parameters", "tokens_seen", "flops", "loss"]
    groups = runs.astype(dict.fromkeys(names, float)).groupby(["budget", "tokens_seen"])
    own = {"seeds": groups["seed"].nunique(), "row_key": groups["row_key"].first()}
    cells = groups[["parameters", "flops", "loss"]].mean().assign(**own).reset_index()
    family = str(runs["family"].iloc[0])
    sizes, tokens, flops, losses = (cells[name].to_numpy(dtype=float) for name in names)
    try:
        law = scaling_laws.fit_scaling_law(sizes, tokens, losses, floor)
    except TooFewPoints as why:
        return ScalingSeries(label, cells, None, str(why), family)
    cost = float(np.exp(np.log(flops / sizes / tokens).mean()))
    return ScalingSeries(label, cells, law._replace(cost=cost), "", family)


def _law_crossings(one: ScalingSeries, other: ScalingSeries) -> Iterator[LawCrossing]:
    """Yield who leads along each axis that both laws share a range of."""
    for axis in AXES if one.law and other.law else ():
        ends = np.array([one.span(axis), other.span(axis)])
        low, high = float(ends[:, 0].max()), float(ends[:, 1].min())
        if math.isfinite(low) and low < high:
            yield _law_crossing(one, other, axis, low, high)


def _law_crossing(
    one: ScalingSeries, other: ScalingSeries, axis: str, low: float, high: float
) -> LawCrossing:
    assert one.law
    assert other.law
    held = {SIZE: DATA, DATA: SIZE}.get(axis)
    fixed = min(one.span(held)[1], other.span(held)[1]) if held else float("nan")
    ahead, meeting = scaling_laws.find_crossover(one.law, other.law, axis, fixed, low, high)
    if axis == FLOPS and math.isfinite(meeting.place):
        beyond = [_extrapolation(series, meeting.place) for series in (one, other)]
        meeting = meeting._replace(beyond=max(meeting.beyond, *beyond))
    leader, follower = (one.label, other.label) if ahead else (other.label, one.label)
    spread, bound = max(one.law.spread, other.law.spread), _at_bound(one, other)
    return LawCrossing(axis, fixed, leader, follower, low, high, spread, meeting, bound)


def _at_bound(*series: ScalingSeries) -> tuple[str, ...]:
    return tuple(one.label for one in series if one.law and one.law.at_bound)


def _extrapolation(series: ScalingSeries, flops: float) -> float:
    """Return size or data of the best split of FLOPs over the largest trained one."""
    assert series.law is not None
    size, tokens = series.law.split(flops)
    return max(size / series.span(SIZE)[1], tokens / series.span(DATA)[1])


def gain_per_doubling(series: ScalingSeries) -> float:
    """Return the share of the loss that twice the data removes, at the largest size."""
    largest = series.cells["budget"] == series.cells["budget"].max()
    rows = series.cells[largest].sort_values("tokens_seen")
    if len(rows) < 2:
        return math.nan
    tokens, losses = (rows[name].iloc[[0, -1]].to_list() for name in ("tokens_seen", "loss"))
    return float(1 - (losses[1] / losses[0]) ** (1 / math.log2(tokens[1] / tokens[0])))


def count_improving_sizes(series: ScalingSeries) -> tuple[int, int]:
    """Count the sizes where more data always lowered the loss, and those with several amounts."""
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
