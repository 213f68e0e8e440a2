"""Verdicts on pairs: against scipy and closed forms, against a simulated truth, and as sentences."""

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from bench import reporting
from bench.analysis import aggregate
from bench.analysis.build import build
from bench.analysis.comparisons import Comparison
from bench.analysis.verdicts import verdict_sentence
from bench.cli import compose
from bench.config.errors import UserError
from bench.records import store
from bench.records import tables as reading
from bench.reporting import summary_text
from bench.stats import pairwise
from bench.stats.pairwise import Groups
from tests import fake_records
from tests.conftest import Command

NOWHERE = np.empty(0)


def alone(*seeds: Sequence[float]) -> Groups:
    """Arms without documents."""
    return Groups([np.array(one) for one in seeds], np.empty((len(seeds), 0)), NOWHERE)


def simulated(
    truth: Sequence[float], seeds: int, draw: np.random.Generator, documents: int = 200
) -> Groups:
    """Arms whose bits per byte are known: hard and easy documents of very unequal size, which suit one arm more than another."""
    sizes = np.exp(draw.normal(6, 1, documents))
    levels = (
        np.array(truth)[:, None]
        + draw.normal(0, 0.15, documents)
        + draw.normal(0, 0.02, (len(truth), documents))
    )
    means = levels @ sizes / sizes.sum()
    scores = means[:, None] + draw.normal(0, 0.003, (len(truth), seeds))
    nats = (levels + (scores.mean(axis=1) - means)[:, None]) * sizes * math.log(2)
    return Groups(list(scores), nats, sizes)


# --- closed forms -----------------------------------------------------------------------------------------------------


def test_two_arms_without_documents_are_the_t_test() -> None:
    first, second = [1.0, 1.1, 1.3], [2.0, 2.2]
    pair = pairwise.pairwise_tests(alone(second, first)).iloc[0]
    expected = stats.ttest_ind(second, first)
    assert (pair["first"], pair["second"]) == (1, 0)
    assert pair["p"] == pytest.approx(expected.pvalue)
    assert pair["difference"] - pair["half"] == pytest.approx(expected.confidence_interval().low)
    assert pair["basis"] == "seeds"


def test_the_seed_variance_is_pooled_and_degrees_of_freedom_add_up() -> None:
    arms = alone([1.0, 1.1, 1.3], [2.0, 2.2], [5.0, 5.1, 5.15, 5.2], [3.0])
    pair = pairwise.pairwise_tests(arms).iloc[0]
    squares = sum(float(np.square(one - one.mean()).sum()) for one in arms.seeds)
    assert pair["half"] == pytest.approx(
        stats.t.ppf(0.975, 6) * math.sqrt(squares / 6 * (1 / 3 + 1 / 2))
    )


def test_documents_add_their_variance_by_welch_and_satterthwaite() -> None:
    sizes, seeds = np.full(50, 40.0), [np.array([1.0, 1.1, 1.3]), np.array([1.0, 1.3, 1.5])]
    nats = np.random.default_rng(0).normal(40, 3, (2, 50))
    pair = pairwise.pairwise_tests(Groups(seeds, nats, sizes)).iloc[0]
    documents = np.var((nats[0] - nats[1]) / 40 / math.log(2), ddof=1) / 50
    shared = np.mean([one.var(ddof=1) for one in seeds]) * 2 / 3
    freedom = (documents + shared) ** 2 / (documents**2 / 49 + shared**2 / 4)
    assert pair["half"] == pytest.approx(
        stats.t.ppf(0.975, freedom) * math.sqrt(documents + shared)
    )


def test_the_variance_over_documents_is_the_jackknife_of_a_ratio_of_sums() -> None:
    draw = np.random.default_rng(0)
    sizes = np.exp(draw.normal(5, 1.5, 20))
    nats = draw.normal(1, 0.1, (3, 20)) * sizes
    found = pairwise.document_variances(nats, sizes)
    gap = nats[0] - nats[2]
    left = np.array(
        [np.delete(gap, place).sum() / np.delete(sizes, place).sum() for place in range(20)]
    )
    ratio = gap.sum() / sizes.sum()
    assert found[0, 2] == pytest.approx(19 / 20 * np.square(left - ratio).sum() / math.log(2) ** 2)
    assert found[1, 1] == pytest.approx(0)
    assert np.isnan(pairwise.document_variances(nats[:, :1], sizes[:1])).all()
    assert pairwise.effective_n(np.full(7, 3.0)) == pytest.approx(7)
    rows = pd.MultiIndex.from_product([[4], range(20)], names=["row", "document"])
    alone = aggregate.document_variance_table(
        pd.DataFrame({"nats": nats[0], "bytes": sizes}, index=rows)
    ).loc[4]
    assert alone["document_variance"] == pytest.approx(
        pairwise.document_variances(np.stack([nats[0], 0 * sizes]), sizes)[0, 1]
    )
    assert alone["documents"] == pytest.approx(pairwise.effective_n(sizes))


def test_holm() -> None:
    assert pairwise.holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx(
        [0.03, 0.06, 0.06, 0.02]
    )


