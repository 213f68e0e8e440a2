"""What the scaling laws of a study say, in sentences."""

import math
from collections.abc import Iterator

from bench.analysis import formatting as fmt
from bench.analysis import scaling as laws
from bench.stats.scaling_laws import DATA, FLOPS, HORIZON, SIZE

MIN_SHARE = 0.95  # of the bootstrap draws in which the leader has to lead
MAX_NAMED = 3  # crossings in the opening sentences
WITH_MORE = {
    SIZE: "with more parameters",
    DATA: "with more data",
    FLOPS: "with more compute, optimally split",
}


def scaling_sentences(study: laws.ScalingStudy) -> list[str]:
    """Return what more data gains, which architecture overtakes which, and what has no law."""
    certain = [one for one in study.crossings if is_certain(one) and is_finite(one)]
    certain.sort(key=lambda one: one.meeting.beyond)
    sentences = [*_data_sentences(study), *_leader_sentences(study)]
    sentences += map(crossing_sentence, certain[:MAX_NAMED])
    sentences += _misfit_sentences(study)
    return sentences + [f"{one.label}: {one.reason}." for one in study.series if one.reason]


def _misfit_sentences(study: laws.ScalingStudy) -> Iterator[str]:
    fitted = [(one.label, one.law) for one in study.series if one.law]
    misfits = [(label, law.spread) for label, law in fitted if law.spread > laws.MAX_MISFIT]
    if misfits:
        names = [f"{label} ({fmt.format_percent(spread)})" for label, spread in misfits]
        yield (
            f"The law does not fit the measured losses of {fmt.join_words(names)}: no crossing is "
            "derived from it. Runs that are still in the steep first phase of training follow no "
            "power law."
        )
    bounds = [f"{label} ({fmt.join_words(law.at_bound)})" for label, law in fitted if law.at_bound]
    if bounds:
        yield (
            f"The fit puts numbers of the law at the bound: {fmt.join_words(bounds)}. The measured "
            "points do not determine them, and no crossing is derived from such a law."
        )


def _data_sentences(study: laws.ScalingStudy) -> Iterator[str]:
    counts = {one.label: laws.count_improving_sizes(one) for one in study.series}
    if not any(sizes for _, sizes in counts.values()):
        return  # no size has several amounts
    amounts = sorted({amount for one in study.series for amount in one.cells["tokens_seen"]})
    span = f"from {fmt.format_large(amounts[0])} to {fmt.format_large(amounts[-1])} tokens"
    doubling = _doubling_sentence(study)
    exceptions = [f"{label} ({n} of {sizes})" for label, (n, sizes) in counts.items() if n < sizes]
    if exceptions:
        yield (
            f"More data was not always better {span}: sizes at which each step lowered the mean "
            f"loss, {fmt.join_words(exceptions)}.{doubling}"
        )
    else:
        sentence = f"More data was better at every size: each step {span} lowered every mean loss."
        yield sentence + doubling


def _doubling_sentence(study: laws.ScalingStudy) -> str:
    """Return what doubling the data gained each architecture, after a space; empty of none."""
    gains = [(one.label, laws.gain_per_doubling(one)) for one in study.series]
    texts = [f"{change_text(gain)} for {label}" for label, gain in gains if math.isfinite(gain)]
    opening = " Doubling the data changed the loss, at the largest size, by "
    return f"{opening}{fmt.join_words(texts)}." if texts else ""


def _leader_sentences(study: laws.ScalingStudy) -> Iterator[str]:
    """Yield which architecture leads at how many measured points; nothing of one alone."""
    rows = laws.leaders(study)
    if rows.empty:
        return
    counts = rows["label"].value_counts()
    last = rows.sort_values(["budget", "tokens_seen"]).iloc[-1]
    corner = (
        f"at the largest size with the most data {last['label']} leads, by "
        f"{fmt.format_fixed(last['ahead'])} {study.unit}"
    )
    if len(counts) == 1:
        points = fmt.plural(len(rows), "measured point")
        yield f"{counts.index[0]} has the lowest mean at each of {points}; {corner}."
    else:
        shares = [f"{label} at {n} of {len(rows)} points" for label, n in counts.items()]
        lead = f"The architecture with the lowest measured mean changes: {fmt.join_words(shares)}"
        yield f"{lead}; {corner}."


def is_certain(one: laws.LawCrossing) -> bool:
    """Return whether both laws fit inside their bounds, and one leads in enough of the draws."""
    fits = one.spread <= laws.MAX_MISFIT and not one.at_bound
    return fits and one.meeting.agreement >= MIN_SHARE


def is_finite(one: laws.LawCrossing) -> bool:
    return math.isfinite(one.meeting.place)


def held_text(one: laws.LawCrossing) -> str:
    """Return the value of the other of size and data, which is held fixed."""
    fixed = fmt.format_large(one.fixed)
    return {FLOPS: "", SIZE: f"after {fixed} tokens", DATA: f"at {fixed} parameters"}[one.axis]


def interval_text(one: laws.LawCrossing) -> str:
    """Return the interval of a crossing, to the smallest and beyond the largest measured."""
    low, high = one.meeting.low, one.meeting.high
    if not math.isfinite(low):
        return "in 97.5 % of the draws too"
    first = "the smallest measured" if low <= one.low * 1.001 else fmt.format_large(low)
    far = f"beyond {fmt.format_large(HORIZON * one.high)}"
    return f"95 % interval {first} to {fmt.format_large(high) if math.isfinite(high) else far}"


def crossing_sentence(one: laws.LawCrossing) -> str:
    """Return which architecture leads, which overtakes it, where, and how sure that is."""
    held, more = f" {held_text(one)}".rstrip(), WITH_MORE[one.axis]
    if one.meeting.agreement < MIN_SHARE:
        place = f"{fmt.format_large(one.low)} {one.axis}{held}"
        return f"Whether {one.leader} or {one.follower} leads at {place} cannot be determined."
    if one.spread > laws.MAX_MISFIT or one.at_bound:
        lead = f"{one.leader} leads {one.follower}{held}"
        return f"{lead}; whether this changes {more} is not predicted."
    if not is_finite(one):
        return (
            f"{one.leader} stays ahead of {one.follower} {more}{held}, up to {HORIZON:g} times the "
            f"largest measured ({interval_text(one)})."
        )
    place = f"at about {fmt.format_large(one.meeting.place)} {one.axis}"
    overtakes = f"{one.follower} overtakes {one.leader} {more}{held}, {place}"
    return f"{overtakes} ({interval_text(one)}; {_reach_text(one)})."


def _reach_text(one: laws.LawCrossing) -> str:
    if one.meeting.beyond <= 1:
        return "within the measured range"
    return f"{fmt.format_number(one.meeting.beyond, 2)} times the largest measured: extrapolated"


def change_text(share: float) -> str:
    """Return a share of the loss that was gained as a change of the loss: −2.1 %, +0.3 %."""
    return f"{'−' if share >= 0 else '+'}{fmt.format_percent(abs(share))}"
