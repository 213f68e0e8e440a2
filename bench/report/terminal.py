"""The summary as a few lines for a terminal."""

import math
from typing import Any

import pandas as pd

from bench.report.comparisons import Comparison
from bench.report.rows import each
from bench.report.tables import Tables
from bench.report.wording import count, fixed, large, number, size


def text(tables: Tables, parts: list[Comparison]) -> str:
    """A block for each comparison, encoders under a line of their own, then what has no result."""
    blocks = []
    for part in parts:
        if len(parts) > 1:
            blocks.append(f"{', '.join(sorted(set(part.rows['data'])))}, at most {part.rows['budget'].iloc[0]:,} parameters")
        blocks += [_block(rows, "bits/byte") for rows in part.likelihoods] + [_block(rows, "pseudo-ppl") for rows in part.pseudo]
        if not part.equal_order:
            blocks.append(
                "WARNING: the order of training blocks differs between architectures of one seed; this comparison is not fair"
            )
    wrong = tables.runs[tables.runs["status"] != "done"]
    lines = [f"{row.status}: {_one_line(row.run)}: {_one_line(row.reason)}" for row in each(wrong)]
    return "\n\n".join([*blocks, "\n".join(lines)] if lines else blocks)


def _one_line(value: object) -> str:
    """Without control characters: what a name or reason holds must not steer the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in str(value))


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
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        ).rstrip()
        for line in lines
    )


def _line(row: Any, encoder: bool) -> list[str]:
    if encoder:
        score, spread = number(row.pseudo_perplexity, 4), number(row.pseudo_perplexity_standard_error, 2)
    else:
        known = math.isfinite(row.bits_per_byte_low)
        spread = f"{fixed(row.bits_per_byte_low)} to {fixed(row.bits_per_byte_high)}" if known else "none"
        score = fixed(row.bits_per_byte)
    seeds = str(row.seeds) if row.seeds == row.seeds_asked else f"{row.seeds} of {row.seeds_asked}"
    speeds = [large(row.train_tokens_per_second), large(row.decode_tokens_per_second), size(row.peak_train_memory_bytes)]
    return [_one_line(row.label), score, spread, number(row.perplexity, 4), count(row.parameters), seeds, *speeds]
