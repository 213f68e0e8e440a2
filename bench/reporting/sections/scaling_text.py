"""What the scaling laws of a study say, in sentences."""

import math
from collections.abc import Iterator

from bench.analysis.formatting import (
    format_fixed,
    format_large,
    format_number,
    format_percent,
    join_words,
    plural,
)
from bench.analysis.scaling import (
    MAX_MISFIT,
    LawCrossing,
    ScalingStudy,
    count_improving_sizes,
    gain_per_doubling,
    leaders,
)
from bench.stats.scaling_laws import DATA, FLOPS, HORIZON, SIZE

MIN_SHARE = 0.95  # of the bootstrap draws in which the leader has to lead
MAX_NAMED = 3  # crossings in the opening sentences
WITH_MORE = {
    SIZE: "with more parameters",
    DATA: "with more data",
    FLOPS: "with more compute, optimally split",
}
UNITS = {SIZE: "parameters", DATA: "tokens", FLOPS: "training FLOPs"}


def scaling_sentences(study: ScalingStudy) -> list[str]:
    """Return what more data gains, which architecture overtakes which, and what has no law."""
    sentences = [*_data_sentences(study), *_leader_sentences(study)]
    certain = [one for one in study.crossings if is_certain(one) and is_finite(one)]
    certain.sort(key=lambda one: one.meeting.beyond)
    sentences += [crossing_sentence(one) for one in certain[:MAX_NAMED]]
    misfits = [
        f"{one.label} ({format_percent(one.law.spread)})"
        for one in study.series
        if one.law and one.law.spread > MAX_MISFIT
    ]
    if misfits:
        sentences.append(
            f"The law does not fit the measured losses of {join_words(misfits)}: no crossing is "
            "derived from it. Runs that are still in the steep first phase of training follow no "
            "power law."
        )
    bounds = [
        f"{one.label} ({join_words(one.law.at_bound)})"
        for one in study.series
        if one.law and one.law.at_bound
    ]
    if bounds:
        sentences.append(
            f"The fit puts numbers of the law at the bound: {join_words(bounds)}. The measured "
            "points do not determine them, and no crossing is derived from such a law."
        )
    return sentences + [f"{one.label}: {one.reason}." for one in study.series if one.reason]


def _data_sentences(study: ScalingStudy) -> Iterator[str]:
    counts = [count_improving_sizes(one) for one in study.series]
    if not any(sizes for _, sizes in counts):
        return  # no size has several amounts
    amounts = sorted({amount for one in study.series for amount in one.cells["tokens_seen"]})
    span = f"from {format_large(amounts[0])} to {format_large(amounts[-1])} tokens"
    doubling = _doubling_sentence(study)
    if all(improved == sizes for improved, sizes in counts):
        sentence = f"More data was better at every size: each step {span} lowered every mean loss."
        yield sentence + doubling
        return
    exceptions = [
        f"{one.label} ({improved} of {sizes})"
        for one, (improved, sizes) in zip(study.series, counts, strict=True)
        if improved < sizes
    ]
    yield (
        f"More data was not always better {span}: sizes at which each step lowered the mean loss, "
        f"{join_words(exceptions)}.{doubling}"
    )


def _doubling_sentence(study: ScalingStudy) -> str:
    """Return what doubling the data gained each architecture, after a space; empty of none."""
    gains = [(one.label, gain_per_doubling(one)) for one in study.series]
    texts = [f"{change_text(gain)} for {label}" for label, gain in gains if math.isfinite(gain)]
    if not texts:
        return ""
    return f" Doubling the data changed the loss, at the largest size, by {join_words(texts)}."


def _leader_sentences(study: ScalingStudy) -> Iterator[str]:
    """Yield which architecture leads at how many measured points; nothing of one alone."""
    rows = leaders(study)
    if rows.empty:
        return
    counts = rows["label"].value_counts()
    last = rows.sort_values(["budget", "tokens_seen"]).iloc[-1]
    corner = (
        f"at the largest size with the most data {last['label']} leads, by "
        f"{format_fixed(last['ahead'])} {study.unit}"
    )
    if len(counts) == 1:
        points = plural(len(rows), "measured point")
        yield f"{counts.index[0]} has the lowest mean at each of {points}; {corner}."
        return
    shares = join_words([f"{label} at {n} of {len(rows)} points" for label, n in counts.items()])
    yield f"The architecture with the lowest measured mean changes: {shares}; {corner}."


def is_certain(one: LawCrossing) -> bool:
    """Return whether both laws fit inside their bounds, and one leads in enough of the draws."""
    fits = one.spread <= MAX_MISFIT and not one.at_bound
    return fits and one.meeting.agreement >= MIN_SHARE


def is_finite(one: LawCrossing) -> bool:
    return math.isfinite(one.meeting.place)


def held_text(one: LawCrossing) -> str:
    """Return the value of the other of size and data, which is held fixed."""
    if one.axis == FLOPS:
        return ""
    if one.axis == SIZE:
        return f"after {format_large(one.fixed)} tokens"
    return f"at {format_large(one.fixed)} parameters"


def interval_text(one: LawCrossing) -> str:
    low, high = one.meeting.low, one.meeting.high
    if not math.isfinite(low):
        return "in 97.5 % of the draws too"
    far = f"beyond {format_large(HORIZON * one.high)}"
    ends = [format_large(end) if math.isfinite(end) else far for end in (low, high)]
    first = "the smallest measured" if low <= one.low * 1.001 else ends[0]
    return f"95 % interval {first} to {ends[1]}"


def crossing_sentence(one: LawCrossing) -> str:
    """Return which architecture leads, which overtakes it, where, and how sure that is."""
    held = f" {held_text(one)}".rstrip()
    more = WITH_MORE[one.axis]
    if one.meeting.agreement < MIN_SHARE:
        place = f"{format_large(one.low)} {UNITS[one.axis]}{held}"
        return f"Whether {one.leader} or {one.follower} leads at {place} cannot be determined."
    if one.spread > MAX_MISFIT or one.at_bound:
        lead = f"{one.leader} leads {one.follower}{held}"
        return f"{lead}; whether this changes {more} is not predicted."
    if not is_finite(one):
        return (
            f"{one.leader} stays ahead of {one.follower} {more}{held}, up to {HORIZON:g} times the "
            f"largest measured ({interval_text(one)})."
        )
    place = f"at about {format_large(one.meeting.place)} {UNITS[one.axis]}"
    overtakes = f"{one.follower} overtakes {one.leader} {more}{held}, {place}"
    return f"{overtakes} ({interval_text(one)}; {_reach_text(one)})."


def _reach_text(one: LawCrossing) -> str:
    """Tell whether a crossing was measured, or how far beyond the measured range it lies."""
    if one.meeting.beyond <= 1:
        return "within the measured range"
    return f"{format_number(one.meeting.beyond, 2)} times the largest measured: extrapolated"


def change_text(share: float) -> str:
    """Return a share of the loss that was gained as a change of the loss: −2.1 %, +0.3 %."""
    return f"{'−' if share >= 0 else '+'}{format_percent(abs(share))}"
