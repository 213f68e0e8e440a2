"""What the scaling laws of a study say, in sentences."""

import math

from bench.analysis import scaling as laws
from bench.analysis.formatting import format_percent, join_words
from bench.reporting.sentences import say
from bench.stats.scaling_laws import DATA, FLOPS, SIZE

MAX_NAMED = 3  # crossings in the opening sentences
WITH_MORE = {
    SIZE: "with more parameters",
    DATA: "with more data",
    FLOPS: "with more compute, optimally split",
}


def scaling_sentences(study: laws.ScalingStudy) -> list[str]:
    """Return what more data gains, which architecture overtakes which, and what has no law."""
    certain = [one for one in study.crossings if one.is_certain and one.is_finite]
    certain.sort(key=lambda one: one.meeting.beyond)
    fitted = [(one.label, one.law) for one in study.series if one.law]
    high = [(label, law.spread) for label, law in fitted if law.spread > laws.MAX_MISFIT]
    misfits = [f"{label} ({format_percent(spread)})" for label, spread in high]
    bounds = [f"{label} ({join_words(law.at_bound)})" for label, law in fitted if law.at_bound]
    sentences = [*_opening(study), *map(crossing_sentence, certain[:MAX_NAMED])]
    sentences += say("scaling_limits", misfits, bounds)
    return sentences + [f"{one.label}: {one.reason}." for one in study.series if one.reason]


def _opening(study: laws.ScalingStudy) -> list[str]:
    """Return what more data gained, and which architecture leads at how many measured points."""
    counts = []
    for one in study.series:
        improving, sizes = laws.count_improving_sizes(one)
        text = f"{one.label} ({improving} of {sizes})" if improving < sizes else ""
        counts.append({"sizes": sizes, "exception": text})
    gains = [(one.label, laws.gain_per_doubling(one)) for one in study.series]
    rows = laws.leaders(study).sort_values(["budget", "tokens_seen"])
    amounts = {amount for one in study.series for amount in one.cells["tokens_seen"]}
    texts = [f"{change_text(gain)} for {label}" for label, gain in gains if math.isfinite(gain)]
    leads = [*rows["label"].value_counts().items()]
    corner = rows.iloc[-1] if len(rows) else None
    return say("scaling_opening", study.unit, sorted(amounts), counts, texts, leads, corner)


def held_text(one: laws.LawCrossing) -> str:
    """Return the value of the other of size and data, which is held fixed."""
    return "".join(say("held", one))


def interval_text(one: laws.LawCrossing) -> str:
    """Return the interval of a crossing, to the smallest and beyond the largest measured."""
    return say("interval", one)[0]


def crossing_sentence(one: laws.LawCrossing) -> str:
    """Return which architecture leads, which overtakes it, where, and how sure that is."""
    return say("crossing", one, WITH_MORE[one.axis])[0]


def change_text(share: float) -> str:
    """Return a share of the loss that was gained as a change of the loss: −2.1 %, +0.3 %."""
    return f"{'−' if share >= 0 else '+'}{format_percent(abs(share))}"
