"""Trials of the learning rate: equally many, kept, and the best on the validation part."""

import itertools
import math
import random
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.config.schema import OptimizerConfig, Run, TrainConfig
from bench.data import Blocks
from bench.data.tokenizer import ByteVocabulary
from bench.model import LanguageModel
from bench.records import store
from bench.tasks.finetuning import trials
from bench.tasks.finetuning.batches import ExampleBatches
from bench.tasks.finetuning.encoding import encode_examples
from bench.tasks.finetuning.objectives import build_task_objective
from bench.tasks.finetuning.setup import TaskSetup, task_settings
from bench.training import (
    Causal,
    Diverged,
    build_optimizer,
    torch_generator,
    train,
    train_settings,
)
from tests.tasks.test_batches import CLASSIFICATION, task
from tests.tasks.test_objectives import CONTEXT, a_run, built, trained


def test_rates_are_the_middles_of_equal_logarithmic_steps() -> None:
    rates = trials.trial_rates(1e-3, 4)
    steps = [math.log(b / a) for a, b in itertools.pairwise(rates)]
    assert steps == pytest.approx([math.log(40) / 4] * 3)
    assert rates[0] / (1e-3 * 0.05) == pytest.approx(1e-3 * 2.0 / rates[-1])
    assert trials.trial_rates(1e-3, 1) == pytest.approx([1e-3 * math.sqrt(0.05 * 2.0)])


class Setups:
    """Make what a trial trains, and count how often; `stop_at`: the call that is interrupted."""

    def __init__(self, stop_at: int = 0) -> None:
        self.calls, self.stop_at = 0, stop_at

    def __call__(self, rate: float) -> TaskSetup:
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        run, examples, model = a_run(CLASSIFICATION, steps=12), task(), built("rnn")
        settings = replace(task_settings(run), learning_rate=rate)
        parts = encode_examples(examples, run.task, ByteVocabulary(), CONTEXT)
        objective = build_task_objective(run, model, 2, ByteVocabulary.separator)
        blocks = ExampleBatches(parts["train"], 16, seed=0)
        return TaskSetup(model, objective, blocks, settings, ByteVocabulary(), examples, parts)


def test_the_best_rate_on_the_validation_part_is_taken_and_every_trial_kept(
    tmp_path: Path,
) -> None:
    file, rates, options = tmp_path / "trials.json", [1e-9, 1e-2, 1e30], OptimizerConfig()
    with pytest.raises(KeyboardInterrupt):
        trials.best_rate(rates, Setups(stop_at=2), options, file, {"base": "one"})
    assert len(store.read_json(file)["trials"]) == 1
    rest = Setups()
    assert trials.best_rate(rates, rest, options, file, {"base": "one"}) == 1e-2
    assert rest.calls == 2  # the first was kept
    kept = store.read_json(file)["trials"]
    assert [trial["learning_rate"] for trial in kept] == rates
    assert kept[0]["nats"] == pytest.approx(math.log(2), abs=1e-3)  # nothing was learned
    assert kept[1]["errors"] < kept[0]["errors"]
    assert kept[2]["nats"] is None  # diverged
    other = Setups()
    with pytest.raises(Diverged):
        trials.best_rate([1e30], other, options, file, {"base": "another"})
    assert other.calls == 1  # trials from other weights do not count


@pytest.mark.slow
def test_a_full_rate_overwrites_what_pre_training_learned() -> None:
    """The default share keeps most of it; which is better for a task is what trials are for."""
    draw, steps = random.Random(0), 150
    text = " ".join(f"the {draw.choice('abcd')} is {draw.choice('wxyz')}." for _ in range(3000))
    tokens, held_out = (
        np.frombuffer(part.encode(), np.uint8) for part in (text[:-800], text[-800:])
    )
    model = built("rnn")
    run = Run(train=TrainConfig(steps=steps, batch=16, learning_rate=1e-2, validations=0))
    objective, settings = Causal(model), train_settings(run)
    optimizer = build_optimizer(objective, run.optimizer, settings.learning_rate)
    list(train(objective, optimizer, Blocks(tokens, CONTEXT, 16, 0, None), settings))

    def loss(language_model: LanguageModel) -> float:
        rows = torch.from_numpy(held_out[: 8 * (CONTEXT + 1)].astype(np.int64)).view(8, -1)
        scored = Causal(language_model).eval()
        with torch.no_grad():
            total = scored(scored.batch(rows, torch_generator(0)))
        return float(total.nats / total.count)

    before, after = loss(model), {}
    for share in (0.3, 1.0):
        copy = deepcopy(model)
        trained(copy, CLASSIFICATION, steps=100, learning_rate=share * 1e-2)
        after[share] = loss(copy)
    assert before < 0.5  # it came: 0.37 nats, then 1.31 and 5.27; ln 257 is 5.55
    assert before < after[0.3] < after[1.0] / 2
    assert after[1.0] > 4
