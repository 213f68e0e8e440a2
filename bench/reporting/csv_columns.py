"""Say what each column of the CSV files holds; a metric's column is explained by the registry."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.analysis import preferences
from bench.analysis.fine_tuning import TASK_VERDICT_COLUMNS
from bench.analysis.scaling import LAW_COLUMNS, SCALING_COLUMNS
from bench.analysis.summary_columns import CSV_NAMES, SUMMARY_COLUMNS
from bench.analysis.time_to_target import TARGET_COLUMNS
from bench.records.metrics import describe
from bench.records.preference_tables import NUMBER_COLUMNS
from bench.records.tables import CURVE_COLUMNS
from bench.records.task_tables import TASK_NUMBER_COLUMNS
from bench.reporting.csv_help import HELP

NAME_COLUMNS = ["row", "label", "control", "family"]  # of every file about rows
RUNS_COLUMNS = (  # those that came later are behind the older ones
    "run,arch,variant,data,size,seed,status,reason,metric,unit,better,sample,value,"
    "note,at,round,protocol,part,objective,machine,sitting,control,row,label,family,"
    "length,batch,position,context"
).split(",")
VERDICT_COLUMNS = (
    "comparison,data,protocol,part,tokenizer,control,better,other,kind,difference,half,p,p_holm,"
    "wins,detectable,seeds_needed,basis,sentence,row,label,family,other_row,other_label,"
    "other_family,size,size_budget,context,tokens_seen"
).split(",")
SPEED_COLUMNS = (
    "machine,sitting,metric,at,arch,subject,median,ratio_to_reference,low,high,clock,claim,"
    "geometric_mean,mean_low,mean_high,rounds,reference,median_low,median_high,"
    "row,label,control,family,length,batch,position"
).split(",")
CROSSING_COLUMNS = (
    "machine,sitting,metric,first,second,faster_below,length,between_low,between_high,lengths,"
    "claim,sentence,row,label,control,family,other_row,other_label,other_family"
).split(",")
REFERENCE_COLUMNS = (
    "comparison,data,data_digest,part,protocol,row,label,control,family,name,sees,as_read,"
    "training_tokens,bits_per_byte,perplexity,validation_nats,note"
).split(",")
DOCUMENT_COLUMNS = ["run", "seed", *NAME_COLUMNS, "document", "bytes", "tokens", "nats"]
SAMPLE_COLUMNS = ["run", "arch", "variant", "seed", *NAME_COLUMNS, "prompt", "generated"]
SALIENCY_COLUMNS = [
    *("run", "arch", "variant", "seed", *NAME_COLUMNS),
    *("nearest", "farthest", "share", "share_error", "predictions"),
]
PREFERENCE_VERDICT_COLUMNS = ["study", *preferences.VERDICT_COLUMNS]
FILES = {
    "summary.csv": [
        *(CSV_NAMES.get(name, name) for name in SUMMARY_COLUMNS),
        "subject",
        "comparison",
        *TARGET_COLUMNS,
    ],
    "runs.csv": RUNS_COLUMNS,
    "curves.csv": [*CURVE_COLUMNS, "row", "control", "family"],
    "documents.parquet": DOCUMENT_COLUMNS,
    "samples.csv": SAMPLE_COLUMNS,
    "saliency.csv": SALIENCY_COLUMNS,
    "verdicts.csv": VERDICT_COLUMNS,
    "references.csv": REFERENCE_COLUMNS,
    "scaling.csv": SCALING_COLUMNS,
    "laws.csv": LAW_COLUMNS,
    "speeds.csv": SPEED_COLUMNS,
    "crossovers.csv": CROSSING_COLUMNS,
    "tasks.csv": TASK_NUMBER_COLUMNS,
    "task_verdicts.csv": TASK_VERDICT_COLUMNS,
    "preferences.csv": NUMBER_COLUMNS,
    "preference_verdicts.csv": PREFERENCE_VERDICT_COLUMNS,
    "columns.csv": ["file", "column", "unit", "better", "help"],
}


if TYPE_CHECKING:
    import pandas as pd


class CsvRow(NamedTuple):
    """One column of a file of the report, for columns.csv and docs/reference.md."""

    file: str
    column: str
    unit: str  # of a metric
    better: str  # higher or lower, of a metric
    help: str


def read_table(path: Path) -> "pd.DataFrame":
    """Return a CSV file of a report with the columns that are not in it as they are empty."""
    import pandas as pd  # late: it is slow to import

    table = pd.read_csv(path)
    return table.reindex(columns=[*dict.fromkeys([*table, *FILES.get(path.name, ())])])


def csv_rows() -> list[CsvRow]:
    """Return every column of every CSV file of a report."""
    return [_describe(file, name) for file, columns in FILES.items() for name in columns]


def _describe(file: str, name: str) -> CsvRow:
    spec = describe(name)
    better = spec.better if spec.better != "neither" else ""
    text = HELP.get(f"{file}:{name}") or HELP.get(name) or spec.help
    return CsvRow(file, name, spec.unit, better, text)
