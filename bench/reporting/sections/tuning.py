"""The search for learning rates: loss against the rate, what fewer trials would have found, and who is not tuned."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from bench.analysis import families
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import format_fixed, format_number
from bench.reporting.html_table import Cell, Table
from bench.reporting.plots import drawing
from bench.reporting.plots.figures import EmptyPlot, make_plot
from bench.reporting.plots.lettering import label_margin

Search = Mapping[str, Any]
SHARED = (
    "data",
    "size",
    "context",
    "steps",
    "batch",
    "optimizer",
    "metric",
    "part",
    "data_digest",
    "seed",
)  # of one section
UNITS = {
    "bits_per_byte": "bits per byte",
    "pseudo_perplexity": "pseudo-perplexity",
    "regret": "regret (nats per token)",
    "nats_per_token": "nats per token",
}


def expected_best(values: Sequence[float]) -> list[float]:
    """The expected lowest of n of these values drawn without putting back, for n = 1 … N: Σ C(N−i, n−1)/C(N, n)·v₍ᵢ₎.

    A trial without a value is infinite: with so few trials that such a one could be the best, the expectation is too.
    """
    ordered, total = sorted(values), len(values)
    return [
        sum(
            math.comb(total - i, n - 1) / math.comb(total, n) * v
            for i, v in enumerate(ordered, 1)
            if i + n <= total + 1
        )
        for n in range(1, total + 1)
    ]


def sections(searches: Sequence[Search], parts: Sequence[Comparison]) -> list[dict[str, Any]]:
    """One for each set of searches that may stand on one axis: same text, same length, same score."""
    groups: dict[tuple[str, ...], list[Search]] = {}
    for search in searches:
        if search.get("trials"):
            groups.setdefault(tuple(str(search.get(key, "")) for key in SHARED), []).append(search)
    known = {str(row.label): int(row.colour) for part in parts for row in part.rows.itertuples()}  # type: ignore[arg-type]
    return [_section(f"tuning-{n}", group, known) for n, group in enumerate(groups.values())]


def _section(name: str, searches: Sequence[Search], known: Mapping[str, int]) -> dict[str, Any]:
    found = {one["arch"]: one.get("family", "") for one in searches}
    colours = families.assign_colours(
        {a: f for a, f in found.items() if a not in known}, set(known.values())
    ) | {a: known[a] for a in found if a in known}
    first, unit = searches[0], UNITS.get(str(searches[0]["metric"]), str(searches[0]["metric"]))
    long = f"{first['steps']:,} steps of {first['batch']} × {first['context']} tokens a trial"
    caption = f"{long}; scored on the {first['part'] or 'validation'} part of {first['data']}."
    curves = "Ring: the best. × at the top: diverged. Poor trials are above the frame; controls are in the table alone."
    budget = "Of so many trials, drawn without putting back from those made, the mean best. The steep beginning is above the frame."
    drawn_ones = [
        one for one in searches if one.get("family") != "control"
    ] or searches  # a floor would flatten all others
    figures = [
        make_plot(
            f"{name}-rates",
            f"{unit.capitalize()} against learning rate",
            curves,
            partial(rates, drawn_ones, colours, unit),
        ),
        make_plot(
            f"{name}-best",
            "Expected best against number of trials",
            budget,
            partial(bests, drawn_ones, colours, unit),
        ),
    ]
    return {
        "title": f"{unit.capitalize()}, {first['data']}",
        "table": _table(name, searches, colours, unit, caption),
        "figures": figures,
    }


def scores(search: Search) -> list[float]:
    """What each trial scored; a diverged one is infinitely bad."""
    return [
        math.inf if trial["score"] is None else float(trial["score"]) for trial in search["trials"]
    ]


def _rates(search: Search) -> list[float]:
    return [float(trial["values"]["learning_rate"]) for trial in search["trials"]]


def _edge(search: Search) -> str:
    """On which sides no trial bounds the best one."""
    tried, place = _rates(search), min(range(len(search["trials"])), key=scores(search).__getitem__)
    return " and ".join(
        word
        for word, end in (("lowest", min(tried)), ("highest", max(tried)))
        if tried[place] == end
    )


def _table(
    name: str, searches: Sequence[Search], colours: Mapping[str, int], unit: str, caption: str
) -> Table:
    columns = [
        ("architecture", "UNTUNED: no trial shows that a rate beyond the best one is worse"),
        ("learning rate", "of the best trial"),
        ("searched", "the two ends of the range; rates are drawn evenly in their logarithm"),
        ("trials", "how many were made, and how many of them diverged"),
        (f"best {unit}", "of all trials"),
        ("of 1 trial", "expected best of one"),
        ("of half", "expected best of half the trials"),
    ]
    cells = []
    for search in sorted(searches, key=lambda one: min(scores(one))):
        values, expected, arch, edge = (
            scores(search),
            expected_best(scores(search)),
            str(search["arch"]),
            _edge(search),
        )
        best = values.index(min(values))
        diverged = sum(map(math.isinf, values))
        ends = search["space"]["learning_rate"]
        half = expected[(len(values) + 1) // 2 - 1]
        where = f"the {edge} rate tried" if edge else ""
        cells.append([
            Cell(arch, arch, where, colour=colours[arch], badges=("UNTUNED",) if edge else ()),
            Cell(format_number(_rates(search)[best]), _rates(search)[best], mark="bad" if edge else ""),
            Cell(f"{ends[0]:g} to {ends[1]:g}" if isinstance(ends, list) else str(ends)),
            Cell(str(len(values)), float(len(values)), f"{diverged} diverged" if diverged else ""),
            *(Cell(format_fixed(v), v if math.isfinite(v) else None) for v in (values[best], expected[0], half)),
        ])  # fmt: skip
    return Table(f"{name}-table", caption, columns, cells)


def _framed(axes: Any, low: float, top: float, unit: str) -> None:
    room = 0.06 * (top - low) + 1e-9
    axes.set_ylim(low - room, top + room)
    axes.set_ylabel(f"{unit} (lower is better)")


def rates(searches: Sequence[Search], colours: Mapping[str, int], unit: str) -> Figure:
    """The score of every trial against its learning rate."""
    finite = [value for search in searches for value in scores(search) if math.isfinite(value)]
    if not finite:
        raise EmptyPlot("no trial came to its end")
    figure, axes = drawing.canvas(max(drawing.HEIGHT, 0.17 * len(searches) + 0.7))
    low, top = (
        min(finite),
        max(
            sorted(s)[len(s) // 2]
            for s in map(scores, searches)
            if math.isfinite(sorted(s)[len(s) // 2])
        ),
    )
    _framed(axes, low, top, unit)
    every = [rate for search in searches for rate in _rates(search)]
    drawing.logarithmic(axes, min(every) / 1.15, max(every) * 1.15)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("learning rate")
    points = []
    for search in searches:
        tint, values = drawing.colour(colours[search["arch"]]), scores(search)
        pairs = sorted(zip(_rates(search), values, strict=True))
        lost = [x for x, y in pairs if math.isinf(y)]
        axes.plot(lost, [axes.get_ylim()[1]] * len(lost), "x", color=tint, clip_on=False)
        kept = [pair for pair in pairs if math.isfinite(pair[1])]
        if not kept:
            continue
        axes.plot(
            [x for x, _ in kept], [y for _, y in kept], color=tint, marker="o", markersize=3.5
        )
        best = min(kept, key=lambda pair: pair[1])
        axes.plot(*best, "o", markersize=9, markerfacecolor="none", markeredgecolor=tint)
        points.append((*best, str(search["arch"]), tint))
    label_margin(axes, points)
    return figure


def bests(searches: Sequence[Search], colours: Mapping[str, int], unit: str) -> Figure:
    """The expected best of n trials against n."""
    lines = {str(search["arch"]): expected_best(scores(search)) for search in searches}
    longest = max(map(len, lines.values()))
    ends = [line[-1] for line in lines.values() if math.isfinite(line[-1])]
    if longest < 2 or not ends:
        raise EmptyPlot("fewer than two trials came to their end")
    figure, axes = drawing.canvas(max(drawing.HEIGHT, 0.17 * len(searches) + 0.7))
    second = [line[1] for line in lines.values() if len(line) > 1 and math.isfinite(line[1])]
    _framed(axes, min(ends), max(second + ends), unit)
    axes.set_xlabel("trials")
    axes.set_xticks(range(1, longest + 1, 1 + longest // 9))
    points = []
    for arch, line in lines.items():
        tint = drawing.colour(colours[arch])
        kept = [(n, value) for n, value in enumerate(line, 1) if math.isfinite(value)]
        if kept:
            axes.plot(*zip(*kept, strict=True), color=tint, marker="o", markersize=3.5)
            points.append((*kept[-1], arch, tint))
    label_margin(axes, points)
    return figure
