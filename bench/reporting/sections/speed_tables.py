"""The tables of speed: rates with their ratios to the reference, who overtakes whom, and what decoding costs."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bench.analysis import crossovers, efficiency
from bench.analysis.crossovers import SpeedPair
from bench.analysis.formatting import (
    format_bytes,
    format_fixed,
    format_large,
    format_seconds,
    plural,
)
from bench.analysis.sessions import RATES, Point
from bench.analysis.speed_groups import SpeedGroup
from bench.reporting.columns import MeasuredColumn, measurement_table, metric_column, value_cell
from bench.reporting.html_table import TITLES, Cell, Table
from bench.reporting.sections import trust
from bench.stats.intervals import Ratio

MOST_PAIRS = 40  # rows of crossovers on the page; all stand in crossovers.csv
FEW = 5  # rounds at a length: with fewer, the t interval of a ratio is wide
QUANTITIES = {
    "train_tokens_per_second": "trains faster",
    "first_token_seconds": "first token sooner",
    "decode_seconds_per_token": "further token faster",
}


def subject_order(group: SpeedGroup) -> list[str]:
    """Fastest in training first, where a claim about it may be made; else by name."""
    sitting, names = group.session, sorted(group.subjects, key=group.label)
    metric = "train_tokens_per_second"
    if not sitting.allows_claim(metric):
        return names
    rate = {subject: sitting.value(subject, metric) for subject in names}
    return sorted(
        names, key=lambda subject: -rate[subject] if math.isfinite(rate[subject]) else math.inf
    )


# --- rates ------------------------------------------------------------------------------------------------------------


def speed_table(group: SpeedGroup) -> Table:
    """Rates, with their ratios to the reference by either clock, and whether a larger batch would be faster."""
    columns = [
        MeasuredColumn(TITLES[metric], ABOUT_RATE, partial(_rate, group, metric))
        for metric in RATES
    ]
    columns.append(
        metric_column(
            group.session, "first step", ABOUT_FIRST, "first_step_seconds", format_seconds
        )
    )
    reference = (
        group.label(group.session.reference)
        if group.session.reference in group.names.index
        else "another group’s"
    )
    caption = (
        f"Below each rate its ratio to the reference, {reference}, in the same rounds: {trust.unit(group.session)}. "
        f"{trust.CLOCKS} Launch-bound: a larger batch is at least 15 % faster a token, so the processor waited for work."
    )
    return measurement_table(group, "speed", "Speed", caption, columns, subject_order(group))


ABOUT_RATE = (
    "median; below it the ratio to the reference, and whether a larger batch would be faster"
)
ABOUT_FIRST = "the first training step of a fresh process, with whatever is compiled or planned in it; in no rate"


def _rate(group: SpeedGroup, metric: str, subject: str) -> Cell:
    sitting = group.session
    value = sitting.value(subject, metric)
    lines = [
        f"{before}{_ratio(ratio)}"
        for before, name in (("", metric), ("CPU ", RATES[metric]))
        if (ratio := sitting.ratios.get((subject, name)))
    ]
    return value_cell(
        value,
        format_large,
        "\n".join([*lines, *_mark(group, metric, subject)]),
        sitting.missing_reason(subject, metric),
    )


def _ratio(ratio: Ratio) -> str:
    span = f" ({format_fixed(ratio.low)} to {format_fixed(ratio.high)})" if ratio.rounds > 1 else ""
    return f"×{format_fixed(ratio.value)}{span}" + (
        "" if ratio.agree or ratio.rounds < 2 else "\nno claim: the mean disagrees"
    )


def _mark(group: SpeedGroup, metric: str, subject: str) -> list[str]:
    """Whether the rate is launch-bound, and how busy the device was, in lines of small print."""
    found = efficiency.batch_gain(group.session, subject, metric)
    busy = (
        group.session.value(subject, "busy_share")
        if metric == "train_tokens_per_second"
        else math.nan
    )
    lines = [f"{found.text}: {found.small}"] if found else []
    return lines + ([f"busy {100 * busy:.0f} % of the time"] if math.isfinite(busy) else [])


# --- who overtakes whom -----------------------------------------------------------------------------------------------


def crossover_tables(group: SpeedGroup, pairs: Sequence[SpeedPair]) -> list[Table]:
    """Each pair of architectures along the lengths: who is faster, and from where. Those that never cross are folded away."""
    rows: dict[tuple[str, str], dict[str, SpeedPair]] = {}
    for pair in (pair for pair in pairs if group.session.allows_claim(pair.metric)):
        rows.setdefault((pair.first, pair.second), {})[pair.metric] = pair
    crossed = {
        names: row for names, row in rows.items() if any(pair.crossings for pair in row.values())
    }
    others = {names: row for names, row in rows.items() if names not in crossed}
    said = "Who is faster where, as the length grows. A length is read off between the two measured ones that are named."
    first = _overtaking(
        group, crossed, "crossovers", heading="Crossovers", caption=said, notes=_few(group)
    )
    if not crossed and rows:
        first = replace(first, notes=["No pair was seen to change places.", *first.notes])
    fold = f"{plural(len(others), 'pair')} that {'was' if len(others) == 1 else 'were'} not seen to change places"
    return [first, _overtaking(group, others, "no-crossovers", folded=fold)] if rows else []


def _few(group: SpeedGroup) -> list[str]:
    """What has to be known where architectures are many, or rounds few."""
    notes = []
    if len(group.subjects) > crossovers.MAX_PAIRED:
        notes.append(
            f"Of more than {crossovers.MAX_PAIRED} architectures each is set beside the reference alone."
        )
    fewest = min(
        (group.session.rounds(point) for point in group.session.samples if point[1] == "length"),
        default=0,
    )
    if fewest and fewest < FEW:
        notes.append(
            f"With {plural(fewest, 'round')} at a length intervals are wide, and little can be told."
        )
    return notes


def _overtaking(
    group: SpeedGroup, rows: dict[tuple[str, str], dict[str, SpeedPair]], name: str, **about: Any
) -> Table:
    metrics = [metric for metric in QUANTITIES if any(metric in row for row in rows.values())]
    notes = about.pop("notes", [])
    if len(rows) > MOST_PAIRS:
        notes = [*notes, f"{len(rows) - MOST_PAIRS} further pairs stand in crossovers.csv."]
    columns = [
        ("pair", "two architectures"),
        *((QUANTITIES[metric], ABOUT_CROSSING) for metric in metrics),
    ]
    lines = [
        [_pair_name(group, names), *(_crossing(group, row.get(metric)) for metric in metrics)]
        for names, row in sorted(
            rows.items(), key=lambda item: -sum(len(pair.crossings) for pair in item[1].values())
        )
    ]
    return Table(
        f"{group.name}-{name}",
        about.pop("caption", ""),
        columns,
        lines[:MOST_PAIRS],
        notes,
        **about,
    )


ABOUT_CROSSING = "a crossing lies between lengths where the paired ratio's interval is wholly below 1 and wholly above"


def _pair_name(group: SpeedGroup, names: tuple[str, str]) -> Cell:
    text = " · ".join(group.label(name) for name in names)
    return Cell(text, text)


def _crossing(group: SpeedGroup, pair: SpeedPair | None) -> Cell:
    if pair is None:
        return value_cell(math.nan, str, why="not measured at two lengths for both")
    text, small = crossovers.pair_cell_text(pair, group.label)
    return Cell(text, pair.crossings[0].length if pair.crossings else None, small)


# --- decoding ---------------------------------------------------------------------------------------------------------


def decoding_table(group: SpeedGroup) -> Table:
    """What writing costs: at several batches, until the first token, for a further one, and in state."""
    sitting = group.session
    columns = [
        metric_column(
            sitting,
            "tokens/s, batch 1",
            "one sequence at a time",
            "decode_tokens_per_second",
            format_large,
        )
    ]
    for batch in sitting.places("decode_tokens_per_second", "batch"):
        title, about = f"batch {batch:g}", f"tokens per second of {batch:g} sequences together"
        columns.append(
            MeasuredColumn(
                title,
                about,
                partial(_at, group, ("decode_tokens_per_second", "batch", batch), format_large),
            )
        )
    columns.append(
        metric_column(
            sitting,
            "first token",
            "from the prompt to the first token, batch 1",
            "first_token_seconds",
            format_seconds,
        )
    )
    further = ("decode_seconds_per_token", "length")
    lengths = [
        n
        for n in sitting.places(*further)
        if any((s, (*further, n)) in sitting.points for s in group.subjects)
    ]
    for length in dict.fromkeys([*lengths[:1], *lengths[-1:]]):
        title, about = (
            f"further token at {length:,g}",
            f"when {length:,g} tokens stand before it, batch 1",
        )
        columns.append(
            MeasuredColumn(title, about, partial(_at, group, (*further, length), format_seconds))
        )
    columns.append(
        metric_column(
            sitting, "state", "of one sequence of the context’s length", "state_bytes", format_bytes
        )
    )
    columns.append(
        metric_column(
            sitting,
            "a token more",
            "bytes of state that each further token adds",
            "state_bytes_per_token",
            format_bytes,
        )
    )
    return measurement_table(group, "decoding", "Decoding", "", columns, subject_order(group))


def _at(group: SpeedGroup, point: Point, show: "object", subject: str) -> Cell:
    assert callable(show)
    why = group.session.gaps.get((subject, point), "")
    return value_cell(
        group.session.at(subject, point), show, why=why or group.session.missing_reason(subject, point[0])
    )
