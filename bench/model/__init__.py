"""Build the shared language model around a backbone, at the width that a budget allows."""

from bench.model.language_model import LanguageModel, build_model, initialise
from bench.model.plugin import (
    PLUGIN_ERRORS,
    ModelBuildError,
    backbone_class,
    describe_error,
    refuse_changes,
)
from bench.model.process_state import unchanged_process
from bench.model.sizing import (
    COUNT_KEYS,
    build_on_meta,
    build_sized_model,
    count_parameters,
    is_offered_width,
    solve_width,
    state_bytes,
    width_for_size,
)

__all__ = [
    "COUNT_KEYS", "PLUGIN_ERRORS", "LanguageModel", "ModelBuildError", "backbone_class",
    "build_model", "build_on_meta", "build_sized_model", "count_parameters", "describe_error",
    "initialise", "is_offered_width", "refuse_changes", "solve_width", "state_bytes",
    "unchanged_process", "width_for_size",
]  # fmt: skip
