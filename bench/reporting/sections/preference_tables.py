"""The tables of what was learned from preferences."""

import math
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.formatting import format_count, format_fixed, format_number, format_percent
from bench.analysis.label_value import curve_table, needed_table
from bench.analysis.preferences import EQUAL_KL, PreferenceStudy, variant_rows
from bench.reporting import html_table as ht
from bench.tasks.preferences.label_facts import Share

REWARD_NUMBERS = ["reward_nats", "reward_regret", "reward_correlation"]
REWARD_NUMBERS += ["best_reward_accuracy", "held_out_labels"]
NEVER = "no policy came so far from the start"
UNREACHED = "the curve never reaches it"


def preference_tables(study: PreferenceStudy) -> list[ht.Table]:
    """Return the tables of a study that have rows."""
    curves = curve_table(study.numbers)
    tables = [
        _at_kl(study), _methods(study), _rewards(study), _over_optimisation(study),
        _variants(study), _label_curves(study, curves), _labels_needed(study, curves),
        _texts(study),
    ]  # fmt: skip
    return [table for table in tables if table.rows]


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
        "of RLOO, linear in √KL between the last looks of each beta; below it the 95 % interval "
        "over seeds and prompts"
    )
    columns = [
        ht.Column(f"{measure}, KL {kl:g}", about, partial(cell, kl=kl, measure=measure))
        for measure in ("gold", "gain")
        for kl in EQUAL_KL
    ]
    arms, heading = study.at_kl[["arch", "control"]], "At an equal KL from the start"
    return ht.build_table(
        f"{study.name}-at-kl", [NAME, *columns], arms.drop_duplicates(), heading=heading
    )


def _methods(study: PreferenceStudy) -> ht.Table:
    keys = ["arch", "control", "method", "beta", "n"]
    groups = study.frontier.groupby(keys, dropna=False)
    rows = groups[["kl", "gold", "gain", "proxy", "win_rate", "length"]].mean().reset_index()
    columns = [
        NAME,
        ht.text("method", "best_of: the best of n responses by the proxy", _method),
        ht.number("KL", "nats per response; of best of n an upper bound", "kl"),
        ht.number("gold", "exact reward on held-out prompts", "gold"),
        ht.number("gain", "gold above the start's", "gain"),
        ht.number("proxy", "reward model's score, log-odds", "proxy"),
        ht.number("win rate", "over the start on the same prompts", "win_rate", format_percent),
        ht.number("length", "tokens of a response", "length", format_number),
        ht.number("seeds", "stages", "seeds", format_count),
    ]  # fmt: skip
    rows = rows.assign(seeds=groups["seed"].nunique().to_numpy())
    folded = "Last look of every policy, and best of n"
    return ht.build_table(f"{study.name}-methods", columns, rows, drop_empty=True, folded=folded)


def _method(row: Any) -> str:
    return f"best of {row.n:.0f}" if row.method == "best_of" else f"{row.method}, β={row.beta:g}"


def _rewards(study: PreferenceStudy) -> ht.Table:
    rewards = study.numbers[study.numbers["kind"] == "reward"]
    keys = ["arch", "control", "labels", "flip", "corrected", "metric"]
    rows = rewards.groupby(keys)["value"].mean().unstack("metric").reset_index()
    rows = rows.assign(**{name: rows.get(name, np.nan) for name in REWARD_NUMBERS})
    columns = [
        NAME,
        ht.text("labels", "labels; share of reversed ones", lambda row: f"{row.labels:,.0f}"
             + (f", {row.flip:.0%} reversed" if row.flip else "")
             + (", corrected" if row.corrected else "")),
        ht.Column("accuracy", "expected, on held-out pairs; of people's labels with Wilson's "
                  "interval", partial(_accuracy_cell, study.simulated)),
        ht.number("best possible", "of the annotator's own law", "best_reward_accuracy"),
        ht.number("nats", "per label", "reward_nats"),
        ht.number("regret", "nats per label above the annotator's entropy", "reward_regret"),
        ht.number("correlation", "with the annotator's log-odds", "reward_correlation"),
    ]  # fmt: skip
    name, heading = f"{study.name}-rewards", "Reward models"
    return ht.build_table(name, columns, rows, drop_empty=True, heading=heading)


def _accuracy_cell(simulated: bool, row: Any) -> ht.Cell:
    if simulated or not math.isfinite(row.held_out_labels):
        return ht.value_cell(row.reward_accuracy, format_fixed)
    count = round(row.held_out_labels)
    low, high = Share(round(row.reward_accuracy * count), count).interval
    return ht.value_cell(row.reward_accuracy, format_fixed, f"{low:.3f} to {high:.3f}, n={count:,}")


