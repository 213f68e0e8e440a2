"""How far each session may be trusted: A/A control, calibration, rounds, other load; its speeds."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.analysis.answer import REASONS
from bench.analysis.build import Analysis
from bench.analysis.formatting import format_fixed, format_number, join_words, plural
from bench.analysis.sessions import RATES, MeasuredSession
from bench.analysis.speed_groups import SpeedGroup, measurement_depth
from bench.reporting.html_table import shown_tables
from bench.reporting.sections.facts import distinct_environments, source_commits, value_pairs
from bench.reporting.sections.measured import speed_table
from bench.stats.intervals import Ratio

RATE_NAMES = {
    "train_tokens_per_second": "training",
    "prefill_tokens_per_second": "prefill",
    "decode_tokens_per_second": "decoding",
}
READINGS = (
    ("load", "Runnable processes, mean of a minute", ""),
    ("clocks_megahertz", "Clock of the cores, on average", " MHz"),
    ("temperature_celsius", "Temperature", " °C"),
)


def machine_facts(analysis: Analysis) -> dict[str, Any]:
    """Return what the template needs of all sessions, and of the machines that trained runs."""
    runs, sessions = analysis.variants.runs, analysis.sessions
    return {
        "sessions": [
            _block(one, [g for g in analysis.groups if g.session is one]) for one in sessions
        ],
        "several": len({session.machine for session in sessions}) > 1,
        "environments": distinct_environments(runs["environment"]),
        "commits": source_commits(runs["provenance"]),
    }


def _block(session: MeasuredSession, groups: Sequence[SpeedGroup]) -> dict[str, Any]:
    reference, calibration = session.reference, session.calibration
    first = [group for group in groups if reference in group.names.index]
    name = first[0].label(reference) if first else session.arches.get(reference, "")
    lines = [
        *(depth_line(group) for group in [*first, *groups][:1]),
        aa_line(session, name),
        calibration_line(session),
        " ".join(host_state_lines(session)),
    ]
    return {
        "name": session.name,
        "machine": session.machine,
        "environment": value_pairs(session.environment | _flat_states(session)),
        "warnings": warnings(session),
        "lines": list(filter(None, lines)),
        "tables": shown_tables(map(speed_table, groups)),
        "checks": [_check_row(one) for one in calibration.get("findings", [])],
        "sentences": [str(line) for line in calibration.get("sentences", [])],
    }


def _check_row(check: Mapping[str, Any]) -> dict[str, Any]:
    unit = str(check.get("unit", ""))

    def show(value: Any) -> str:
        is_number = isinstance(value, int | float)
        return f"{format_number(float(value), 4)} {unit}".strip() if is_number else str(value)

    return {
        "name": str(check.get("name", "")),
        "expected": show(check.get("expected", "")),
        "measured": show(check.get("came", "")),
        "failed": bool(check.get("off")),
    }


def warnings(session: MeasuredSession) -> list[str]:
    """Return what has to be read first: failed calibration checks, and what is not claimed."""
    sentences, rates_of = failed_check_sentences(session), dict[str, list[str]]()
    for metric, name in _measured_rates(session).items():
        if reason := session.no_claim_reason(metric):
            rates_of.setdefault(reason, []).append(name)
    for reason, rates in rates_of.items():
        sentences.append(f"No speed claim about {join_words(rates)}: {REASONS[reason]}.")
    return sentences


def _measured_rates(session: MeasuredSession) -> dict[str, str]:
    return {metric: name for metric, name in RATE_NAMES.items() if metric in session.medians}


def failed_check_sentences(session: MeasuredSession) -> list[str]:
    """Return a sentence per calibration check that failed."""
    failed = [str(one.get("sentence") or one.get("name", "")) for one in session.failed_checks]
    return [f"A calibration check failed: {line.rstrip('.')}." for line in failed]


def aa_line(session: MeasuredSession, name: str) -> str:
    """Return what the A/A control says about the noise of this machine."""
    if not session.aa_ratios:
        return ""

    def span(pair: Ratio) -> str:
        low, high = format_fixed(pair.low), format_fixed(pair.high)
        return f"{format_fixed(pair.value)} ({low} to {high})"

    texts = []
    for metric, rate in _measured_rates(session).items():
        wall, cpu = session.aa_ratios.get(metric), session.aa_ratios.get(RATES[metric])
        if wall is not None:
            texts.append(f"{rate} {span(wall)}" + (f", by CPU time {span(cpu)}" if cpu else ""))
    return f"A/A control: {name} measured twice, a ratio that should be 1: {'; '.join(texts)}."


def depth_line(group: SpeedGroup) -> str:
    """Return how many rounds were measured, and how wide the intervals are."""
    depth, name = measurement_depth(group), str(group.session.options.get("depth", ""))
    rounds = ((depth.rate_rounds, "of rates"), (depth.length_rounds, "at each length"))
    texts = [f"{plural(count, 'round')} {place}" for count, place in rounds if count]
    line = f"Measured at depth “{name}”" if name else "Measured"
    line += f": {join_words(texts)}." if texts else "."
    if depth.median_half is None:
        return line
    line += f" The median half width of a ratio's interval is {100 * depth.median_half:.1f} %"
    largest = depth.largest_half
    return line + ("." if largest is None else f", the largest {100 * largest:.1f} %.")


def calibration_line(session: MeasuredSession) -> str:
    """Return the outcome of the calibration on reference models of known cost."""
    checks, failed = session.calibration.get("findings", []), len(session.failed_checks)
    if not checks:
        return "No calibration is stored with this session."
    outcome = f"{failed} failed" if failed else "all passed"
    return f"Calibration: {plural(len(checks), 'check')} on models of known cost, {outcome}."


def host_state_lines(session: MeasuredSession) -> Iterator[str]:
    """Yield the load, clocks and temperature of the machine, where its system reports them."""
    for name, title, unit in READINGS:
        readings = {when: state.get(name) for when, state in _host_states(session).items()}
        numbers = {when: _reading(name, value) for when, value in readings.items()}
        texts = [f"{format_number(n)}{unit} {when}" for when, n in numbers.items() if n is not None]
        if texts:
            yield f"{title}: {join_words(texts)}."
    threads = session.environment.get("threads")
    details = [str(session.facts[key]) for key in ("device", "precision") if session.facts.get(key)]
    details += [plural(int(threads), "thread")] if isinstance(threads, int | float) else []
    yield from [f"Each process: {', '.join(details)}."] if details else []


def _host_states(session: MeasuredSession) -> dict[str, Mapping[str, Any]]:
    states = {when: session.host_state.get(when) for when in ("before", "after")}
    return {when: state if isinstance(state, dict) else {} for when, state in states.items()}


def _flat_states(session: MeasuredSession) -> dict[str, Any]:
    states = _host_states(session).items()
    return {f"{key}, {when}": value for when, own in states for key, value in own.items()}


def _reading(name: str, value: Any) -> float | None:
    """Return a reading as one number: the load of the last minute, the mean of the clocks."""
    if isinstance(value, list) and value:
        return float(value[0]) if name == "load" else float(sum(value)) / len(value)
    return float(value) if isinstance(value, int | float) else None
