"""Compare what architectures learned from preferences: at an equal KL, with intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.over_optimisation import few_label_looks, fit_forms, over_optimisation
from bench.records.preference_tables import PreferenceTables
from bench.stats import Numbers, mean_interval
from bench.stats.frontiers import FrontierFit, value_at_kl
from bench.stats.paired import paired_tests

EQUAL_KL = (1.0, 2.0, 4.0)  # nats per response
REFERENCE_METHOD = "rloo"  # whose last looks, one per beta, are a method's frontier
FRONTIER_COLUMNS = "arch control seed method beta n kl gold gain proxy win_rate length".split()
FRONTIER_METRICS = {
    "kl": "response_kl", "gold": "gold_reward", "proxy": "proxy_reward", "win_rate": "win_rate",
    "length": "response_length",
}  # fmt: skip
VARIANT_METRICS = (
    "response_kl gold_reward proxy_reward win_rate completed_words marked_share"
).split()
AT_KL_COLUMNS = "arch control kl seeds gold gold_low gold_high gain gain_low gain_high".split()
VERDICT_COLUMNS = (
    "kl measure better other difference half p p_holm seeds claimed control sentence"
).split()


@dataclass(frozen=True)
class PreferenceStudy:
    """Stages that may be compared: the same texts, labels, prompts and recipe."""

    name: str
    stages: pd.DataFrame
    parts: pd.DataFrame
    numbers: pd.DataFrame
    frontier: pd.DataFrame  # a row per policy and per best of n: its last look, against its KL
    at_kl: pd.DataFrame  # a row per architecture and KL
    verdicts: pd.DataFrame  # a row per pair of architectures, KL and measure
    over_optimisation: pd.DataFrame  # a row per architecture: peak and end of the few-label policy
    fits: dict[str, dict[str, FrontierFit]]  # by architecture and form
    texts: pd.DataFrame  # what the first seed wrote to a few held-out prompts

    @property
    def simulated(self) -> bool:
        """Return whether there is a gold reward."""
        return bool((self.stages["gold"] != "").all())


def build_studies(tables: PreferenceTables) -> list[PreferenceStudy]:
    """Return a study for each group of stages that may be compared, the largest first."""
    done = tables.stages[tables.stages["status"] == "done"]
    groups = sorted(done.groupby("group"), key=lambda item: (-len(item[1]), str(item[0])))
    return [
        _study(f"preferences-{number}", stages, tables)
        for number, (_, stages) in enumerate(groups, 1)
    ]


def _study(name: str, stages: pd.DataFrame, tables: PreferenceTables) -> PreferenceStudy:
    runs = set(stages["run"])
    numbers = tables.numbers[tables.numbers["run"].isin(runs)]
    parts = tables.parts[tables.parts["run"].isin(runs)]
    frontier = pd.DataFrame(_frontier_rows(numbers), columns=FRONTIER_COLUMNS)
    scores = _ScoresAtKL(numbers, frontier)
    return PreferenceStudy(
        name, stages, parts, numbers, frontier,
        pd.DataFrame(scores.rows(), columns=AT_KL_COLUMNS),
        pd.DataFrame(scores.verdicts(), columns=VERDICT_COLUMNS),
        over_optimisation(numbers), fit_forms(frontier, REFERENCE_METHOD),
        written_texts(tables.texts, stages, main_parts(numbers)),
    )  # fmt: skip


# --- the frontier ----------------------------------------------------------------------------


def main_parts(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of parts that the main reward model and its labels made."""
    rewards = numbers[(numbers["kind"] == "reward") & ~numbers["corrected"].astype(bool)]
    main = rewards.drop_duplicates("run")[["run", "labels", "flip"]]
    plain = numbers[(numbers["shaping"] == "") & ~numbers["corrected"].astype(bool)]
    return plain.merge(main, on=["run", "labels", "flip"])


