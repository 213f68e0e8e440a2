"""The tables of scaling.csv and laws.csv."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.scaling import ScalingStudy
from bench.stats.scaling_laws import DATA

SCALING_COLUMNS = """
    data context unit architecture budget tokens parameters training_flops loss seeds law
    row label control family
""".split()
LAW_COLUMNS = """
    data context unit architecture floor floor_low floor_high floor_known size_term size_exponent
    size_exponent_low size_exponent_high data_term data_exponent data_exponent_low
    data_exponent_high at_parameters at_tokens misfit cells reason
    label control family at_bound
""".split()


def scaling_table(studies: Sequence[ScalingStudy]) -> pd.DataFrame:
    """Return scaling.csv: a row per size and amount of data, with the loss of the law."""
    rows = []
    for study, series in ((one, series) for one in studies for series in one.series):
        head = [study.data, study.context, study.unit, series.label]
        cells: Iterable[Any] = series.cells.itertuples(index=False)
        for *cell, row_key in cells:
            tokens, parameters, law = np.array([cell[1]]), cell[2], series.law
            fitted = law.along(DATA, tokens, parameters)[0, 0] if law else math.nan
            rows.append([*head, *cell, fitted, row_key, series.label, False, series.family])
    return pd.DataFrame(rows, columns=SCALING_COLUMNS)


def laws_table(studies: Sequence[ScalingStudy]) -> pd.DataFrame:
    """Return laws.csv: a row per architecture.

    loss = floor + size_term·(N/at_parameters)^−a + data_term·(D/at_tokens)^−b
    """
    rows = []
    for study, series in ((one, series) for one in studies for series in one.series):
        head = [study.data, study.context, study.unit, series.label]
        names = (series.label, False, series.family)
        if (law := series.law) is None:
            rows.append([*head, *[None] * 15, len(series.cells), series.reason, *names, ""])
            continue
        e, a, b = (law.interval(place) for place in (0, 2, 4))
        terms = [*e, law.floor_given, law.best[1], *a, law.best[3], *b]
        bounds = " ".join(law.at_bound)
        rows.append([*head, *terms, *law.center, law.spread, law.cells, "", *names, bounds])
    return pd.DataFrame(rows, columns=LAW_COLUMNS)
