"""Learning-rate searches: which may share an axis, and the expected best of fewer trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from bench import stats
from bench.analysis.budgets import NOTED_SEARCH, learning_rate, rate_origin
from bench.analysis.families import CONTROL
from bench.records.loading import read_json
from bench.records.search_scores import first_scores, mean_scores
from bench.records.source import ROOT

SHIPPED = ROOT / "results/reference/searches"  # that found the rates in conf/arch/*.yaml

SHARED = (  # by the searches of one section
    "data", "size", "context", "steps", "batch",
    "optimizer", "metric", "part", "data_digest", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Search:
    """The search of one architecture: a rate and a score per trial, infinite where it diverged."""

    arch: str
    is_control: bool
    rates: list[float]
    scores: list[float]  # with the first seed
    mean_scores: list[float]  # over the seeds; infinite for trials that were no finalists
    space: Any  # the range that was searched

    @property
    def best(self) -> int:
        """Return the place of the best trial."""
        return self.mean_scores.index(min(self.mean_scores))

    @property
    def edge(self) -> str:
        """Return on which sides no trial bounds the best one."""
        return " and ".join(f"{end}est" for end in stats.range_edges(self.rates, self.mean_scores))

    @cached_property
    def expected(self) -> list[float]:
        """Return the expected best of 1, 2, … of the trials."""
        return stats.expected_best(self.scores)


@dataclass(frozen=True)
class SearchGroup:
    """Searches on the same text, at the same length, with the same score."""

    facts: Mapping[str, Any]
    searches: list[Search]


def shipped_searches(runs: pd.DataFrame, folder: Path = SHIPPED) -> list[Mapping[str, Any]]:
    """Return the searches that found rates of these runs and are noted in an architecture's YAML.

    Empty where the project is installed without its reference results.
    """
    noted = {
        (*(config["names"][name] for name in ("arch", "data", "size")), learning_rate(config))
        for config in runs["config"]
        if rate_origin(config) == NOTED_SEARCH
    }
    searches = [read_json(path) for path in sorted(folder.glob("*.json"))]
    return [search for search in searches if search and _result(search) in noted]


def _result(search: Mapping[str, Any]) -> tuple[str, str, str, float]:
    parsed = _parse(search)
    return parsed.arch, str(search["data"]), str(search["size"]), parsed.rates[parsed.best]


def group_searches(searches: Sequence[Mapping[str, Any]]) -> list[SearchGroup]:
    """Return the searches by what they share, the best first."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for search in searches:
        if search.get("trials"):
            key = tuple(str(search.get(name, "")) for name in SHARED)
            groups.setdefault(key, []).append(search)
    return [
        SearchGroup(group[0], sorted(map(_parse, group), key=lambda one: min(one.mean_scores)))
        for group in groups.values()
    ]


def _parse(search: Mapping[str, Any]) -> Search:
    trials = search["trials"]
    rates = [float(one["values"]["learning_rate"]) for one in trials]
    is_control = search.get("family") == CONTROL
    space = search["space"]["learning_rate"]
    return Search(
        str(search["arch"]), is_control, rates,
        first_scores(trials), mean_scores(trials), space,
    )  # fmt: skip
