"""Numbers to page, plots, CSV files and terminal text; formatting only."""

from bench.reporting.build import find_suites, make_report

__all__ = ["find_suites", "make_report"]
