"""Define a run: its configuration, its identity and the errors that a user can correct."""

from bench.config.errors import Parser, UserError
from bench.config.identity import digest, run_name, workload_id
from bench.config.schema import MeasureConfig, Run, SizeConfig, TrainConfig, run_from_dict

__all__ = [
    "MeasureConfig", "Parser", "Run", "SizeConfig", "TrainConfig", "UserError", "digest",
    "run_from_dict", "run_name", "workload_id",
]  # fmt: skip
