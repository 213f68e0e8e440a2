"""Draw all figures of a report, one after another."""

import logging
from collections.abc import Iterator, Mapping
from itertools import chain

import pandas as pd
from matplotlib.figure import Figure

from bench.reporting.figures.curves import learning_curves, loss_by_context, speed_by_length
from bench.reporting.figures.scaling import regret_figure, scaling_figures
from bench.reporting.figures.side_by_side import (
    quality_against_memory,
    quality_against_speed,
    side_by_side,
)
from bench.reporting.figures.style import figure_style
from bench.reporting.figures.tables import read_groups

logger = logging.getLogger(__name__)
MAKERS = (
    side_by_side, quality_against_speed, quality_against_memory, learning_curves, loss_by_context,
    speed_by_length,
)  # fmt: skip


def draw_figures(tables: Mapping[str, pd.DataFrame]) -> Iterator[tuple[str, Figure]]:
    """Yield the name of each figure and the figure; those without two numbers are left out."""
    with figure_style():
        groups, left = read_groups(tables)
        if left:
            logger.info("figures: %d further comparisons are in the CSV files alone", left)
        for group in groups:
            for make in MAKERS:
                figure = make(group)
                if figure is not None:
                    yield f"{make.__name__}{group.suffix}", figure
        yield from chain(scaling_figures(tables), regret_figure(tables))
