"""The GPT-2 shape that the scripts beside this file compare at, and the contenders of it: models, and a training step of each."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.config.schema import ObjectiveConfig, Run, SizeConfig, TrainConfig
from bench.model import LanguageModel, build_model
from bench.training import loop as train
from bench.training import objective, optimizer, train_settings
from bench.training.objective import Objective

LAYERS, HEADS, WIDTH, CONTEXT, BATCH, VOCABULARY = 4, 4, 128, 64, 12, 65
RATE = 1e-6  # weights hardly move: what is timed stays the same
CLIP = 1.0
ARCH = Path(__file__).resolve().parents[1] / "conf" / "arch" / "gpt.yaml"
Step = Callable[[], object]


def set_process_state() -> None:
    """The same state of the process for everyone."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)


def blocks() -> list[Tensor]:
    """Four blocks of random tokens, (B, T + 1), that training goes round on."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(VOCABULARY, (BATCH, CONTEXT + 1), generator=generator) for _ in range(4)]


def run(**options: Any) -> Run:
    arch = yaml.safe_load(ARCH.read_text(encoding="utf-8")) | {"layers": LAYERS, "heads": HEADS}
    chosen = {
        "steps": 10**6,
        "batch": BATCH,
        "device": "cpu",
        "learning_rate": RATE,
        "clip": CLIP,
    } | options
    return Run(arch=arch, size=SizeConfig(context=CONTEXT), train=TrainConfig(**chosen))


def ours() -> LanguageModel:
    return build_model(run().arch, WIDTH, CONTEXT, VOCABULARY, seed=0)


def our_step(compiled: bool) -> Step:
    """The bench's own step, with the recipe of the peers."""
    return step(run(), objective.build_objective(ObjectiveConfig(), ours()), compiled)


def step(asked: Run, module: Objective, compiled: bool = False) -> Step:
    """The bench's own step of a run on batches that are at hand."""
    plan, chosen = (
        train_settings(asked),
        optimizer.build_optimizer(module, asked.optimizer, RATE),
    )
    batches = [[module.batch(block, torch.Generator())] for block in blocks()]
    module.train()
    if compiled:
        module.compile(dynamic=False)

    def one() -> None:
        batches.append(batches.pop(0))
        train.train_step(module, batches[0], chosen, plan)

    return one


def loop(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], chosen: torch.optim.Optimizer
) -> Step:
    """A training step as a script has it: forward, backward, clipping, optimizer."""
    pairs = [(block[:, :-1].contiguous(), block[:, 1:].contiguous()) for block in blocks()]
    model.train()

    def step() -> None:
        pairs.append(pairs.pop(0))
        loss(*pairs[0]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        chosen.step()
        chosen.zero_grad(set_to_none=True)

    return step


def hugging_face() -> Any:
    """GPT2LMHeadModel of the shape, without dropout."""
    from transformers import GPT2Config, GPT2LMHeadModel

    nothing = {
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "bos_token_id": 0,
        "eos_token_id": None,
    }
    sizes = {
        "n_embd": WIDTH,
        "n_layer": LAYERS,
        "n_head": HEADS,
        "n_positions": CONTEXT,
        "vocab_size": VOCABULARY,
    }
    return GPT2LMHeadModel(GPT2Config(**sizes, **nothing))


def hugging_face_step(compiled: bool, fused: bool = False) -> Step:
    """A plain loop over it with AdamW, as it comes or fused."""
    model = hugging_face()
    called = torch.compile(model) if compiled else model
    chosen = torch.optim.AdamW(
        model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.1, fused=fused or None
    )

    def loss(tokens: Tensor, targets: Tensor) -> Tensor:
        logits = called(input_ids=tokens, use_cache=False).logits
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    return loop(model, loss, chosen)


def nanogpt_step(checkout: Path, compiled: bool, biases: bool = False) -> Step:
    """The model and the optimizer of a checkout of github.com/karpathy/nanoGPT: its CPU recipe, or with biases as GPT-2."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", checkout / "model.py")
    if spec is None or spec.loader is None or not (checkout / "model.py").exists():
        raise SystemExit(
            f"--nanogpt {checkout}: there is no model.py; give the folder of a checkout"
        )
    peer = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt_model"] = peer  # its dataclass looks its own module up
    spec.loader.exec_module(peer)
    model = peer.GPT(peer.GPTConfig(CONTEXT, VOCABULARY, LAYERS, HEADS, WIDTH, 0.0, biases))
    chosen = model.configure_optimizers(0.1, RATE, (0.9, 0.99), "cpu")
    called = torch.compile(model) if compiled else model
    return loop(model, lambda tokens, targets: called(tokens, targets)[1], chosen)
