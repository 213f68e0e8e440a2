"""Verdicts on pairs: against scipy, closed forms and a simulated truth, and as sentences."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from bench import reporting, stats
from bench.analysis import aggregate
from bench.analysis.build import build
from bench.analysis.comparisons import Comparison
from bench.cli import compose
from bench.config.errors import UserError
from bench.records import store
from bench.records import tables as reading
from bench.reporting import panel_data, summary_text
from bench.reporting.views import build_views
from tests import fake_records
from tests.conftest import Command


def test_the_jackknife_of_one_variant_is_that_of_its_difference_from_zero() -> None:
    draw = np.random.default_rng(0)
    sizes = np.exp(draw.normal(5, 1.5, 20))
    nats = draw.normal(1, 0.1, 20) * sizes
    rows = pd.MultiIndex.from_product([[4], range(20)], names=["row", "document"])
    documents = pd.DataFrame({"nats": nats, "bytes": sizes}, index=rows)
    variant = aggregate.document_variance_table(documents).loc[4]
    expected = stats.document_variances(np.stack([nats, 0 * sizes]), sizes)[0, 1]
    assert variant["document_variance"] == pytest.approx(expected)
    assert variant["documents"] == pytest.approx(stats.effective_n(sizes))


# --- sentences ------------------------------------------------------------------------------------


def compared(root: Path) -> Comparison:
    records = reading.read_records(root)
    return build(records).comparisons[0]


def write(
    root: Path, arch: str, nats: float, seeds: Sequence[int], count: int = 120, **changes: str
) -> None:
    for seed in seeds:
        fake_records.write_run(
            root,
            arch,
            seed,
            documents=fake_records.make_documents(nats, seed + 10 * len(arch), count),
            **changes,
        )


def make_control(root: Path, arch: str, seeds: list[int]) -> None:
    """Say in every record that the suite has a control."""
    for path in root.glob("runs/*/config.yaml"):
        config = yaml.safe_load(path.read_text()) | {"control": {"arch": arch, "seeds": seeds}}
        store.write_text(path, yaml.safe_dump(config))
        fake_records.seal(path.parent)


def test_the_three_sentences(tmp_path: Path) -> None:
    write(tmp_path, "lstm", 1.2, range(3))
    write(tmp_path, "gru", 1.4, range(3))
    write(tmp_path, "convolution", 1.4, range(3))
    found = compared(tmp_path).verdicts[0].pairs.set_index(["label", "other_label"])["sentence"]
    better = found.xs("lstm", level="label")
    assert all(
        line.startswith("lstm is better by 0.2") and line.endswith("bits per byte")
        for line in better
    )
    other = found.drop("lstm", level="label").iloc[0]
    assert other.startswith("not distinguishable (detectable: 0.0")


def test_one_seed_is_judged_over_documents_only_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, "lstm", 1.2, [0])
    write(tmp_path, "gru", 1.4, [0])
    part = compared(tmp_path)
    (pair,) = part.verdicts[0].pairs.itertuples()
    assert pair.sentence.endswith("bits per byte, over documents only")
    assert any("seeds were not sampled" in note for note in part.verdicts[0].notes)
    assert "seeds were not sampled" in summary_text.summary_sentences(part, [])[1]


def test_without_seeds_and_documents_there_is_no_verdict(tmp_path: Path) -> None:
    for arch, nats in (("lstm", 1.2), ("gru", 1.4)):
        write(tmp_path, arch, nats, [0])
    for path in tmp_path.glob("runs/*/documents.parquet"):
        path.unlink()
    (pair,) = compared(tmp_path).verdicts[0].pairs.itertuples()
    assert (
        pair.sentence
        == "no verdict on lstm and gru: one seed each, and no nats of the same documents"
    )


def test_too_few_documents_are_said(tmp_path: Path) -> None:
    for arch, nats in (("lstm", 1.2), ("gru", 1.4)):
        write(tmp_path, arch, nats, range(3), count=6)
    assert any(
        note.startswith("Too few documents: the 6 scored ones")
        for note in compared(tmp_path).verdicts[0].notes
    )


def test_another_tokenizer_is_another_table_and_says_why(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    for arch, nats in (("lstm", 1.2), ("gru", 1.4)):
        write(root, arch, nats, range(2))
        write(root, arch, nats, range(2), tokenizer="bpe", data_digest="b1b1b1b1")
    for path in root.glob("runs/*/provenance.json"):  # the same text under two tokenizers
        provenance = store.read_json(path)
        provenance["digests"]["text"] = "t1t1t1t1"
        store.write_json(path, provenance)
    part = compared(root)
    assert [len(table) for table in part.likelihoods] == [2, 2]
    assert [len(found.pairs) for found in part.verdicts] == [1, 1]
    assert "The tokenizer differs (bpe · bytes)" in reporting.make_report(root)[0].read_text()


# --- the answer first: odd tables -----------------------------------------------------------------


def answer(root: Path) -> list[str]:
    return summary_text.summary_sentences(compared(root), [])


def test_one_architecture_has_a_score_and_no_verdict(tmp_path: Path) -> None:
    write(tmp_path, "lstm", 1.2, range(3))
    said = answer(tmp_path)
    assert len(said) == 2
    assert said[1].startswith("lstm: 1.6")
    assert said[1].endswith("on the test part, with nothing to compare it with.")
    write(tmp_path, "lstm", 1.2, [100, 101, 102])
    make_control(tmp_path, "lstm", [100, 101, 102])
    said = answer(tmp_path)
    assert any("nothing to compare it with" in line for line in said)
    assert any(line.startswith("The A/A control, lstm") for line in said)
    assert not any("Best quality" in line or "no verdict" in line for line in said)


def test_encoders_alone_are_told_apart_from_likelihoods(tmp_path: Path) -> None:
    fake_records.write_run(tmp_path, "encoder", 0)
    said = answer(tmp_path)
    assert said[0].startswith("1 encoder trained on")
    assert said[1].startswith("The encoder's pseudo-perplexity (not a likelihood): 2.6")
    assert not any("bits per byte" in line for line in said)


def test_where_everything_is_tied_nothing_is_called_best(tmp_path: Path) -> None:
    """To the last digit, in all seeds and documents: no division by a variance of zero."""
    table = fake_records.make_documents(1.2, 0)
    for arch in ("lstm", "gru", "decoder"):
        for seed in range(3):
            fake_records.write_run(tmp_path, arch, seed, documents=table)
    part = compared(tmp_path)
    assert part.verdicts[0].pairs["kind"].eq(stats.NOT_DISTINGUISHABLE).all()
    said = " ".join(summary_text.summary_sentences(part, []))
    assert "Lowest mean: " in said
    assert "not distinguishable from" in said
    assert "Best quality" not in said
    assert "nan" not in said.lower()


def test_whoever_wins_is_named_and_by_how_much(tmp_path: Path) -> None:
    """An old recurrent network may beat a modern decoder: the sentence is made from the figures."""
    write(tmp_path, "decoder", 1.30, range(3))
    write(tmp_path, "lstm", 1.22, range(3))
    said = answer(tmp_path)
    assert said[1].startswith("Best quality: lstm, ")
    assert "better than decoder by 0.1" in said[1]
    assert 2 <= len(said) <= 6


def test_a_control_that_is_lower_is_said(tmp_path: Path) -> None:
    write(tmp_path, "decoder", 1.30, range(3))
    write(tmp_path, "lstm", 1.22, range(3), family="control")
    said = answer(tmp_path)
    assert said[1].startswith("Lowest mean but for a control: decoder, ")
    assert "worse than lstm by 0.1" in said[1]
    assert "better than" not in said[1]


# --- the A/A control ------------------------------------------------------------------------------


def test_the_control_is_a_row_of_its_own_outside_mean_count_pool_and_family(tmp_path: Path) -> None:
    for root in (tmp_path / "with", tmp_path / "without"):
        write(root, "lstm", 1.2, range(3))
        write(root, "gru", 1.25, range(3))
    root = tmp_path / "with"
    write(root, "lstm", 1.2, [100, 101, 102])
    make_control(root, "lstm", [100, 101, 102])
    part, other = compared(root), compared(tmp_path / "without")
    rows = part.rows.set_index("label")
    assert list(rows.index) == ["gru", "lstm", "lstm again"]
    assert rows.loc["lstm", "seeds"] == rows.loc["lstm again", "seeds"] == 3
    assert (
        rows.loc["lstm", "bits_per_byte"]
        == other.rows.set_index("label").loc["lstm", "bits_per_byte"]
    )
    found, plain = part.verdicts[0].pairs, other.verdicts[0].pairs
    assert list(found["control"]) == [False, True]
    columns = ["difference", "half", "p", "adjusted", "detectable"]
    assert found.loc[~found["control"], columns].to_numpy() == pytest.approx(
        plain[columns].to_numpy()
    )
    assert set(found.loc[found["control"], ["label", "other_label"]].iloc[0]) == {
        "lstm",
        "lstm again",
    }
    said = " ".join(summary_text.summary_sentences(part, []))
    assert "The A/A control, lstm" in said
    assert "as it should be" in said
    assert "2 causal models" in said


def test_a_control_that_differs_is_said_loudly(tmp_path: Path) -> None:
    write(tmp_path, "lstm", 1.2, range(3))
    write(tmp_path, "gru", 1.25, range(3))
    write(tmp_path, "lstm", 1.35, [100, 101, 102])
    make_control(tmp_path, "lstm", [100, 101, 102])
    part = compared(tmp_path)
    said = " ".join(summary_text.summary_sentences(part, []))
    assert "otherwise the intervals are too narrow" in said
    assert "Best quality: lstm," in said


def test_a_control_is_drawn_and_measured_once(tmp_path: Path) -> None:
    root = fake_records.write(tmp_path / "suite", seeds=2, archs=("lstm", "gru"), machines=1)
    for seed in (100, 101):
        fake_records.write_run(root, "lstm", seed)
    make_control(root, "lstm", [100, 101])
    page = reporting.make_report(root)[0].read_text()
    assert page.count("A/A control</span>") == 1  # in the table of scores
    views = build_views(build(reading.read_records(root)))
    control = set(views[0].rows.loc[views[0].rows["control"], "key"])
    drawn = set(panel_data.length_data(views)["key"]) | set(panel_data.memory_data(views)["key"])
    assert drawn
    assert not drawn & control
    summary = pd.read_csv(root / "report" / "summary.csv")
    assert list(summary.loc[summary["control"], "arch"]) == ["lstm"]


def test_the_runs_carry_the_control_of_their_suite() -> None:
    words = ["suite=default", "arch=rnn,bigram", "seed=0"]
    runs = compose.compose_sweep(words).runs
    assert [(run.names["arch"], run.seed) for run in runs] == [
        ("rnn", 0),
        ("bigram", 0),
        ("rnn", 100),
        ("rnn", 101),
        ("rnn", 102),
    ]
    assert dataclasses.replace(runs[0], seed=100) == runs[2]
    # as a rerun of one run of the control
    assert len(compose.compose_sweep(["suite=default", "arch=rnn", "seed=100"]).jobs) == 1
    with pytest.raises(UserError, match="seed=100 belongs to the A/A control"):
        compose.compose_sweep([*words[:2], "seed=100"])
    with pytest.raises(UserError, match="has no seeds"):
        compose.compose_sweep([*words, "control.seeds=[]"])


@pytest.mark.slow
def test_a_sweep_trains_its_control_after_the_others(
    run_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    words = ["arch=bigram,rnn", "-m", "control.arch=bigram", "control.seeds=[7]", *tiny]
    done = run_command(*words)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "results" / "single" / "report" / "summary.csv")
    assert sorted(zip(table["arch"], table["control"], table["seeds"], strict=True)) == [
        ("bigram", False, 1), ("bigram", True, 1), ("rnn", False, 1),
    ]  # fmt: skip
