"""The main numbers of rows as texts, the headings first: for a terminal and for Markdown."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from bench.analysis import formatting as fmt
from bench.analysis.sessions import DECODE_RATE, PREFILL_RATE, TRAIN_RATE
from bench.analysis.speed_groups import SpeedGroup

Cells = dict[str, Callable[[Any], str]]  # by heading
Texts = list[list[str]]


def _interval(low: float, high: float) -> str:
    return f"{fmt.format_fixed(low)} to {fmt.format_fixed(high)}" if low == low else "none"


def _seeds(row: Any) -> str:
    return str(row.seeds) if row.seeds == row.seeds_asked else f"{row.seeds} of {row.seeds_asked}"


COMMON: Cells = {
    "parameters": lambda row: fmt.format_count(row.parameters),
    "seeds": _seeds,
    "train tok/s": lambda row: fmt.format_large(row.train_tokens_per_second),
    "decode tok/s": lambda row: fmt.format_large(row.decode_tokens_per_second),
    "memory": lambda row: fmt.format_bytes(row.training_memory_bytes),
}
SCORES: dict[str, Cells] = {
    "bits_per_byte": {
        "bits/byte": lambda row: fmt.format_fixed(row.bits_per_byte),
        "95 % interval": lambda row: _interval(row.bits_per_byte_low, row.bits_per_byte_high),
        "perplexity": lambda row: fmt.format_number(row.perplexity, 4),
    },
    "regret": {"regret": lambda row: fmt.format_number(row.regret, 4)},
    "pseudo_perplexity": {
        "pseudo-ppl": lambda row: fmt.format_number(row.pseudo_perplexity, 4),
        "±": lambda row: fmt.format_number(row.pseudo_perplexity_standard_error, 2),
    },
}


def row_texts(score: str, rows: Iterable[Any], more: Cells | None = None) -> Texts:
    """Return rows that a score ranks; `more`: further columns."""
    name: Cells = {"": lambda row: str(row.label)}
    return _texts(name | SCORES[score] | COMMON | (more or {}), rows)


def speed_texts(group: SpeedGroup, subjects: Sequence[str]) -> Texts:
    """Return the rates of subjects, with the ratio of training to the reference."""
    session = group.session

    def value(metric: str, show: Callable[[float], str], subject: str) -> str:
        return show(session.value(subject, metric))

    def ratio(subject: str) -> str:
        own = session.ratios.get((subject, TRAIN_RATE))
        return fmt.format_fixed(own.value) if own else ""

    def interval(subject: str) -> str:
        own = session.ratios.get((subject, TRAIN_RATE))
        none = "the reference" if subject == session.reference else ""
        return _interval(own.low, own.high) if own else none

    cells: Cells = {
        "": group.label,
        "train tok/s": partial(value, TRAIN_RATE, fmt.format_large),
        "ratio": ratio,
        "95 % interval": interval,
        "prefill tok/s": partial(value, PREFILL_RATE, fmt.format_large),
        "decode tok/s": partial(value, DECODE_RATE, fmt.format_large),
        "first step": partial(value, "first_step_seconds", fmt.format_seconds),
        "training memory": lambda subject: fmt.format_bytes(session.training_memory(subject)),
    }
    return _texts(cells, subjects)


def _texts(cells: Cells, rows: Iterable[Any]) -> Texts:
    return [[*cells], *([cell(row) for cell in cells.values()] for row in rows)]
