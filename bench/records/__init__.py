"""Write, validate, load and select the records of runs and measurements.

Tables of them, which need pandas, are read by `bench.records.tables.read_records`.
"""

from bench.records.loading import RunRecord, load_measurement, load_record, read_json
from bench.records.metrics import Metric, metric, register
from bench.records.store import run_status, write_json, write_result

__all__ = [
    "Metric", "RunRecord", "load_measurement", "load_record", "metric", "read_json", "register",
    "run_status", "write_json", "write_result",
]  # fmt: skip