def _over_optimisation(study: PreferenceStudy) -> ht.Table:
    values = ["start_gold", "peak_gold", "peak_kl", "end_gold", "end_kl", "proxy_gain", "lost"]
    groups = study.over_optimisation.groupby(["arch", "control", "labels", "beta"])
    columns = [
        NAME,
        ht.number("labels", "of the reward model", "labels", format_count),
        ht.number("start", "gold of the start", "start_gold"),
        ht.number("peak", "largest gold of a look", "peak_gold"),
        ht.number("KL of the peak", "nats", "peak_kl"),
        ht.number("end", "gold after the last update", "end_gold"),
        ht.number("KL of the end", "nats", "end_kl"),
        ht.number("proxy gained", "log-odds", "proxy_gain"),
        ht.number("gold lost", "at its peak less at the end", "lost"),
    ]
    rows, heading = groups[values].mean().reset_index(), "Over-optimisation: few labels, small beta"
    return ht.build_table(f"{study.name}-few", columns, rows, heading=heading)


def _variants(study: PreferenceStudy) -> ht.Table:
    columns = [
        NAME,
        ht.text("policy", "its reward model's labels, reversed share and shaping",
             lambda row: row.part),
        ht.number("KL", "nats per response", "response_kl"),
        ht.number("gold", "on held-out prompts", "gold_reward"),
        ht.number("proxy", "of its own reward model, log-odds", "proxy_reward"),
        ht.number("win rate", "over the start", "win_rate", format_percent),
        ht.number("words", "completed per response: what the bonus pays for", "completed_words"),
        ht.number("marked", "tokens, by the model of marks", "marked_share", format_percent),
    ]  # fmt: skip
    name, heading = f"{study.name}-variants", "Reversed labels and shaped rewards"
    rows = variant_rows(study.numbers)
    return ht.build_table(name, columns, rows, drop_empty=True, heading=heading)


def _texts(study: PreferenceStudy) -> ht.Table:

    def writer(row: Any) -> str:
        if row.kind == "best_of":
            return f"best of {row.n:.0f}"
        return "start" if row.update == 0 else row.part

    columns = [
        NAME,
        ht.text("written by", "the start, a policy, or best of n", writer),
        ht.Column(
            "prompt", "held-out text", lambda row: ht.words_cell(repr(row.prompt), row.prompt)
        ),
        ht.Column("response", "", lambda row: ht.words_cell(repr(row.text), row.text)),
        ht.number("gold", "exact reward", "gold"),
        ht.number("proxy", "log-odds", "proxy"),
    ]
    name, folded = f"{study.name}-texts", "What is written"
    return ht.build_table(name, columns, study.texts, drop_empty=True, folded=folded)


def _label_curves(study: PreferenceStudy, curves: pd.DataFrame) -> ht.Table:
    columns = [
        NAME,
        ht.text("chosen by", "how pairs are chosen", lambda row: row.select),
        ht.number("labels", "labels given", "labels", format_count),
        ht.number("accuracy", "of a head on frozen states", "accuracy"),
        _with_error("over random", "accuracy, paired by repeat", "gain"),
        ht.number("regret", "nats per label", "regret"),
        _with_error("regret saved", "below that of random labels; negative: worse", "regret_gain"),
    ]
    return ht.build_table(f"{study.name}-curve", columns, curves, folded="What labels are worth")


def _with_error(title: str, help: str, field: str) -> ht.Column:
    def cell(row: Any) -> ht.Cell:
        error = getattr(row, f"{field}_error")
        return ht.value_cell(getattr(row, field), format_fixed, f"± {error:.3f}")

    return ht.Column(title, f"{help}; below it the standard error over repeats", cell)


def _labels_needed(study: PreferenceStudy, curves: pd.DataFrame) -> ht.Table:
    columns = [
        NAME,
        ht.text("chosen by", "how pairs are chosen", lambda row: row.select),
        ht.number("accuracy", "95 % of what most random labels gain over one half", "target"),
        ht.Column("labels needed", "linear in their logarithm between sizes",
               lambda row: ht.value_cell(row.needed, format_count, reason=UNREACHED)),
        ht.Column("saved", "share of the random labels; without an interval: see the gains",
               lambda row: ht.value_cell(row.saved, format_percent, reason=UNREACHED)),
    ]  # fmt: skip
    name, folded = f"{study.name}-needed", "Labels needed"
    return ht.build_table(name, columns, needed_table(curves), folded=folded)
