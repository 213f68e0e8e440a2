"""Speed, memory, decoding and state of architectures on a machine, in processes of their own. Imports no torch."""

from bench.measure.filing import needed
from bench.measure.sitting import goes_on, sit

__all__ = ["goes_on", "needed", "sit"]
