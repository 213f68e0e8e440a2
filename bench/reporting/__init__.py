"""Make the report of a results folder: page, CSV files and the terminal summary."""

from bench.reporting.build import make, suites

__all__ = ["make", "suites"]
