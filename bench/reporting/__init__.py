"""Make the report of a results folder: page, CSV files and the terminal summary."""

from bench.reporting.build import find_suites, make_report

__all__ = ["find_suites", "make_report"]
