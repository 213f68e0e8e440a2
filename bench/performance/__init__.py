"""Speed, memory, decoding and state of architectures on a machine, in processes of their own. Imports no torch."""

from bench.performance.session import goes_on, sit
from bench.performance.store import needed

__all__ = ["goes_on", "needed", "sit"]
