"""Where one architecture overtakes another as the context grows: read off paired samples, never off two separate curves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import exp, log

from bench.analysis.formatting import plural
from bench.analysis.sessions import DURATIONS, MeasuredSession, Point
from bench.stats.intervals import Ratio

MAX_PAIRED = 24  # architectures of which each pair is looked at; of more, each is set beside the reference alone
CURVES = {
    "train_tokens_per_second": "trains faster",
    "first_token_seconds": "has its first token sooner",
    "decode_seconds_per_token": "writes a further token faster",
}


@dataclass(frozen=True)
class SpeedCrossing:
    """The length at which two architectures change places, and the two measured lengths that it lies between."""

    length: float
    low: float
    high: float


@dataclass(frozen=True)
class SpeedPair:
    """Two architectures along one curve. `sides`: at each length, 1 where the first is clearly faster, −1 the second, else 0."""

    metric: str
    first: str
    second: str
    lengths: tuple[float, ...]
    sides: tuple[int, ...]
    crossings: tuple[SpeedCrossing, ...]

    @property
    def initially_faster(self) -> str:
        """The one that is faster at the shortest length where this can be told; empty where it never can."""
        side = next((side for side in self.sides if side), 0)
        return {1: self.first, -1: self.second, 0: ""}[side]

    @property
    def other(self) -> str:
        return self.second if self.initially_faster == self.first else self.first


def speed_pairs(sitting: MeasuredSession, labels: Mapping[str, str]) -> list[SpeedPair]:
    """Every pair of the labelled subjects along every curve that both have at two lengths or more; those that cross come first."""
    subjects = sorted(labels, key=labels.__getitem__)
    chosen = list(combinations(subjects, 2))
    if len(subjects) > MAX_PAIRED:
        chosen = [pair for pair in chosen if sitting.reference in pair]
    found = [pair for metric in CURVES for pair in _pairs_along(sitting, metric, chosen)]
    return sorted(found, key=lambda pair: -len(pair.crossings))


def _pairs_along(
    sitting: MeasuredSession, metric: str, chosen: Sequence[tuple[str, str]]
) -> Iterator[SpeedPair]:
    """The pairs along one curve. All ratios of a curve are drawn together, which is a hundred times as fast."""
    points: list[Point] = [(metric, "length", place) for place in sitting.places(metric, "length")]
    turned = metric in DURATIONS
    asked = [(point, *(pair[::-1] if turned else pair)) for pair in chosen for point in points]
    ratios = iter(sitting.paired_ratios(asked))
    for first, second in chosen:
        there = [
            (point[2], ratio)
            for point, ratio in zip(points, ratios, strict=False)
            if ratio is not None
        ]
        if len(there) > 1:
            lengths, found = [length for length, _ in there], [ratio for _, ratio in there]
            sides = tuple(ratio.side for ratio in found)
            yield SpeedPair(
                metric, first, second, tuple(lengths), sides, tuple(_find_crossings(lengths, found))
            )


def _find_crossings(lengths: Sequence[float], ratios: Sequence[Ratio]) -> Iterator[SpeedCrossing]:
    """A crossing lies between neighbours of which one is clearly above 1 and one clearly below; unclear ones may lie between."""
    clear = [place for place, ratio in enumerate(ratios) if ratio.side]
    for left, right in pairwise(clear):
        if ratios[left].side != ratios[right].side:
            yield SpeedCrossing(
                _interpolate_crossing(lengths, ratios, left, right), lengths[left], lengths[right]
            )


def _interpolate_crossing(
    lengths: Sequence[float], ratios: Sequence[Ratio], left: int, right: int
) -> float:
    """Where the line through the logarithms of ratio and length goes through a ratio of 1."""
    heights = [log(ratio.value) for ratio in ratios]
    changes = [place for place in range(left, right) if heights[place] * heights[place + 1] <= 0]
    first, second = (
        (changes[0], changes[0] + 1) if len(changes) == 1 else (left, right)
    )  # else: unclear ones go to and fro
    share = heights[first] / (heights[first] - heights[second])
    return exp(log(lengths[first]) + share * (log(lengths[second]) - log(lengths[first])))


# --- in words ---------------------------------------------------------------------------------------------------------


def rounded_length(length: float) -> str:
    """A length that was read off, no finer than it is known."""
    return f"about {float(f'{length:.2g}'):,.0f}"


def pair_cell_text(pair: SpeedPair, label: Callable[[str], str]) -> tuple[str, str]:
    """A pair along one curve for a table: who is faster where, and the small print."""
    names = [label(name) for name in (pair.initially_faster, pair.other) if name]
    clear = sum(side != 0 for side in pair.sides)
    if not clear:
        return "not distinguishable", f"at any of {plural(len(pair.lengths), 'length')}"
    if pair.crossings:
        ends = [
            f"{'to' if place else 'below'} {rounded_length(one.length)}"
            for place, one in enumerate(pair.crossings)
        ] + ["above"]
        turns = [f"{names[place % 2]} {end}" for place, end in enumerate(ends)]
        places = [f"between {one.low:,.0f} and {one.high:,.0f}" for one in pair.crossings]
        return "\n".join(turns), "; ".join(places)
    lengths = f"{pair.lengths[0]:,.0f} to {pair.lengths[-1]:,.0f}"
    return names[0], lengths if clear == len(
        pair.sides
    ) else f"at {clear} of {len(pair.sides)} lengths"


def pair_sentence(pair: SpeedPair, label: Callable[[str], str]) -> str:
    """The same in a sentence."""
    verb = CURVES[pair.metric]
    if not pair.initially_faster:
        names, lengths = f"{label(pair.first)} and {label(pair.second)}", len(pair.lengths)
        where = f"at any of {plural(lengths, 'length')}"
        return f"{names}: which one {verb} is not distinguishable {where}."
    first, other = label(pair.initially_faster), label(pair.other)
    return f"{first} {verb} than {other} {_winning_lengths(pair)}."


def _winning_lengths(pair: SpeedPair) -> str:
    """Return at which lengths the initially faster one of a pair is faster."""
    ranges = []
    for place, one in enumerate(pair.crossings):
        side = "below" if place == 0 else ("again above" if place % 2 else "until")
        measured = f"between {one.low:,.0f} and {one.high:,.0f}"
        ranges.append(f"{side} {rounded_length(one.length)} tokens ({measured})")
    clear = sum(side != 0 for side in pair.sides)
    if ranges:
        return ", ".join(ranges)
    if clear < len(pair.sides):
        return (
            f"at {clear} of {len(pair.sides)} lengths; at the others they are not distinguishable"
        )
    return f"at every measured length ({pair.lengths[0]:,.0f} to {pair.lengths[-1]:,.0f} tokens)"
