"""How far each session may be trusted, and its speeds."""

from collections.abc import Sequence
from typing import Any

from bench.analysis.formatting import format_number
from bench.analysis.sessions import MeasuredSession
from bench.analysis.speed_groups import SpeedGroup
from bench.reporting.html_table import Table
from bench.reporting.sections import facts, trust
from bench.reporting.sections.speed_tables import speed_table


def session_blocks(
    sessions: Sequence[MeasuredSession], groups: Sequence[SpeedGroup]
) -> list[dict[str, Any]]:
    """Return what the template needs for each session, in order."""
    return [_block(one, [group for group in groups if group.session is one]) for one in sessions]


def _block(session: MeasuredSession, groups: Sequence[SpeedGroup]) -> dict[str, Any]:
    reference = session.reference
    with_reference = [group for group in groups if reference in group.names.index]
    name = (
        with_reference[0].label(reference) if with_reference else session.arches.get(reference, "")
    )
    lines = [
        *(trust.depth_line(group) for group in [*with_reference, *groups][:1]),
        trust.aa_line(session, name),
        trust.calibration_line(session),
        trust.host_state_text(session),
    ]
    calibration = session.calibration
    return {
        "name": session.name,
        "machine": session.machine,
        "environment": facts.value_pairs(session.environment | _host_states(session)),
        "warnings": trust.warnings(session),
        "lines": list(filter(None, lines)),
        "tables": _filled([speed_table(group) for group in groups]),
        "checks": [_check_row(one) for one in calibration.get("findings", [])],
        "sentences": [str(line) for line in calibration.get("sentences", [])],
    }


def _host_states(session: MeasuredSession) -> dict[str, Any]:
    """Return the state of the machine before and after."""
    states = {when: session.host_state.get(when) for when in ("before", "after")}
    return {
        f"{name}, {when}": value
        for when, state in states.items()
        if isinstance(state, dict)
        for name, value in state.items()
    }


def _filled(tables: Sequence[Table]) -> list[Table]:
    return [table for table in tables if table.rows or table.notes]


def _check_row(check: dict[str, Any]) -> dict[str, Any]:
    """Return one calibration check: what was expected and what was measured."""
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
