"""What was measured on machines: medians, points of curves, and ratios of samples taken in the same rounds of one sitting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.rows import each
from bench.records.tables import by_session_precedence
from bench.stats.intervals import (
    Numbers,
    Ratio,
    VarianceTerm,
    aa_allows_claims,
    between_process_variance,
    paired_ratios,
    ratio_within_processes,
)

RATES = {  # by the clock on the wall, which ranks: the same by the processor's own
    "train_tokens_per_second": "train_tokens_per_cpu_second",
    "prefill_tokens_per_second": "prefill_tokens_per_cpu_second",
    "decode_tokens_per_second": "decode_tokens_per_cpu_second",
}
DURATIONS = ("first_token_seconds", "decode_seconds_per_token")  # less is better
PAIRED_METRICS = (*RATES, *RATES.values(), *DURATIONS)
GUARD_RATES = {
    "first_token_seconds": "prefill_tokens_per_second",
    "decode_seconds_per_token": "decode_tokens_per_second",
}
NO_SAMPLES: Numbers = np.empty(0)
NOT_MEASURED = "not measured in this sitting"
DUPLICATE = "-again"  # stands for the second entry of the reference

Point = tuple[
    str, str, float
]  # a metric, the axis it was taken along, and where: ("train_tokens_per_second", "length", 512.0)


def scalar_point(metric: str) -> Point:
    """The one point of a metric that is taken along no axis."""
    return metric, "", 0.0


@dataclass(frozen=True)
class MeasuredSession:
    """One sitting on one machine: the only place where speeds may be divided by one another."""

    name: str
    machine: str
    environment: dict[str, Any]
    reference: str  # the subject that was entered twice: ratios are to it
    medians: pd.DataFrame  # indexed by subject, a column a metric
    points: dict[
        tuple[str, Point], Ratio
    ]  # (subject, point of an axis): the median of its samples and its interval
    gaps: dict[tuple[str, Point], str]  # (subject, point): why there is no number
    samples: dict[
        Point, dict[str, Numbers]
    ]  # by subject, over the same rounds: NaN where one sat a round out
    processes: dict[Point, Numbers]  # which process of each, one after another, took those rounds
    ratios: dict[tuple[str, str], Ratio]  # (subject, metric): to the reference, over shared rounds
    twins: dict[str, Ratio]  # metric: an A/A pair's ratio, which should be 1
    arches: dict[str, str]  # subject: the name it was measured under
    options: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)  # of the reference: device, precision
    doctor: dict[str, Any] = field(default_factory=dict)
    surroundings: dict[str, Any] = field(
        default_factory=dict
    )  # what else the machine was doing: before, after
    described: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # subject: its architecture's YAML
    twin: bool = True  # whether something was entered twice

    @property
    def broken(self) -> list[dict[str, Any]]:
        """What the doctor found to be off."""
        return [one for one in self.doctor.get("findings", []) if one.get("off")]

    @property
    def stopped(self) -> bool:
        """Whether it was stopped before its end."""
        return bool(self.surroundings.get("stopped"))

    def allows_claim(self, metric: str) -> bool:
        """Whether a sentence about this metric may be said: the rulers are right, and the A/A pair was quiet enough."""
        return (
            not self.broken
            and not self.stopped
            and aa_allows_claims(self.twins.get(GUARD_RATES.get(metric, metric)))
        )

    def value(self, subject: str, metric: str) -> float:
        """The median of a metric; NaN where there is none."""
        return self._values.get(metric, {}).get(subject, float("nan"))

    @cached_property
    def _values(self) -> dict[str, dict[str, float]]:
        return {
            str(metric): {str(s): float(v) for s, v in column.items()}
            for metric, column in self.medians.items()
        }

    def at(self, subject: str, point: Point) -> float:
        """The median at a point of an axis; NaN where there is none."""
        found = self.points.get((subject, point))
        return (
            self.value(subject, point[0])
            if not point[1]
            else found.value
            if found
            else float("nan")
        )

    def why(self, subject: str, metric: str) -> str:
        """Why there is no number."""
        return self.gaps.get((subject, scalar_point(metric))) or NOT_MEASURED

    @cached_property
    def _asked(self) -> dict[tuple[str, str], list[float]]:
        asked: dict[tuple[str, str], set[float]] = {}
        for _, (metric, axis, place) in (*self.points, *self.gaps):
            asked.setdefault((metric, axis), set()).add(place)
        return {key: sorted(places) for key, places in asked.items()}

    def places(self, metric: str, axis: str) -> list[float]:
        """Where along an axis a metric was asked for, in order."""
        return self._asked.get((metric, axis), [])

    def rounds(self, point: Point) -> int:
        """How many rounds were taken at a point."""
        return max((len(own) for own in self.samples.get(point, {}).values()), default=0)

    @property
    def process_count(self) -> int:
        """How many processes of each architecture, one after another, took the rounds of rates."""
        return max(
            (len(np.unique(taker)) for point, taker in self.processes.items() if not point[1]),
            default=0,
        )

    def ratio(self, point: Point, first: str, second: str) -> Ratio | None:
        """first / second over the rounds that both took part in: never a quotient of two ratios to a third."""
        return self.paired_ratios([(point, first, second)])[0]

    def paired_ratios(self, asked: Sequence[tuple[Point, str, str]]) -> list[Ratio | None]:
        """`ratio` for each (point, first, second)."""
        found: dict[int, Ratio | None] = {}
        quotients = [self.round_ratios(*one) for one in asked]
        for place, (point, _, _) in enumerate(asked):
            if point[1]:  # along an axis: a few rounds of one process of each
                found[place] = ratio_within_processes(
                    quotients[place], self.kept(GUARD_RATES.get(point[0], point[0]))
                )
        others = [place for place in range(len(asked)) if place not in found]
        takers = [self.processes.get(asked[place][0], NO_SAMPLES) for place in others]
        found |= zip(
            others, paired_ratios([quotients[place] for place in others], takers), strict=True
        )
        return [found[place] for place in range(len(asked))]

    def kept(self, metric: str) -> VarianceTerm:
        """The variance of what a ratio keeps as long as its two processes live, as the rates of this sitting tell."""
        return self._kept[metric]

    @cached_property
    def _kept(self) -> dict[str, VarianceTerm]:
        found = {}
        for metric in RATES:
            of, takers = (
                self.samples.get(scalar_point(metric), {}),
                self.processes.get(scalar_point(metric), NO_SAMPLES),
            )
            quotients = [
                self.round_ratios(scalar_point(metric), name, self.reference)
                for name in of
                if name != self.reference
            ]
            found[metric] = between_process_variance(quotients, [takers] * len(quotients))
        return found

    def round_ratios(self, point: Point, first: str, second: str) -> Numbers:
        """first / second in each round; NaN where one of them sat it out."""
        of = self.samples.get(point, {})
        rounds = len(self.processes.get(point, NO_SAMPLES))
        return of[first] / of[second] if first in of and second in of else np.full(rounds, np.nan)


def build_sessions(
    measures: pd.DataFrame, doctors: dict[str, dict[str, Any]] | None = None
) -> list[MeasuredSession]:
    """The sittings in use, in order: the latest of their machine for at least one subject, of those that came to their end."""
    latest = by_session_precedence(measures).groupby(["machine", "subject"])["sitting"].last()
    groups = {
        str(name): rows
        for name, rows in measures[measures["sitting"].isin(set(latest))].groupby("sitting")
    }
    return [
        _build_session(name, rows, (doctors or {}).get(name, {}))
        for name, rows in sorted(groups.items())
    ]


def _build_session(name: str, rows: pd.DataFrame, doctor: dict[str, Any]) -> MeasuredSession:
    twin = rows["twin"].astype(bool)
    heads, again = rows[~twin], rows[twin]
    plain = heads[heads["axis"] == ""]
    medians = (
        plain[plain["value"].notna()]
        .groupby(["subject", "metric"])["value"]
        .median()
        .unstack("metric")
    )
    measured = [
        str(subject) for subject in dict.fromkeys(plain["subject"]) if subject in medians.index
    ]
    entered = [str(subject) for subject in again["subject"] if subject in medians.index]
    reference = (entered or measured or [""])[0]
    about = heads[heads["subject"] == reference] if reference else rows
    surroundings = _first_dict(rows["surroundings"])
    samples, processes = _samples(
        rows[~twin | (rows["subject"] == reference)], surroundings.get("process_starts", [])
    )
    twice = {
        point: {DUPLICATE: of.pop(DUPLICATE), reference: of[reference]}
        for point, of in samples.items()
        if DUPLICATE in of
    }
    for point, of in twice.items():
        both = np.sqrt(
            of[DUPLICATE] * of[reference]
        )  # two entries know the reference better than one
        samples[point][reference] = np.where(np.isfinite(both), both, of[reference])
    return MeasuredSession(
        name=name,
        machine=str(rows["machine"].iloc[0]),
        environment=_first_dict(rows["environment"]),
        reference=reference,
        medians=medians,
        points=_points(heads[heads["axis"] != ""]),
        gaps=_gaps(heads),
        samples=samples,
        processes=processes,
        ratios=_ratios(samples, processes, reference),
        twins={
            metric: ratio for (_, metric), ratio in _ratios(twice, processes, reference).items()
        },
        arches=dict(zip(heads["subject"], heads["arch"], strict=True)),
        described=dict(zip(heads["subject"], heads["described"], strict=True)),
        options=_first_dict(rows["options"]),
        facts=_first_dict(about["facts"]),
        doctor=doctor,
        surroundings=surroundings,
        twin=bool(len(again)),
    )


def _first_dict(column: "pd.Series[Any]") -> dict[str, Any]:
    return next((value for value in column if isinstance(value, dict) and value), {})


def _samples(
    rows: pd.DataFrame, starts: Sequence[int]
) -> tuple[dict[Point, dict[str, Numbers]], dict[Point, Numbers]]:
    """For each point where speeds are compared, everyone's samples over the same rounds: NaN where one sat a round out.

    And which process took each round: `starts` are the first rounds of each. What is taken along an axis has one process.
    """
    there = rows[rows["metric"].isin(PAIRED_METRICS) & rows["value"].notna()]
    who, names = pd.factorize(there["subject"].where(~there["twin"].astype(bool), DUPLICATE))
    found: dict[Point, dict[str, Numbers]] = {}
    processes: dict[Point, Numbers] = {}
    for key, places in there.groupby(["metric", "axis", "place"]).indices.items():
        rounds, column = np.unique(there["round"].to_numpy()[places], return_inverse=True)
        present, row = np.unique(who[places], return_inverse=True)
        table = np.full((len(present), len(rounds)), np.nan)
        table[row, column] = there["value"].to_numpy(dtype=float)[places]
        point = _point(key)
        found[point] = {str(names[code]): own for code, own in zip(present, table, strict=True)}
        processes[point] = np.searchsorted([] if point[1] else starts, rounds, side="right").astype(
            float
        )
    return found, processes


def _point(key: Any) -> Point:
    metric, axis, place = key
    return str(metric), str(axis), float(place)


def _points(rows: pd.DataFrame) -> dict[tuple[str, Point], Ratio]:
    groups = rows[rows["value"].notna()].groupby(["subject", "metric", "axis", "place"])["value"]
    keys, samples = [], []
    for (subject, *key), values in groups:
        keys.append((str(subject), _point(key)))
        samples.append(values.to_numpy(dtype=float))
    found = (
        (key, ratio_within_processes(values, (0.0, float("inf"))), values)
        for key, values in zip(keys, samples, strict=True)
    )
    return {key: one or _exact_ratio(float(np.median(values))) for key, one, values in found}


def _exact_ratio(value: float) -> Ratio:
    """A number that is no rate: nothing, for the growth of a constant state."""
    return Ratio(value, value, value, value, value, value, 1)


def _gaps(rows: pd.DataFrame) -> dict[tuple[str, Point], str]:
    missing = rows[rows["value"].isna() & (rows["metric"] != "")]
    return {
        (str(r.subject), (str(r.metric), str(r.axis), float(r.place))): str(r.note)
        for r in each(missing)
    }


def _ratios(
    samples: Mapping[Point, Mapping[str, Numbers]],
    processes: Mapping[Point, Numbers],
    reference: str,
) -> dict[tuple[str, str], Ratio]:
    keys, quotients, takers = [], [], []
    for point, of in samples.items():
        if point[1] or reference not in of:
            continue
        for subject in (name for name in of if name != reference):
            keys.append((subject, point[0]))
            quotients.append(of[subject] / of[reference])
            takers.append(processes[point])
    return {
        key: one
        for key, one in zip(keys, paired_ratios(quotients, takers), strict=True)
        if one is not None
    }