def last_looks(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return a row per policy, and per best of n, with a column per metric."""
    looks = numbers[numbers["kind"].isin(["policy", "best_of"])]
    keys = ["run", "arch", "control", "seed", "part", "method", "beta", "n", "update"]
    values = looks.groupby([*keys, "metric"], dropna=False)["value"].first()
    wide = values.unstack("metric").reset_index()
    last = wide.groupby(["run", "part"])["update"].transform("max")
    return wide[wide["update"].isna() | (wide["update"] == last)]


def _frontier_rows(numbers: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the last look of each policy and each best of n, with the gold above the start's."""
    for row in _with_gain(last_looks(main_parts(numbers)), start_gold(numbers)):
        yield {
            **{key: row[key] for key in ("arch", "control", "seed", "beta", "n", "gain")},
            **{key: row.get(metric, np.nan) for key, metric in FRONTIER_METRICS.items()},
            "method": row["method"] or "best_of",
        }


def _with_gain(looks: pd.DataFrame, starts: dict[str, float]) -> list[dict[str, Any]]:
    """Return rows with the gold above the start's; of best of n above the same responses' mean."""
    rows = [{str(key): row[key] for key in row} for row in looks.to_dict("records")]
    singles = {row["part"] + row["run"]: row.get("gold_reward") for row in rows if row["n"] == 1}
    for row in rows:
        first = singles.get(row["part"] + row["run"], starts.get(row["run"]))
        gold = row.get("gold_reward")
        row["gain"] = np.nan if gold is None or first is None else gold - first
    return [row for row in rows if np.isfinite(row.get("response_kl", np.nan))]


def variant_rows(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the last look of each such policy and of the plain one, means over seeds."""
    policies = numbers[numbers["kind"] == "policy"]
    main = policies["part"].isin(main_parts(numbers)["part"].unique())
    few = policies["part"].isin(few_label_looks(numbers)["part"].unique())
    others = policies[~main & ~few]
    is_plain = main & (policies["method"] == REFERENCE_METHOD)
    plain = policies[is_plain & policies["beta"].isin(others["beta"])]
    looks = last_looks(pd.concat([plain, others]))
    wide = looks.reindex(columns=["arch", "control", "part", *VARIANT_METRICS])
    return wide.groupby(["arch", "control", "part"])[VARIANT_METRICS].mean().reset_index()


def start_gold(numbers: pd.DataFrame) -> dict[str, float]:
    """Return the gold of the start by run."""
    first = numbers[(numbers["update"] == 0) & (numbers["metric"] == "gold_reward")]
    return dict(first.groupby("run")["value"].first())


def written_texts(texts: pd.DataFrame, stages: pd.DataFrame, main: pd.DataFrame) -> pd.DataFrame:
    """Return what was written to a few prompts: by the start, RLOO at its first beta, best of n."""
    first = stages[~stages["control"].astype(bool) & (stages["seed"] == stages["seed"].min())]
    policies = main[main["method"] == REFERENCE_METHOD].drop_duplicates("run")["part"]
    chosen = [*policies, *main.loc[main["kind"] == "best_of", "part"]]
    rows = texts[texts["run"].isin(first["run"]) & texts["part"].isin(chosen)]
    return rows.merge(first[["run", "arch"]], on="run").sort_values(["prompt", "arch"])


# --- at an equal KL --------------------------------------------------------------------------


class Arm(NamedTuple):
    """An architecture, or its A/A control."""

    arch: str
    control: bool

    @property
    def label(self) -> str:
        """Return what the arm is called."""
        return f"{self.arch} (control)" if self.control else self.arch


class _ScoresAtKL:
    """Gold and gain of every architecture and seed at each KL, by RLOO's last looks."""

    def __init__(self, numbers: pd.DataFrame, frontier: pd.DataFrame) -> None:
        rows = frontier[(frontier["method"] == REFERENCE_METHOD) & frontier["gold"].notna()]
        self.rows_of = rows
        keys = sorted(set(zip(rows["arch"], rows["control"], strict=True)))
        self.arms = [Arm(*key) for key in keys]
        self.seeds = sorted(rows["seed"].unique())
        self.prompts = _prompt_gains(numbers, self.arms)

    def scores(self, measure: str, kl: float) -> Numbers:
        """Return the measure of every arm and seed at a KL, (arms, seeds); NaN beyond the last."""
        table = np.full((len(self.arms), len(self.seeds)), np.nan)
        for key, rows in self.rows_of.groupby(["arch", "control", "seed"]):
            arch, control, seed = key
            start = float((rows["gold"] - rows["gain"]).iloc[0]) if measure == "gold" else 0.0
            points = np.append(0.0, rows["kl"]), np.append(start, rows[measure])
            place = self.arms.index(Arm(str(arch), bool(control))), self.seeds.index(seed)
            table[place] = value_at_kl(*points, kl)
        return table

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the mean of each arm at each KL, with its interval over seeds and prompts."""
        for kl in EQUAL_KL:
            tables = {measure: self.scores(measure, kl) for measure in ("gold", "gain")}
            for number, arm in enumerate(self.arms):
                row: dict[str, Any] = {"arch": arm.arch, "control": arm.control, "kl": kl}
                for measure, table in tables.items():
                    values = table[number][np.isfinite(table[number])]
                    gains = self.prompts[number]
                    interval = mean_interval(values, gains.var(ddof=1) / len(gains), len(gains))
                    row |= {"seeds": len(values), measure: interval.value}
                    row |= {f"{measure}_low": interval.low, f"{measure}_high": interval.high}
                yield row

    def verdicts(self) -> Iterator[dict[str, Any]]:
        """Yield the test of every pair of arms at each KL."""
        controls = [
            (self.arms.index(Arm(arm.arch, False)), number)
            for number, arm in enumerate(self.arms)
            if arm.control and Arm(arm.arch, False) in self.arms
        ]
        for kl in EQUAL_KL:
            for measure in ("gold", "gain"):
                tests = paired_tests(self.scores(measure, kl), self.prompts, controls)
                for test in tests.to_dict("records"):
                    yield self._verdict({str(key): test[key] for key in test}, kl, measure)

    def _verdict(self, test: dict[str, Any], kl: float, measure: str) -> dict[str, Any]:
        places = int(test["first"]), int(test["second"])
        higher = places if not test["difference"] < 0 else places[::-1]
        better, other = (self.arms[place].label for place in higher)
        row = {**test, "kl": kl, "measure": measure, "better": better, "other": other}
        row |= {"difference": abs(test["difference"]), "p_holm": test["adjusted"]}
        return row | {"sentence": verdict_sentence(row)}


def _prompt_gains(numbers: pd.DataFrame, arms: Sequence[Arm]) -> Numbers:
    """Return the gain of each held-out prompt, meaned over RLOO's last looks, (arms, M)."""
    looks = main_parts(numbers)
    looks = looks[(looks["method"] == REFERENCE_METHOD) & (looks["metric"] == "gold_reward")]
    starts = looks[looks["update"] == 0]
    first = dict(zip(starts["run"], starts["values"], strict=True))
    ends = looks[looks["update"] == looks.groupby(["run", "part"])["update"].transform("max")]
    gains = [values - first[run] for run, values in zip(ends["run"], ends["values"], strict=True)]
    keys = list(zip(ends["arch"], ends["control"], strict=True))
    return np.array([
        np.mean([gain for gain, key in zip(gains, keys, strict=True) if key == arm], axis=0)
        for arm in arms
    ])  # fmt: skip


def verdict_sentence(row: dict[str, Any]) -> str:
    """Return what a test of a pair allows to say."""
    where = f"at KL {row['kl']:g}"
    if not np.isfinite(row["difference"]):
        return f"{row['better']} and {row['other']}: not both reach KL {row['kl']:g}"
    gap = f"{row['difference']:.3f}"
    if not np.isfinite(row["half"]):
        return f"{row['better']} is {gap} above {row['other']} {where}: one seed allows no claim"
    gap += f" ± {row['half']:.3f}"
    if row["claimed"]:
        return f"{row['better']} has more {row['measure']} than {row['other']} {where}, by {gap}"
    return f"{row['better']} and {row['other']}: not distinguishable {where} ({gap})"
