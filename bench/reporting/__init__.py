"""Numbers to page, plots, CSV files and terminal text; formatting only."""

from bench.reporting.build import ComparedSuites, compare_suites, find_suites, make_report
from bench.reporting.csv_safety import SAFE_KEY, parse_safe
from bench.reporting.figures import DEFAULT_FORMATS, FIGURES_KEY, chosen_formats, parse_figures

__all__ = [
    "DEFAULT_FORMATS",
    "FIGURES_KEY",
    "SAFE_KEY",
    "ComparedSuites",
    "chosen_formats",
    "compare_suites",
    "find_suites",
    "make_report",
    "parse_figures",
    "parse_safe",
]
