"""Which figures a command asks for."""

from collections.abc import Sequence

from bench.config.errors import UserError
from bench.config.schema import Run

FORMATS = ("svg", "pdf", "png")
DEFAULT_FORMATS = ("svg",)
FIGURES_KEY = "figures="
NONE = "none"


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
