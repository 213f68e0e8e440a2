"""Identity: what makes two runs the same, and what does not."""

import dataclasses
from operator import attrgetter

import pytest

from bench.config.errors import UserError, nearest
from bench.config.identity import digest, identity, run_name, variant, workload_id
from bench.config.schema import MeasureConfig, OptimizerConfig, Run, TrainConfig, run_from_dict
from bench.config.validation import CHOICES, RANGES, validate_run

ARCH = {
    "_target_": "module.Class",
    "layers": 2,
    "family": "x",
    "card": {"summary": "s"},
    "tune": {"learning_rate": 0.01},
}
NAMES = {"arch": "mine", "data": "text", "size": "small", "objective": "auto"}


def run(**changes: object) -> Run:
    return dataclasses.replace(Run(arch=dict(ARCH), names=dict(NAMES)), **changes)  # type: ignore[arg-type]


def test_what_changes_the_weights_changes_the_identity() -> None:
    others = [
        run(seed=1),
        run(arch={**ARCH, "layers": 3}),
        run(train=TrainConfig(steps=7)),
        run(train=TrainConfig(learning_rate=0.02)),
        run(optimizer=OptimizerConfig(weight_decay=0.0)),
        run(optimizer=OptimizerConfig(kind="muon")),
    ]
    assert len({identity(run()), *map(identity, others)}) == len(others) + 1


def test_what_does_not_change_the_weights_does_not() -> None:
    same = [
        run(threads=4),
        run(measure=MeasureConfig(depth="off")),
        run(suite="other", results="elsewhere", again="all"),
        run(train=TrainConfig(checkpoint_seconds=1.0, log_every=3)),
        run(arch={**ARCH, "card": {"summary": "another"}, "family": "y"}),
        run(train=TrainConfig(learning_rate=0.01)),  # what the YAML says anyway
    ]
    assert {identity(other) for other in same} == {identity(run())}


def test_a_variant_is_a_run_without_its_seed() -> None:
    assert variant(run(seed=1)) == variant(run(seed=2)) != variant(run(train=TrainConfig(steps=7)))


def test_a_subject_is_neither_seed_nor_text() -> None:
    assert (
        workload_id(run(seed=1))
        == workload_id(run(seed=2))
        == workload_id(run(train=TrainConfig(steps=7)))
    )
    assert workload_id(run(train=TrainConfig(batch=16))) != workload_id(run())


def test_names_carry_the_identity() -> None:
    assert run_name(run(seed=3)) == f"mine-text-s3-{identity(run(seed=3))}"
    assert len(identity(run())) == 8


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


def test_plain_values_give_the_same_run_back() -> None:
    assert run_from_dict(dataclasses.asdict(run(seed=5))) == run(seed=5)
    assert run_from_dict({**dataclasses.asdict(run()), "later_key": 1}) == run()


@pytest.mark.parametrize("path", RANGES)
def test_every_range_is_checked(path: str) -> None:
    bad = run()
    group, _, name = path.rpartition(".")
    setattr(attrgetter(group)(bad) if group else bad, name, RANGES[path][1] * 2 + 1)
    with pytest.raises(UserError, match=path.replace(".", r"\.")):
        validate_run(bad)


@pytest.mark.parametrize("path", CHOICES)
def test_every_choice_is_checked(path: str) -> None:
    bad = run()
    group, _, name = path.rpartition(".")
    setattr(attrgetter(group)(bad) if group else bad, name, "nonsense")
    with pytest.raises(UserError, match="nonsense is not known"):
        validate_run(bad)


def test_micro_batches_have_to_divide_the_batch() -> None:
    with pytest.raises(UserError, match="accumulate"):
        validate_run(run(train=TrainConfig(batch=8, accumulate=3)))


def test_no_learning_rate_anywhere_is_a_mistake() -> None:
    with pytest.raises(UserError, match=r"tune\.learning_rate"):
        validate_run(run(arch={"_target_": "module.Class"}))


def test_nearest_names() -> None:
    assert nearest("transfomer", ["transformer", "rnn"]) == "did you mean transformer?"
    assert nearest("zzz", ["b", "a"]) == "known: a, b"
