"""Which figures of quality a comparison has: the one picture of the answer, curves, and quality against each cost."""

from collections.abc import Sequence
from functools import partial

import pandas as pd

from bench.analysis.baselines import Baselines, baselines_in_range
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import join_words
from bench.analysis.sessions import MeasuredSession
from bench.records.tables import Records
from bench.reporting.plots import figures
from bench.reporting.plots.figures import Plot, make_plot
from bench.stats.intervals import pareto_front

COSTS = (
    (
        "train_tokens_per_second",
        "Quality against training speed",
        "training tokens per second (more is better)",
        True,
        "",
    ),
    (
        "decode_tokens_per_second",
        "Quality against decoding speed",
        "decoded tokens per second (more is better)",
        True,
        "",
    ),
    (
        "peak_train_memory_bytes",
        "Quality against memory",
        "peak memory of a training step (less is better)",
        False,
        "B",
    ),
    (
        "state_bytes",
        "Quality against state",
        "bytes of state at the full context (less is better)",
        False,
        "B",
    ),
)
NAMED = 24  # rows that a figure can name; of more it shows the best
Headed = tuple[str, list[Plot]]  # a heading, and the figures under it


def pictures(
    part: Comparison,
    records: Records,
) -> tuple[Plot | None, list[Headed]]:
    """The picture beside the answer, and all other figures: those of speed once for each sitting, never two on one axis."""
    sittings, floors = part.sessions, part.baselines
    tokens, seconds = _curves(part, records, sittings, floors)
    groups = [
        (
            f"On machine {one.machine}, sitting {one.name}",
            seconds[n] + _measured(part, one, f"{part.name}-sitting-{n}", floors),
        )
        for n, one in enumerate(sittings)
    ]
    if len(groups) == 1:
        found = next((one for one in groups[0][1] if one.title == COSTS[0][1] and one.svg), None)
        others = [one for one in tokens + groups[0][1] if one is not found]
        return found or _scores(part, floors), [("", others)]
    if not groups:
        reason = "no speed or memory was measured for these rows."
        tokens += [
            Plot("", title, "", reason=reason)
            for title in ("Quality against speed", "Quality against memory")
        ]
    return _scores(part, floors), [("", tokens), *groups]


def _scores(part: Comparison, floors: Sequence[Baselines]) -> Plot | None:
    """The scores of the largest table, where there is one."""
    if not part.likelihoods:
        return None
    every = part.likelihoods[0][~part.likelihoods[0]["control"]]
    rows, left = every.head(NAMED), _left_out(len(every))
    lines, off = _lines(rows, floors[0])
    caption = " ".join(filter(None, ("Dots: means over seeds. Bars: 95 % intervals.", left, off)))
    return make_plot(
        f"{part.name}-scores", "Quality", caption, partial(figures.scores, rows, lines)
    )


def _left_out(count: int) -> str:
    return f"The best {NAMED} of {count} rows." if count > NAMED else ""


def _lines(rows: pd.DataFrame, floors: Baselines) -> tuple[list[tuple[str, float]], str]:
    return baselines_in_range(
        floors, "bits_per_byte", rows["bits_per_byte"].min(), rows["bits_per_byte"].max()
    )


def _curves(
    part: Comparison,
    records: Records,
    sittings: Sequence[MeasuredSession],
    floors: Sequence[Baselines],
) -> tuple[list[Plot], list[list[Plot]]]:
    """Held-out loss against tokens, and for each sitting against seconds."""
    kinds = sorted(set(zip(part.rows["objective"], part.rows["tokenizer"], strict=True)))
    known = {
        str(rows["tokenizer"].iloc[0]): found
        for rows, found in zip(part.likelihoods, floors, strict=True)
    }
    tokens: list[Plot] = []
    seconds: list[list[Plot]] = [[] for _ in sittings]
    for number, kind in enumerate(kinds):
        table, left = _best(figures.curve_table(part, records.curves, *kind))
        about = "" if kind[0] == "causal" else f" ({kind[0]}: an axis of its own)"
        here = known.get(kind[1], Baselines((), "")) if kind[0] == "causal" else Baselines((), "")
        lines, off = (
            baselines_in_range(here, "validation_nats", *figures.frame(table))
            if len(table)
            else ([], "")
        )
        off = " ".join(filter(None, (left, off)))
        caption = f"Mean over seeds, with the range over seeds behind it. The steep beginning is above the frame. {off}".strip()
        make = partial(figures.curves, table, lines=lines)
        tokens.append(
            make_plot(
                f"{part.name}-tokens-{number}",
                f"Held-out loss against tokens{about}",
                caption,
                make,
            )
        )
        caption = f"Seconds are tokens divided by the rate measured in its own stage, not the clock of the training run. {off}".strip()
        for n, sitting in enumerate(sittings):
            rate = sitting.medians.get("train_tokens_per_second", pd.Series(dtype=float))
            name, title = (
                f"{part.name}-sitting-{n}-seconds-{number}",
                f"Held-out loss against seconds{about}",
            )
            seconds[n].append(
                make_plot(name, title, caption, partial(figures.curves, table, rate, lines))
            )
    return tokens, seconds


def _best(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The curves that end lowest, and a sentence where there are more."""
    last = (
        table[table["tokens"] == table.groupby("short")["tokens"].transform("max")]
        .groupby("short")["validation_nats"]
        .mean()
    )
    return table[table["short"].isin(last.nsmallest(NAMED).index)], _left_out(len(last))


def _shown(rows: pd.DataFrame, cost: "pd.Series[float]", more_is_better: bool) -> pd.DataFrame:
    """The best rows, and those that no other beats in both."""
    there = rows.assign(x=rows["subject"].map(cost).astype(float)).dropna(subset=["x"])
    front = there[
        pareto_front(
            (-1 if more_is_better else 1) * there["x"].to_numpy(),
            there["bits_per_byte"].to_numpy(dtype=float),
        )
    ]
    return rows[rows.index.isin(front.index) | rows.index.isin(there.head(NAMED).index)]


def _measured(
    part: Comparison, sitting: MeasuredSession, name: str, floors: Sequence[Baselines]
) -> list[Plot]:
    made: list[Plot] = []
    dashed = "Dashed: the rows that no other beats in both. Bars: 95 % intervals."
    for number, table in enumerate(part.likelihoods):
        rows = table[~table["control"]]
        for metric, title, label, more, unit in COSTS:
            cost = sitting.medians.get(metric, pd.Series(dtype=float))
            none = list(rows.loc[rows["subject"].map(cost).eq(0), "short"])
            text = f"Without any, and so off the scale: {join_words(none)}." if none else ""
            shown = _shown(rows, cost, more)
            lines, off = _lines(shown, floors[number]) if len(shown) else ([], "")
            left = (
                f"{len(shown)} of {len(rows)} rows: the best, and those on the dashed line."
                if len(rows) > NAMED
                else ""
            )
            make = partial(figures.tradeoff, shown, cost, label, more, unit, lines)
            made.append(
                make_plot(
                    f"{name}-{metric}-{number}",
                    title,
                    " ".join(filter(None, (dashed, left, text, off))),
                    make,
                )
            )
    return made
