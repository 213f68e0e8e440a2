"""How far each session may be trusted: A/A control, calibration, rounds, other load; its speeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.analysis.answer import REASONS
from bench.analysis.build import Analysis
from bench.analysis.formatting import format_number, join_words, plural
from bench.analysis.sessions import RATES, MeasuredSession
from bench.analysis.speed_groups import SpeedGroup, measurement_depth
from bench.reporting.html_table import shown_tables
from bench.reporting.sections.facts import distinct_environments, source_commits, value_pairs
from bench.reporting.sections.measured import speed_table
from bench.reporting.sentences import say

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
        "checks": calibration.get("findings", []),
        "sentences": [str(line) for line in calibration.get("sentences", [])],
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
    ratios, rates = session.aa_ratios, _measured_rates(session).items()
    pairs = [(rate, ratios.get(metric), ratios.get(RATES[metric])) for metric, rate in rates]
    return "".join(say("aa", name, [pair for pair in pairs if pair[1]]) if ratios else [])


def depth_line(group: SpeedGroup) -> str:
    """Return how many rounds were measured, and how wide the intervals are."""
    name = str(group.session.options.get("depth", ""))
    return say("depth", measurement_depth(group), name)[0]


def calibration_line(session: MeasuredSession) -> str:
    """Return the outcome of the calibration on reference models of known cost."""
    checks = session.calibration.get("findings", [])
    return say("calibration", len(checks), len(session.failed_checks))[0]


def host_state_lines(session: MeasuredSession) -> list[str]:
    """Return the load, clocks and temperature of the machine, where its system reports them."""
    lines = []
    for name, title, unit in READINGS:
        readings = {when: state.get(name) for when, state in _host_states(session).items()}
        numbers = {when: _reading(name, value) for when, value in readings.items()}
        texts = [f"{format_number(n)}{unit} {when}" for when, n in numbers.items() if n is not None]
        lines += [f"{title}: {join_words(texts)}."] * bool(texts)
    threads = session.environment.get("threads")
    details = [str(session.facts[key]) for key in ("device", "precision") if session.facts.get(key)]
    details += [plural(int(threads), "thread")] if isinstance(threads, int | float) else []
    return [*lines, *[f"Each process: {', '.join(details)}."] * bool(details)]


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
