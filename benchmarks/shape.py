"""Provide the GPT-2 shape of the comparisons: models, and a training step of each contender."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.config.schema import Run, SizeConfig, TrainConfig
from bench.model import LanguageModel, build_model
from bench.training import Objective, build_objective, build_optimizer, train_settings, train_step

LAYERS, HEADS, WIDTH, CONTEXT, BATCH, VOCABULARY = 4, 4, 128, 64, 12, 65
RATE = 1e-6  # weights hardly move: the work stays the same
CLIP = 1.0
CONF = Path(__file__).resolve().parents[1] / "conf" / "arch"
Step = Callable[[], object]


def set_process_state() -> None:
    """Set the same threads, rounding and seed for every contender."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)


def read_arch(name: str, **options: Any) -> dict[str, Any]:
    """Return the YAML of an architecture with other options."""
    return yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8")) | options


def blocks() -> list[Tensor]:
    """Return four blocks of random tokens, (B, T + 1)."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(VOCABULARY, (BATCH, CONTEXT + 1), generator=generator) for _ in range(4)]


def run(**options: Any) -> Run:
    """Return the run of the shape; `options`: of TrainConfig."""
    recipe = dict[str, Any](steps=10**6, batch=BATCH, device="cpu", learning_rate=RATE, clip=CLIP)
    arch = read_arch("gpt", layers=LAYERS, heads=HEADS)
    size = SizeConfig(context=CONTEXT)
    return Run(arch=arch, size=size, train=TrainConfig(**(recipe | options)))


def bench_model() -> LanguageModel:
    """Return this project's model of the shape."""
    return build_model(run().arch, WIDTH, CONTEXT, VOCABULARY, seed=0)


def bench_step(compiled: bool) -> Step:
    """Return this project's training step, with the recipe of its peers."""
    return step_of(run(), build_objective(run().objective, bench_model()), compiled)


def step_of(run: Run, objective: Objective, compiled: bool = False) -> Step:
    """Return this project's training step of a run, on batches in memory."""
    settings, optimizer = train_settings(run), build_optimizer(objective, run.optimizer, RATE)
    batches = [[objective.batch(block, torch.Generator())] for block in blocks()]
    objective.train()
    if compiled:
        objective.compile(dynamic=False)

    def step() -> None:
        batches.append(batches.pop(0))
        train_step(objective, batches[0], optimizer, settings)

    return step


def plain_step(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], optimizer: Any) -> Step:
    """Return a training step as a script has it: forward, backward, clipping, optimizer."""
    pairs = [(block[:, :-1].contiguous(), block[:, 1:].contiguous()) for block in blocks()]
    model.train()

    def step() -> None:
        pairs.append(pairs.pop(0))
        loss(*pairs[0]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def hugging_face() -> Any:
    """Return GPT2LMHeadModel of the shape, without dropout."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        n_positions=CONTEXT,
        vocab_size=VOCABULARY,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=None,
    )
    return GPT2LMHeadModel(config)


def hugging_face_step(compiled: bool, fused: bool = False) -> Step:
    """Return a plain step of it with AdamW, default or fused."""
    model = hugging_face()
    called = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.1, fused=fused or None
    )

    def loss(tokens: Tensor, targets: Tensor) -> Tensor:
        logits = called(input_ids=tokens, use_cache=False).logits
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    return plain_step(model, loss, optimizer)


def nanogpt_step(checkout: Path, compiled: bool, biases: bool = False) -> Step:
    """Return a step of github.com/karpathy/nanoGPT's model and optimizer, from a checkout.

    Without biases as in its CPU recipe, or with them as GPT-2.
    """
    spec = importlib.util.spec_from_file_location("nanogpt_model", checkout / "model.py")
    if spec is None or spec.loader is None or not (checkout / "model.py").exists():
        raise SystemExit(
            f"--nanogpt {checkout}: there is no model.py; give the folder of a checkout"
        )
    peer = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt_model"] = peer  # its dataclass looks its own module up
    spec.loader.exec_module(peer)
    model = peer.GPT(peer.GPTConfig(CONTEXT, VOCABULARY, LAYERS, HEADS, WIDTH, 0.0, biases))
    optimizer = model.configure_optimizers(0.1, RATE, (0.9, 0.99), "cpu")
    called = torch.compile(model) if compiled else model
    return plain_step(model, lambda tokens, targets: called(tokens, targets)[1], optimizer)
