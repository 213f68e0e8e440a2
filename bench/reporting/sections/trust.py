"""How far a sitting may be trusted, in words: the A/A pair, the doctor, depth and rounds, what else the machine was doing."""

from collections.abc import Mapping
from statistics import median
from typing import Any

from bench.analysis.formatting import format_fixed, format_number, join_words, plural
from bench.analysis.sessions import RATES, MeasuredSession, scalar_point
from bench.analysis.speed_groups import SpeedGroup
from bench.stats.intervals import AA_BOUNDS, Ratio, aa_allows_claims

VERBS = {
    "train_tokens_per_second": "training",
    "prefill_tokens_per_second": "reading a prompt",
    "decode_tokens_per_second": "decoding",
}
NO_CLAIM = "No speed claim on this machine today"
CLOCKS = "The wall clock ranks: it is what a user waits for. CPU time stands beside it: a neighbour does not lengthen it."


def span(pair: Ratio) -> str:
    return f"{format_fixed(pair.value)} ({format_fixed(pair.low)} to {format_fixed(pair.high)})"


def no_claim_reason(sitting: MeasuredSession, metric: str) -> tuple[str, str]:
    """Why no claim may be made about a rate, with {} for what the A/A pair gave; and that. Both are empty where one may be."""
    pair, verb = sitting.aa_ratios.get(metric), VERBS[metric]
    if sitting.failed_checks:
        return f"the doctor found {plural(len(sitting.failed_checks), 'ruler')} off", ""
    if sitting.host_state.get("stopped"):
        return "the measuring was stopped before its end", ""
    if not sitting.has_duplicate:
        return "no model was entered twice, so its noise is unknown", ""
    if pair is None:
        return "the model that was entered twice has no such rate", ""
    if not pair.agree:
        mean = f"{format_fixed(pair.mean)} ({format_fixed(pair.mean_low)} to {format_fixed(pair.mean_high)})"
        return (
            "the same model entered twice gave {}, which disagree",
            f"a median of {span(pair)} and a mean of {mean} in {verb}",
        )
    if not aa_allows_claims(pair):
        return (
            f"the same model entered twice gave {{}}, not inside {AA_BOUNDS[0]} to {AA_BOUNDS[1]}",
            f"{span(pair)} in {verb}",
        )
    return "", ""


def no_claim_sentences(sitting: MeasuredSession, metrics: Mapping[str, str]) -> list[str]:
    """A sentence for each reason why nothing is claimed about some of these rates (name: what it is called)."""
    reasons: dict[str, dict[str, str]] = {}
    for metric, verb in metrics.items():
        why, gave = no_claim_reason(sitting, metric)
        if why:
            reasons.setdefault(why, {})[verb] = gave
    return [
        f"{NO_CLAIM} about {join_words(list(of))}: {why.format(join_words(list(of.values())))}."
        for why, of in reasons.items()
    ]


def measured(sitting: MeasuredSession) -> dict[str, str]:
    """The rates that this sitting has, by what they are called."""
    return {metric: verb for metric, verb in VERBS.items() if metric in sitting.medians}


def warnings(sitting: MeasuredSession) -> list[str]:
    """What has to be read before any number: rulers that are off, and what may not be claimed."""
    off = [str(one.get("sentence") or one.get("name", "")) for one in sitting.failed_checks]
    lines = [f"The doctor found a ruler off: {line.rstrip('.')}." for line in off]
    lines += no_claim_sentences(sitting, measured(sitting))
    calm = [
        metric
        for metric in measured(sitting)
        if not sitting.allows_claim(metric) and aa_allows_claims(sitting.aa_ratios.get(RATES[metric]))
    ]
    if calm and not sitting.failed_checks:
        said = join_words(
            [f"{VERBS[metric]} {span(sitting.aa_ratios[RATES[metric]])}" for metric in calm]
        )
        lines.append(
            f"By CPU time the pair is quiet: {said}. That does not rank: a user waits for the wall clock."
        )
    return lines


