"""Turn records into comparable numbers: no HTML, plotting or colour."""

from bench.analysis.aggregate import VariantTables, aggregate_variants, summary_table
from bench.analysis.answer import Answer, Gap, Rank
from bench.analysis.badges import Badge
from bench.analysis.build import Analysis, build
from bench.analysis.comparisons import Comparison
from bench.analysis.crossovers import SpeedPair
from bench.analysis.scaling import ScalingSeries, ScalingStudy, laws_table, scaling_table
from bench.analysis.sessions import MeasuredSession
from bench.analysis.speed_groups import SpeedGroup
from bench.analysis.time_to_target import Target, parse_target, target_columns
from bench.analysis.verdicts import Verdicts

__all__ = [
    "Analysis", "Answer", "Badge", "Comparison", "Gap", "MeasuredSession", "Rank", "ScalingSeries",
    "ScalingStudy", "SpeedGroup", "SpeedPair", "Target", "VariantTables", "Verdicts",
    "aggregate_variants", "build", "laws_table", "parse_target", "scaling_table", "summary_table",
    "target_columns",
]  # fmt: skip
