"""Tables of measurements, a row per subject of a speed group: speed, decoding, cost, memory."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from bench.analysis import efficiency, sessions
from bench.analysis import formatting as fmt
from bench.analysis.speed_groups import SpeedGroup
from bench.records.metrics import in_section
from bench.reporting import html_table as ht
from bench.reporting.listed import listed_columns
from bench.stats.intervals import Ratio

NO_PEAK = "unknown: no peak was measured in this process"


def subject_order(group: SpeedGroup) -> list[str]:
    """Return the subjects by training speed where a claim may be made about it, else by name."""
    names = sorted(group.subjects, key=group.label)
    if not group.session.allows_claim(sessions.TRAIN_RATE):
        return names
    rates = {subject: group.session.value(subject, sessions.TRAIN_RATE) for subject in names}
    return sorted(names, key=lambda one: -rates[one] if math.isfinite(rates[one]) else math.inf)


def _table(
    group: SpeedGroup, name: str, heading: str, columns: Iterable[ht.Column], caption: str = ""
) -> ht.Table:
    def label(subject: str) -> ht.Cell:
        row: Any = group.names.loc[subject]
        small = "the reference" if subject == group.session.reference else ""
        return ht.Cell(row["label"], row["label"], small, badges=("stale",) * bool(row["stale"]))

    columns = [ht.name_column(label, "as it was measured"), *columns]
    about = {"heading": heading, "caption": caption}
    return ht.build_table(f"{group.name}-{name}", columns, subject_order(group), True, **about)


def _cell(
    group: SpeedGroup, subject: str, metric: str, value: float, show: ht.Show, small: str = ""
) -> ht.Cell:
    """Return a number that rests on a metric; where it is missing, the reason of that metric."""
    reason = group.session.missing_reason(subject, metric)
    return ht.value_cell(value, show, small, reason=reason)


def _at(group: SpeedGroup, point: sessions.Point, show: ht.Show, subject: str) -> ht.Cell:
    reason = group.session.gaps.get((subject, point), "")
    cell = _cell(group, subject, point[0], group.session.at(subject, point), show)
    return replace(cell, reason=reason or cell.reason)


def _median(group: SpeedGroup, subject: str, metric: str) -> ht.Cell:
    return _at(group, sessions.scalar_point(metric), partial(ht.format_metric, metric), subject)


def speed_table(group: SpeedGroup) -> ht.Table:
    """Return the rates with their ratios to the reference, by wall clock and CPU time."""
    session = group.session
    is_here = session.reference in group.names.index
    reference = group.label(session.reference) if is_here else "in another group"

    def cell(subject: str, metric: str) -> ht.Cell:
        return (_rate_cell if metric in sessions.RATES else _median)(group, subject, metric)

    processes = session.process_count
    estimate = "the median, with its 95 % interval"
    if processes > 1:
        estimate = f"the geometric mean of the medians of {processes} successive processes, with "
        estimate += "its 95 % t interval"
    caption = (
        f"Below each rate its ratio to the reference, {reference}, in the same rounds: {estimate}. "
        "Ranked by wall time, which a user waits for; other processes do not lengthen CPU time."
    )
    return _table(group, "speed", "Speed", ht.registered_columns("speed", cell), caption)


def _rate_cell(group: SpeedGroup, subject: str, metric: str) -> ht.Cell:
    session = group.session
    ratios = {"": session.ratios.get((subject, metric)),
              "CPU ": session.ratios.get((subject, sessions.RATES[metric]))}  # fmt: skip
    lines = [f"{clock}{_ratio_lines(ratio)}" for clock, ratio in ratios.items() if ratio]
    gain = efficiency.batch_gain(session, subject, metric)
    lines += [f"{gain.text}: {gain.small}"] if gain else []
    busy = session.value(subject, "busy_share") if metric == sessions.TRAIN_RATE else math.nan
    lines += [f"busy {100 * busy:.0f} % of the time"] if math.isfinite(busy) else []
    return _cell(group, subject, metric, session.value(subject, metric), fmt.format_large,
                 "\n".join(lines))  # fmt: skip


def _ratio_lines(ratio: Ratio) -> str:
    several = ratio.rounds > 1
    span = f" ({fmt.format_fixed(ratio.low)} to {fmt.format_fixed(ratio.high)})" if several else ""
    refusal = "" if ratio.agree or not several else "\nno claim: the mean disagrees"
    return f"×{fmt.format_fixed(ratio.value)}{span}{refusal}"


def decoding_table(group: SpeedGroup) -> ht.Table:
    """Return the costs of decoding: at several batches and lengths, and in state."""
    columns = list(_batch_columns(group))
    for spec in in_section("decoding"):
        if spec.name == sessions.DECODE_TIME:
            columns += _length_columns(group)
        else:
            columns.append(ht.metric_column(spec.name, partial(_median, group, metric=spec.name)))
    return _table(group, "decoding", "Decoding", columns)


def _batch_columns(group: SpeedGroup) -> Iterator[ht.Column]:
    metric = sessions.DECODE_RATE
    for batch in [1.0, *group.session.places(metric, "batch")]:
        title = f"batch {batch:g}" if batch > 1 else "tokens/s, batch 1"
        point = (metric, "batch", batch) if batch > 1 else sessions.scalar_point(metric)
        help = f"tokens per second of {fmt.plural(int(batch), 'sequence')} at once"
        cell = partial(_at, group, point, fmt.format_large)
        yield ht.Column(title, help, cell, metric=metric)


def _length_columns(group: SpeedGroup) -> Iterator[ht.Column]:
    """Yield the time of a further token at the shortest and the longest measured length."""
    metric, session = sessions.DECODE_TIME, group.session
    points = [(metric, "length", n) for n in session.places(metric, "length")]
    points = [p for p in points if any((one, p) in session.points for one in group.subjects)]
    for point in dict.fromkeys([*points[:1], *points[-1:]]):
        help = f"time of one more token after {point[2]:,g} tokens, batch 1"
        cell = partial(_at, group, point, fmt.format_seconds)
        yield ht.Column(f"further token at {point[2]:,g}", help, cell)


def cost_table(group: SpeedGroup) -> ht.Table:
    """Return what makes a training step slow, side by side."""
    cells: Any = {
        "microseconds": _microseconds, "flops": _flops, "utilisation": _utilisation,
        "traffic": _traffic, "shares": _shares, "batch_gain": _batch_gain,
    }  # fmt: skip
    cells = {name: partial(make, group) for name, make in cells.items()}
    registered = ht.registered_columns("costs", partial(_median, group), {"flops_per_token"})
    columns = [*listed_columns("costs", **cells), *registered, *listed_columns("traffic", **cells)]
    return _table(group, "costs", "Why is it slower?", columns)


def _microseconds(group: SpeedGroup, subject: str) -> ht.Cell:
    rate = group.session.value(subject, sessions.TRAIN_RATE)
    return _cell(
        group, subject, sessions.TRAIN_RATE, 1e6 / rate if rate > 0 else math.nan, fmt.format_number
    )


def _traffic(group: SpeedGroup, subject: str) -> ht.Cell:
    copy = fmt.format_bytes(group.session.value(subject, "copy_bytes_per_second"))
    share = efficiency.traffic_share(group.session, subject)
    return ht.value_cell(share, fmt.format_percent, f"of {copy}/s")


def _flops(group: SpeedGroup, subject: str) -> ht.Cell:
    share = efficiency.unchecked_share(group.session, subject)
    small = f"{fmt.format_percent(share)} unchecked" if share > 0 else ""
    flops = efficiency.train_flops_per_token(group.session, subject)
    return _cell(group, subject, "flops_per_token", flops, fmt.format_large, small)


def _utilisation(group: SpeedGroup, subject: str) -> ht.Cell:
    peak = group.session.value(subject, "product_flops_per_second")
    share = efficiency.utilisation(group.session, subject)
    if math.isfinite(share):
        return ht.Cell(fmt.format_percent(share), share, f"of {fmt.format_large(peak)}FLOP/s")
    has_flops = math.isfinite(efficiency.train_flops_per_token(group.session, subject))
    return ht.Cell("unknown", reason=NO_PEAK) if has_flops else ht.EMPTY


def _shares(group: SpeedGroup, subject: str) -> ht.Cell:
    shares = efficiency.step_shares(group.session, subject)
    text = " / ".join(f"{100 * share:.0f}" for share in shares if math.isfinite(share))
    return _cell(group, subject, efficiency.STEP_PARTS[0], shares[0], lambda _: f"{text} %")


def _batch_gain(group: SpeedGroup, subject: str) -> ht.Cell:
    gain = efficiency.batch_gain(group.session, subject, sessions.TRAIN_RATE)
    return ht.Cell(gain.text, gain.gain, gain.small) if gain else ht.EMPTY


def memory_table(group: SpeedGroup) -> ht.Table:
    """Return bytes of a training step by what they hold, the largest batch, and energy."""
    limit = group.session.options.get("memory_limit") or 0
    caption = f"Largest batch: within {fmt.format_bytes(float(limit))}." if limit else ""
    columns = ht.registered_columns("memory", partial(_median, group))
    return _table(group, "memory", "Memory and energy", columns, caption)
