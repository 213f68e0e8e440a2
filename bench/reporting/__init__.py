"""Numbers to page, plots, CSV files and terminal text; formatting only."""

from bench.reporting.build import ComparedSuites, compare_suites, find_suites, make_report

__all__ = ["ComparedSuites", "compare_suites", "find_suites", "make_report"]
