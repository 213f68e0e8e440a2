"""Would more data change the winner: an answer where budgets, laws or late losses give one."""

import re
from pathlib import Path

import numpy as np
import pytest

from bench.analysis.build import build
from bench.analysis.more_data import more_data_sentence
from bench.records.metrics import Metric
from bench.records.tables import read_records
from tests import fake_records
from tests.analysis.test_scaling import write as write_sizes
from tests.analysis.test_sentences import falling
from tests.stats.known_laws import A_STEP, TRUTH


def answers(root: Path) -> list[str]:
    analysis = build(read_records(root))
    return [more_data_sentence(part, analysis) for part in analysis.comparisons]


def write(root: Path, nats: dict[str, float], steps: int = 1000) -> None:
    """Runs of some steps, by architecture, that read as many tokens as steps × A_STEP."""
    seen = Metric("tokens_seen", "tokens", "neither", (float(steps * A_STEP),))
    for arch, level in nats.items():
        for seed in range(3):
            documents = fake_records.make_documents(level, seed + 10 * len(arch))
            bits = documents["nats"].sum() / documents["bytes"].sum() / np.log(2)
            metrics = [seen, Metric("bits_per_byte", "bits/byte", "lower", (float(bits),))]
            more = {"documents": documents, "metrics": metrics, "steps": steps}
            fake_records.write_run(root, arch, seed, **more)


def test_one_budget_gives_a_hint_and_the_run_that_would_tell(tmp_path: Path) -> None:
    write(tmp_path, {"gru": 1.2, "decoder": 1.4})
    (steady,) = answers(tmp_path)
    falling(tmp_path, "decoder")
    (hint,) = answers(tmp_path)
    assert "does not tell" in steady
    assert re.search(r"Perhaps: decoder \(0\.\d+ behind the best\) still fell", hint)
    assert hint.endswith("the same runs with train.steps=2000.")  # each had a command of its own
    falling(tmp_path, "gru")
    for path in tmp_path.glob("runs/decoder-*/curve.jsonl"):
        path.write_text("")
    assert "Perhaps" not in answers(tmp_path)[0]  # that the best still falls changes no order


@pytest.mark.parametrize(
    ("longer", "opening"),
    [
        ({"gru": 1.3, "lstm": 1.0}, "Yes"),
        ({"gru": 1.0, "lstm": 1.3}, "No"),
        ({"gru": 1.3, "decoder": 0.9}, "From"),
    ],
)
def test_a_sweep_of_budgets_answers(tmp_path: Path, longer: dict[str, float], opening: str) -> None:
    write(tmp_path, {"gru": 1.2, "lstm": 1.4})
    write(tmp_path, {"decoder": 1.6} | longer, steps=4000)
    for sentence in answers(tmp_path):
        answer = sentence.partition("? ")[2]
        assert answer.startswith(opening)
        assert answer.endswith("train.steps=8000.")


def test_a_single_row_has_no_winner(tmp_path: Path) -> None:
    write(tmp_path, {"gru": 1.2})
    assert answers(tmp_path) == [""]


def test_a_law_tells_where_another_takes_the_lead(tmp_path: Path) -> None:
    later = TRUTH["decoder"] * [1, 1, 1, 1.45, 1]  # from 10 times the tokens of CENTER on
    write_sizes(tmp_path, {"lstm": TRUTH["lstm"], "decoder": later}, noise=0.0002)
    for sentence in answers(tmp_path):
        assert "no row is clearly better than lstm" in sentence
        assert "decoder overtakes lstm at about" in sentence
