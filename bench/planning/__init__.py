"""Fix what must be known before a run starts: steps for a budget, results of searches."""

from bench.planning.planned import plan
from bench.planning.search import (
    Conclusion,
    apply_search,
    conclude_searches,
    has_open_searches,
    require_search,
)
from bench.planning.search_space import trial_run

__all__ = [
    "Conclusion", "apply_search", "conclude_searches", "has_open_searches", "plan",
    "require_search", "trial_run",
]  # fmt: skip
