"""Rounds: their order, when they end, and which lengths are left out."""

from dataclasses import replace

import numpy as np
import pytest

from bench.performance.entry import Entry
from bench.performance.length_sweep import extrapolate_seconds, skip_reasons
from bench.performance.rounds import (
    MirroredOrder,
    is_precise,
    median_interval_rank,
    relative_half_width,
)
from tests.performance.conftest import OPTIONS, make_run


def entry_with(kind: str, walls: dict[int, float], **options: float) -> Entry:
    """Return an entry with windows of a kind: seconds per pass by length, or by round."""
    entry = Entry(make_run("Sum"), 30, replace(OPTIONS, **options))
    for key, wall in walls.items():
        window = {"tokens": 1.0, "wall": wall, "cpu": wall, "passes": 1}
        entry.samples.windows.setdefault(kind.format(key), []).append((key, window))
    return entry


def test_a_length_that_would_take_too_long_is_left_out() -> None:
    entry = entry_with("train@length={}", {64: 0.2, 128: 0.6}, point_seconds=1.5)
    assert extrapolate_seconds({64: 0.2, 128: 0.6}, 256) == pytest.approx(1.8)
    assert extrapolate_seconds({64: 0.2, 128: 0.6}, 512) == pytest.approx(5.4)
    ((kind, reason),) = skip_reasons(entry, [64, 128], 256).items()
    assert kind == "train@length=256"
    assert "measure.point_seconds=1.5" in reason
    faster = entry_with("train@length={}", {64: 0.2, 128: 0.3}, point_seconds=1.5)
    assert not skip_reasons(faster, [64, 128], 256)


def test_rounds_end_when_all_ratios_are_precise() -> None:
    reference = entry_with("train", dict.fromkeys(range(20), 1.0))
    steady = entry_with("train", {n: 2.0 + 0.001 * (n % 3) for n in range(20)})
    noisy = entry_with("train", {n: 2.0 + 0.5 * (n % 3) for n in range(20)})
    few = entry_with("train", dict.fromkeys(range(3), 2.0))
    assert is_precise([reference, steady], "train", 0.01)
    assert not is_precise([reference, steady, noisy], "train", 0.01)
    assert not is_precise([reference, few], "train", 0.01)


def test_the_interval_of_the_stopping_rule_covers_the_median() -> None:
    draws = np.random.default_rng(0).standard_normal((2000, 40)) * 0.1 + 1.0
    low = median_interval_rank(40)
    inside = [np.sort(draw)[low] <= 1.0 <= np.sort(draw)[39 - low] for draw in draws]
    assert 0.945 <= np.mean(inside) <= 0.99
    widths = [relative_half_width(draw) for draw in draws[:200]]
    assert np.mean(widths) == pytest.approx(1.96 * 1.2533 * 0.1 / np.sqrt(40), rel=0.2)


def test_every_second_round_mirrors_the_one_before() -> None:
    entries, order = [entry_with("train", {}) for _ in range(5)], MirroredOrder()
    rounds = [order.next(entries) for _ in range(20)]
    assert all(rounds[n + 1] == rounds[n][::-1] for n in range(0, 20, 2))
    assert len({tuple(id(entry) for entry in turns) for turns in rounds}) > 2
