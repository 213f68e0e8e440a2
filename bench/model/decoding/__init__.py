"""Decode token by token: through the model as it is, or through its step compiled for a CPU."""

from bench.model.decoding.compiled import (
    REPAID_TOKENS,
    CompiledStep,
    Step,
    check_machine,
    compiled_step,
)

__all__ = [
    "REPAID_TOKENS",
    "CompiledStep",
    "Step",
    "check_machine",
    "compiled_step",
]
