"""The charts that are not folded, and the glossary."""

from collections.abc import Mapping, Sequence

from bench.analysis.sessions import DECODE_RATE, TRAIN_RATE, TRAINING_MEMORY
from bench.reporting.charts.loss_curves import loss_curves
from bench.reporting.charts.side_by_side import side_by_side
from bench.reporting.charts.tradeoff import tradeoff
from bench.reporting.main_table import COLUMN_HELP
from bench.reporting.page_data import BATCHED
from bench.reporting.section import Chart, Section, render
from bench.reporting.views import View

ABOUT_ZOOM = "Drag to pan, pinch or Ctrl and wheel to zoom, double-click to reset."
ABOUT_INTERVALS = (
    "Lines are 95 % intervals: of quality over seeds and documents, of rates over rounds and "
    "processes."
)
PANELS = (  # measure, title, whether it starts at zero
    ("quality", "quality", False),
    (TRAIN_RATE, "training, tokens/s", True),
    (DECODE_RATE, "decoding, tokens/s", True),
    (BATCHED, "decoding batched, tokens/s", True),
    (TRAINING_MEMORY, "training memory, bytes", True),
    ("state_bytes", "state, bytes", True),
)


def chart_sections(views: Sequence[View]) -> list[Section]:
    """Return side by side, learning curves, and quality against any measure."""
    beside = Chart("side-by-side", "Side by side", side_by_side(PANELS), ABOUT_INTERVALS)
    curves = Chart("curves", "Learning curves", loss_curves(), ABOUT_ZOOM)
    about = f"Dashed: the rows that no other beats in both. Bars: 95 % intervals. {ABOUT_ZOOM}"
    against = Chart("tradeoff", "Quality against a measure", tradeoff(), about)
    trained = any(view.quality for view in views)
    sections = [
        Section(
            "side",
            "Side by side",
            render("side_by_side.html", chart=beside, panels=PANELS),
            (beside,),
            folded=False,
        )
    ]
    if trained:
        html = render("charts.html", curves=curves, tradeoff=against)
        sections.append(
            Section("figures", "Curves and trade-offs", html, (curves, against), folded=False)
        )
    return sections


def glossary(metrics: Mapping[str, Mapping[str, str]]) -> Section:
    """Return what the measures of the page and the columns of its table mean."""
    measures = [(facts["title"], facts["unit"], facts["help"]) for facts in metrics.values()]
    columns = [(title, "", help) for title, help in COLUMN_HELP.items()]
    entries = sorted(entry for entry in [*measures, *columns] if entry[2])
    return Section("glossary", "Glossary", render("glossary.html", entries=entries))
