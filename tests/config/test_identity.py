"""Identity: what makes two runs the same, what does not, and that digests never change."""

import dataclasses

import pytest

from bench.config.dependencies import required_runs
from bench.config.identity import (
    architecture_id,
    digest,
    identity,
    record_group,
    run_name,
    variant,
    workload_id,
)
from bench.config.schema import (
    DataConfig,
    EvaluateConfig,
    MeasureConfig,
    ObjectiveConfig,
    OptimizerConfig,
    Run,
    SizeConfig,
    SyntheticConfig,
    TaskConfig,
    TrainConfig,
    TuneConfig,
    run_from_dict,
)

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


HUB = DataConfig(
    source="hub", repository="a/b@c", split="given", tokenizer="bpe", vocabulary=512, cache="x",
    parts={"train": "train[:90%]", "validation": "train[90%:]"},
)  # fmt: skip
RECALL = DataConfig(
    source="synthetic",
    tokenizer="symbols",
    synthetic=SyntheticConfig(kind="recall", symbols=16, length=32),
)
# digests name the folders of runs on disk: identity, variant, workload
PINNED: list[tuple[Run, str]] = [
    (run(), "8ca20456 b05467a8 559922e5"),
    (run(seed=3), "9e10beae b05467a8 559922e5"),
    (run(arch={**ARCH, "kernels": "auto"}), "8ca20456 b05467a8 559922e5"),
    (run(arch={**ARCH, "kernels": "plain"}), "578288c6 9ff4cf07 973c1eee"),
    (run(data=HUB), "1c676b60 f402e11b dcd4d05c"),
    (run(data=RECALL, size=SizeConfig(context=32)), "c3f7a973 3de46825 5121b5a2"),
    (run(size=SizeConfig(match="state", state_bytes=4096)), "cef65f57 26eeb896 eefaaac3"),
    (run(size=SizeConfig(count="in_products", parameters=1000)), "1051cb2d 3eebab0f cb615a46"),
    (
        run(
            train=TrainConfig(
                match="flops", budget=1e12, planned=70, steps=70, ranks=2, sharding="fsdp"
            )
        ),
        "40b70af3 4d03f6f8 559922e5",
    ),
    (
        run(
            train=TrainConfig(
                steps=7, learning_rate=0.5, precision="tf32", compile="default", clip=0.0,
                accumulate=2,
            ),
            optimizer=OptimizerConfig(kind="muon", momentum=0.95),
        ),
        "c0425bc3 faba4409 793d81f3",
    ),
    (
        run(
            objective=ObjectiveConfig(kind="masked", masking="fixed", rate=0.2),
            data=DataConfig(searching=True),
        ),
        "9ab30d56 e594f637 58d90255",
    ),
    (
        run(
            train=TrainConfig(
                log_every=3, validations=1, checkpoint_seconds=1.0, limit_seconds=3.0
            ),
            tune=TuneConfig(trials=3),
            evaluate=EvaluateConfig(protocol="stride", stride=4),
            measure=MeasureConfig(depth="full"),
            threads=4,
        ),
        "8ca20456 b05467a8 809ddd89",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("pinned", "digests"), PINNED, ids=lambda value: str(value)[:8])
def test_digests_never_change(pinned: Run, digests: str) -> None:
    assert [identity(pinned), variant(pinned), workload_id(pinned)] == digests.split()


def test_the_digest_of_an_architecture_never_changes() -> None:
    assert architecture_id(ARCH) == "c8bd8b0d"
    assert architecture_id({**ARCH, "kernels": "plain"}) == "32f6f6a0"


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
        run(suite="other", results="elsewhere", again="all"),
        run(arch={**ARCH, "card": {"summary": "another"}, "family": "y"}),
        run(train=TrainConfig(learning_rate=0.01)),  # as in the YAML
        run(evaluate=EvaluateConfig(saliency=0)),
    ]
    assert {identity(other) for other in same} == {identity(run())}


def test_a_workload_depends_on_neither_seed_nor_steps() -> None:
    workload = workload_id(run())
    assert workload_id(run(seed=2)) == workload_id(run(train=TrainConfig(steps=7))) == workload
    assert workload_id(run(train=TrainConfig(batch=16))) != workload


def test_names_carry_the_identity() -> None:
    assert run_name(run(seed=3)) == f"mine-text-s3-{identity(run(seed=3))}"


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


def test_plain_values_give_the_same_run_back() -> None:
    original = run(seed=5, data=RECALL)
    assert run_from_dict(dataclasses.asdict(original)) == original
    assert run_from_dict({**dataclasses.asdict(run()), "later_key": 1, "size": {"new": 1}}) == run()


# --- fine-tuning ----------------------------------------------------------------------------------


def task_run(start: str, **changes: object) -> Run:
    task = TaskConfig(kind="classification", source="order", start=start)
    return run(task=task, names=NAMES | {"task": "order"}, **changes)


def test_a_task_has_an_identity_and_a_folder_of_its_own() -> None:
    tuned = task_run("pretrained")
    assert identity(tuned) != identity(run())
    assert (record_group(tuned), record_group(run())) == ("tasks", "runs")
    assert run_name(tuned) == f"mine-order-s0-{identity(tuned)}"
    assert identity(required_runs(tuned)["base"]) == identity(run())


def test_pre_training_counts_only_for_what_starts_from_it() -> None:
    longer = TrainConfig(steps=5000)
    assert identity(task_run("pretrained", train=longer)) != identity(task_run("pretrained"))
    assert identity(task_run("scratch", train=longer)) == identity(task_run("scratch"))
    assert required_runs(task_run("scratch")) == {}
    faster = TrainConfig(learning_rate=0.5)
    assert identity(task_run("scratch", train=faster)) != identity(task_run("scratch"))


def test_a_longer_scratch_is_a_run_of_its_own_and_no_other_arm() -> None:
    def names(start: str) -> set[str]:
        tasks = [TaskConfig("classification", start=start, scratch_steps=n) for n in (1, 4)]
        return {run_name(run(task=task, names=NAMES | {"task": "order"})) for task in tasks}

    assert len(names("pretrained")) == len(names("self")) == 1
    assert len(names("scratch")) == 2
    assert any("-scratch4-" in name for name in names("scratch"))
