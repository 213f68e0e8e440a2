"""Which searches a report shows beside those of its own folder."""

import json
from pathlib import Path

import pandas as pd
import pytest

from bench.analysis.searches import shipped_searches


def config(rate: float, **train: float) -> dict[str, object]:
    """Return the configuration of a run whose YAML notes a search."""
    tune = {"learning_rate": rate, "trials": 2, "searched": "size=tiny, 10 steps of markov"}
    names = {"arch": "rnn", "data": "markov", "size": "tiny", "optimizer": "adamw"}
    return {"names": names, "arch": {"tune": tune}, "train": train, "optimizer": {}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with one search, of which 0.02 was the best rate."""
    rates = {0.01: 2.5, 0.02: 2.25}
    trials = [
        {"values": {"learning_rate": rate}, "score": score, "status": "done", "seed": 1000}
        for rate, score in rates.items()
    ]
    facts = {"arch": "rnn", "data": "markov", "size": "tiny", "family": "recurrent"}
    search = facts | {"space": {"learning_rate": [0.01, 0.02]}, "trials": trials}
    (tmp_path / "rnn.json").write_text(json.dumps(search), encoding="utf-8")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    return tmp_path


def shown(folder: Path, *configs: dict[str, object]) -> list[str]:
    """Return the architectures whose shipped searches belong to the runs."""
    runs = pd.DataFrame({"config": list(configs)})
    return [str(search["arch"]) for search in shipped_searches(runs, folder)]


def test_the_search_behind_a_noted_rate_is_shown_once(folder: Path) -> None:
    assert shown(folder, config(0.02), config(0.02)) == ["rnn"]


def test_rates_of_another_search_or_by_hand_show_none(folder: Path) -> None:
    assert shown(folder, config(0.01)) == []
    assert shown(folder, config(0.02, learning_rate=0.02)) == []


def test_without_reference_results_none_is_shown(tmp_path: Path) -> None:
    assert shown(tmp_path / "missing", config(0.02)) == []
