"""Tables of regret on synthetic sources with a known optimum."""

from collections.abc import Sequence

import pandas as pd

from bench.analysis.comparisons import Comparison

MIN_CERTAIN_ACCURACY = 0.9999  # of the oracle: accuracy then says more than nats


def oracle_is_certain(rows: pd.DataFrame) -> bool:
    """Return whether the best possible prediction is always right on a source."""
    return bool(rows["oracle_accuracy"].min() >= MIN_CERTAIN_ACCURACY)


def regret_tables(comparisons: Sequence[Comparison]) -> list[tuple[str, pd.DataFrame]]:
    """Return the tables of all sources without A/A controls, with their titles, in that order."""
    tables = [table[~table["control"]] for part in comparisons for table in part.regrets]
    budgets = {(int(table["budget"].iloc[0]), int(table["context"].iloc[0])) for table in tables}
    titled = []
    for table in tables:
        first = table.iloc[0]
        detail = f", {first['budget']:,} parameters, {first['context']} tokens"
        titled.append((f"{first['data']}{detail if len(budgets) > 1 else ''}", table))
    return sorted(titled, key=lambda pair: pair[0])
