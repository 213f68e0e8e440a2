"""Write, validate, load and select the records of runs and measurements.

Tables of them, which need pandas, are read by `bench.records.tables.read_records`.
"""

from bench.records.loading import RunRecord, load_measurement, load_record, read_json
from bench.records.metrics import Metric, describe, in_section, metric, metric_rows, register
from bench.records.schema import record_rows
from bench.records.source import source_digest, training_source
from bench.records.store import (
    attempt_folders,
    create_record,
    read_result,
    run_status,
    select_folder,
    write_json,
    write_result,
)

__all__ = [
    "Metric", "RunRecord", "attempt_folders", "create_record", "describe", "in_section",
    "load_measurement", "load_record", "metric", "metric_rows", "read_json", "read_result",
    "record_rows", "register", "run_status", "select_folder", "source_digest", "training_source",
    "write_json", "write_result",
]  # fmt: skip
