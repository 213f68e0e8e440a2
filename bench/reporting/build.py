"""Tables, figures and one page from records alone; writes nothing but <results>/<suite>/report/. Imports no torch."""

from pathlib import Path

from bench.config.errors import UserError


def find_suites(root: Path) -> list[Path]:
    """The suites at or below a folder; UserError where there is nothing to read."""
    if not root.is_dir():
        raise UserError(
            f"{root} is no folder: name results/<suite>, or results/ for every suite below it"
        )
    held = [
        folder
        for folder in (root, *sorted(root.iterdir()))
        if any(any(folder.glob(record)) for record in RECORD_PATTERNS)
    ]
    found = [root] if root in held else held  # what lies below a suite is its own
    if not found:
        raise UserError(
            f"{root} holds no records: a suite has runs/<run>/config.yaml; python -m bench.run writes them"
        )
    return found


RECORD_PATTERNS = (
    "runs/*/config.yaml",
    "measure/*/*/result.json",
    "tune/searches/*.json",
)  # of a run, of a measurement, of a search


def make_report(root: Path, target: float | None = None) -> tuple[Path, str]:
    """Make the report of one suite again: the path of its page, and its summary as a compact table for a terminal.

    `target`: the bits per byte that the time to reach is told of; without one, the best that two rows reach.

    Raises UserError where there is nothing to read, or where it can not be written.
    """
    from bench.analysis import aggregate, scaling, time_to_target
    from bench.analysis.build import build
    from bench.records.store import write_text
    from bench.records.tables import read_records
    from bench.reporting import csv_export, page, terminal
    from bench.system.files import check_writable

    find_suites(root)
    results = build(read_records(root), target)
    targets = [one for part in results.comparisons for one in part.targets]
    folder = root / "report"
    check_writable(folder)
    for name, table in (
        (
            "summary.csv",
            aggregate.summary_table(results.variants, time_to_target.target_columns(targets)),
        ),
        ("runs.csv", csv_export.runs_table(results.records, results.variants)),
        ("curves.csv", csv_export.curves_table(results.records)),
        ("verdicts.csv", csv_export.verdicts_table(results.comparisons)),
        ("scaling.csv", scaling.scaling_table(results.studies)),
        ("laws.csv", scaling.laws_table(results.studies)),
        ("speeds.csv", csv_export.speeds_table(results.sessions)),
        ("crossovers.csv", csv_export.crossovers_table(results.groups)),
    ):
        write_text(folder / name, table.to_csv(index=False))
    write_text(folder / "index.html", page.render_page(root.resolve().name, results))
    return folder / "index.html", terminal.terminal_text(results)
