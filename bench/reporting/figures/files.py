"""Write the figures of a report; seaborn is imported only where there is one to draw."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config.errors import UserError
from bench.config.schema import Run

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("svg", "pdf", "png")
DEFAULT_FORMATS = ("svg",)
FIGURES_KEY = "figures="
NONE = "none"
EMBEDDED = ("side_by_side", "regret", "scaling")  # in the page, where no script runs
logger = logging.getLogger(__name__)


def parse_figures(words: Sequence[str]) -> tuple[str, ...]:
    """Return the formats of the last `figures=…`; raise UserError for one that is not written."""
    if not words:
        return DEFAULT_FORMATS
    names = words[-1].removeprefix(FIGURES_KEY).split(",")
    if names == [NONE]:
        return ()
    if not set(names) <= set(FORMATS):
        raise UserError(
            f"{words[-1]} names no format: give {NONE}, or some of {', '.join(FORMATS)} with "
            "commas between them, as in figures=pdf,png"
        )
    return tuple(dict.fromkeys(names))


def chosen_formats(run: Run) -> tuple[str, ...]:
    """Return the formats that a run's `figures` names."""
    return () if run.figures == NONE else (run.figures,)


def write_figures(
    tables: "Mapping[str, pd.DataFrame]", folder: Path, formats: Sequence[str]
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
