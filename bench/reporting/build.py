"""Make a report from records: <results>/<suite>/report/ with its page and its CSV files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.config.errors import UserError

RECORD_PATTERNS = (  # of runs, of fine-tuning, of measurements, of searches, of stages
    "runs/*/config.yaml",
    "tasks/*/config.yaml",
    "measure/*/*/result.json",
    "tune/searches/*.json",
    "preferences/*/config.yaml",
)


def find_suites(root: Path) -> list[Path]:
    """Return the suites at or below a folder; raise UserError where there is none."""
    if not root.is_dir():
        raise UserError(
            f"{root} is not a folder: give results/<suite>, or results/ for every suite below it",
            "no-records",
        )
    suites = [
        folder
        for folder in (root, *sorted(root.iterdir()))
        if any(any(folder.glob(pattern)) for pattern in RECORD_PATTERNS)
    ]
    if not suites:
        raise UserError(
            f"{root} holds no records: a suite has runs/<run>/config.yaml, which python -m "
            "bench.run writes",
            "no-records",
        )
    return [root] if root in suites else suites  # what is below a suite is its own


def make_report(
    root: Path, target: float | None = None, figures: Sequence[str] = (), safe_csv: bool = False
) -> tuple[Path, str]:
    """Write the report of one suite; return the path of its page and its text for a terminal.

    `target`: bits per byte for the time to reach it; by default the best that two rows reach.
    `figures`: formats of the figures for papers, svg, pdf and png; by default none is drawn.
    `safe_csv`: whether text that a spreadsheet would take for a formula gets a quote mark.
    Raise UserError where there is nothing to read, or where it cannot be written.
    """
    from bench.analysis.build import build  # late: --help answers at once
    from bench.records.store import write_text
    from bench.records.tables import read_records
    from bench.reporting.csv_export import csv_tables, write_tables
    from bench.reporting.figures.files import vector_figures, write_figures
    from bench.reporting.markdown import markdown_text
    from bench.reporting.page import render_page
    from bench.reporting.terminal import terminal_text
    from bench.system.files import check_writable

    find_suites(root)
    analysis = build(read_records(root), target)
    folder = root / "report"
    check_writable(folder)
    tables = csv_tables(analysis)
    write_tables(tables, folder, safe_csv)
    name = root.resolve().name
    write_text(folder / "report.md", markdown_text(name, analysis))
    drawn = vector_figures(write_figures(tables, folder / "figures", figures))
    files = [file for file, table in tables.items() if len(table) and file != "columns.csv"]
    write_text(folder / "index.html", render_page(name, analysis, drawn, files))
    return folder / "index.html", terminal_text(analysis)


class ComparedSuites(NamedTuple):
    """What `compare_suites` made."""

    page: Path
    text: str  # for a terminal
    failed: bool  # whether a regression is shown


def compare_suites(
    old: Path, new: Path, fail: tuple[str, ...] = (), thresholds: Mapping[str, float] | None = None
) -> ComparedSuites:
    """Compare two suites; write NEW/report/compare.html and compare.csv.

    `fail`: kinds whose regressions count, of quality, speed and memory; all by default.
    `thresholds`: by kind, what is borne. Raise UserError where nothing can be compared.
    """
    from bench.analysis.compare import DEFAULT_THRESHOLDS, Gate, compare_folders
    from bench.records.store import write_text
    from bench.records.tables import read_records
    from bench.reporting import version_page
    from bench.system.files import check_writable

    before, after = _only_suite(old), _only_suite(new)
    gate = Gate(fail, {**DEFAULT_THRESHOLDS, **(thresholds or {})})
    comparison = compare_folders(read_records(before), read_records(after), gate)
    folder = after / "report"
    check_writable(folder)
    table = version_page.version_csv(comparison)
    write_text(folder / "compare.csv", table.to_csv(index=False))
    write_text(folder / "compare.html", version_page.version_page(comparison, old, new))
    text = version_page.version_text(comparison)
    return ComparedSuites(folder / "compare.html", text, bool(comparison.regressions))


def _only_suite(folder: Path) -> Path:
    suites = find_suites(folder)
    if len(suites) > 1:
        names = ", ".join(suite.name for suite in suites)
        raise UserError(f"{folder} holds several suites: name one of {names}", "invalid-command")
    return suites[0]
