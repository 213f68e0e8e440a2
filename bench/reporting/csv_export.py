"""The CSV files behind the page, and what each of their columns holds.

A metric's column is explained by the registry, others by static/columns.txt.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from bench.analysis import preferences
from bench.analysis.aggregate import summary_table
from bench.analysis.build import Analysis
from bench.analysis.fine_tuning import TASK_VERDICT_COLUMNS
from bench.analysis.scaling_csv import LAW_COLUMNS, SCALING_COLUMNS, laws_table, scaling_table
from bench.analysis.summary_columns import CSV_NAMES, SUMMARY_COLUMNS
from bench.analysis.time_to_target import TARGET_COLUMNS, target_columns
from bench.records.metrics import describe
from bench.records.preference_tables import NUMBER_COLUMNS
from bench.records.store import write_parquet, write_text
from bench.records.tables import CURVE_COLUMNS
from bench.records.task_tables import TASK_NUMBER_COLUMNS
from bench.reporting import csv_records
from bench.reporting.csv_records import NAME_COLUMNS
from bench.reporting.csv_safety import quote_formulas
from bench.reporting.section import HERE, read_helps

SUMMARY_NAMES = [CSV_NAMES.get(name, name) for name in SUMMARY_COLUMNS]
LISTS = yaml.safe_load((HERE / "static" / "files.yaml").read_text(encoding="utf-8"))
FILES = {
    "summary.csv": [*SUMMARY_NAMES, "subject", "comparison", *TARGET_COLUMNS],
    "curves.csv": [*CURVE_COLUMNS, "row", "control", "family"],
    "scaling.csv": SCALING_COLUMNS,
    "laws.csv": LAW_COLUMNS,
    "tasks.csv": TASK_NUMBER_COLUMNS,
    "task_verdicts.csv": TASK_VERDICT_COLUMNS,
    "preferences.csv": NUMBER_COLUMNS,
    "preference_verdicts.csv": ["study", *preferences.VERDICT_COLUMNS],
    **{name: columns.split() for name, columns in LISTS.items()},
}


class CsvRow(NamedTuple):
    """One column of a file of the report, for columns.csv and docs/reference.md."""

    file: str
    column: str
    unit: str  # of a metric
    better: str  # higher or lower, of a metric
    help: str


def read_table(path: Path) -> pd.DataFrame:
    """Return a CSV file of a report with the columns that are not in it as they are empty."""
    table = pd.read_csv(path)
    return table.reindex(columns=[*dict.fromkeys([*table, *FILES.get(path.name, ())])])


def csv_rows() -> list[CsvRow]:
    """Return every column of every CSV file of a report."""
    helps, rows = read_helps("columns.txt"), []  # by file and name where files differ
    for file, columns in FILES.items():
        for name in columns:
            spec = describe(name)
            better = spec.better if spec.better != "neither" else ""
            help = helps.get(f"{file}:{name}") or helps.get(name) or spec.help
            rows.append(CsvRow(file, name, spec.unit, better, help))
    return rows


SHARED_COLUMNS = (  # by the rows of a table
    "data", "protocol", "part", "tokenizer", "size", "matched", "context", "tokens_seen",
)  # fmt: skip


def csv_tables(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """Return the tables by the name of their file, each with all columns that it may have."""
    records, variants, subjects = analysis.records, analysis.variants, _subject_names(analysis)
    tables = {
        "summary.csv": _summary(analysis),
        "runs.csv": csv_records.runs_table(records, variants),
        "curves.csv": csv_records.curves_table(records, variants),
        "documents.parquet": csv_records.documents_table(records, variants),
        "samples.csv": csv_records.samples_table(variants),
        "saliency.csv": csv_records.saliency_table(records, variants),
        "verdicts.csv": _verdicts(analysis),
        "references.csv": pd.DataFrame(_reference_rows(analysis)),
        "scaling.csv": scaling_table(analysis.studies),
        "laws.csv": laws_table(analysis.studies),
        "speeds.csv": _speeds(analysis, subjects),
        "crossovers.csv": _crossovers(analysis, subjects),
        "tasks.csv": records.tasks.numbers,
        "task_verdicts.csv": _concat([table.verdicts for table in analysis.tasks]),
        "preferences.csv": records.preferences.numbers,
        "preference_verdicts.csv": _concat(
            [study.verdicts.assign(study=study.name) for study in analysis.preferences]
        ),
        "columns.csv": pd.DataFrame(csv_rows(), columns=CsvRow._fields),
    }
    return {name: table.reindex(columns=FILES[name]) for name, table in tables.items()}


def write_tables(tables: Mapping[str, pd.DataFrame], folder: Path, safe: bool) -> None:
    """Write the tables without columns that are empty throughout.

    `safe`: a quote mark goes before text that a spreadsheet would take for a formula.
    """
    for name, table in tables.items():
        filled = table[[column for column in table if table.empty or _is_filled(table[column])]]
        if name.endswith(".parquet"):
            write_parquet(folder / name, filled)
        else:
            shown = quote_formulas(filled) if safe else filled
            write_text(folder / name, shown.to_csv(index=False))


def _is_filled(column: "pd.Series[Any]") -> bool:
    return bool((column.notna() & column.ne("")).any())


def _concat(tables: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled) if filled else pd.DataFrame()


def _summary(analysis: Analysis) -> pd.DataFrame:
    parts = analysis.comparisons
    targets = target_columns([target for part in parts for target in part.targets])
    names = {row: part.name for part in parts for row in part.rows.index}
    comparison = pd.Series(names, dtype=object).reindex(analysis.variants.summary.index)
    more = analysis.variants.summary[["subject"]].assign(comparison=comparison)
    return summary_table(analysis.variants, more.join(targets))


def _subject_names(analysis: Analysis) -> pd.DataFrame:
    """Return by measured subject the names of the first row that it was measured for."""
    runs = csv_records.named_runs(analysis.variants)
    runs = runs[~runs["control"].astype(bool)].drop_duplicates("subject").set_index("subject")
    families = {
        subject: about.get("family", "")
        for one in analysis.sessions
        for subject, about in one.described.items()
    }
    described = {
        subject: (f"{arch}-{subject}", arch, False, families.get(subject, ""))
        for one in analysis.sessions
        for subject, arch in one.arches.items()
        if subject not in runs.index
    }
    others = pd.DataFrame.from_dict(described, orient="index", columns=NAME_COLUMNS)
    return pd.concat([one for one in (runs[NAME_COLUMNS], others) if len(one)] or [others])


def _speeds(analysis: Analysis, subjects: pd.DataFrame) -> pd.DataFrame:
    rows = [row for one in analysis.sessions for row in csv_records.speed_rows(one)]
    table = csv_records.with_places(pd.DataFrame(rows), [row["at"] for row in rows])
    return table.join(subjects[NAME_COLUMNS], on="subject") if rows else table


def _crossovers(analysis: Analysis, subjects: pd.DataFrame) -> pd.DataFrame:
    rows = [row for group in analysis.groups for row in csv_records.crossing_rows(group)]
    if not rows:
        return pd.DataFrame()
    others = subjects[["row", "label", "family"]].add_prefix("other_")
    table = pd.DataFrame(rows).join(subjects[NAME_COLUMNS], on="first_subject")
    return table.join(others, on="second_subject")


def _verdicts(analysis: Analysis) -> pd.DataFrame:
    """Return a row per pair; `better` has the lower mean, whatever the verdict. Bits per byte."""
    columns = {
        "adjusted": "p_holm", "needed": "seeds_needed", "row": "first_row",
        "other_row": "second_row", "label": "better", "other_label": "other",
    }  # fmt: skip
    tables = []
    for part in analysis.comparisons:
        for rows, verdicts in zip(part.likelihoods, part.verdicts, strict=True):
            names = rows[["row_key", "label", "family"]].rename(columns={"row_key": "row"})
            shared = {name: rows[name].iloc[0] for name in SHARED_COLUMNS}
            pairs = verdicts.pairs.rename(columns=columns).join(names, on="first_row")
            pairs = pairs.join(names.add_prefix("other_"), on="second_row")
            tables.append(pairs.assign(comparison=part.name, **shared))
    table = pd.concat(tables) if tables else pd.DataFrame()
    return table.rename(columns={"matched": "size_budget"})


def _reference_rows(analysis: Analysis) -> Iterator[dict[str, Any]]:
    """Yield a row per reference line of each table of scores."""
    for part in analysis.comparisons:
        for table, baselines in zip(part.likelihoods, part.baselines, strict=True):
            shared = table[["data", "data_digest", "part", "protocol"]].iloc[0]
            for line in baselines.lines:
                about = {"comparison": part.name, "row": line.name, "label": line.name}
                own = {**line._asdict(), "sees": line.context}
                yield {**shared, **own, **about, "control": False, "family": "baseline"}
