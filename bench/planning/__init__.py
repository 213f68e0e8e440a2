"""The search for a learning rate: equally many random trials for every architecture, scored where no run is. Imports no torch."""

from bench.planning.search import conclude, confirm, found, open_searches
from bench.planning.search_space import trial

__all__ = ["conclude", "confirm", "found", "open_searches", "trial"]
