"""Fix what must be known before a run starts: steps for a budget, results of searches."""

from bench.planning.budget import (
    TrainingRate,
    apply_plan,
    measured_rates,
    plan_path,
    plan_runs,
    require_plan,
)
from bench.planning.planned import plan, search_trials
from bench.planning.search import (
    Conclusion,
    apply_search,
    conclude_searches,
    has_open_searches,
    require_search,
    search_path,
)
from bench.planning.search_space import draw_trials, trial_run

__all__ = [
    "Conclusion", "TrainingRate", "apply_plan", "apply_search", "conclude_searches", "draw_trials",
    "has_open_searches", "measured_rates", "plan", "plan_path", "plan_runs", "require_plan",
    "require_search", "search_path", "search_trials", "trial_run",
]  # fmt: skip
