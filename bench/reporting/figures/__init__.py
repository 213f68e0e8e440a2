"""Figures for papers and slides, drawn by seaborn from the CSV files of a report."""

from bench.reporting.figures.files import (
    DEFAULT_FORMATS,
    FIGURES_KEY,
    chosen_formats,
    parse_figures,
)

__all__ = ["DEFAULT_FORMATS", "FIGURES_KEY", "chosen_formats", "parse_figures"]
