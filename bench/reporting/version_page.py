"""Show the comparison of two results folders: a page, a CSV file, lines for a terminal."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from bench.analysis.answer import REASONS
from bench.analysis.compare import VersionComparison, is_regression
from bench.analysis.formatting import MINUS, NO_VALUE, format_bytes, format_fixed, plural
from bench.analysis.verdicts import format_difference
from bench.analysis.version_changes import (
    BETTER,
    FAILED,
    IDENTICAL,
    KINDS,
    MEMORY,
    NOT_DISTINGUISHABLE,
    QUALITY,
    SPEED,
    WITHIN_THRESHOLD,
    WORSE,
    Change,
)
from bench.records.metrics import describe
from bench.reporting.html_table import Cell, Column, Table, build_table, text_cell
from bench.reporting.section import HERE, render
from bench.reporting.terminal import table_text, wrap_line

TITLES = {QUALITY: "Quality", SPEED: "Speed", MEMORY: "Memory"}
UNCHANGED = (IDENTICAL, WITHIN_THRESHOLD)
MARKS = {WORSE: "bad", FAILED: "bad", BETTER: "best"}
ROUNDING = 1e-6  # bits per byte: below it a change is shown as a power of ten
SMALL_SHARE = 0.0005  # of memory: below it a change is shown in bytes
CHANGE_HELP = "NEW against OLD; speed and memory as a share"
CORRECTION = (
    "Verdicts are corrected for all tested rows (Holm): about 1 % of comparisons of equal "
    "versions claim any change. An interval is that of its row alone, 95 %."
)


def version_page(comparison: VersionComparison, old: Path, new: Path) -> str:
    """Return the page of a comparison as text."""
    return render(
        "versions.html",
        old=str(old),
        new=str(new),
        style=Markup((HERE / "static" / "report.css").read_text(encoding="utf-8")),
        failed=bool(comparison.regressions),
        sentences=answer_sentences(comparison),
        tables=[(TITLES[kind], change_table(comparison, kind)) for kind in _kinds(comparison)],
        correction=CORRECTION,
        notes=comparison.notes,
        uncompared=comparison.uncompared,
        versions=comparison.versions,
    )


def version_csv(comparison: VersionComparison) -> pd.DataFrame:
    """Return a row per change and per thing that was not compared."""
    changes = pd.DataFrame([asdict(one) for one in comparison.changes])
    others = pd.DataFrame([one._asdict() for one in comparison.uncompared])
    return pd.concat([changes, others.assign(verdict="not compared")], ignore_index=True)


def version_text(comparison: VersionComparison) -> str:
    """Return the answer, a table of what changed or was tested, and the notes."""
    blocks = ["\n".join(map(wrap_line, answer_sentences(comparison)))]
    for kind in _kinds(comparison):
        shown = [one for one in _of(comparison, kind) if one.verdict not in UNCHANGED]
        if shown:
            blocks.append(table_text(_table(kind, shown), kind))
    lines = [
        f"not compared: {one.kind}: {one.label}: {one.reason}" for one in comparison.uncompared
    ]
    blocks.append("\n".join(map(wrap_line, [*comparison.notes, *lines])))
    return "\n\n".join(filter(None, blocks))


# --- sentences -----------------------------------------------------------------------------------


def answer_sentences(comparison: VersionComparison) -> list[str]:
    """Return the answer first, then a line per kind: how many rows have which verdict."""
    regressions = comparison.regressions
    names = ", ".join(f"{one.label} ({metric_name(one)} {change_text(one)})" for one in regressions)
    answer = f"{plural(len(regressions), 'regression')} shown: {names}"
    return [answer if regressions else "No regression is shown.", *_counts(comparison)]


def _counts(comparison: VersionComparison) -> Iterator[str]:
    for kind in _kinds(comparison):
        verdicts = [one.verdict for one in _of(comparison, kind)]
        counts = ", ".join(f"{verdicts.count(one)} {one}" for one in dict.fromkeys(verdicts))
        line = f"{TITLES[kind]}: {counts}"
        tested = [o for o in _of(comparison, kind) if o.verdict == NOT_DISTINGUISHABLE]
        if tested:
            least = max(tested, key=lambda one: one.detectable)
            line += (
                f" (the least precise row could have seen {amount_text(least, least.detectable)})"
            )
        yield line if kind in comparison.gate.fail else f"{line}; outside the gate"


def _of(comparison: VersionComparison, kind: str) -> list[Change]:
    return [one for one in comparison.changes if one.kind == kind]


def _kinds(comparison: VersionComparison) -> list[str]:
    return [kind for kind in KINDS if _of(comparison, kind)]


def metric_name(change: Change) -> str:
    """Return what changed, in words."""
    return describe(change.metric).title


def amount_text(change: Change, amount: float) -> str:
    """Return an amount of change: bits per byte, or a share in percent."""
    if change.kind == QUALITY and 0 < abs(amount) < ROUNDING:
        return f"{amount:.0e}".replace("-", MINUS)
    if change.kind == QUALITY:
        half = (change.high - change.low) / 2
        return format_difference(amount, half)
    return f"{format_fixed(100 * amount, 1)} %"


def change_text(change: Change) -> str:
    """Return a change with its sign."""
    if change.verdict == FAILED:
        return change.reason
    sign = "+" if change.change > 0 else ""
    if change.kind == MEMORY and 0 < abs(change.change) < SMALL_SHARE:
        return f"{sign}{format_bytes(change.new - change.old)}".replace("-", MINUS)
    return f"{sign}{amount_text(change, change.change)}"


# --- tables --------------------------------------------------------------------------------------


def change_table(comparison: VersionComparison, kind: str) -> Table:
    """Return the table of one kind, regressions first."""
    return _table(kind, _of(comparison, kind))


def _table(kind: str, rows: Sequence[Change]) -> Table:
    show = {QUALITY: format_fixed, SPEED: format_fixed, MEMORY: format_bytes}[kind]
    what = "ratio in " if kind == SPEED else ""
    columns = [
        Column("architecture", "one row per variant and metric", lambda row: text_cell(row.label)),
        Column("metric", "what was compared", _metric_cell),
        Column(f"{what}OLD", "mean over seeds or processes", _number("old", show)),
        Column(f"{what}NEW", "mean over seeds or processes", _number("new", show)),
        Column("change", CHANGE_HELP, lambda row: Cell(change_text(row), row.change)),
        Column("95 % interval", "of the change", _interval_cell),
        Column("p", "corrected for all tested rows", _number("p", _format_p)),
        Column("verdict", "what is shown", _verdict_cell),
        Column("from", "what was sampled", lambda row: text_cell(row.basis)),
    ]
    return build_table(f"changes-{kind}", columns, rows, drop_empty=True)


def _format_p(p: float) -> str:
    return "<0.001" if p < 0.001 else format_fixed(p)


def _metric_cell(row: Change) -> Cell:
    return text_cell(metric_name(row))


def _number(name: str, show: Callable[[float], str]) -> Callable[[Change], Cell]:
    def cell(row: Change) -> Cell:
        value = getattr(row, name)
        return Cell(show(value), value) if value == value else Cell(NO_VALUE)

    return cell


def _interval_cell(row: Change) -> Cell:
    if row.low != row.low or row.verdict == IDENTICAL:
        return Cell(NO_VALUE)
    low, high = amount_text(row, row.low), amount_text(row, row.high)
    return Cell(f"{low} to {high}", row.low)


def _verdict_cell(row: Change) -> Cell:
    text = row.verdict
    if text == NOT_DISTINGUISHABLE:
        text += f", could have seen {amount_text(row, row.detectable)}"
    if row.reason and not is_regression(row):
        text += f": {REASONS.get(row.reason, row.reason)}"
    return Cell(text, row.verdict, mark=MARKS.get(row.verdict, ""))
