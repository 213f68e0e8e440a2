"""Compute everything that a report shows: records in, one frozen object out."""

from dataclasses import dataclass

from bench.analysis.aggregate import VariantTables, aggregate_variants
from bench.analysis.answer import Answer
from bench.analysis.answers import build_answers
from bench.analysis.comparisons import Comparison, build_comparisons
from bench.analysis.fine_tuning import TaskTable, build_task_tables
from bench.analysis.preferences import PreferenceStudy, build_studies
from bench.analysis.scaling import ScalingStudy, scaling_studies
from bench.analysis.session_builder import build_sessions
from bench.analysis.sessions import MeasuredSession
from bench.analysis.speed_groups import SpeedGroup, build_groups
from bench.records.tables import Records


@dataclass(frozen=True)
class Analysis:
    """Everything that is computed from the records of one results folder."""

    records: Records
    variants: VariantTables
    sessions: list[MeasuredSession]
    comparisons: list[Comparison]  # the largest first
    groups: list[SpeedGroup]  # of each session those architectures that may be compared
    studies: list[ScalingStudy]
    answers: tuple[Answer, ...]  # of each comparison, in its order
    preferences: list[PreferenceStudy]  # the largest first
    tasks: list[TaskTable]  # by name of the task


def build(records: Records, target: float | None = None) -> Analysis:
    """Analyse the records.

    `target`: bits per byte for the time to reach it; by default the best that two variants reach.
    """
    sessions = build_sessions(records.measures, records.calibrations)
    variants = aggregate_variants(records, sessions)
    comparisons = build_comparisons(records, variants, sessions, target)
    groups = build_groups(sessions, comparisons)
    answers = build_answers(comparisons, groups)
    studies = scaling_studies(variants)
    return Analysis(
        *(records, variants, sessions, comparisons, groups, studies, answers),
        preferences=build_studies(records.preferences),
        tasks=build_task_tables(records.tasks),
    )
