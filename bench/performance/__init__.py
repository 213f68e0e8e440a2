"""Measure speed, memory, decoding and energy in interleaved worker processes. Imports no torch."""

from bench.performance.session import (
    exclusive_session,
    is_session_running,
    measure_runs,
    run_session,
)
from bench.performance.store import needs_measuring

__all__ = [
    "exclusive_session",
    "is_session_running",
    "measure_runs",
    "needs_measuring",
    "run_session",
]
