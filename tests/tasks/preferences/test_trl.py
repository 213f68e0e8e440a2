"""Losses and gradients of RLOO and DPO are those of TRL, on a GPT-2 of transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from architectures.interface import Unsupported
from bench.tasks.preferences import losses
from bench.tasks.preferences.direct import log_ratio
from bench.tasks.preferences.reinforcement import Reinforcement, draw_rollout, policy_loss
from bench.tasks.preferences.rollouts import Responses, log_probabilities, responses_of

trl = pytest.importorskip("trl", reason="pip install '.[parity]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of TRL
VOCABULARY, SEPARATOR, PROMPT, ROOM, EACH = 40, 39, 6, 10, 4
BETA, CLIP = 0.1, 0.2


class AsLanguageModel(nn.Module):
    """A causal model of transformers with the methods that rollouts and losses read."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def hidden(self, tokens: Tensor) -> tuple[Tensor, None]:
        return self.model.transformer(tokens).last_hidden_state, None

    def head(self, hidden: Tensor) -> Tensor:
        return self.model.lm_head(hidden)

    def init_state(self, batch: int, length: int) -> None:
        raise Unsupported("responses are written by forward passes")


def gpt2(seed: int) -> Any:
    """A GPT-2 whose predictions are far from even."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        n_embd=32, n_layer=2, n_head=2, n_positions=32, vocab_size=VOCABULARY, resid_pdrop=0,
        embd_pdrop=0, attn_pdrop=0, bos_token_id=SEPARATOR, eos_token_id=SEPARATOR,
        initializer_range=0.2,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def a_tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = {str(token): token for token in range(VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="0"))
    end = str(SEPARATOR)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=end, eos_token=end)


def a_trainer(kind: str, model: Any, reference: Any, folder: Path, **more: Any) -> Any:
    """A trainer of TRL, which reads its reference from a folder; it is never run."""
    from datasets import Dataset

    reference.save_pretrained(folder)
    model.config._name_or_path = str(folder)
    config = getattr(trl, f"{kind}Config")(
        str(folder), beta=BETA, use_cpu=True, report_to=[], bf16=False, **more.pop("config")
    )
    row = {"prompt": "1 2", "chosen": "3", "rejected": "4"}
    return getattr(trl, f"{kind}Trainer")(
        model, args=config, train_dataset=Dataset.from_list([row]), processing_class=a_tokenizer(),
        **more,
    )  # fmt: skip


def gradients(model: Any, loss: Tensor) -> Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def assert_close(one: Tensor, other: Tensor) -> None:
    assert float(other.abs().max()) > 1e-2
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


def test_dpo(tmp_path: Path) -> None:
    model, reference = gpt2(0), gpt2(1)
    draw = torch.Generator().manual_seed(2)
    prompts = torch.randint(SEPARATOR, (8, PROMPT), generator=draw)
    sides = [
        responses_of(prompts, torch.randint(VOCABULARY, (8, ROOM), generator=draw), SEPARATOR)
        for _ in range(2)
    ]
    assert len({int(length) for side in sides for length in side.lengths}) > 1
    chosen, rejected = (
        log_ratio(AsLanguageModel(model), AsLanguageModel(reference), side) for side in sides
    )
    loss = losses.dpo(chosen, rejected, torch.ones(8), BETA).mean()
    ours = gradients(model, loss)
    trainer = a_trainer("DPO", model, reference, tmp_path, config={})
    mask = torch.cat([side.mask for side in sides])
    is_token = torch.arange(PROMPT + ROOM) < PROMPT + mask.sum(dim=1, keepdim=True)
    theirs = trainer.compute_loss(model, {
        "input_ids": torch.cat([side.tokens for side in sides]),
        "attention_mask": is_token.long(), "completion_mask": mask.long(),
    })  # fmt: skip
    assert_close(loss.detach(), theirs.detach())
    assert_close(ours, gradients(model, theirs))


def test_rloo_and_its_clipped_later_steps(tmp_path: Path) -> None:
    model, reference = gpt2(0), gpt2(1)
    prompts = torch.randint(SEPARATOR, (4, PROMPT), generator=torch.Generator().manual_seed(3))

    def reward(responses: Responses) -> Tensor:
        return ((responses.tokens[:, PROMPT:] < 20) * responses.response_mask).sum(dim=1)

    setting = Reinforcement(
        AsLanguageModel(reference), reward, lambda update: prompts, ROOM, SEPARATOR, BETA, seed=0
    )  # fmt: skip
    policy = AsLanguageModel(model)
    rollout = draw_rollout(policy, setting, EACH, 0)
    advantages = losses.leave_one_out(rollout.returns.unflatten(0, (-1, EACH))).flatten(0, 1)
    ours = gradients(model, policy_loss(policy, rollout, advantages, None))
    rows = [row[: int(end)].tolist() for row, end in zip(
        rollout.responses.tokens[:, PROMPT:], rollout.responses.lengths, strict=True)]  # fmt: skip
    batch = prompts.repeat_interleave(EACH, dim=0).tolist()
    trainer = a_trainer(
        "RLOO", model, reference, tmp_path,
        reward_funcs=lambda completion_ids, **_: [
            float(sum(token < 20 for token in row)) for row in completion_ids
        ],
        config={
            "num_generations": EACH, "per_device_train_batch_size": len(rows),
            "max_completion_length": ROOM, "epsilon": CLIP,
        },
    )  # fmt: skip
    trainer._generate = lambda prompts: (batch, rows, [" ".join(map(str, row)) for row in rows])
    given = trainer._generate_and_score_completions([{"prompt": "1 2"}] * len(rows))
    assert_close(advantages.squeeze(1), given["advantages"])
    assert_close(ours, gradients(model, trainer.compute_loss(model, given)))
    # a later step on the same rollout: TRL clips the ratio of the response, one action
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.003 * torch.randn(parameter.shape)
    now = log_probabilities(policy, rollout.responses).sum(dim=1, keepdim=True)
    sampled = rollout.sampled.sum(dim=1, keepdim=True)
    loss = losses.clipped_policy_gradient(now, sampled, advantages, CLIP)
    theirs = trainer.compute_loss(model, given)
    assert float(((now - sampled).exp() - 1).abs().max()) > CLIP
    assert_close(loss.detach(), theirs.detach())
    assert_close(gradients(model, loss), gradients(model, theirs))
