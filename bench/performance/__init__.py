"""Speed, memory, decoding and state of architectures on a machine, in processes of their own. Imports no torch."""

from bench.performance.session import is_session_running, run_session
from bench.performance.store import needs_measuring

__all__ = ["is_session_running", "needs_measuring", "run_session"]
