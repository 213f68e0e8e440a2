"""Fine-tuning equals a plain loop over the same batches, of torch and transformers alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.data.tokenizer import ByteVocabulary
from bench.model import LanguageModel, build_model
from bench.tasks.finetuning.batches import ExampleBatches, ExampleBlock
from bench.tasks.finetuning.objectives import MaskedAnswer
from bench.training import torch_generator
from tests.tasks.test_batches import CLASSIFICATION, GENERATION
from tests.tasks.test_objectives import CONTEXT, ROOM, built, trained

STEPS, WIDTH = 6, 32
IGNORED = -100  # targets that torch's cross-entropy leaves out


def hugging_face(family: str) -> LanguageModel:
    arch = {"_target_": "architectures.huggingface.HuggingFace", "model_type": family, "layers": 2}
    return build_model(arch, WIDTH, CONTEXT, 257, seed=0)


def hidden_states(model: LanguageModel, tokens: Tensor, lengths: Tensor) -> Tensor:
    """Return what transformers' own model makes of tokens, behind an RMS norm."""
    vectors = functional.embedding(tokens, model.embedding.weight)
    read = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
    mixed = model.backbone.model(inputs_embeds=vectors, attention_mask=read).last_hidden_state
    return functional.rms_norm(mixed, (WIDTH,), model.norm.weight, model.norm.eps)


def label_loss(model: LanguageModel, head: nn.Linear, block: ExampleBlock, step: int) -> Tensor:
    tokens, lengths = torch.from_numpy(block.tokens), torch.from_numpy(block.lengths)
    if hasattr(model.backbone, "model"):
        hidden = hidden_states(model, tokens, lengths)
    else:
        hidden = model.hidden(tokens, lengths=lengths)[0]
    rows = zip(hidden, lengths, strict=True)
    means = torch.stack([row[:length].mean(0) for row, length in rows])
    return functional.cross_entropy(head(means), torch.from_numpy(block.labels))


def answer_loss(model: LanguageModel, head: nn.Linear, block: ExampleBlock, step: int) -> Tensor:
    """Return the loss of answers; which places an encoder does not see is the objective's draw."""
    tokens, lengths = torch.from_numpy(block.tokens), torch.from_numpy(block.lengths)
    if model.backbone.causal:
        place = torch.arange(tokens.shape[1])
        answer = (place >= torch.from_numpy(block.inputs)[:, None]) & (place < lengths[:, None])
        targets = tokens.where(answer, IGNORED)[:, 1:]
        hidden = hidden_states(model, tokens, lengths)[:, :-1]
    else:
        objective = MaskedAnswer(model, ROOM, ByteVocabulary.separator)
        batch = objective.batch_of(block, torch_generator(0, step))
        assert batch.lengths is not None
        targets = batch.targets.where(batch.weight > 0, IGNORED)
        hidden = hidden_states(model, batch.tokens, batch.lengths)
    logits = functional.linear(hidden, model.embedding.weight[:-1])
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


@pytest.mark.parametrize(
    ("family", "options", "loss_of"),
    [
        ("transformer", CLASSIFICATION, label_loss),
        ("bert", CLASSIFICATION, label_loss),
        ("gpt2", CLASSIFICATION, label_loss),
        ("bert", GENERATION, answer_loss),
        ("gpt2", GENERATION, answer_loss),
    ],
)
def test_losses_equal_those_of_a_plain_loop(
    family: str, options: Any, loss_of: Callable[..., Tensor]
) -> None:
    make = built if family == "transformer" else hugging_face
    _, part, settings, losses = trained(make(family), options, steps=STEPS)
    model, head = make(family), nn.Linear(WIDTH, 2)
    nn.init.zeros_(head.weight), nn.init.zeros_(head.bias)
    parameters = [*model.parameters(), *(head.parameters() if loss_of is label_loss else ())]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.99))
    expected, blocks = [], ExampleBatches(part, 16, seed=0)
    for step in range(STEPS):
        loss = loss_of(model, head, blocks.at(step), step)
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        expected.append(loss.item())
    assert losses == pytest.approx(expected, abs=1e-5)
    assert losses[-1] < losses[0]
