"""Write the figures of a report; seaborn is imported only where there is one to draw."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from bench.reporting.figures.formats import FORMATS

EMBEDDED = ("side_by_side", "regret", "scaling")  # in the page, where no script runs
logger = logging.getLogger(__name__)


def write_figures(
    tables: Mapping[str, pd.DataFrame], folder: Path, formats: Sequence[str]
) -> dict[str, list[Path]]:
    """Draw every figure that the tables hold numbers for; return its files by its name.

    `tables`: the CSV files of a report by name. Figures of an earlier report are removed, so that
    none is older than the CSV files beside it.
    """
    for path in (one for suffix in FORMATS for one in folder.glob(f"*.{suffix}")):
        path.unlink()
    if not formats:
        return {}
    from bench.reporting.figures.drawing import draw_figures  # late: imports seaborn, 2 s
    from bench.reporting.figures.style import save_figure

    folder.mkdir(exist_ok=True)
    files = {}
    for name, figure in draw_figures(tables):
        files[name] = [folder / f"{name}.{suffix}" for suffix in formats]
        save_figure(figure, files[name])
    logger.info("figures: %d in %s", len(files), folder)
    return files


def vector_figures(files: Mapping[str, Sequence[Path]]) -> dict[str, Path]:
    """Return the SVG files by name, those that a page without a script holds first."""
    paths = {name: path for name, own in files.items() for path in own if path.suffix == ".svg"}
    return dict(sorted(paths.items(), key=lambda item: item[0] not in EMBEDDED))
