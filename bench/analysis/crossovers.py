"""Find where one architecture becomes faster than another as the context grows.

Crossings are read off ratios over shared rounds, never off two separate curves.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import exp, log

from bench.analysis.formatting import plural
from bench.analysis.sessions import DURATIONS, MeasuredSession, Point
from bench.stats.intervals import Ratio

MAX_PAIRED = 24  # architectures: of more, each is compared with the reference alone
CURVES = {
    "train_tokens_per_second": "trains faster",
    "first_token_seconds": "has its first token sooner",
    "decode_seconds_per_token": "writes a further token faster",
}
Label = Callable[[str], str]  # the label of a subject


@dataclass(frozen=True)
class SpeedCrossing:
    """The length at which the order of two architectures changes, between two measured lengths."""

    length: float
    low: float
    high: float


@dataclass(frozen=True)
class SpeedPair:
    """Two architectures along one curve.

    `sides`: per length 1 where the first is clearly faster, −1 where the second is, else 0.
    """

    metric: str
    first: str
    second: str
    lengths: tuple[float, ...]
    sides: tuple[int, ...]
    crossings: tuple[SpeedCrossing, ...]

    @property
    def initially_faster(self) -> str:
        """Return the faster one at the shortest length with a clear ratio; empty without one."""
        side = next(filter(None, self.sides), 0)
        return {1: self.first, -1: self.second, 0: ""}[side]

    @property
    def other(self) -> str:
        return self.second if self.initially_faster == self.first else self.first


def speed_pairs(session: MeasuredSession, labels: Mapping[str, str]) -> list[SpeedPair]:
    """Return the pairs of labelled subjects along each curve, those that cross first.

    Both subjects of a pair have the curve at two lengths or more.
    """
    subjects = sorted(labels, key=labels.__getitem__)
    chosen = list(combinations(subjects, 2))
    if len(subjects) > MAX_PAIRED:
        chosen = [pair for pair in chosen if session.reference in pair]
    pairs = [pair for metric in CURVES for pair in _pairs_along(session, metric, chosen)]
    return sorted(pairs, key=lambda pair: -len(pair.crossings))


def _pairs_along(
    session: MeasuredSession, metric: str, chosen: Sequence[tuple[str, str]]
) -> Iterator[SpeedPair]:
    """Yield the pairs along one curve; one call for all ratios is a hundred times as fast."""
    points: list[Point] = [(metric, "length", n) for n in session.places(metric, "length")]
    ordered = [pair[::-1] for pair in chosen] if metric in DURATIONS else chosen  # less is better
    quotients = [(point, *pair) for pair in ordered for point in points]
    ratios = iter(session.paired_ratios(quotients))
    for first, second in chosen:
        own = zip(points, ratios, strict=False)
        measured = {point[2]: ratio for point, ratio in own if ratio is not None}
        if len(measured) > 1:
            sides = tuple(session.clear_side(metric, ratio) for ratio in measured.values())
            crossings = tuple(_find_crossings([*measured], [*measured.values()], sides))
            yield SpeedPair(metric, first, second, tuple(measured), sides, crossings)


def _find_crossings(
    lengths: Sequence[float], ratios: Sequence[Ratio], sides: Sequence[int]
) -> Iterator[SpeedCrossing]:
    """Yield a crossing between neighbouring clear ratios, one above 1 and one below it.

    It is where the line through the logarithms of ratio and length has ratio 1.
    """
    heights = [log(ratio.value) for ratio in ratios]
    for left, right in pairwise(place for place, side in enumerate(sides) if side):
        if sides[left] == sides[right]:
            continue
        changes = [n for n in range(left, right) if heights[n] * heights[n + 1] <= 0]
        # else unclear ratios change sides several times
        first, second = (changes[0], changes[0] + 1) if len(changes) == 1 else (left, right)
        share = heights[first] / (heights[first] - heights[second])
        start, end = log(lengths[first]), log(lengths[second])
        yield SpeedCrossing(exp(start + share * (end - start)), lengths[left], lengths[right])


def rounded_length(length: float) -> str:
    """Return a length that was read off, with two significant digits."""
    return f"about {float(f'{length:.2g}'):,.0f}"


def pair_sentence(pair: SpeedPair, label: Label) -> str:
    """Return which of a pair is faster where, as a sentence."""
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
        length = f"about {float(f'{one.length:.2g}'):,.0f}"  # read off: two significant digits
        ranges.append(f"{side} {length} tokens (between {one.low:,.0f} and {one.high:,.0f})")
    if ranges:
        return ", ".join(ranges)
    clear, count = sum(side != 0 for side in pair.sides), len(pair.sides)
    if clear < count:
        return f"at {clear} of {count} lengths; at the others they are not distinguishable"
    return f"at every measured length ({pair.lengths[0]:,.0f} to {pair.lengths[-1]:,.0f} tokens)"
