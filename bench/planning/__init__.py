"""The search for a learning rate: equally many random trials for every architecture, scored where no run is. Imports no torch."""

from bench.planning.search import apply_search, conclude_searches, has_open_searches, require_search
from bench.planning.search_space import trial_run

__all__ = ["apply_search", "conclude_searches", "has_open_searches", "require_search", "trial_run"]
