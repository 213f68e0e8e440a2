"""Heads, losses and answers: closed forms, padding, and the loop that trains them."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from bench.config.schema import Run, TrainConfig
from bench.config.task_schema import TaskConfig
from bench.data.tokenizer import ByteVocabulary
from bench.model import LanguageModel, build_model
from bench.tasks.finetuning.answers import answer_nats, decode_answers, turned
from bench.tasks.finetuning.batches import ExampleBatches, pad_examples
from bench.tasks.finetuning.encoding import EncodedPart, encode_examples
from bench.tasks.finetuning.objectives import (
    CausalAnswer,
    Classifier,
    MaskedAnswer,
    build_task_objective,
    pool_hidden,
)
from bench.tasks.finetuning.scores import (
    classification_scores,
    label_log_probabilities,
    macro_f1,
    matthews,
)
from bench.tasks.finetuning.setup import task_settings
from bench.training import build_optimizer, torch_generator, train
from tests.conftest import OWN
from tests.tasks.test_batches import CLASSIFICATION, GENERATION, task, train_part

CONTEXT, ROOM = 64, 8


def built(name: str, seed: int = 0) -> LanguageModel:
    import yaml

    path = next(path for path in OWN if path.stem == name)
    return build_model(yaml.safe_load(path.read_text()), 32, CONTEXT, 257, seed)


def a_run(options: TaskConfig, **task_options: Any) -> Run:
    options = TaskConfig(**{**vars(options), **task_options})
    return Run(task=options, train=TrainConfig(learning_rate=3e-3), names={"task": "t"})


def trained(model: LanguageModel, options: TaskConfig, steps: int = 5, **more: Any) -> Any:
    run = a_run(options, steps=steps, **more)
    part = encode_examples(task(), run.task, ByteVocabulary(), CONTEXT)["train"]
    settings = task_settings(run)
    objective = build_task_objective(run, model, 2, ByteVocabulary.separator)
    optimizer = build_optimizer(objective, run.optimizer, settings.learning_rate)
    blocks = ExampleBatches(part, 16, seed=0)
    losses = [e.log.nats for e in train(objective, optimizer, blocks, settings) if e.log]
    return objective, part, settings, losses


# --- classification -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mean", "max", "first", "last"])
def test_pooling_reads_the_first_lengths_positions(kind: str) -> None:
    hidden = torch.randn(3, 7, 5, generator=torch_generator(0))
    lengths = torch.tensor([7, 1, 4])
    pooled = pool_hidden(hidden, lengths, kind)
    for row, length in enumerate(lengths.tolist()):
        real = hidden[row, :length]
        expected = {
            "mean": real.mean(0),
            "max": real.amax(0),
            "first": real[0],
            "last": real[-1],
        }[kind]
        torch.testing.assert_close(pooled[row], expected)


def test_the_first_loss_is_the_logarithm_of_the_labels() -> None:
    objective = Classifier(built("rnn"), 5)
    batch = objective.batch_of(
        pad_examples(train_part(CLASSIFICATION), np.arange(8)), torch_generator(0)
    )
    total = objective.eval()(batch)
    assert (total.nats / total.count).item() == pytest.approx(math.log(5), abs=1e-6)


@pytest.mark.parametrize(
    "name", ["rnn", "cnn", "transformer", "gpt", "modern_bert", "bert", "mamba2"]
)
@pytest.mark.parametrize("pool", ["mean", "max", "last"])
def test_padding_changes_no_logit(name: str, pool: str) -> None:
    objective = Classifier(built(name), 3, pool).eval()
    objective.head.weight.data.normal_(generator=torch_generator(1))
    part = train_part(CLASSIFICATION)
    rows = [np.array([256, 0, 97, 0, 0, 256]), *part.rows[:5]]  # byte 0, which also pads
    part = EncodedPart(part.examples[:6], rows, [], part.labels[:6], part.sizes[:6], part.cut[:6])
    settings = task_settings(a_run(CLASSIFICATION))
    together = label_log_probabilities(objective, part, settings)
    for index in range(6):
        block = pad_examples(part, np.array([index]))
        with torch.no_grad():
            alone = objective.logits(objective.batch_of(block, torch_generator(0)))
        expected = torch.log_softmax(alone.double(), -1)[0].numpy()
        np.testing.assert_allclose(together[index], expected, atol=1e-5)


def test_a_frozen_model_keeps_its_weights_and_trains_its_head() -> None:
    model = built("rnn")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    objective, *_ = trained(model, CLASSIFICATION, frozen=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert objective.head.weight.abs().sum() > 0


def test_classification_scores_have_closed_forms() -> None:
    confusion = np.array([[6.0, 2.0], [1.0, 3.0]])
    assert matthews(confusion) == pytest.approx((6 * 3 - 2 * 1) / math.sqrt(8 * 4 * 7 * 5))
    assert macro_f1(confusion) == pytest.approx((2 * 6 / 15 + 2 * 3 / 9) / 2)
    assert matthews(np.array([[5.0, 0.0], [3.0, 0.0]])) == 0.0
    part = train_part(CLASSIFICATION).first(4)  # labels 0 1 0 1
    log_p = np.log(np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]]))
    metrics, table = classification_scores(log_p, part, ("no", "yes"))
    values = {one.name: one.values[0] for one in metrics}
    assert values["label_accuracy"] == 0.75
    assert values["label_nats"] == pytest.approx(-np.log([0.9, 0.6, 0.3, 0.8]).mean())
    assert table["prediction"].tolist() == ["no", "yes", "yes", "yes"]


# --- generation -----------------------------------------------------------------------------------


def test_only_the_answer_has_a_causal_loss() -> None:
    part = train_part(GENERATION)
    batch = CausalAnswer(built("rnn")).batch_of(
        pad_examples(part, np.arange(4)), torch_generator(0)
    )
    for row in range(4):
        counted = batch.targets[row][batch.weight[row] > 0]
        assert counted.tolist() == part.answers[row].tolist()


def test_an_encoder_hides_places_of_the_room_alone() -> None:
    part, model = train_part(GENERATION), built("modern_bert")
    objective, block = MaskedAnswer(model, ROOM, 256), pad_examples(part, np.arange(16))
    counts = []
    for seed in range(20):
        batch = objective.batch_of(block, torch_generator(seed))
        hidden = batch.tokens == model.mask
        assert torch.equal(hidden, batch.weight.bool())
        for row, inputs in enumerate(block.inputs):
            assert not hidden[row, :inputs].any()
            assert not hidden[row, inputs + ROOM :].any()
            room = batch.targets[row, inputs : inputs + ROOM].tolist()
            answer = part.answers[row].tolist()
            assert room == answer + [256] * (ROOM - len(answer))
        counts += hidden.sum(1).tolist()
    assert set(counts) == set(range(1, ROOM + 1))


@pytest.mark.parametrize("name", ["rnn", "gpt"])
def test_decoding_by_the_state_equals_whole_forwards(name: str) -> None:
    objective, part, settings, _ = trained(built(name), GENERATION, steps=12)
    part = part.first(6)
    answers = decode_answers(objective, part, ByteVocabulary(), ROOM, settings)
    for row, answer in zip(part.rows, answers, strict=True):
        tokens = row.tolist()
        with torch.no_grad():
            while (len(tokens) - len(row) < ROOM and tokens[-1] != 256) or len(tokens) == len(row):
                tokens.append(int(objective.model(torch.tensor([tokens]))[0][0, -1].argmax()))
        assert ByteVocabulary().decode(tokens[len(row) :]) == answer


def test_an_encoders_likelihood_is_the_product_of_its_conditionals() -> None:
    objective, part, settings, _ = trained(built("modern_bert"), GENERATION)
    part = part.first(3)
    nats = answer_nats(objective, part, settings)
    for index, (row, answer) in enumerate(zip(part.rows, part.answers, strict=True)):
        total, mask = 0.0, objective.model.mask
        for place, token in enumerate(answer.tolist()):
            room = [*answer[:place].tolist(), *[mask] * (ROOM - place)]
            tokens = torch.tensor([[*row.tolist(), *room]])
            with torch.no_grad():
                logits = objective.model(tokens, lengths=torch.tensor([tokens.shape[1]]))[0]
            total -= float(torch.log_softmax(logits[0, len(row) + place], -1)[token])
        assert nats[index] == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize("name", ["rnn", "modern_bert"])
def test_an_answer_is_learned(name: str) -> None:
    objective, part, settings, losses = trained(
        built(name), GENERATION, steps=60, learning_rate=1e-2
    )
    assert losses[-1] < 0.7 * losses[0]
    # 3.5 tokens, each of 257 equally likely ones, have 19 nats
    assert answer_nats(objective, part.first(20), settings).mean() < 10
    shifted = turned(part)
    assert (shifted.rows[0] == part.rows[1]).all()
    assert shifted.answers[0] is part.answers[0]


# --- minimal pairs --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rnn", "modern_bert"])
def test_a_pair_is_judged_by_the_likelihood_of_both_texts(name: str) -> None:
    from bench.tasks.finetuning.pairs import score_pairs
    from bench.tasks.finetuning.sources.base import Example

    model, settings = built(name), task_settings(a_run(CLASSIFICATION))
    pairs = [Example("the cat sat", "the sat cat"), Example("a b", "a c"), Example("same", "same")]
    metrics, table = score_pairs(model.eval(), ByteVocabulary(), pairs, settings)
    for row, pair in zip(table.itertuples(), pairs, strict=True):
        losses = [text_nats(model, text) for text in (pair.text, pair.target)]
        assert row.nats_of_other - row.nats == pytest.approx(losses[1] - losses[0], abs=1e-4)
        assert row.hit == (0.5 if losses[0] == losses[1] else losses[0] < losses[1])
    assert metrics[0].values[0] == table["hit"].mean()


def text_nats(model: LanguageModel, text: str) -> float:
    """Return the nats of a text after a separator, each token from those before it."""
    tokens, total = [256, *text.encode()], 0.0
    for place in range(1, len(tokens)):
        read = tokens[:place]
        if not model.backbone.causal:
            read = read + [model.mask] * (len(tokens) - place)
        with torch.no_grad():
            logits = model(torch.tensor([read]))[0][0, place - model.backbone.causal]
        total -= float(torch.log_softmax(logits, -1)[tokens[place]])
    return total
