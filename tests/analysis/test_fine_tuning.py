"""Tables of fine-tuned runs: means, gains, baselines, verdicts, and what does not count."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from syrupy.assertion import SnapshotAssertion

from bench.analysis.fine_tuning import TaskTable, build_task_tables
from bench.analysis.task_answers import task_answers
from bench.records.task_tables import read_tasks
from bench.reporting import make_report
from tests.tasks.fake_tasks import finish, write_baselines, write_seeds, write_task


def table_of(root: Path) -> TaskTable:
    (table,) = build_task_tables(read_tasks(root))
    return table


def pair(table: TaskTable, one: str, other: str) -> pd.Series:
    rows = table.verdicts
    chosen = rows[
        [{one, other} == {a, b} for a, b in zip(rows["first"], rows["second"], strict=True)]
    ]
    return chosen.iloc[0]


def test_a_row_has_the_mean_and_the_interval_over_seeds_and_examples(tmp_path: Path) -> None:
    folders = [write_task(tmp_path, "lstm", seed, 0.8) for seed in range(3)]
    hits = np.stack([pd.read_parquet(folder / "examples.parquet")["hit"] for folder in folders])
    row = table_of(tmp_path).rows.iloc[0]
    seeds = hits.mean(axis=1)
    assert row["pretrained"] == pytest.approx(seeds.mean())
    count = hits.shape[1]
    terms = [(seeds.var(ddof=1) / 3, 2), (hits.mean(axis=0).var(ddof=1) / count, count - 1)]
    variance = sum(term for term, _ in terms)
    freedom = variance**2 / sum(term**2 / own for term, own in terms)
    expected = scipy_stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    assert row["pretrained_half"] == pytest.approx(expected, rel=1e-6)
    assert row["pretrained_seeds"] == 3


def test_a_gain_is_the_mean_over_pairs_of_seeds(tmp_path: Path) -> None:
    write_seeds(tmp_path, "lstm", (0.8, 0.8, 0.8))
    write_seeds(tmp_path, "lstm", (0.6, 0.6), "scratch")
    table = table_of(tmp_path)
    (row,) = table.gains.to_dict("records")
    numbers = read_tasks(tmp_path).numbers
    values = numbers.set_index(["start", "seed"])["value"]
    expected = [values["pretrained", seed] - values["scratch", seed] for seed in (0, 1)]
    assert (row["arm"], row["over"]) == ("pretrained", "scratch")
    assert row["value"] == pytest.approx(np.mean(expected))
    assert row["value"] > row["half"] > 0


def test_every_arm_is_a_column_and_a_longer_scratch_is_one_of_its_own(tmp_path: Path) -> None:
    write_seeds(tmp_path, "lstm", (0.8, 0.8))
    write_seeds(tmp_path, "lstm", (0.6, 0.6), "scratch")
    write_seeds(tmp_path, "lstm", (0.7, 0.7), "self")
    for seed in (0, 1):
        write_task(tmp_path, "lstm", seed, 0.7, "scratch", scratch_steps=4)
    table = table_of(tmp_path)
    assert table.arms == ["pretrained", "self", "scratch", "scratch × 4"]
    gains = table.gains.set_index(["arm", "over"])["value"]
    row = table.rows.iloc[0]
    for arm, over in itertools.combinations(table.arms, 2):
        assert gains[arm, over] == pytest.approx(row[arm] - row[over])
    sentences = [text for text in task_answers(table) if text.startswith("Gain of")]
    assert len(sentences) == 5  # none of scratch over itself
    assert sentences[0].startswith("Gain of pre-training over the same steps from scratch")


def test_the_order_of_scores_is_held_against_that_of_the_bases(tmp_path: Path) -> None:
    for arch, accuracy in (("lstm", 0.6), ("convolution", 0.7), ("gru", 0.8)):
        write_seeds(tmp_path, arch, (accuracy, accuracy))
    table = table_of(tmp_path)
    assert len(table.points) == 6
    means = table.points.groupby("label")[["bits", "value"]].mean()
    expected = scipy_stats.kendalltau(-means["bits"], means["value"]).statistic
    (sentence,) = [text for text in task_answers(table) if "Kendall" in text]
    assert f"{expected:.2f} (p = " in sentence


def test_one_seed_claims_what_three_do_not(tmp_path: Path) -> None:
    write_task(tmp_path / "one", "lstm", 0, 0.68)
    write_task(tmp_path / "one", "convolution", 0, 0.78)
    assert pair(table_of(tmp_path / "one"), "lstm", "convolution")["kind"] == "better"
    write_seeds(tmp_path / "three", "lstm", (0.68, 0.79, 0.78))
    write_seeds(tmp_path / "three", "convolution", (0.78, 0.79, 0.79))
    judged = pair(table_of(tmp_path / "three"), "lstm", "convolution")
    assert judged["kind"] == "not distinguishable"
    assert judged["basis"] == "seeds and documents"


def test_a_clear_difference_is_better_and_the_control_is_not(tmp_path: Path) -> None:
    write_seeds(tmp_path, "lstm", (0.80, 0.80, 0.80))
    write_seeds(tmp_path, "convolution", (0.6, 0.6, 0.6))
    write_seeds(tmp_path, "lstm", (0.80, 0.80, 0.80), first=100)
    table = table_of(tmp_path)
    assert pair(table, "lstm", "convolution")[["first", "kind"]].tolist() == ["lstm", "better"]
    control = pair(table, "lstm", "lstm (again)")
    assert (control["kind"], control["control"]) == ("not distinguishable", True)


def test_bases_are_found_where_the_suite_was_moved(tmp_path: Path) -> None:
    write_task(tmp_path / "old", "lstm", 0, 0.8)
    before = table_of(tmp_path / "old").rows.iloc[0]
    (tmp_path / "old").rename(tmp_path / "new")
    moved = table_of(tmp_path / "new").rows.iloc[0]
    assert moved["base_bits_per_byte"] == before["base_bits_per_byte"] > 0


def test_a_row_names_the_baselines_that_it_does_not_beat(tmp_path: Path) -> None:
    write_seeds(tmp_path, "lstm", (0.8, 0.8, 0.8))
    write_baselines(tmp_path, majority=0.5, words=0.81)
    assert table_of(tmp_path).rows.iloc[0]["no_better_than"] == ["words"]


def test_the_answers_of_a_task(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    write_seeds(tmp_path, "lstm", (0.8, 0.8, 0.8))
    write_seeds(tmp_path, "lstm", (0.6, 0.6, 0.6), "scratch")
    write_seeds(tmp_path, "encoder", (0.6, 0.6, 0.6))
    write_baselines(tmp_path, majority=0.5, words=0.7)
    assert list(task_answers(table_of(tmp_path))) == snapshot


def test_a_fine_tuning_of_replaced_weights_does_not_count(tmp_path: Path) -> None:
    folder = write_task(tmp_path, "lstm", 0, 0.8)
    assert len(read_tasks(tmp_path).runs) == 1
    provenance = read_tasks(tmp_path).runs.iloc[0]
    base = tmp_path / "runs" / provenance["base"]
    (base / "checkpoint" / "weights.pt").write_bytes(b"trained again")
    tables = read_tasks(tmp_path)
    assert tables.runs.empty
    assert [row["status"] for row in tables.excluded] == ["stale"]
    assert tables.excluded[0]["run"] == folder.name


def test_other_examples_are_another_table(tmp_path: Path) -> None:
    write_task(tmp_path, "lstm", 0, 0.8)
    write_task(tmp_path, "lstm", 0, 0.7, examples=100)
    write_task(tmp_path, "lstm", 0, 0.7, steps=800)
    tables = build_task_tables(read_tasks(tmp_path))
    titles = {table.title for table in tables}
    assert titles == {
        "order, task.steps=400", "order, 100 examples, task.steps=400", "order, task.steps=800",
    }  # fmt: skip


@pytest.mark.slow
def test_the_report_has_the_numbers_and_the_section(tmp_path: Path) -> None:
    write_seeds(tmp_path, "lstm", (0.8, 0.8))
    write_seeds(tmp_path, "lstm", (0.6, 0.6), "scratch")
    finish(write_task(tmp_path, "lstm", 2, 0.8), np.array([1.0, 0.0] * 200))
    page, text = make_report(tmp_path)
    numbers = pd.read_csv(page.parent / "tasks.csv")
    assert set(numbers["metric"]) == {"label_accuracy"}
    assert len(numbers) == 5
    assert numbers.loc[numbers["seed"] == 2, "value"].tolist() == [0.5]
    assert 'id="fine-tuning"' in page.read_text()
    assert "Best at order" in text
