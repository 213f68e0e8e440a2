"""Two results folders compared: what is shown, what is not, and what cannot be compared."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis import compare
from bench.analysis.compare import Gate, VersionComparison
from bench.config.errors import UserError
from bench.records import store
from bench.records.metrics import Metric
from bench.records.tables import read_records
from tests import fake_records

ARCHS = ("lstm", "gru", "decoder")
REFERENCE = ARCHS[0]
PROCESSES, ROUNDS = 6, 10  # per process
PROCESS_DEVIATION, ROUND_DEVIATION, WEATHER = 0.005, 0.004, 0.05  # as on a quiet two-core machine
TRAIN = "train_tokens_per_second"
SIZE = {"peak_train_memory_bytes": 40e6, "state_bytes": 2048.0}


def write_runs(
    root: Path,
    draw: np.random.Generator,
    worse: Mapping[str, float] | None = None,
    seeds: range = range(3),
    **changes: Any,
) -> Path:
    """Write runs whose scores vary by seed and version. `worse`: by bits per byte."""
    for arch in ARCHS:
        for seed in seeds:
            nats = fake_records.PROFILES[arch]["nats"] + draw.normal(0, 0.002)
            nats += (worse or {}).get(arch, 0.0) * math.log(2)
            documents = fake_records.make_documents(nats, int(draw.integers(10**6)))
            metrics = fake_records.quality(arch, nats, documents)
            fake_records.write_run(
                root, arch, seed, documents=documents, metrics=metrics, **changes
            )
    return root


def write_session(
    root: Path,
    draw: np.random.Generator,
    slower: Mapping[str, float] | None = None,
    sizes: Mapping[str, float] | None = None,
    machine: str = "0a1b2c3d",
) -> Path:
    """Write a session of several processes on a drifting machine. `slower`: by a share."""
    count = PROCESSES * ROUNDS
    weather = math.exp(draw.normal(0, 0.1)) * np.exp(draw.normal(0, WEATHER, count))
    for arch, twin in [*((arch, False) for arch in ARCHS), (REFERENCE, True)]:
        own = np.repeat(draw.normal(0, PROCESS_DEVIATION, PROCESSES), ROUNDS)
        noise = np.exp(own + draw.normal(0, ROUND_DEVIATION, count)) * weather
        rate = fake_records.PROFILES[arch]["rate"] * (1 - (slower or {}).get(arch, 0.0))
        samples = tuple(float(value) for value in rate * noise)
        metrics = [Metric(TRAIN, "tokens/s", "higher", samples, rounds=tuple(range(count)))]
        metrics += [
            Metric(name, "bytes", "lower", (value * (sizes or {}).get(arch, 1.0),))
            for name, value in SIZE.items()
        ]
        fake_records.write_measure(
            root, arch, twin=twin, metrics=metrics, machine=machine,
            starts=[*range(0, count, ROUNDS)],
        )  # fmt: skip
    return root


def compared(old: Path, new: Path, **gate: Any) -> VersionComparison:
    thresholds = compare.DEFAULT_THRESHOLDS | gate.pop("thresholds", {})
    return compare.compare_folders(
        read_records(old), read_records(new), Gate(thresholds=thresholds, **gate)
    )


def verdicts(comparison: VersionComparison, kind: str) -> dict[tuple[str, str], str]:
    return {(one.label, one.metric): one.verdict for one in comparison.changes if one.kind == kind}


def both(root: Path, write: Any, **new: Any) -> tuple[Path, Path]:
    draw = np.random.default_rng(1)
    return write(root / "old", draw), write(root / "new", draw, **new)


# --- what is shown --------------------------------------------------------------------------------


def test_two_hundredths_of_a_bit_are_found_and_attributed(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    old = write_runs(tmp_path / "old", draw, seeds=range(5))
    new = write_runs(tmp_path / "new", draw, {"gru": 0.02}, seeds=range(5))
    result = compared(old, new)
    (regression,) = result.regressions
    assert (regression.kind, regression.label) == ("quality", "gru")
    assert regression.low < 0.02 < regression.high
    assert regression.change == pytest.approx(regression.new - regression.old)
    assert regression.basis == "5 seeds, paired; documents"
    others = {key: one for key, one in verdicts(result, "quality").items() if key[0] != "gru"}
    assert set(others.values()) == {"not distinguishable"}
    assert compared(old, new, thresholds={"quality": 0.002}).regressions
    assert not compared(old, new, thresholds={"quality": 0.03}).regressions


def test_three_per_cent_of_speed_are_found_and_attributed(tmp_path: Path) -> None:
    old, new = both(tmp_path, write_session, slower={"decoder": 0.03})
    result = compared(old, new)
    (regression,) = result.regressions
    assert (regression.kind, regression.label, regression.metric) == ("speed", "decoder", TRAIN)
    assert regression.low < -0.03 < regression.high < 0
    ratio = fake_records.PROFILES["decoder"]["rate"] / fake_records.PROFILES["lstm"]["rate"]
    assert regression.old == pytest.approx(ratio, rel=0.02)


@pytest.mark.slow
def test_equal_versions_show_nothing_twenty_times_of_twenty(tmp_path: Path) -> None:
    for number in range(20):
        draw, folders = np.random.default_rng(number), list[Path]()
        for name in ("old", "new"):
            folders.append(tmp_path / f"{name}-{number}")
            write_session(write_runs(folders[-1], draw), draw)
        result = compared(folders[0], folders[1])
        assert not result.regressions
        assert {one.verdict for one in result.changes} <= {"not distinguishable", "identical"}


def test_the_machine_may_be_faster_as_long_as_the_reference_is_too(tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    old = write_session(tmp_path / "old", draw)
    new = write_session(tmp_path / "new", draw, slower=dict.fromkeys(ARCHS, 0.2))
    result = compared(old, new)
    assert not result.regressions
    assert "lstm" in result.notes[0]


def test_other_seeds_are_compared_unpaired(tmp_path: Path) -> None:
    old, new = both(tmp_path, write_runs, worse={"gru": 0.05}, seeds=range(5, 9))
    (regression,) = compared(old, new).regressions
    assert (regression.label, regression.basis) == ("gru", "3 and 4 seeds; documents")


def test_the_same_scores_are_identical_even_with_one_seed(tmp_path: Path) -> None:
    old, new = (
        write_runs(tmp_path / name, np.random.default_rng(1), seeds=range(1))
        for name in ("old", "new")
    )
    result = compared(old, new, fail=("quality",))
    assert set(verdicts(result, "quality").values()) == {"identical"}
    assert not result.regressions


def test_memory_is_compared_to_the_byte(tmp_path: Path) -> None:
    old, new = both(tmp_path, write_session, sizes={"gru": 1.01, "decoder": 1.0005})
    result = compared(old, new, fail=("memory",))
    assert {(one.label, one.metric) for one in result.regressions} == {
        ("gru", "peak_train_memory_bytes"),
        ("gru", "state_bytes"),
    }
    assert (
        verdicts(result, "memory")["decoder", "peak_train_memory_bytes"] == "within the threshold"
    )
    assert not compared(old, new, fail=("memory",), thresholds={"memory": 0.02}).regressions


def test_what_cannot_fail_is_shown_and_fails_nothing(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    old = write_session(write_runs(tmp_path / "old", draw), draw)
    new = write_session(write_runs(tmp_path / "new", draw, {"gru": 0.1}), draw)
    result = compared(old, new, fail=("speed", "memory"))
    assert not result.regressions
    assert verdicts(result, "quality")["gru", "bits_per_byte"] == "worse"


def test_a_run_that_fails_now_is_a_regression(tmp_path: Path) -> None:
    old, new = both(tmp_path, write_runs)
    for folder in (new / "runs").glob("gru-*-s1-*"):
        for path in folder.iterdir():
            path.unlink()
    fake_records.write_run(new, "gru", 1, "failed", "diverged at step 3")
    (regression,) = compared(old, new).regressions
    assert (regression.label, regression.verdict) == ("gru", "failed")
    assert "diverged at step 3" in regression.reason


# --- what cannot be compared ----------------------------------------------------------------------


def refusal(old: Path, new: Path, **gate: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        compared(old, new, **gate)
    assert caught.value.code == "not-comparable"
    return caught.value


def test_other_data_cannot_be_compared(tmp_path: Path) -> None:
    old, new = both(tmp_path, write_runs, data_digest="e2e2e2e2")
    assert "the data differs: d1d1d1d1 and e2e2e2e2" in str(refusal(old, new))


def test_other_settings_cannot_be_compared_and_are_named(tmp_path: Path) -> None:
    old, new = both(tmp_path, write_runs, steps=500)
    assert "train.steps" in str(refusal(old, new))


def test_one_seed_supports_no_gate(tmp_path: Path) -> None:
    old, new = both(tmp_path, write_runs, seeds=range(1))
    assert "seed" in str(refusal(old, new, fail=("quality",)))


def test_speeds_of_another_machine_cannot_be_compared_but_memory_can(tmp_path: Path) -> None:
    old, new = both(tmp_path, write_session, machine="9f9f9f9f")
    assert "no session on machine 0a1b2c3d in NEW" in str(refusal(old, new, fail=("speed",)))
    assert not verdicts(compared(old, new), "speed")
    assert set(verdicts(compared(old, new), "memory").values()) == {"identical"}


def test_what_one_folder_holds_alone_is_named(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    old, new = write_runs(tmp_path / "old", draw), write_runs(tmp_path / "new", draw)
    fake_records.write_run(new, "classic", 0)
    (lonely,) = compared(old, new).uncompared
    assert lonely == ("quality", "classic", "only in NEW")


def test_a_change_has_to_exceed_by_how_much_identical_models_differ(tmp_path: Path) -> None:
    old, new = both(tmp_path, write_session, slower={"decoder": 0.03})
    again = next(iter((new / "measure").glob("*/*-again"))) / "result.json"
    result = store.read_json(again)
    for metric in result["metrics"]:
        if metric["name"] == TRAIN:
            metric["values"] = [1.08 * value for value in metric["values"]]
    store.write_json(again, result)
    assert verdicts(compared(old, new), "speed")["decoder", TRAIN] == "not distinguishable"


def test_a_disturbed_session_supports_no_claim(tmp_path: Path) -> None:
    old, new = both(tmp_path, write_session, slower={"decoder": 0.03})
    again = next(iter((new / "measure").glob("*/*-again")))
    for path in again.iterdir():
        path.unlink()
    again.rmdir()
    result = compared(old, new)
    assert set(verdicts(result, "speed").values()) == {"no claim"}
    assert {one.reason for one in result.changes if one.kind == "speed"} == {"no-duplicate"}
