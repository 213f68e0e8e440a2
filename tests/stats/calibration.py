"""Simulate error rate, coverage and power of the verdicts.

`python -m tests.stats.calibration [TABLES]`
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bench.stats.intervals import Numbers
from bench.stats.pairwise import ALPHA, pairwise_tests

REFERENCE = np.array([0.0011, 0.004, 0.005, 0.010, 0.019, 0.0358])  # seed deviations, bits per byte
DOCUMENTS = 60  # of the scenarios with documents: sizes log-normal, differences with heavy tails


class Scenario(NamedTuple):
    """Arms whose true means are equal, or all but one."""

    name: str
    deviations: Numbers | None  # (arms,); None: 24 arms, log-normal(1) anew in each table
    seeds: tuple[int, ...]  # per arm, or one number for all
    documents: bool = False
    effect: tuple[int, int, float] | None = None  # (arm, other arm, by how much the other is worse)


class Outcome(NamedTuple):
    """What a simulation found."""

    error_rate: float  # tables with a false claim
    coverage: float  # of the worst pair's 95 % intervals
    power: float  # tables in which the effect is claimed


def scenarios() -> Iterator[Scenario]:
    """Yield every scenario: without an effect at 2, 3, 5 and 10 seeds, then with one at 3 seeds."""
    one = np.full(6, 0.01)
    unsteady = {f"one arm {times:g} ×": one * [1, 1, 1, 1, 1, times] for times in (3.16, 5, 10)}
    deviations = {"6 equal arms": one, "reference": REFERENCE, **unsteady}
    deviations |= {"two arms 1 : 10": np.array([0.01, 0.1]), "24 arms, log-normal": None}
    for name, spread in deviations.items():
        for seeds in (2, 3, 5, 10):
            yield Scenario(name, spread, (seeds,))
    for seeds in (2, 3, 5, 10):
        yield Scenario("reference with documents", REFERENCE, (seeds,), documents=True)
    yield Scenario("one arm has one seed, 5 ×", unsteady["one arm 5 ×"], (3, 3, 3, 3, 3, 1))
    yield Scenario("power: 0.125, reference", REFERENCE, (3,), effect=(3, 4, 0.125))
    yield Scenario("power: 0.04, equal arms", one, (3,), effect=(0, 1, 0.04))


def simulate(scenario: Scenario, tables: int, seed: int = 0) -> Outcome:
    """Draw tables and count false claims, covered differences and found effects."""
    draw = np.random.default_rng(seed)
    sizes = np.exp(draw.normal(5, 1.5, DOCUMENTS)) if scenario.documents else None
    false, found, covered = 0, 0, []
    for _ in range(tables):
        spread = scenario.deviations
        spread = 0.01 * np.exp(draw.standard_normal(24)) if spread is None else spread
        counts = np.broadcast_to(scenario.seeds, len(spread))
        arms = [2 + s * draw.standard_normal(n) for s, n in zip(spread, counts, strict=True)]
        shift = np.zeros(len(spread))
        if scenario.effect:
            shift[scenario.effect[1]] = scenario.effect[2]
        nats = None
        if sizes is not None:  # nats per byte differ over documents with Student's t of 3 degrees
            nats = sizes * (1.4 + 0.02 * draw.standard_t(3, (len(spread), len(sizes))))
            arms = [a + n.sum() / sizes.sum() / np.log(2) for a, n in zip(arms, nats, strict=True)]
        table = pairwise_tests([a + s for a, s in zip(arms, shift, strict=True)], nats, sizes)
        truth = shift[table["second"]] - shift[table["first"]]
        claim = (table["adjusted"] <= ALPHA).to_numpy()
        false += bool((claim & (truth <= 0)).any())
        inside = (abs(table["difference"] - truth) <= table["half"]) | table["half"].isna()
        low, high = table[["first", "second"]].min(axis=1), table[["first", "second"]].max(axis=1)
        covered.append(inside.to_numpy()[np.lexsort((high, low))])
        if scenario.effect:
            pair = {*scenario.effect[:2]}
            ends = zip(table["first"], table["second"], strict=True)
            found += bool(claim[[{*end} == pair for end in ends]].any())
    worst = float(np.mean(covered, axis=0).min())
    return Outcome(false / tables, worst, found / tables)


def main(tables: int) -> None:
    """Print a row per scenario."""
    print(f"{'scenario':28} {'seeds':>6} {'error rate':>11} {'coverage':>9} {'power':>6}")
    for scenario in scenarios():
        outcome = simulate(scenario, tables)
        power = f"{outcome.power:.3f}" if scenario.effect else ""
        seeds = "mixed" if len(scenario.seeds) > 1 else str(scenario.seeds[0])
        rates = f"{outcome.error_rate:11.3f} {outcome.coverage:9.3f} {power:>6}"
        print(f"{scenario.name:28} {seeds:>6} {rates}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
