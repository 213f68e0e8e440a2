"""How far a session may be trusted: A/A control, calibration, rounds, other load."""

from collections.abc import Mapping
from typing import Any

from bench.analysis.answer import REASONS
from bench.analysis.formatting import format_fixed, format_number, join_words, plural
from bench.analysis.sessions import RATES, MeasuredSession
from bench.analysis.speed_groups import SpeedGroup, measurement_depth
from bench.stats.intervals import Ratio

RATE_NAMES = {
    "train_tokens_per_second": "training",
    "prefill_tokens_per_second": "prefill",
    "decode_tokens_per_second": "decoding",
}
CLOCKS = (
    "The wall clock ranks: it is what a user waits for. CPU time is given beside it, as other "
    "processes on the machine do not lengthen it."
)
READINGS = (
    ("load", "Runnable processes, mean of a minute", ""),
    ("clocks_megahertz", "Clock of the cores, on average", " MHz"),
    ("temperature_celsius", "Temperature", " °C"),
)


def span_text(pair: Ratio) -> str:
    """Return a ratio with its interval."""
    return f"{format_fixed(pair.value)} ({format_fixed(pair.low)} to {format_fixed(pair.high)})"


def no_claim_sentences(session: MeasuredSession, names: Mapping[str, str]) -> list[str]:
    """Return a sentence per reason why nothing is claimed about some of these rates.

    `names`: what each rate is called.
    """
    rates_of: dict[str, list[str]] = {}
    for metric, name in names.items():
        if reason := session.no_claim_reason(metric):
            rates_of.setdefault(reason, []).append(name)
    return [
        f"No speed claim about {join_words(rates)}: {REASONS[reason]}."
        for reason, rates in rates_of.items()
    ]


def _measured_rates(session: MeasuredSession) -> dict[str, str]:
    return {metric: name for metric, name in RATE_NAMES.items() if metric in session.medians}


def warnings(session: MeasuredSession) -> list[str]:
    """Return what has to be read first: failed calibration checks, and what is not claimed."""
    no_claims = no_claim_sentences(session, _measured_rates(session))
    return [*failed_check_sentences(session), *no_claims]


def failed_check_sentences(session: MeasuredSession) -> list[str]:
    """Return a sentence per calibration check that failed."""
    failed = [str(one.get("sentence") or one.get("name", "")) for one in session.failed_checks]
    return [f"A calibration check failed: {line.rstrip('.')}." for line in failed]


def aa_line(session: MeasuredSession, name: str) -> str:
    """Return what the A/A control says about the noise of this machine."""
    if not session.aa_ratios:
        return ""
    texts = []
    for metric, rate in _measured_rates(session).items():
        wall, cpu = session.aa_ratios.get(metric), session.aa_ratios.get(RATES[metric])
        if wall is not None:
            by_cpu = f", by CPU time {span_text(cpu)}" if cpu else ""
            texts.append(f"{rate} {span_text(wall)}{by_cpu}")
    return f"A/A control: {name} measured twice, a ratio that should be 1: {'; '.join(texts)}."


def depth_line(group: SpeedGroup) -> str:
    """Return how many rounds were measured, and how wide the intervals are."""
    depth, name = measurement_depth(group), str(group.session.options.get("depth", ""))
    rounds = ((depth.rate_rounds, "of rates"), (depth.length_rounds, "at each length"))
    texts = [f"{plural(count, 'round')} {place}" for count, place in rounds if count]
    line = f"Measured at depth “{name}”" if name else "Measured"
    line += (f": {join_words(texts)}" if texts else "") + "."
    if depth.median_half is not None:
        half = 100 * depth.median_half
        line += f" The median half width of a ratio's interval is {half:.1f} %"
        largest = depth.largest_half
        line += "." if largest is None else f", the largest {100 * largest:.1f} %."
    return line


def ratio_text(session: MeasuredSession) -> str:
    """Return what a ratio and its interval are estimates of."""
    processes = session.process_count
    if processes < 2:
        return "the median, with its 95 % interval"
    return (
        f"the geometric mean of the medians of {processes} successive processes, with its 95 % t "
        "interval"
    )


def calibration_line(session: MeasuredSession) -> str:
    """Return the outcome of the calibration on reference models of known cost."""
    checks = session.calibration.get("findings", [])
    if not checks:
        return "No calibration is stored with this session."
    failed = len(session.failed_checks)
    outcome = f"{failed} failed" if failed else "all passed"
    return f"Calibration: {plural(len(checks), 'check')} on models of known cost, {outcome}."


def host_state_text(session: MeasuredSession) -> str:
    """Return the load, clocks and temperature of the machine, where its system reports them."""
    texts = [_change(session, *reading) for reading in READINGS]
    threads = session.environment.get("threads")
    details = [str(session.facts[key]) for key in ("device", "precision") if session.facts.get(key)]
    details += [plural(int(threads), "thread")] if isinstance(threads, int | float) else []
    texts.append(f"Each process: {', '.join(details)}." if details else "")
    return " ".join(filter(None, texts))


def _change(session: MeasuredSession, name: str, title: str, unit: str) -> str:
    states = {when: session.host_state.get(when) or {} for when in ("before", "after")}
    numbers = {when: _reading(name, state.get(name)) for when, state in states.items()}
    texts = [f"{format_number(n)}{unit} {when}" for when, n in numbers.items() if n is not None]
    return f"{title}: {join_words(texts)}." if texts else ""


def _reading(name: str, value: Any) -> float | None:
    """Return a reading as one number: the load of the last minute, the mean of the clocks."""
    if isinstance(value, list) and value:
        return float(value[0]) if name == "load" else float(sum(value)) / len(value)
    return float(value) if isinstance(value, int | float) else None
