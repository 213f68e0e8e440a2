"""Policies on reversed labels and with shaped rewards, beside the plain one."""

import pandas as pd

from bench.analysis.over_optimisation import few_label_looks
from bench.analysis.preferences import REFERENCE_METHOD, last_looks, main_parts

METRICS = ["response_kl", "gold_reward", "proxy_reward", "win_rate"]
METRICS += ["completed_words", "marked_share"]


def variant_rows(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the last look of each such policy and of the plain one, means over seeds."""
    policies = numbers[numbers["kind"] == "policy"]
    main = policies["part"].isin(main_parts(numbers)["part"].unique())
    few = policies["part"].isin(few_label_looks(numbers)["part"].unique())
    others = policies[~main & ~few]
    is_plain = main & (policies["method"] == REFERENCE_METHOD)
    plain = policies[is_plain & policies["beta"].isin(others["beta"])]
    looks = last_looks(pd.concat([plain, others]))
    wide = looks.reindex(columns=["arch", "control", "part", *METRICS])
    return wide.groupby(["arch", "control", "part"])[METRICS].mean().reset_index()
