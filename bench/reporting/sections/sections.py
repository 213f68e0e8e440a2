"""The page's part about speed and memory: a section for each sitting, and in it a block for each group that may be compared."""

from collections.abc import Sequence
from typing import Any

from bench.analysis.formatting import format_number
from bench.analysis.sessions import MeasuredSession
from bench.analysis.speed_groups import SpeedGroup
from bench.reporting.html_table import Table
from bench.reporting.plots import speed_figures
from bench.reporting.plots.figures import Plot
from bench.reporting.sections import cost_tables, facts, speed_tables, trust

DRAWN = 6  # sittings that get figures: the largest ones; hundreds of single measurements would take minutes to draw


def sections(
    sittings: Sequence[MeasuredSession], groups: Sequence[SpeedGroup]
) -> list[dict[str, Any]]:
    """What the template needs for each sitting, in order."""
    largest = sorted(
        sittings, key=lambda sitting: (len(sitting.medians), sitting.name), reverse=True
    )
    drawn = {sitting.name for sitting in largest[:DRAWN]}
    return [
        _section(
            sitting,
            [group for group in groups if group.session is sitting],
            sitting.name in drawn,
        )
        for sitting in sittings
    ]


def _section(sitting: MeasuredSession, groups: Sequence[SpeedGroup], drawn: bool) -> dict[str, Any]:
    whole = [group for group in groups if sitting.reference in group.names.index]
    named = (
        whole[0].label(sitting.reference) if whole else sitting.arches.get(sitting.reference, "")
    )
    lines = [
        *(trust.depth_line(sitting, group) for group in (whole or groups)[:1]),
        trust.aa_line(sitting, named),
        trust.calibration_line(sitting),
        trust.host_state_text(sitting),
    ]
    return {
        "name": sitting.name,
        "machine": sitting.machine,
        "environment": facts.lines(sitting.environment | _states(sitting)),
        "alarms": trust.warnings(sitting),
        "lines": [line for line in lines if line],
        "groups": [_block(group, drawn) for group in groups],
        "findings": [_finding(one) for one in sitting.calibration.get("findings", [])],
        "sentences": [str(line) for line in sitting.calibration.get("sentences", [])],
    }


def _states(sitting: MeasuredSession) -> dict[str, Any]:
    """The machine's own readings, before and after, by the names that the page uses."""
    read = {when: sitting.host_state.get(when) for when in ("before", "after")}
    return {
        f"{name}, {when}": value
        for when, state in read.items()
        if isinstance(state, dict)
        for name, value in state.items()
    }


def _block(group: SpeedGroup, drawn: bool) -> dict[str, Any]:
    def filled(*tables: Table) -> list[Table]:
        return [table for table in tables if table.rows or table.notes]

    figures: list[Plot] = speed_figures.speed_plots(group, group.pairs) if drawn else []
    return {
        "title": group.title,
        "first": filled(speed_tables.speed_table(group)),
        "figures": figures,
        "reasons": _left_out(figures),
        "further": filled(
            *speed_tables.crossover_tables(group, group.pairs),
            cost_tables.cost_table(group),
            speed_tables.decoding_table(group),
            cost_tables.memory_table(group),
        ),
    }


def _left_out(figures: Sequence[Plot]) -> list[tuple[str, str]]:
    return [(figure.title, figure.reason) for figure in figures if not figure.svg]


def _finding(one: dict[str, Any]) -> dict[str, Any]:
    """A ruler of the doctor: what it measured, and what the truth was."""
    unit = str(one.get("unit", ""))

    def read(value: Any) -> str:
        return (
            f"{format_number(float(value), 4)} {unit}".strip()
            if isinstance(value, int | float)
            else str(value)
        )

    return {
        "name": str(one.get("name", "")),
        "expected": read(one.get("expected", "")),
        "came": read(one.get("came", "")),
        "off": bool(one.get("off")),
    }
