"""Everything into one file: the template, its style and script, the figures and the tables."""

from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from bench.reading import Records
from bench.report import cells, facts, figures, headline, sections, verdicts
from bench.report.comparisons import APART, KEY, Comparison, why_apart
from bench.report.crossovers import Pair
from bench.report.figures import Drawn, drawn
from bench.report.groups import Group
from bench.report.speeds import Sitting
from bench.report.tables import Tables
from bench.report.wording import listed

HERE = Path(__file__).parent
PALETTE_SIZE = 10


def render(
    name: str,
    records: Records,
    tables: Tables,
    sittings: list[Sitting],
    parts: list[Comparison],
    measured: list[tuple[Group, list[Pair]]],
    stale: frozenset[int],
) -> str:
    """The page as text. `stale`: rows that other sources than today's made."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html").render(
        name=name,
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        palette=PALETTE_SIZE,
        apart=why_apart([part.rows for part in parts], KEY),
        comparisons=[_comparison(part, records, tables, sittings, stale) for part in parts],
        answers=headline.measured_only([group for group, _ in measured]) if not len(tables.runs) else [],
        sittings=sections.sections(sittings, measured),
        machines=len({sitting.machine for sitting in sittings}),
        failures=facts.failures(tables.runs, records.measures),
        environments=facts.distinct(tables.runs["environment"]),
        commits=facts.commits(tables.runs["provenance"]),
        stale=len(stale),
        unfinished=int((tables.runs["status"] != "done").sum()),
    )


def stale_rows(tables: Tables, source: str) -> frozenset[int]:
    """Rows with a finished run that was made by other sources than today's."""
    runs = tables.runs[tables.runs["status"] == "done"]
    said = [(p.get("digests") or {}).get("source", "") for p in runs["provenance"]]
    return frozenset(int(row) for row, digest in zip(runs["row"], said, strict=True) if source and digest and digest != source)


def _comparison(
    part: Comparison, records: Records, tables: Tables, sittings: list[Sitting], stale: frozenset[int]
) -> dict[str, Any]:
    machines = {sitting.machine for sitting in sittings}
    measured = [sitting for sitting in sittings if sitting.medians.index.isin(part.rows["subject"]).any()]
    one = measured[0] if len(machines) == 1 and len(measured) == 1 else None
    return {
        "name": part.name,
        "title": f"{', '.join(sorted(set(part.rows['data'])))}, at most {part.rows['budget'].iloc[0]:,} parameters",
        "sentences": headline.sentences(part, sittings),
        "facts": facts.facts(part),
        "apart": why_apart(list(part.likelihoods), APART),
        "likelihoods": [
            cells.likelihoods(f"{part.name}-quality-{n}", rows, one, stale) for n, rows in enumerate(part.likelihoods)
        ],
        "verdicts": [
            verdicts.tabulate(f"{part.name}-verdicts-{n}", found) for n, found in enumerate(part.verdicts) if len(found.pairs)
        ],
        "pseudo": [cells.encoders(f"{part.name}-pseudo-{n}", rows, stale) for n, rows in enumerate(part.pseudo)],
        "orders": part.orders.to_dict("records"),
        "equal_order": part.equal_order,
        "figures": _figures(part, records, measured),
        "glance": facts.glance(part, measured),
        "texts": facts.texts(part),
    }


def _figures(part: Comparison, records: Records, sittings: list[Sitting]) -> list[tuple[str, list[Drawn]]]:
    """All figures of a comparison, under a heading each: those of speed once for each sitting, never two on one axis."""
    kinds = sorted(set(zip(part.rows["objective"], part.rows["tokenizer"], strict=True)))
    curves = {kind: figures.curve_table(part, records.curves, *kind) for kind in kinds}
    abouts = {kind: "" if kind[0] == "causal" else f" ({kind[0]}: an axis of its own)" for kind in kinds}
    made: list[Drawn] = []
    for number, (kind, table) in enumerate(curves.items()):
        caption = "Mean over seeds, with the range over seeds behind it. The steep beginning is above the frame."
        name, title = f"{part.name}-tokens-{number}", f"Held-out loss against tokens{abouts[kind]}"
        made.append(drawn(name, title, caption, partial(figures.curves, table)))
    groups = []
    for n, sitting in enumerate(sittings):
        name = f"{part.name}-sitting-{n}"
        rate = sitting.medians.get("train_tokens_per_second", pd.Series(dtype=float))
        caption = "Seconds are tokens divided by the rate measured in its own stage, not the clock of the training run."
        seconds = [
            drawn(
                f"{name}-seconds-{m}",
                f"Held-out loss against seconds{abouts[kind]}",
                caption,
                partial(figures.curves, table, rate),
            )
            for m, (kind, table) in enumerate(curves.items())
        ]
        groups.append((f"On machine {sitting.machine}, sitting {sitting.name}", seconds + _measured_figures(part, sitting, name)))
    if len(groups) == 1:
        return [("", made + groups[0][1])]
    if not groups:
        reason = "no speed or memory was measured for these rows."
        made += [Drawn("", title, "", reason=reason) for title in ("Quality against speed", "Quality against memory")]
    return [("", made), *groups]


COSTS = (
    ("train_tokens_per_second", "Quality against training speed", "training tokens per second (more is better)", True, ""),
    ("decode_tokens_per_second", "Quality against decoding speed", "decoded tokens per second (more is better)", True, ""),
    ("peak_train_memory_bytes", "Quality against memory", "peak memory of a training step (less is better)", False, "B"),
    ("state_bytes", "Quality against state", "bytes of state at the full context (less is better)", False, "B"),
)


def _measured_figures(part: Comparison, sitting: Sitting, name: str) -> list[Drawn]:
    made: list[Drawn] = []
    dashed = "Dashed: the rows that no other beats in both. Bars: 95 % intervals."
    for number, rows in enumerate(table[~table["control"]] for table in part.likelihoods):
        for metric, title, label, more, unit in COSTS:
            cost = sitting.medians.get(metric, pd.Series(dtype=float))
            none = list(rows.loc[rows["subject"].map(cost).eq(0), "short"])
            text = f"{dashed} Without any, and so off the scale: {listed(none)}." if none else dashed
            make = partial(figures.tradeoff, rows, cost, label, more, unit)
            made.append(drawn(f"{name}-{metric}-{number}", title, text, make))
    return made
