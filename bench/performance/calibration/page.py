"""Format a calibration for the terminal."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bench.performance.calibration.harness import CalibrationReport

STATE_PHRASES = {  # by key of `host_state.read_host_state`
    "load": "load over 1, 5 and 15 minutes {}",
    "affinity": "cores of this process {}",
    "clocks_megahertz": "clocks {} MHz",
    "temperature_celsius": "hottest sensor {} °C",
    "governor": "governor {}",
    "large_pages": "huge pages {}",
}


def format_section(title: str, lines: Iterable[str]) -> str:
    """Return a title with wrapped lines below it."""
    wrapper = textwrap.TextWrapper(100, initial_indent="  ", subsequent_indent=" " * 10)
    return "\n".join([title, *map(wrapper.fill, lines), ""])


def result_lines(report: CalibrationReport) -> list[str]:
    """Return a line per result."""
    return [f"{'FAILED' if r.failed else 'ok':7} {r.sentence}" for r in report.results]


def state_lines(state: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on the host's state, after one on each value that is not available."""
    phrases = []
    for key, phrase in STATE_PHRASES.items():
        value = state[key]
        if isinstance(value, str) and value.startswith("not available"):
            yield f"{phrase.partition(' {}')[0].capitalize()}: {value}."
        else:
            values = [f"{v:.4g}" for v in value] if isinstance(value, list) else [str(value)]
            phrases.append(phrase.format(", ".join(dict.fromkeys(values))))
    yield f"{'; '.join(phrases).capitalize()}."


def verdict_line(report: CalibrationReport) -> str:
    """Return the summary."""
    if not report.failed:
        return f"All {len(report.results)} checks passed."
    names = ", ".join(result.name for result in report.failed)
    return f"FAILED: {names}. Do not trust measurements of this machine until this is fixed."
