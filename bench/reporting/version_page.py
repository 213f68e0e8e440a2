"""Show the comparison of two results folders: a page, a CSV file, lines for a terminal."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd

from bench.analysis import version_changes as versions
from bench.analysis.answer import REASONS
from bench.analysis.compare import VersionComparison, is_regression
from bench.analysis.formatting import MINUS, format_bytes, format_fixed
from bench.analysis.verdicts import format_difference
from bench.records.metrics import describe
from bench.reporting import html_table as ht
from bench.reporting.listed import listed_columns
from bench.reporting.page import render_document
from bench.reporting.section import Section, write
from bench.reporting.sentences import say
from bench.reporting.terminal import table_text, wrap_line

MARKS = {versions.WORSE: "bad", versions.FAILED: "bad", versions.BETTER: "best"}
ROUNDING = 1e-6  # bits per byte: below it a change is shown as a power of ten
SMALL_SHARE = 0.0005  # of memory: below it a change is shown in bytes
CORRECTION = (
    "Verdicts are corrected for all tested rows (Holm): about 1 % of comparisons of equal "
    "versions claim any change. An interval is that of its row alone, 95 %."
)


def version_page(comparison: VersionComparison, old: Path, new: Path) -> str:
    """Return the page of a comparison as text."""
    tables = [_table(kind, own) for kind, own in _by_kind(comparison).items()]
    tables += [_plain_table("uncompared", "Not compared", ("kind", "row", "reason"),
                            comparison.uncompared),
               _plain_table("folders", "What the folders were made with",
                            ("differs", "OLD", "NEW"), comparison.versions)]  # fmt: skip
    answer, *counts = answer_sentences(comparison)
    alarm = answer if comparison.regressions else ""
    sentences = [*([] if alarm else [answer]), *counts, CORRECTION, *comparison.notes]
    answers = [
        {"name": "", "cards": [], "badges": [], "alarm": alarm, "more": "", "sentences": sentences}
    ]
    sections = []
    for table in (table for table in tables if table.rows):
        html, anchor = write("tables", [replace(table, heading="")]), f"section-{table.name}"
        sections.append(Section(anchor, table.heading, html, folded=False))
    title = f"{new} against {old}"
    return render_document(title, sections, answers=answers, files=["compare.csv"])


def _plain_table(name: str, heading: str, titles: Sequence[str], rows: Sequence[Any]) -> ht.Table:
    columns = [ht.text(title, "", itemgetter(n)) for n, title in enumerate(titles)]
    return ht.build_table(name, columns, rows, heading=heading)


def version_csv(comparison: VersionComparison) -> pd.DataFrame:
    """Return a row per change and per thing that was not compared."""
    changes = pd.DataFrame([asdict(one) for one in comparison.changes])
    others = pd.DataFrame([one._asdict() for one in comparison.uncompared])
    return pd.concat([changes, others.assign(verdict="not compared")], ignore_index=True)


def version_text(comparison: VersionComparison) -> str:
    """Return the answer, a table of what changed or was tested, and the notes."""
    blocks = ["\n".join(map(wrap_line, answer_sentences(comparison)))]
    for kind, own in _by_kind(comparison).items():
        shown = [
            one for one in own if one.verdict not in (versions.IDENTICAL, versions.WITHIN_THRESHOLD)
        ]
        blocks += [table_text(_table(kind, shown), kind)] * bool(shown)
    lines = [
        f"not compared: {one.kind}: {one.label}: {one.reason}" for one in comparison.uncompared
    ]
    blocks.append("\n".join(map(wrap_line, [*comparison.notes, *lines])))
    return "\n\n".join(filter(None, blocks))


def answer_sentences(comparison: VersionComparison) -> list[str]:
    """Return the answer first, then a line per kind: how many rows have which verdict."""
    named = [
        f"{one.label} ({metric_name(one)} {change_text(one)})" for one in comparison.regressions
    ]
    counts = [_count(kind, own, comparison) for kind, own in _by_kind(comparison).items()]
    return say("version", named, counts)


def _count(kind: str, own: list[versions.Change], comparison: VersionComparison) -> dict[str, Any]:
    verdicts = [one.verdict for one in own]
    tested = [one for one in own if one.verdict == versions.NOT_DISTINGUISHABLE]
    least = max(tested, key=lambda one: one.detectable, default=None)
    return {
        "kind": kind.capitalize(),
        "verdicts": [f"{verdicts.count(one)} {one}" for one in dict.fromkeys(verdicts)],
        "least": amount_text(least, least.detectable) if least else "",
        "outside": kind not in comparison.gate.fail,
    }


def _by_kind(comparison: VersionComparison) -> dict[str, list[versions.Change]]:
    kinds = {
        kind: [one for one in comparison.changes if one.kind == kind] for kind in versions.KINDS
    }
    return {kind: own for kind, own in kinds.items() if own}


def metric_name(change: versions.Change) -> str:
    """Return what changed, in words."""
    return describe(change.metric).title


def amount_text(change: versions.Change, amount: float) -> str:
    """Return an amount of change: bits per byte, or a share in percent."""
    if change.kind != versions.QUALITY:
        return f"{format_fixed(100 * amount, 1)} %"
    if 0 < abs(amount) < ROUNDING:
        return f"{amount:.0e}".replace("-", MINUS)
    return format_difference(amount, (change.high - change.low) / 2)


def change_text(change: versions.Change) -> str:
    """Return a change with its sign."""
    if change.verdict == versions.FAILED:
        return change.reason
    sign = "+" if change.change > 0 else ""
    if change.kind == versions.MEMORY and 0 < abs(change.change) < SMALL_SHARE:
        return f"{sign}{format_bytes(change.new - change.old)}".replace("-", MINUS)
    return f"{sign}{amount_text(change, change.change)}"


def _table(kind: str, rows: Sequence[versions.Change]) -> ht.Table:
    show = format_bytes if kind == versions.MEMORY else format_fixed
    what, mean = "ratio in " if kind == versions.SPEED else "", "mean over seeds or processes"
    columns = [
        ht.name_column(help="one row per variant and metric"),
        ht.text("metric", "what was compared", metric_name),
        ht.number(f"{what}OLD", mean, "old", show),
        ht.number(f"{what}NEW", mean, "new", show),
        *listed_columns(
            "changes", change=lambda row: ht.Cell(change_text(row), row.change),
            interval=_interval_cell, verdict=_verdict_cell,
        ),
    ]  # fmt: skip
    name, heading = f"changes-{kind}", kind.capitalize()
    return ht.build_table(name, columns, rows, drop_empty=True, heading=heading)


def _interval_cell(row: versions.Change) -> ht.Cell:
    if row.low != row.low or row.verdict == versions.IDENTICAL:
        return ht.EMPTY
    return ht.Cell(f"{amount_text(row, row.low)} to {amount_text(row, row.high)}", row.low)


def _verdict_cell(row: versions.Change) -> ht.Cell:
    shown = row.verdict
    if shown == versions.NOT_DISTINGUISHABLE:
        shown += f"; detectable: {amount_text(row, row.detectable)}"
    if row.reason and not is_regression(row):
        shown += f": {REASONS.get(row.reason, row.reason)}"
    return ht.Cell(shown, row.verdict, mark=f"words {MARKS.get(row.verdict, '')}".strip())