def aa_line(sitting: MeasuredSession, name: str) -> str:
    """What the A/A pair says about this machine's clocks."""
    if not sitting.aa_ratios:
        return ""
    said = []
    for metric, verb in measured(sitting).items():
        wall, processor = sitting.aa_ratios.get(metric), sitting.aa_ratios.get(RATES[metric])
        if wall is not None:
            said.append(
                f"{verb} {span(wall)}" + (f", by CPU time {span(processor)}" if processor else "")
            )
    return f"The same model entered twice ({name}), as a ratio that should be 1: {'; '.join(said)}."


def depth_line(sitting: MeasuredSession, group: SpeedGroup) -> str:
    """How deep, how many rounds, and how wide the intervals came out."""
    depth = str(sitting.options.get("depth", ""))
    rounds = {
        name: sitting.rounds(point)
        for name, point in (
            ("of rates", scalar_point("train_tokens_per_second")),
            *_curve_points(sitting),
        )
        if point in sitting.samples
    }
    halves = [
        ratio.half / ratio.value
        for (subject, metric), ratio in sitting.ratios.items()
        if metric in RATES and subject in group.names.index and ratio.rounds > 1
    ]
    parts = [
        f"Measured at depth “{depth}”" if depth else "Measured",
        f": {join_words(_rounds(rounds))}" if rounds else "",
    ]
    width = (
        f" Half of the width of a ratio’s interval is {100 * median(halves):.1f} % in the median"
        if halves
        else ""
    )
    worst = f", {100 * max(halves):.1f} % at most." if len(halves) > 1 else "." if halves else ""
    return "".join(parts) + "." + width + worst


def unit(sitting: MeasuredSession) -> str:
    """What a ratio and its interval are of."""
    processes = sitting.process_count
    if processes < 2:
        return "the median, with its 95 % interval"
    return f"each of {processes} processes, one after another, gives its median; their geometric mean, with its 95 % t interval"


def _curve_points(sitting: MeasuredSession) -> list[tuple[str, tuple[str, str, float]]]:
    lengths = sitting.places("train_tokens_per_second", "length")
    return (
        [("at each length", ("train_tokens_per_second", "length", lengths[0]))] if lengths else []
    )


def _rounds(rounds: Mapping[str, int]) -> list[str]:
    return [f"{plural(amount, 'round')} {name}" for name, amount in rounds.items()]


def calibration_line(sitting: MeasuredSession) -> str:
    """What became of the rulers that were tried on models of known cost."""
    findings = sitting.calibration.get("findings", [])
    if not findings:
        return "No doctor’s result is stored with this sitting."
    if sitting.failed_checks:
        return f"The doctor tried {plural(len(findings), 'ruler')} on models of known cost: {len(sitting.failed_checks)} off."
    return (
        f"The doctor tried {plural(len(findings), 'ruler')} on models of known cost: all are right."
    )


def host_state_text(sitting: MeasuredSession) -> str:
    """What else the machine was doing, as far as its system told."""
    said = [_change(sitting, name, title, unit) for name, title, unit in READINGS]
    return " ".join(line for line in (*said, _running(sitting.facts, sitting.environment)) if line)


READINGS = (
    ("load", "Processes that wanted to run, mean of a minute", ""),
    ("clocks_megahertz", "Clock of the cores, on average", " MHz"),
    ("temperature_celsius", "Temperature", " °C"),
)


def _change(sitting: MeasuredSession, name: str, title: str, unit: str) -> str:
    """One reading before and after; nothing where the system told none."""
    read = {when: (sitting.host_state.get(when) or {}).get(name) for when in ("before", "after")}
    numbers = {when: _figure(name, value) for when, value in read.items()}
    said = [
        f"{format_number(value)}{unit} {when}"
        for when, value in numbers.items()
        if value is not None
    ]
    return f"{title}: {join_words(said)}." if said else ""


def _figure(name: str, value: Any) -> float | None:
    """A reading as one number: the load of the last minute, the mean of the clocks."""
    if isinstance(value, list) and value:
        return float(value[0]) if name == "load" else float(sum(value)) / len(value)
    return float(value) if isinstance(value, int | float) else None


def _running(facts: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    threads = environment.get("threads")
    where = [str(facts[name]) for name in ("device", "precision") if facts.get(name)]
    where += [plural(int(threads), "thread")] if isinstance(threads, int | float) else []
    return f"Each process: {', '.join(where)}." if where else ""
