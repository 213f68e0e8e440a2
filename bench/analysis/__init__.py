"""Turn records into comparable numbers: no HTML, plotting or colour."""

from bench.analysis.answer import Answer
from bench.analysis.build import Analysis, build
from bench.analysis.comparisons import Comparison
from bench.analysis.verdicts import Verdicts

__all__ = ["Analysis", "Answer", "Comparison", "Verdicts", "build"]
