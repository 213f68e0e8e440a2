"""Tables, figures and one page from records alone; writes nothing but <results>/<suite>/report/. Imports no torch."""

from pathlib import Path
from typing import Any

from bench.config import Mistake


def suites(root: Path) -> list[Path]:
    """The suites at or below a folder; Mistake where there is nothing to read."""
    if not root.is_dir():
        raise Mistake(f"{root} is no folder: name results/<suite>, or results/ for every suite below it")
    found = [folder for folder in (root, *sorted(root.iterdir())) if any(folder.glob("runs/*/config.yaml"))]
    if not found:
        raise Mistake(f"{root} holds no records: a suite has runs/<run>/config.yaml; python -m bench.run writes them")
    return found


def _read(root: Path) -> tuple[Any, ...]:
    from bench.reading import read
    from bench.report import comparisons, speeds, tables

    records = read(root)
    sittings = speeds.sittings(records.measures)
    built = tables.build(records, sittings)
    return records, sittings, built, comparisons.comparisons(built)


def make(root: Path) -> tuple[Path, str]:
    """Make the report of one suite again: the path of its page, and its summary as a compact table for a terminal.

    Raises Mistake where there is nothing to read, or where it can not be written.
    """
    from bench.record import check_writable, training_source, write_atomically
    from bench.report import page, tables, terminal

    suites(root)
    records, sittings, built, parts = _read(root)
    folder = root / "report"
    check_writable(folder)
    for name, table in (
        ("summary.csv", tables.summary(built)),
        ("runs.csv", tables.numbers(records, built)),
        ("curves.csv", tables.curves(records)),
    ):
        write_atomically(folder / name, table.to_csv(index=False))
    write_atomically(folder / "index.html", page.render(root.resolve().name, records, built, sittings, parts, training_source()))
    return folder / "index.html", terminal.text(built, parts)
