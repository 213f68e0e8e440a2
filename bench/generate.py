"""Writing with a trained model: `python -m bench.generate RUN --prompt "…"`."""

import argparse
import sys
from typing import TYPE_CHECKING

from bench.config import Mistake

if TYPE_CHECKING:  # torch costs seconds, and --help needs none of it
    import torch

    from bench.data import Vocabulary
    from bench.model import LanguageModel


def continue_text(
    model: "LanguageModel", vocabulary: "Vocabulary", prompt: str, count: int, temperature: float = 0.8, seed: int = 0
) -> str:
    """What a causal model writes after a prompt: `count` tokens, drawn from a seed (temperature 0: always the likeliest).

    The model reads and writes through its state; where that is full it goes on from the last half of its context, the
    same for every architecture. Raises Unsupported for a model that keeps no state.
    """
    import torch

    device = model.embedding.weight.device
    context = model.backbone.context
    generator = torch.Generator(device).manual_seed(seed)
    tokens = [vocabulary.separator, *vocabulary.encode(prompt).tolist()]
    written: list[torch.Tensor] = []
    with torch.no_grad():
        fresh = torch.tensor([tokens[-context:]], device=device)  # (1, T)
        state, room = model.init_state(1, context), context
        while len(written) < count:
            if fresh.shape[1] > room:  # the state is full: begin again from what was said last
                said = torch.cat([torch.tensor([tokens], device=device), *written], dim=1)
                fresh = said[:, -max(1, context // 2) :]
                state, room = model.init_state(1, context), context
            logits, state = model(fresh, state)  # (1, T, V)
            room -= fresh.shape[1]
            last = logits[:, -1].float()
            last[:, vocabulary.separator] = -torch.inf  # one text, as long as was asked for
            fresh = _draw(last, temperature, generator)  # (1, 1)
            written.append(fresh)
    return vocabulary.decode(torch.cat(written, dim=1)[0].cpu().numpy()) if written else ""


def _draw(logits: "torch.Tensor", temperature: float, generator: "torch.Generator") -> "torch.Tensor":
    import torch

    if temperature < 1e-6:  # so near zero that dividing by it is no number
        return logits.argmax(dim=-1, keepdim=True)
    return torch.multinomial(torch.softmax(logits / temperature, dim=-1), 1, generator=generator)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.generate", description="Write with a trained model.")
    parser.add_argument("run", help="a run's folder: results/<suite>/runs/<run>")
    parser.add_argument("--prompt", default="", help="what the text begins with")
    parser.add_argument("--tokens", type=int, default=200, help="how many tokens to write (default 200)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0: always the likeliest token (default 0.8)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args(arguments)
    try:
        if asked.tokens < 0 or not asked.temperature >= 0:
            raise Mistake("--tokens and --temperature take 0 or more")
        from architectures.interface import Unsupported
        from bench import checkpoint

        trained = checkpoint.load(asked.run, asked.device)
        try:
            print(asked.prompt + continue_text(
                trained.model, trained.vocabulary, asked.prompt, asked.tokens, asked.temperature, asked.seed
            ))  # fmt: skip
        except Unsupported as reason:
            raise Mistake(f"{asked.run} can not write: {reason}") from None
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
