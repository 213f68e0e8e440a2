"""The tables of what was learned from preferences."""

import math
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.formatting import format_count, format_fixed, format_percent
from bench.analysis.label_value import curve_table, needed_table
from bench.analysis.preferences import EQUAL_KL, PreferenceStudy, variant_rows
from bench.reporting import html_table as ht
from bench.reporting.listed import listed_columns
from bench.tasks.preferences.label_facts import Share

REWARD_NUMBERS = ["reward_nats", "reward_regret", "reward_correlation"]
REWARD_NUMBERS += ["best_reward_accuracy", "held_out_labels"]
NEVER = "no policy came so far from the start"
UNREACHED = "the curve never reaches it"
FOLDED = {
    "methods": "Last evaluation of every policy, and best of n", "texts": "What is written",
    "curve": "What labels are worth", "needed": "Labels needed",
}  # fmt: skip
HEADINGS = {
    "at-kl": "At an equal KL from the start", "rewards": "Reward models",
    "few": "Over-optimisation: few labels, small beta",
    "variants": "Reversed labels and shaped rewards",
}  # fmt: skip
OVER_OPTIMISATION = "start_gold peak_gold peak_kl end_gold end_kl proxy_gain lost".split()


def preference_tables(study: PreferenceStudy) -> list[ht.Table]:
    """Return the tables of a study that have rows."""
    curves = curve_table(study.numbers)
    tables = [
        _at_kl(study), _methods(study), _rewards(study), _over_optimisation(study),
        _table(study, "variants", variant_rows(study.numbers)), _label_curves(study, curves),
        _labels_needed(study, curves), _texts(study),
    ]  # fmt: skip
    return [table for table in tables if table.rows]


def _table(study: PreferenceStudy, name: str, rows: pd.DataFrame, **cells: Any) -> ht.Table:
    columns = cells.pop("columns", None) or listed_columns(f"preferences-{name}", **cells)
    about = {"heading": HEADINGS.get(name, ""), "folded": FOLDED.get(name, "")}
    return ht.build_table(f"{study.name}-{name}", [NAME, *columns], rows, True, **about)


def _label(row: Any) -> ht.Cell:
    is_control = getattr(row, "control", False)
    return ht.Cell(f"{row.arch} (control)" if is_control else str(row.arch), row.arch)


NAME = ht.name_column(_label, "its control is the A/A control: other seeds")


def _at_kl(study: PreferenceStudy) -> ht.Table:
    """Return gold and gain of every architecture at each KL, with intervals."""
    points = {(one.arch, one.control, one.kl): one for one in study.at_kl.itertuples()}

    def cell(row: Any, kl: float, measure: str) -> ht.Cell:
        point = points[row.arch, row.control, kl]
        low, high = getattr(point, f"{measure}_low"), getattr(point, f"{measure}_high")
        small = f"{low:.3f} to {high:.3f}" if math.isfinite(low) else ""
        return ht.value_cell(getattr(point, measure), format_fixed, small, reason=NEVER)

    about = (
        "of RLOO, linear in √KL between the last evaluations of each beta; below it the 95 % "
        "interval over seeds and prompts"
    )
    columns = [
        ht.Column(f"{measure}, KL {kl:g}", about, partial(cell, kl=kl, measure=measure),
                  better="higher")
        for measure in ("gold", "gain")
        for kl in EQUAL_KL
    ]  # fmt: skip
    arms = study.at_kl[["arch", "control"]].drop_duplicates()
    return _table(study, "at-kl", arms, columns=columns)


def _methods(study: PreferenceStudy) -> ht.Table:
    keys = ["arch", "control", "method", "beta", "n"]
    groups = study.frontier.groupby(keys, dropna=False)
    rows = groups[["kl", "gold", "gain", "proxy", "win_rate", "length"]].mean().reset_index()
    rows = rows.assign(seeds=groups["seed"].nunique().to_numpy())
    return _table(study, "methods", rows, method=_method)


def _method(row: Any) -> str:
    return f"best of {row.n:.0f}" if row.method == "best_of" else f"{row.method}, β={row.beta:g}"


def _rewards(study: PreferenceStudy) -> ht.Table:
    rewards = study.numbers[study.numbers["kind"] == "reward"]
    keys = ["arch", "control", "labels", "flip", "corrected", "metric"]
    rows = rewards.groupby(keys)["value"].mean().unstack("metric").reset_index()
    rows = rows.assign(**{name: rows.get(name, np.nan) for name in REWARD_NUMBERS})
    cells = {"labels": _labels_text, "accuracy": partial(_accuracy_cell, study.simulated)}
    return _table(study, "rewards", rows, **cells)


def _labels_text(row: Any) -> str:
    reversed_share = f", {row.flip:.0%} reversed" if row.flip else ""
    return f"{row.labels:,.0f}{reversed_share}{', corrected' if row.corrected else ''}"


def _accuracy_cell(simulated: bool, row: Any) -> ht.Cell:
    if simulated or not math.isfinite(row.held_out_labels):
        return ht.value_cell(row.reward_accuracy, format_fixed)
    count = round(row.held_out_labels)
    low, high = Share(round(row.reward_accuracy * count), count).interval
    return ht.value_cell(row.reward_accuracy, format_fixed, f"{low:.3f} to {high:.3f}, n={count:,}")


def _over_optimisation(study: PreferenceStudy) -> ht.Table:
    groups = study.over_optimisation.groupby(["arch", "control", "labels", "beta"])
    return _table(study, "few", groups[OVER_OPTIMISATION].mean().reset_index())


def _texts(study: PreferenceStudy) -> ht.Table:
    def writer(row: Any) -> str:
        if row.kind == "best_of":
            return f"best of {row.n:.0f}"
        return "start" if row.update == 0 else str(row.part)

    def quoted(name: str, row: Any) -> ht.Cell:
        return ht.words_cell(repr(getattr(row, name)), getattr(row, name))

    cells: Any = {"prompt": partial(quoted, "prompt"), "response": partial(quoted, "text")}
    return _table(study, "texts", study.texts, writer=writer, **cells)


def _label_curves(study: PreferenceStudy, curves: pd.DataFrame) -> ht.Table:
    def gain(name: str, row: Any) -> ht.Cell:
        error = f"± {getattr(row, f'{name}_error'):.3f}"
        return ht.value_cell(getattr(row, name), format_fixed, error)

    cells = {name: partial(gain, name) for name in ("gain", "regret_gain")}
    return _table(study, "curve", curves, **cells)


def _labels_needed(study: PreferenceStudy, curves: pd.DataFrame) -> ht.Table:
    def cell(name: str, show: ht.Show, row: Any) -> ht.Cell:
        return ht.value_cell(getattr(row, name), show, reason=UNREACHED)

    cells = {"needed": partial(cell, "needed", format_count)}
    cells["saved"] = partial(cell, "saved", format_percent)
    return _table(study, "needed", needed_table(curves), **cells)
