"""Define a run: its configuration, its identity and the errors that a user can correct."""

from bench.config.errors import REASONS, Parser, UserError, nearest
from bench.config.identity import (
    architecture_id,
    digest,
    record_group,
    run_name,
    variant,
    weights_key,
    workload_id,
)
from bench.config.reference import ConfigRow, config_rows
from bench.config.schema import (
    ControlConfig,
    DataConfig,
    EvaluateConfig,
    MeasureConfig,
    ObjectiveConfig,
    OptimizerConfig,
    Run,
    SizeConfig,
    SyntheticConfig,
    TaskConfig,
    TrainConfig,
    TuneConfig,
    run_from_dict,
)
from bench.config.validation import validate_run

__all__ = [
    "REASONS", "ConfigRow", "ControlConfig", "DataConfig", "EvaluateConfig", "MeasureConfig",
    "ObjectiveConfig", "OptimizerConfig", "Parser", "Run", "SizeConfig", "SyntheticConfig",
    "TaskConfig", "TrainConfig", "TuneConfig", "UserError", "architecture_id", "config_rows",
    "digest", "nearest", "record_group", "run_from_dict", "run_name", "validate_run", "variant",
    "weights_key", "workload_id",
]  # fmt: skip
