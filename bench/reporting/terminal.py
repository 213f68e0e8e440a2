"""The summary as a few lines for a terminal."""

import math
from collections.abc import Sequence
from textwrap import fill
from typing import Any

import pandas as pd

from bench.analysis import crossovers
from bench.analysis.build import Analysis
from bench.analysis.crossovers import SpeedPair
from bench.analysis.formatting import (
    format_bytes,
    format_count,
    format_fixed,
    format_large,
    format_number,
    format_seconds,
)
from bench.analysis.rows import each
from bench.analysis.sessions import RATES
from bench.analysis.speed_groups import SpeedGroup
from bench.records.loading import UNREADABLE
from bench.records.tables import Records
from bench.reporting import summary_text
from bench.reporting.html_table import Table
from bench.reporting.sections import regrets, scaling_tables, trust
from bench.reporting.sections.speed_tables import subject_order

MOST = 12  # crossings that are printed
WIDE = 120  # letters of a line


def terminal_text(
    results: Analysis,
) -> str:
    """A block for each comparison, encoders under a line of their own; the speeds; the laws; then what has no result."""
    blocks = []
    tables, parts = results.variants, results.comparisons
    floors = regrets.regret_overview(parts)
    for part in parts:
        if len(parts) > 1:
            blocks.append(part.title)
        blocks += [_block(rows, "bits/byte") for rows in part.likelihoods] + [
            _block(rows, "pseudo-ppl") for rows in part.pseudo
        ]
        blocks += [_regrets(rows) for rows in part.regrets if floors is None]
        blocks += [
            _wrapped(line)
            for line in (*regrets.regret_sentences(part), *summary_text.quality_sentences(part))
        ]
        if not part.equal_order:
            blocks.append(
                "WARNING: the order of training blocks differs between architectures of one seed; this comparison is not fair"
            )
    if floors is not None:
        blocks.append(
            _aligned([["regret", *(title for title, _ in floors.columns[1:])], *_texts(floors)])
        )
    blocks += [
        block
        for group in results.groups
        for block in _measured(group, group.pairs, alone=not len(tables.runs))
        if block
    ]
    blocks += [
        "\n".join(_wrapped(line) for line in scaling_tables.scaling_sentences(scale))
        for scale in results.studies
    ]
    wrong = tables.runs[tables.runs["status"] != "done"]
    lines = [
        *(f"{row.status}: {_one_line(row.run)}: {_one_line(row.reason)}" for row in each(wrong)),
        *excluded_lines(results.records),
    ]
    return "\n\n".join([*blocks, "\n".join(lines)] if lines else blocks)


def excluded_lines(records: Records) -> list[str]:
    """A line for each record that counts for nothing, or for less: damaged, a copy, an attempt that another one stands in for."""
    lost = records.measures[records.measures["status"] == UNREADABLE]
    lines = [
        f"{row.status}: {_one_line(row.run)}: {_one_line(row.reason)}"
        for row in each(records.excluded)
    ]
    return lines + [
        f"{row.status}: measurement of {_one_line(row.arch)}: {_one_line(row.reason)}"
        for row in each(lost)
    ]


def _one_line(value: object) -> str:
    """Without control characters: what a name or reason holds must not steer the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in str(value))


def _measured(group: SpeedGroup, pairs: Sequence[SpeedPair], alone: bool) -> list[str]:
    """What may be claimed of a group's speeds, and who overtakes whom; its table too where there is no other."""
    sitting = group.session
    crossing = [pair for pair in pairs if pair.crossings and sitting.allows_claim(pair.metric)]
    lines = [crossovers.pair_sentence(pair, group.label) for pair in crossing[:MOST]]
    lines += (
        [f"{len(crossing) - MOST} further pairs cross: see crossovers.csv"]
        if len(crossing) > MOST
        else []
    )
    trusted = trust.warnings(sitting) if alone or len(group.names) > 1 else []
    trusted += [trust.aa_line(sitting, sitting.arches.get(sitting.reference, ""))] if alone else []
    table = [f"machine {sitting.machine}, sitting {sitting.name}", _speeds(group)] if alone else []
    said = ["\n".join(_wrapped(line) for line in block if line) for block in (trusted, lines)]
    return [block for block in ("\n".join(table), *said) if block]


def _wrapped(line: str) -> str:
    return fill(_one_line(line), WIDE, subsequent_indent="  ")


def _speeds(group: SpeedGroup) -> str:
    """Rates with their ratios to the reference; the page has the rest."""
    sitting = group.session
    lines = [
        [
            "",
            "train tok/s",
            "ratio",
            "95 % interval",
            "prefill tok/s",
            "decode tok/s",
            "first step",
            "peak memory",
        ]
    ]
    for subject in subject_order(group):
        ratio = sitting.ratios.get((subject, "train_tokens_per_second"))
        span = (
            f"{format_fixed(ratio.low)} to {format_fixed(ratio.high)}"
            if ratio
            else "the reference"
            if subject == sitting.reference
            else ""
        )
        rates = [format_large(sitting.value(subject, metric)) for metric in RATES]
        first, peak = (
            sitting.value(subject, name)
            for name in ("first_step_seconds", "peak_train_memory_bytes")
        )
        shown = format_fixed(ratio.value) if ratio else ""
        lines.append(
            [
                _one_line(group.label(subject)),
                rates[0],
                shown,
                span,
                *rates[1:],
                format_seconds(first),
                format_bytes(peak),
            ]
        )
    return _aligned(lines)


def _block(rows: pd.DataFrame, title: str) -> str:
    encoder = title == "pseudo-ppl"
    head = [
        "",
        title,
        "±" if encoder else "95 % interval",
        "perplexity",
        "parameters",
        "seeds",
        "train tok/s",
        "decode tok/s",
        "peak memory",
    ]
    lines = [head] + [_line(row, encoder) for row in each(rows)]
    if encoder:
        lines = [line[:3] + line[4:] for line in lines]
    return _aligned(lines)


def _texts(table: Table) -> list[list[str]]:
    """The rows of a table of the page as they are read."""
    return [[_one_line(cell.text) for cell in row] for row in table.rows]


def _regrets(rows: pd.DataFrame) -> str:
    table = regrets.regret_table("", rows)
    return _aligned([["", *(title for title, _ in table.columns[1:])], *_texts(table)])


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for line in lines
    )


def _line(row: Any, encoder: bool) -> list[str]:
    if encoder:
        score, spread = (
            format_number(row.pseudo_perplexity, 4),
            format_number(row.pseudo_perplexity_standard_error, 2),
        )
    else:
        known = math.isfinite(row.bits_per_byte_low)
        spread = (
            f"{format_fixed(row.bits_per_byte_low)} to {format_fixed(row.bits_per_byte_high)}"
            if known
            else "none"
        )
        score = format_fixed(row.bits_per_byte)
    seeds = str(row.seeds) if row.seeds == row.seeds_asked else f"{row.seeds} of {row.seeds_asked}"
    speeds = [
        format_large(row.train_tokens_per_second),
        format_large(row.decode_tokens_per_second),
        format_bytes(row.peak_train_memory_bytes),
    ]
    return [
        _one_line(row.label),
        score,
        spread,
        format_number(row.perplexity, 4),
        format_count(row.parameters),
        seeds,
        *speeds,
    ]
