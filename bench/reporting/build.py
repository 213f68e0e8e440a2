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
    from bench.analysis import (
        aggregate,
        comparisons,
        crossovers,
        scaling,
        sessions,
        speed_groups,
        time_to_target,
    )
    from bench.records.source import training_source
    from bench.records.store import write_text
    from bench.records.tables import read_records
    from bench.reporting import csv_export, page, terminal
    from bench.system.files import check_writable

    find_suites(root)
    records = read_records(root)
    sittings = sessions.build_sessions(records.measures, records.calibrations)
    built = aggregate.aggregate_variants(records, sittings)
    parts, stale = comparisons.build_comparisons(built), page.stale_rows(built, training_source())
    measured = [
        (group, crossovers.speed_pairs(group))
        for group in speed_groups.build_groups(sittings, parts, stale)
    ]
    aims, scales = (
        time_to_target.build_targets(parts, built, records.curves, target),
        scaling.scaling_studies(built),
    )
    folder = root / "report"
    check_writable(folder)
    for name, table in (
        ("summary.csv", aggregate.summary_table(built, time_to_target.target_columns(aims))),
        ("runs.csv", csv_export.runs_table(records, built)),
        ("curves.csv", csv_export.curves_table(records)),
        ("verdicts.csv", csv_export.verdicts_table(parts)),
        ("scaling.csv", scaling.scaling_table(scales)),
        ("laws.csv", scaling.laws_table(scales)),
        ("speeds.csv", csv_export.speeds_table(sittings)),
        ("crossovers.csv", csv_export.crossovers_table(measured)),
    ):
        write_text(folder / name, table.to_csv(index=False))
    text = page.render_page(
        root.resolve().name,
        records,
        built,
        sittings,
        parts,
        measured,
        stale,
        page.CurveResults(aims, scales),
    )
    write_text(folder / "index.html", text)
    return folder / "index.html", terminal.terminal_text(
        built, parts, measured, scales, terminal.excluded_lines(records)
    )
