"""The tables of what was learned from preferences."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.formatting import format_count, format_fixed, format_number, format_percent
from bench.analysis.label_value import curve_table, needed_table
from bench.analysis.preferences import EQUAL_KL, PreferenceStudy, variant_rows
from bench.reporting.html_table import (
    Cell,
    Column,
    Table,
    build_table,
    text_cell,
    value_cell,
    words_cell,
)
from bench.tasks.preferences.label_facts import Share

REWARD_NUMBERS = ["reward_nats", "reward_regret", "reward_correlation"]
REWARD_NUMBERS += ["best_reward_accuracy", "held_out_labels"]
NEVER = "no policy came so far from the start"


def preference_tables(study: PreferenceStudy) -> list[Table]:
    """Return the tables of a study that have rows."""
    curves = curve_table(study.numbers)
    tables = [
        at_kl_table(study), frontier_table(study), reward_table(study),
        over_optimisation_table(study), variant_table(study), curve_cells(study, curves),
        needed_cells(study, curves), text_table(study),
    ]  # fmt: skip
    return [table for table in tables if table.rows]


def _label(row: Any) -> Cell:
    return text_cell(f"{row.arch} (control)" if row.control else str(row.arch))


NAME = Column("architecture", "its control is the A/A control: other seeds", _label)


def _number(
    title: str, help: str, field: str, show: Callable[[float], str] = format_fixed
) -> Column:
    return Column(title, help, lambda row: value_cell(getattr(row, field), show))


def at_kl_table(study: PreferenceStudy) -> Table:
    """Return gold and gain of every architecture at each KL, with intervals."""

    def cell(kl: float, measure: str) -> Callable[[Any], Cell]:
        def make(row: Any) -> Cell:
            own = study.at_kl[
                (study.at_kl["arch"] == row.arch)
                & (study.at_kl["control"] == row.control)
                & (study.at_kl["kl"] == kl)
            ].iloc[0]
            low, high = own[f"{measure}_low"], own[f"{measure}_high"]
            small = f"{low:.3f} to {high:.3f}" if math.isfinite(low) else ""
            return value_cell(own[measure], format_fixed, small, reason=NEVER)

        return make

    columns = [NAME] + [
        Column(
            f"{measure}, KL {kl:g}",
            "of RLOO, linear in √KL between the last looks of each beta; below it the 95 % "
            "interval over seeds and prompts",
            cell(kl, measure),
        )
        for measure in ("gold", "gain")
        for kl in EQUAL_KL
    ]
    arms = study.at_kl[["arch", "control"]].drop_duplicates()
    return build_table(
        f"{study.name}-at-kl", columns, arms.itertuples(), heading="At an equal KL from the start"
    )


def frontier_table(study: PreferenceStudy) -> Table:
    """Return the last look of each method and setting, means over seeds."""
    keys = ["arch", "control", "method", "beta", "n"]
    values = ["kl", "gold", "gain", "proxy", "win_rate", "length"]
    groups = study.frontier.groupby(keys, dropna=False)
    rows = groups[values].mean().reset_index()
    rows["seeds"] = groups["seed"].nunique().to_numpy()
    columns = [
        NAME,
        Column("method", "best_of: the best of n responses by the proxy", lambda row: text_cell(
            f"best of {row.n:.0f}" if row.method == "best_of" else f"{row.method}, β={row.beta:g}"
        )),
        _number("KL", "nats per response; of best of n an upper bound", "kl"),
        _number("gold", "exact reward on held-out prompts", "gold"),
        _number("gain", "gold above the start's", "gain"),
        _number("proxy", "reward model's score, log-odds", "proxy"),
        _number("win rate", "over the start on the same prompts", "win_rate", format_percent),
        _number("length", "tokens of a response", "length", format_number),
        _number("seeds", "stages", "seeds", format_count),
    ]  # fmt: skip
    return build_table(
        f"{study.name}-methods", columns, rows.itertuples(), drop_empty=True,
        folded="Last look of every policy, and best of n",
    )  # fmt: skip


def reward_table(study: PreferenceStudy) -> Table:
    """Return the reward models, means over seeds."""
    rewards = study.numbers[study.numbers["kind"] == "reward"]
    keys = ["arch", "control", "labels", "flip", "corrected", "metric"]
    rows = rewards.groupby(keys)["value"].mean().unstack("metric").reset_index()
    for name in REWARD_NUMBERS:
        rows[name] = rows.get(name, np.nan)
    columns = [
        NAME,
        Column("labels", "labels; share of reversed ones", lambda row: text_cell(
            f"{row.labels:,.0f}" + (f", {row.flip:.0%} reversed" if row.flip else "")
            + (", corrected" if row.corrected else "")
        )),
        Column("accuracy", "expected, on held-out pairs; of people's labels with Wilson's interval",
               lambda row: _accuracy_cell(row, study.simulated)),
        _number("best possible", "of the annotator's own law", "best_reward_accuracy"),
        _number("nats", "per label", "reward_nats"),
        _number("regret", "nats per label above the annotator's entropy", "reward_regret"),
        _number("correlation", "with the annotator's log-odds", "reward_correlation"),
    ]  # fmt: skip
    return build_table(
        f"{study.name}-rewards", columns, rows.itertuples(), drop_empty=True,
        heading="Reward models",
    )  # fmt: skip


def _accuracy_cell(row: Any, simulated: bool) -> Cell:
    if simulated or not math.isfinite(row.held_out_labels):
        return value_cell(row.reward_accuracy, format_fixed)
    count = round(row.held_out_labels)
    low, high = Share(round(row.reward_accuracy * count), count).interval
    return value_cell(row.reward_accuracy, format_fixed, f"{low:.3f} to {high:.3f}, n={count:,}")


def over_optimisation_table(study: PreferenceStudy) -> Table:
    """Return the policies on few labels: gold at its peak and at the end."""
    rows = study.over_optimisation
    values = ["start_gold", "peak_gold", "peak_kl", "end_gold", "end_kl", "proxy_gain", "lost"]
    means = rows.groupby(["arch", "control", "labels", "beta"])[values].mean().reset_index()
    columns = [
        NAME,
        _number("labels", "of the reward model", "labels", format_count),
        _number("start", "gold of the start", "start_gold"),
        _number("peak", "largest gold of a look", "peak_gold"),
        _number("KL of the peak", "nats", "peak_kl"),
        _number("end", "gold after the last update", "end_gold"),
        _number("KL of the end", "nats", "end_kl"),
        _number("proxy gained", "log-odds", "proxy_gain"),
        _number("gold lost", "at its peak less at the end", "lost"),
    ]
    return build_table(
        f"{study.name}-few", columns, means.itertuples(),
        heading="Over-optimisation: few labels, small beta",
    )  # fmt: skip


def variant_table(study: PreferenceStudy) -> Table:
    """Return policies on reversed labels and with shaped rewards, means over seeds."""
    rows = variant_rows(study.numbers)
    columns = [
        NAME,
        Column("policy", "its reward model's labels, reversed share and shaping",
               lambda row: text_cell(row.part)),
        _number("KL", "nats per response", "response_kl"),
        _number("gold", "on held-out prompts", "gold_reward"),
        _number("proxy", "of its own reward model, log-odds", "proxy_reward"),
        _number("win rate", "over the start", "win_rate", format_percent),
        _number("words", "completed per response: what the bonus pays for", "completed_words"),
        _number("marked", "tokens, by the model of marks", "marked_share", format_percent),
    ]  # fmt: skip
    return build_table(
        f"{study.name}-variants", columns, rows.itertuples(), drop_empty=True,
        heading="Reversed labels and shaped rewards",
    )  # fmt: skip


def text_table(study: PreferenceStudy) -> Table:
    """Return what was written to a few held-out prompts."""

    def writer(row: Any) -> str:
        if row.kind == "best_of":
            return f"best of {row.n:.0f}"
        return "start" if row.update == 0 else row.part

    rows = study.texts.assign(control=False)
    columns = [
        NAME,
        Column(
            "written by", "the start, a policy, or best of n", lambda row: text_cell(writer(row))
        ),
        Column("prompt", "held-out text", lambda row: words_cell(repr(row.prompt), row.prompt)),
        Column("response", "", lambda row: words_cell(repr(row.text), row.text)),
        _number("gold", "exact reward", "gold"),
        _number("proxy", "log-odds", "proxy"),
    ]
    return build_table(
        f"{study.name}-texts", columns, rows.itertuples(), drop_empty=True, folded="What is written"
    )


def curve_cells(study: PreferenceStudy, curves: pd.DataFrame) -> Table:
    """Return what each strategy gains over random labels."""
    rows = curves.assign(control=False)
    columns = [
        NAME,
        Column("chosen by", "how pairs are chosen", lambda row: text_cell(row.select)),
        _number("labels", "labels given", "labels", format_count),
        _number("accuracy", "of a head on frozen states", "accuracy"),
        _with_error("over random", "accuracy, paired by repeat", "gain"),
        _number("regret", "nats per label", "regret"),
        _with_error("regret saved", "below that of random labels; negative: worse", "regret_gain"),
    ]
    return build_table(
        f"{study.name}-curve", columns, rows.itertuples(), folded="What labels are worth",
    )  # fmt: skip


def _with_error(title: str, help: str, field: str) -> Column:
    def cell(row: Any) -> Cell:
        error = getattr(row, f"{field}_error")
        return value_cell(getattr(row, field), format_fixed, f"± {error:.3f}")

    return Column(title, f"{help}; below it the standard error over repeats", cell)


def needed_cells(study: PreferenceStudy, curves: pd.DataFrame) -> Table:
    """Return the labels that each strategy needs."""
    rows = needed_table(curves).assign(control=False)
    never = "the curve never reaches it"
    columns = [
        NAME,
        Column("chosen by", "how pairs are chosen", lambda row: text_cell(row.select)),
        _number("accuracy", "95 % of what most random labels gain over one half", "target"),
        Column("labels needed", "linear in their logarithm between sizes",
               lambda row: value_cell(row.needed, format_count, reason=never)),
        Column("saved", "share of the random labels; without an interval: see the gains",
               lambda row: value_cell(row.saved, format_percent, reason=never)),
    ]  # fmt: skip
    return build_table(f"{study.name}-needed", columns, rows.itertuples(), folded="Labels needed")
