"""Sentences that once said more than the numbers, each from records that provoke it, pinned."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from syrupy.assertion import SnapshotAssertion

from bench import stats
from bench.analysis.build import build
from bench.analysis.verdicts import verdict_sentence
from bench.records import store
from bench.records.metrics import Metric
from bench.records.tables import read_records
from bench.reporting.sections.scaling_text import crossing_sentence, scaling_sentences
from bench.reporting.summary_text import summary_sentences
from tests import fake_records
from tests.analysis.test_answers import peaks, write
from tests.analysis.test_scaling import TRUTH, scale
from tests.analysis.test_scaling import write as write_sizes

NOTE = "size=small, {} steps of python_docs"


def sentences(root: Path) -> list[str]:
    analysis = build(read_records(root))
    return summary_sentences(analysis.comparisons[0], analysis.answers)


def rates(training: float, decoding: float, seed: int) -> list[Metric]:
    """Rates of 40 rounds with half a percent of noise, and equal FLOPs."""
    noise = 1 + 0.005 * np.random.default_rng(seed).normal(size=(2, 40))
    names = ("train_tokens_per_second", "decode_tokens_per_second")
    pairs = zip(names, (training, decoding), noise, strict=True)
    made = [
        Metric(name, "tokens/s", "higher", tuple(map(float, value * own)), rounds=tuple(range(40)))
        for name, value, own in pairs
    ]
    return [*made, Metric("flops_per_token", "FLOPs/token", "lower", (1e6,))]


def references(root: Path, whole: float, as_read: float) -> None:
    """Reference lines that are counted on all text, and on the blocks of seed 0."""
    path = fake_records.write_references(root, ngram=as_read)
    content = store.read_json(path) | {"order_digest": "order-0", "training_tokens": 1_000_000}
    store.write_json(path.with_name("d1d1d1d1-128-order-0.json"), content)
    fake_records.write_references(root, ngram=whole)


def falling(root: Path, arch: str) -> None:
    """Let the validation loss fall by 2.4 % over the last tenth of the steps."""
    for path in root.glob(f"runs/{arch}-*/curve.jsonl"):
        losses = ((900, 2.94), (1000, 2.87))
        lines = [f'{{"step": {n}, "tokens": {n}, "validation_nats": {x}}}\n' for n, x in losses]
        path.write_text("".join(lines))
        fake_records.seal(path.parent)


def test_unequal_tuning_controls_noise_and_reference_lines(
    tmp_path: Path, snapshot: SnapshotAssertion
) -> None:
    tunes: dict[str, Any] = {
        "gru": {"learning_rate": 1e-3, "trials": 6, "searched": NOTE.format(400)},
        "lstm": {
            "learning_rate": 2e-3,
            "trials": 12,
            "searched": NOTE.format("1,000"),
            "edge": "high",
        },
    }
    write(tmp_path, {"gru": 1.2}, learning_rate=None, tune=tunes["gru"])
    write(tmp_path, {"lstm": 1.2}, learning_rate=None, tune=tunes["lstm"])
    write(tmp_path, {"decoder": 1.4}, seeds=2)
    write(tmp_path, {"pairs": 1.9}, family="control")
    measured = {
        "gru": (1000, 50),
        "lstm": (2000, 130),
        "decoder": (1980, 125),
        "pairs": (9000, 900),
    }
    for seed, (arch, both) in enumerate(measured.items()):
        fake_records.write_measure(tmp_path, arch, metrics=rates(*both, seed=seed))
    fake_records.write_measure(tmp_path, "gru", twin=True, metrics=rates(1036, 51, seed=9))
    falling(tmp_path, "decoder")
    references(tmp_path, whole=1.721, as_read=1.769)
    assert sentences(tmp_path) == snapshot


def test_one_rate_an_n_gram_ahead_of_all_and_peaks_that_disagree(
    tmp_path: Path, snapshot: SnapshotAssertion
) -> None:
    write(tmp_path, {"gru": 1.2, "lstm": 1.3}, seeds=1)
    for arch, both in (("gru", (40e6, 70e6)), ("lstm", (45e6, 65e6))):
        metrics = [*peaks(*both), *rates(1000 if arch == "gru" else 2000, 50, seed=len(arch))]
        fake_records.write_measure(tmp_path, arch, metrics=metrics)
    fake_records.write_references(tmp_path, ngram=1.5)
    assert sentences(tmp_path) == snapshot


def test_the_share_of_seed_pairs_won_is_named_beside_its_p_value(
    snapshot: SnapshotAssertion,
) -> None:
    pair = {"label": "a", "other_label": "b", "kind": stats.ONE_SEED_DECIDES, "basis": "seeds"}
    table = pd.DataFrame([pair | {"wins": 0.6, "adjusted": 0.0123}])
    assert verdict_sentence(next(table.itertuples())) == snapshot


def test_a_law_at_its_bound(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    laws = {"lstm": np.array([-0.5, 1.1, 0.3, 1.2, 0.2]), "decoder": TRUTH["decoder"]}
    write_sizes(tmp_path, laws, noise=0.0)
    study = scale(tmp_path)
    assert all(one.at_bound == ("lstm",) for one in study.crossings)
    lines = [*scaling_sentences(study), *map(crossing_sentence, study.crossings)]
    assert [line for line in lines if "bound" in line or "predicted" in line] == snapshot
    assert not any("overtakes" in line for line in lines)
