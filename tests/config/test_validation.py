"""Every range, every choice and every conflict of a run's values is checked."""

import dataclasses
from operator import attrgetter
from typing import Any

import pytest

from bench.config.errors import REASONS, UserError
from bench.config.reference import config_rows
from bench.config.schema import (
    DataConfig,
    EvaluateConfig,
    ObjectiveConfig,
    OptimizerConfig,
    Run,
    SizeConfig,
    TaskConfig,
    TrainConfig,
    TuneConfig,
)
from bench.config.validation import CHOICES, RANGES, validate_run
from tests.config.test_identity import ARCH, RECALL, run


def with_value(key: str, value: Any) -> Run:
    changed = run()
    group, _, name = key.rpartition(".")
    setattr(attrgetter(group)(changed) if group else changed, name, value)
    return changed


def code_of(bad: Run) -> str:
    with pytest.raises(UserError) as error:
        validate_run(bad)
    assert error.value.code in REASONS
    return error.value.code


@pytest.mark.parametrize("key", RANGES)
def test_every_range_is_checked(key: str) -> None:
    low, high = RANGES[key]
    for value in (high * 2 + 1, low - 1, float("nan")):
        bad = with_value(key, [value] if isinstance(attrgetter(key)(run()), list) else value)
        with pytest.raises(UserError, match=key.replace(".", r"\.")) as error:
            validate_run(bad)
        assert error.value.code == "invalid-value"


@pytest.mark.parametrize("key", CHOICES)
def test_every_choice_is_checked(key: str) -> None:
    assert code_of(with_value(key, "nonsense")) == "unknown-choice"


SHARDED = {"sharding": "fsdp", "ranks": 2}


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluate": EvaluateConfig(stride=129)},
        {"train": TrainConfig(batch=8, accumulate=3)},
        {"train": TrainConfig(ranks=3)},
        {"train": TrainConfig(sharding="fsdp")},
        {"train": TrainConfig(**SHARDED), "optimizer": OptimizerConfig(kind="muon")},
        {"train": TrainConfig(ranks=2, compile="reduce-overhead")},
        {"train": TrainConfig(match="flops")},
        {"train": TrainConfig(budget=1.0)},
        {"size": SizeConfig(match="state")},
        {"size": SizeConfig(match="state", state_bytes=5, count="in_products")},
        {"tune": TuneConfig(trials=2), "train": TrainConfig(learning_rate=0.1)},
        {"tune": TuneConfig(trials=2, steps=5), "train": TrainConfig(match="flops", budget=1.0)},
        {"tune": TuneConfig(trials=2), "seed": 1000},
        {"task": TaskConfig("classification", trials=2, learning_rate=1e-3)},
        {"task": TaskConfig("pairs", start="self")},
        {"task": TaskConfig("pairs", trials=2)},
        {"task": TaskConfig("classification"), "data": RECALL, "size": SizeConfig(context=32)},
        {"data": DataConfig(source="synthetic")},
        {"data": DataConfig(tokenizer="symbols")},
        {"data": RECALL},  # sequences of 32 tokens in windows of 128
        {
            "data": RECALL,
            "size": SizeConfig(context=32),
            "evaluate": EvaluateConfig(protocol="stride"),
        },
    ],
)
def test_values_that_exclude_each_other(changes: dict[str, Any]) -> None:
    assert code_of(run(**changes)) == "conflicting-values"


def test_valid_runs_pass() -> None:
    validate_run(run())
    validate_run(run(data=RECALL, size=SizeConfig(context=32)))
    task = TaskConfig("classification", trials=2)
    validate_run(run(task=task, tune=TuneConfig(trials=3)))
    validate_run(run(objective=ObjectiveConfig(kind="masked"), train=TrainConfig(**SHARDED)))


@pytest.mark.parametrize(
    ("arch", "code"),
    [
        ({"_target_": "module.Class"}, "no-learning-rate"),
        ({"layers": 2}, "invalid-architecture"),
        ({**ARCH, "card": "text"}, "invalid-value"),
        ({**ARCH, "tune": {"trials": True}}, "invalid-value"),
        ({**ARCH, "tune": {"learning_rate": {"adamw": 99.0}}}, "invalid-value"),
    ],
)
def test_the_reserved_keys_of_an_architecture(arch: dict[str, Any], code: str) -> None:
    assert code_of(run(arch=arch)) == code


def test_a_folder_of_results_has_a_name() -> None:
    assert code_of(run(results=" ")) == "invalid-value"


def test_every_key_has_a_row_of_documentation() -> None:
    rows = {row.key: row for row in config_rows()}
    assert rows["train.steps"][1:4] == ("int", "1000", "1 to 1e+09")
    assert rows["train.learning_rate"].type == "float | None"
    assert rows["measure.batches"][1:3] == ("list[int]", "[8, 32]")
    assert rows["data.split"].allowed == "auto, documents, tail, given"
    assert len(rows) == sum(1 for _ in _leaves(dataclasses.asdict(Run()), ""))
    assert all(row.help for row in rows.values())


def _leaves(tree: dict[str, Any], prefix: str) -> Any:
    for name, value in tree.items():
        if isinstance(value, dict) and value and prefix + name not in ("data.parts",):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name
