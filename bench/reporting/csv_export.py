"""The CSV files behind the page: every sample, logged step, verdict, ratio and crossing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.analysis.aggregate import summary_table
from bench.analysis.build import Analysis
from bench.analysis.comparisons import Comparison
from bench.analysis.fine_tuning import TASK_VERDICT_COLUMNS
from bench.analysis.preferences import PreferenceStudy
from bench.analysis.scaling import laws_table, scaling_table
from bench.analysis.sessions import MeasuredSession
from bench.analysis.time_to_target import target_columns
from bench.analysis.verdicts import Verdicts
from bench.records.preference_tables import NUMBER_COLUMNS
from bench.records.store import write_parquet, write_text
from bench.records.task_tables import TASK_NUMBER_COLUMNS
from bench.reporting.csv_columns import (
    NAME_COLUMNS,
    PREFERENCE_VERDICT_COLUMNS,
    REFERENCE_COLUMNS,
    VERDICT_COLUMNS,
    CsvRow,
    csv_rows,
)
from bench.reporting.csv_runs import (
    curves_table,
    documents_table,
    named_runs,
    runs_table,
    saliency_table,
    samples_table,
)
from bench.reporting.csv_safety import quote_formulas
from bench.reporting.csv_speeds import crossovers_table, speeds_table

__all__ = ["csv_rows", "csv_tables", "write_tables"]

SHARED_COLUMNS = (  # by the rows of a table
    "data", "protocol", "part", "tokenizer", "size", "matched", "context", "tokens_seen",
)  # fmt: skip


def csv_tables(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """Return the tables by the name of their file, each with all columns that it may have."""
    parts, records, variants = analysis.comparisons, analysis.records, analysis.variants
    subjects = _subject_names(analysis)
    return {
        "summary.csv": _summary(analysis),
        "runs.csv": runs_table(records, variants),
        "curves.csv": curves_table(records, variants),
        "documents.parquet": documents_table(records, variants),
        "samples.csv": samples_table(variants),
        "saliency.csv": saliency_table(records, variants),
        "verdicts.csv": verdicts_table(parts),
        "references.csv": references_table(parts),
        "scaling.csv": scaling_table(analysis.studies),
        "laws.csv": laws_table(analysis.studies),
        "speeds.csv": speeds_table(analysis.sessions, subjects),
        "crossovers.csv": crossovers_table(analysis.groups, subjects),
        **_later_tables(analysis),
        "columns.csv": pd.DataFrame(csv_rows(), columns=CsvRow._fields),
    }


def write_tables(tables: Mapping[str, pd.DataFrame], folder: Path, safe: bool) -> None:
    """Write the tables without columns that are empty throughout.

    `safe`: a quote mark goes before text that a spreadsheet would take for a formula.
    """
    for name, table in tables.items():
        filled = table[[column for column in table if len(table) == 0 or _is_filled(table[column])]]
        if name.endswith(".parquet"):
            write_parquet(folder / name, filled)
        else:
            shown = quote_formulas(filled) if safe else filled
            write_text(folder / name, shown.to_csv(index=False))


def _is_filled(column: "pd.Series[Any]") -> bool:
    return bool((column.notna() & column.ne("")).any())


def _summary(analysis: Analysis) -> pd.DataFrame:
    parts = analysis.comparisons
    targets = target_columns([target for part in parts for target in part.targets])
    names = {row: part.name for part in parts for row in part.rows.index}
    comparison = pd.Series(names, dtype=object).reindex(analysis.variants.summary.index)
    more = analysis.variants.summary[["subject"]].assign(comparison=comparison)
    return summary_table(analysis.variants, more.join(targets))


def _subject_names(analysis: Analysis) -> pd.DataFrame:
    """Return by measured subject the names of the first row that it was measured for."""
    runs = named_runs(analysis.variants)
    runs = runs[~runs["control"].astype(bool)].drop_duplicates("subject").set_index("subject")
    names = runs[NAME_COLUMNS]
    described = {
        subject: (f"{arch}-{subject}", arch, False, _family(session, subject))
        for session in analysis.sessions
        for subject, arch in session.arches.items()
        if subject not in names.index
    }
    others = pd.DataFrame.from_dict(described, orient="index", columns=NAME_COLUMNS)
    return pd.concat([one for one in (names, others) if len(one)] or [names])


def _family(session: MeasuredSession, subject: str) -> str:
    return str(session.described.get(subject, {}).get("family", ""))


def verdicts_table(parts: Sequence[Comparison]) -> pd.DataFrame:
    """Return a row per pair; `better` has the lower mean, whatever the verdict. Bits per byte."""
    tables = [
        _named_pairs(rows, verdicts).assign(
            comparison=part.name, **{name: rows[name].iloc[0] for name in SHARED_COLUMNS}
        )
        for part in parts
        for rows, verdicts in zip(part.likelihoods, part.verdicts, strict=True)
    ]
    table = pd.concat(tables) if tables else pd.DataFrame()
    return table.rename(columns={"matched": "size_budget"}).reindex(columns=VERDICT_COLUMNS)


def _named_pairs(rows: pd.DataFrame, verdicts: Verdicts) -> pd.DataFrame:
    """Return the pairs with the key, label and family of both rows."""
    names = rows[["row_key", "label", "family"]].rename(columns={"row_key": "row"})
    columns = {
        "adjusted": "p_holm",
        "needed": "seeds_needed",
        "row": "first_row",
        "other_row": "second_row",
    }
    pairs = verdicts.pairs.rename(columns=columns)
    pairs = pairs.assign(better=pairs["label"], other=pairs["other_label"])
    pairs = pairs.drop(columns=["label", "other_label"]).join(names, on="first_row")
    return pairs.join(names.add_prefix("other_"), on="second_row")


def references_table(parts: Sequence[Comparison]) -> pd.DataFrame:
    """Return a row per reference line of each table of scores."""
    rows = [
        {
            **{name: table[name].iloc[0] for name in ("data", "data_digest", "part", "protocol")},
            **line._asdict(),
            "comparison": part.name,
            "row": line.name,
            "label": line.name,
            "control": False,
            "family": "baseline",
        }
        for part in parts
        for table, baselines in zip(part.likelihoods, part.baselines, strict=True)
        for line in baselines.lines
    ]
    table = pd.DataFrame(rows)
    return table.rename(columns={"context": "sees"}).reindex(columns=REFERENCE_COLUMNS)


def _later_tables(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """Return the tables of what starts from runs: fine-tuning, and learning from preferences."""
    verdicts = [table.verdicts for table in analysis.tasks if len(table.verdicts)]
    pairs = pd.concat(verdicts) if verdicts else pd.DataFrame()
    learned = analysis.records.preferences.numbers
    return {
        "tasks.csv": analysis.records.tasks.numbers.reindex(columns=TASK_NUMBER_COLUMNS),
        "task_verdicts.csv": pairs.reindex(columns=TASK_VERDICT_COLUMNS),
        "preferences.csv": learned.reindex(columns=NUMBER_COLUMNS),
        "preference_verdicts.csv": preference_verdicts(analysis.preferences),
    }


def preference_verdicts(studies: Sequence[PreferenceStudy]) -> pd.DataFrame:
    """Return a row per pair of architectures, KL and measure of each study."""
    tables = [study.verdicts.assign(study=study.name) for study in studies]
    table = pd.concat(tables) if tables else pd.DataFrame()
    return table.reindex(columns=PREFERENCE_VERDICT_COLUMNS)