def test_an_arm_that_spreads_unlike_the_others_leaves_the_pool() -> None:
    draw = np.random.default_rng(1)
    steady = [draw.normal(1 + 0.1 * arm, 0.002, 5) for arm in range(5)]
    unsteady = draw.normal(1.2, 0.1, 5)
    table = pairwise.pairwise_tests(alone(*steady, unsteady))
    without = pairwise.pairwise_tests(alone(*steady))
    quiet, loud = (
        table[table["second"].lt(5) & table["first"].lt(5)],
        table[table["second"].eq(5) | table["first"].eq(5)],
    )
    assert quiet["half"].to_numpy() == pytest.approx(without["half"].to_numpy())
    own = (
        unsteady.var(ddof=1) / 5
    )  # nearly all of the variance of its differences, on four degrees of freedom
    assert loud["half"].to_numpy() == pytest.approx(
        [stats.t.ppf(0.975, 4) * math.sqrt(own)] * 5, rel=0.01
    )
    assert quiet["kind"].eq(pairwise.BETTER).all()
    assert not pairwise.pool_seed_variance([*steady, unsteady], np.ones(6, bool)).pool[5]


def test_one_seed_may_decide_where_many_seeds_overlap() -> None:
    draw = np.random.default_rng(0)
    noise = draw.normal(0, 1, (2, 40))
    noise -= noise.mean(axis=1, keepdims=True)
    pair = pairwise.pairwise_tests(alone(noise[0], noise[1] + 0.6)).iloc[0]
    wins = np.mean([a < b for a in noise[0] for b in noise[1] + 0.6])
    assert pair["kind"] == pairwise.ONE_SEED_DECIDES
    assert pair["wins"] == pytest.approx(wins)
    assert 0.5 < wins < 0.75


def test_the_seeds_that_would_settle_a_difference_follow_the_rule_of_thumb() -> None:
    """About 15.7 variances over the squared difference, an arm, for a power of 0.8 at 5 %."""
    first = np.array([-1.0, 0.0, 1.0])
    pair = pairwise.pairwise_tests(alone(first, first + 0.4)).iloc[0]
    assert pair["kind"] == pairwise.NOT_DISTINGUISHABLE
    assert pair["needed"] == pytest.approx(15.7 / 0.4**2, rel=0.05)
    assert pairwise.pairwise_tests(alone(first, first + 0.01)).iloc[0]["needed"] == math.inf


# --- a simulated truth ------------------------------------------------------------------------------------------------


def false_and_found(seeds: int, times: int) -> tuple[float, float]:
    """How often any difference is claimed between five equal arms, and how often one of twice the printed detectable size is."""
    draw = np.random.default_rng(seeds)
    false = found = 0
    for _ in range(times):
        equal = pairwise.pairwise_tests(simulated([1.7] * 5, seeds, draw))
        false += bool(equal["kind"].isin([pairwise.BETTER, pairwise.ONE_SEED_DECIDES]).any())
        apart = pairwise.pairwise_tests(
            simulated(
                [1.7, 1.7 + 2 * float(equal["detectable"].mean()), 1.7, 1.7, 1.7], seeds, draw
            )
        )
        pair = apart[(apart["first"] == 0) & (apart["second"] == 1)]
        found += len(pair) == 1 and pair["adjusted"].iloc[0] <= pairwise.ALPHA
    return false / times, found / times


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_calibration(seeds: int) -> None:
    times = 2000
    false, found = false_and_found(seeds, times)
    print(
        f"{seeds} seeds: claimed between equal arms {false:.4f}, found at twice the detectable size {found:.4f}"
    )
    assert false * times <= stats.binom.ppf(0.99, times, 0.05)
    assert found >= 0.8


def test_a_few_simulated_suites_are_judged_as_they_should() -> None:
    false, found = false_and_found(3, 40)
    assert false <= 0.15
    assert found >= 0.8


def test_many_arms_cost_little_more_than_few() -> None:
    """Twenty architectures, ten seeds, 5,000 documents: 190 pairs for less than what five pairs cost one at a time."""
    draw = np.random.default_rng(0)
    arms = simulated(list(1.7 + 0.001 * np.arange(20)), 10, draw, 5000)
    two = simulated([1.7, 1.701], 10, draw, 5000)

    def seconds(of: Groups) -> float:
        began = time.perf_counter()
        pairwise.pairwise_tests(of)
        return time.perf_counter() - began

    pairwise.pairwise_tests(two)
    assert min(seconds(arms) for _ in range(3)) < 50 * min(seconds(two) for _ in range(5))


# --- sentences --------------------------------------------------------------------------------------------------------


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
    assert other.startswith("not distinguishable (could have seen 0.0")
    pair = pd.Series(
        {
            "label": "a",
            "other_label": "b",
            "kind": pairwise.ONE_SEED_DECIDES,
            "wins": 0.6,
            "basis": "seeds",
        }
    )
    assert (
        verdict_sentence(next(pair.to_frame().T.itertuples()))
        == "a is better on average, but one seed decides (P = 0.6)"
    )


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


# --- the answer first: odd tables -------------------------------------------------------------------------------------


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
    """To the last digit, in all seeds and documents: no division by the variance that is not there."""
    table = fake_records.make_documents(1.2, 0)
    for arch in ("lstm", "gru", "decoder"):
        for seed in range(3):
            fake_records.write_run(tmp_path, arch, seed, documents=table)
    part = compared(tmp_path)
    assert part.verdicts[0].pairs["kind"].eq(pairwise.NOT_DISTINGUISHABLE).all()
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


# --- the A/A control --------------------------------------------------------------------------------------------------


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
    assert page.count("A/A control</span>") == 2  # in the table of scores, and in that of verdicts
    drawn = page[page.index('<div class="figures">') : page.index("Generated text")]
    assert "lstm again" not in drawn
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
