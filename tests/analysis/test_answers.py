"""Answers: who wins, by how much, and with which caveats, on records that provoke each case."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis import Answer
from bench.analysis.build import build
from bench.analysis.sessions import COMPILED_RATE, DECODE_RATE, EAGER_RATE
from bench.records.metrics import Metric
from bench.records.tables import read_records
from tests import fake_records


def answers(root: Path) -> dict[str, Answer]:
    return {answer.question: answer for answer in build(read_records(root)).answers}


def write(root: Path, nats: dict[str, float], seeds: int = 3, **changes: Any) -> None:
    for arch, level in nats.items():
        for seed in range(seeds):
            documents = fake_records.make_documents(level, seed + 10 * len(arch))
            fake_records.write_run(root, arch, seed, documents=documents, **changes)


def labels(answer: Answer) -> list[str]:
    return [winner.label for winner in answer.winners]


def test_rows_not_distinguishable_from_the_best_share_its_place(tmp_path: Path) -> None:
    write(tmp_path, {"gru": 1.2, "lstm": 1.2, "decoder": 1.4})
    best = answers(tmp_path)["quality"]
    assert sorted(labels(best)) == ["gru", "lstm"]
    assert best.next is not None
    assert best.next.label == "decoder"
    assert best.gap is not None
    assert best.gap.value == pytest.approx(best.next.value - best.winners[0].value)
    assert best.gap.low < best.gap.value < best.gap.high
    assert best.gap.p < 0.05
    assert best.noise is None


def test_controls_never_win(tmp_path: Path) -> None:
    fake_records.write_run(tmp_path, "pairs", 0, family="control", documents=better())
    write(tmp_path, {"gru": 1.2, "decoder": 1.4}, seeds=1)
    for arch in ("pairs", "gru", "decoder"):
        fake_records.write_measure(tmp_path, arch)
    fake_records.write_measure(tmp_path, "gru", twin=True)
    found = answers(tmp_path)
    assert set(found) == {"quality", "training", "decoding-1", "memory"}
    assert labels(found["quality"]) == labels(found["memory"]) == ["gru"]
    assert labels(found["training"]) == ["decoder"]  # 20,500 tokens/s; the control has 160,000
    assert "pairs" not in {badge for one in found.values() for b in one.badges for badge in b.rows}


def better() -> Any:
    return fake_records.make_documents(1.0, 5)


def peaks(live: float, allocator: float) -> list[Metric]:
    names = ("peak_train_memory_bytes", "memory_allocator_peak_bytes")
    return [
        Metric(name, "bytes", "lower", (value,))
        for name, value in zip(names, (live, allocator), strict=True)
    ]


def test_memory_is_the_larger_peak_and_claimed_where_both_agree(tmp_path: Path) -> None:
    sizes = {"gru": (40e6, 70e6), "lstm": (45e6, 65e6), "decoder": (60e6, 91e6)}
    for arch, both in sizes.items():
        fake_records.write_run(tmp_path, arch, 0)
        fake_records.write_measure(tmp_path, arch, metrics=peaks(*both))
    least = answers(tmp_path)["memory"]
    assert [(one.label, one.value) for one in least.winners] == [("lstm", 65e6), ("gru", 70e6)]
    assert least.next is not None
    assert (least.next.label, least.next.value) == ("decoder", 91e6)
    assert least.gap is not None
    assert least.gap[:3] == pytest.approx((1.4, 1.4, 1.4))


def test_nothing_is_claimed_without_an_a_a_pair(tmp_path: Path) -> None:
    for arch in ("gru", "lstm"):
        fake_records.write_run(tmp_path, arch, 0)
        fake_records.write_measure(tmp_path, arch)
    found = answers(tmp_path)["training"]
    assert (found.reason, found.winners, found.next) == ("no-duplicate", (), None)


def codes(root: Path) -> set[str]:
    return {badge.code for badge in answers(root)["quality"].badges}


def test_one_rate_for_all_and_one_seed(tmp_path: Path) -> None:
    write(tmp_path, {"gru": 1.2, "lstm": 1.3}, seeds=1)
    assert codes(tmp_path) == {"one-rate", "one-seed"}


def test_fewer_seeds_and_rates_by_hand(tmp_path: Path) -> None:
    write(tmp_path, {"gru": 1.2})
    write(tmp_path, {"lstm": 1.3}, seeds=2, learning_rate=1e-3)
    fewer, by_hand = (
        next(b for b in answers(tmp_path)["quality"].badges if b.code == code)
        for code in ("fewer-seeds", "rate-by-hand")
    )
    assert fewer.rows == ("lstm",)
    assert by_hand.rows == ("gru", "lstm")


def test_a_rate_searched_at_another_length_and_unequal_trials(tmp_path: Path) -> None:
    noted = "size=small, {} steps of python_docs"
    tunes = {
        "gru": {"learning_rate": 1e-3, "trials": 6, "searched": noted.format(400)},
        "lstm": {"learning_rate": 2e-3, "trials": 12, "searched": noted.format("1,000")},
    }
    for arch, tune in tunes.items():
        fake_records.write_run(tmp_path, arch, 0, learning_rate=None, tune=tune)
    badges = {badge.code: badge for badge in answers(tmp_path)["quality"].badges}
    assert set(badges) == {"rate-elsewhere", "unequal-trials", "one-seed"}
    assert badges["rate-elsewhere"].rows == ("gru",)
    rows = build(read_records(tmp_path)).variants.summary.set_index("arch")
    assert list(rows.loc[["gru", "lstm"], "searched_steps"]) == [400, 1000]
    assert list(rows.loc[["gru", "lstm"], "rate_elsewhere"]) == ["steps", ""]


def test_an_n_gram_better_than_every_row(tmp_path: Path) -> None:
    write(tmp_path, {"gru": 1.2, "lstm": 1.3})
    fake_records.write_references(tmp_path, ngram=1.5)
    assert "baseline-better" in codes(tmp_path)
    fake_records.write_references(tmp_path, ngram=2.5)
    assert "baseline-better" not in codes(tmp_path)


def test_a_loss_that_still_falls_is_marked_and_one_that_does_not_is_not(tmp_path: Path) -> None:
    for arch, fall in (("gru", 0.021), ("lstm", 0.019)):
        folder = fake_records.write_run(tmp_path, arch, 0)
        losses = ((900, 2.0), (1000, 2.0 * (1 - fall)))
        lines = [f'{{"step": {n}, "tokens": {n}, "validation_nats": {x}}}\n' for n, x in losses]
        (folder / "curve.jsonl").write_text("".join(lines))
        fake_records.seal(folder)
    (badge,) = [b for b in answers(tmp_path)["quality"].badges if b.code == "still-falling"]
    assert badge.rows == ("gru",)


def test_the_form_of_a_step_is_named_where_another_row_does_twice_the_arithmetic(
    tmp_path: Path,
) -> None:
    for arch, rate in (("gru", 100.0), ("lstm", 210.0), ("decoder", 150.0)):
        fake_records.write_run(tmp_path, arch, 0)
        decode = Metric("decode_tokens_per_second", "tokens/s", "higher", (rate,) * 5)
        flops = Metric("flops_per_token", "FLOPs/token", "lower", (1e6,))
        fake_records.write_measure(tmp_path, arch, metrics=[decode, flops])
    (badge,) = answers(tmp_path)["decoding-1"].badges
    assert (badge.code, badge.rows) == ("decode-form", ("gru",))


def test_decoding_is_ranked_by_the_faster_form_of_the_step(tmp_path: Path) -> None:
    """The gru gains by compiling, the lstm loses, the decoder could not be compiled."""
    rates = {"gru": (100.0, 900.0), "lstm": (210.0, 190.0), "decoder": (300.0, None)}
    for arch, (eager, compiled) in rates.items():
        fake_records.write_run(tmp_path, arch, 0)
        for twin in (False, True)[: 1 + (arch == "gru")]:
            metrics = [decoding("", eager, 10 + twin), decoding("compiled_", compiled, twin)]
            fake_records.write_measure(tmp_path, arch, twin, metrics=metrics)
    analysis = build(read_records(tmp_path))
    (session,) = analysis.sessions
    arches = {arch: subject for subject, arch in session.arches.items()}

    def rate(arch: str, metric: str) -> float:
        return session.value(arches[arch], f"decode_{metric}tokens_per_second")

    assert [rate(arch, "") for arch in rates] == pytest.approx([900, 210, 300], rel=0.01)
    assert [rate(arch, "eager_") for arch in rates] == pytest.approx([100, 210, 300], rel=0.01)
    assert rate("lstm", "compiled_") == pytest.approx(190, rel=0.01)
    assert session.missing_reason(arches["decoder"], COMPILED_RATE) == "no compiler"
    (answer,) = (one for one in analysis.answers if one.question == "decoding-1")
    assert labels(answer) == ["gru"]
    assert answer.gap is not None
    assert answer.gap.value == pytest.approx(3, rel=0.01)
    badge = next(one for one in answer.badges if one.code == "decode-steps")
    assert "compiled for gru; eager for " in badge.text
    points = session.eager_point(DECODE_RATE), session.eager_point("train_tokens_per_second")
    assert [point[0] for point in points] == [EAGER_RATE, "train_tokens_per_second"]


def decoding(form: str, rate: float | None, seed: int) -> Metric:
    noise = np.random.default_rng(seed).normal(size=20)
    values = () if rate is None else tuple(rate * (1 + 0.003 * noise))
    note = "no compiler" if rate is None else ""
    name = f"decode_{form}tokens_per_second"
    return Metric(name, "tokens/s", "higher", values, note, rounds=tuple(range(len(values))))


def test_regrets_are_ranked_by_their_seeds_and_one_seed_has_no_verdict(tmp_path: Path) -> None:
    for name, seeds in (("three", 3), ("one", 1)):
        root = tmp_path / name
        for arch, regret in (("gru", 0.10), ("lstm", 0.11), ("decoder", 0.90)):
            for seed in range(seeds):
                value = regret + 0.01 * seed
                metrics = [
                    Metric("regret", "nats/token", "lower", (value,)),
                    Metric("oracle_nats_per_token", "nats/token", "neither", (1.0,)),
                    Metric("nats_per_token", "nats/token", "lower", (1.0 + value,)),
                ]
                fake_records.write_run(root, arch, seed, metrics=metrics)
    best = answers(tmp_path / "three")["quality"]
    assert (best.metric, labels(best), best.reason) == ("regret", ["gru", "lstm"], "")
    assert best.next is not None
    assert best.next.label == "decoder"
    alone = answers(tmp_path / "one")["quality"]
    assert (labels(alone), alone.next, alone.reason) == (["gru"], None, "no-verdict")
