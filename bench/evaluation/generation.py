"""Generate text with a trained model: `python -m bench.generate RUN --prompt "…"`."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch costs seconds, and --help needs none of it
    import torch

    from bench.data import Vocabulary
    from bench.model import LanguageModel


def continue_text(
    model: "LanguageModel",
    vocabulary: "Vocabulary",
    prompt: str,
    count: int,
    temperature: float = 0.8,
    seed: int = 0,
) -> str:
    """Return `count` tokens that a causal model draws after a prompt, as text.

    Temperature 0 takes the likeliest token. The model reads and generates through its state; where
    that is full, it continues from the last half of its context, the same for every architecture.
    Raises Unsupported for a model that keeps no state.
    """
    tokens = [vocabulary.separator, *vocabulary.encode(prompt).tolist()]
    # without separators it is one text of the requested length
    generated = generate_tokens(model, tokens, count, temperature, seed, never=vocabulary.separator)
    return vocabulary.decode(generated.cpu().numpy()) if count else ""


def generate_tokens(
    model: "LanguageModel",
    tokens: list[int],
    count: int,
    temperature: float,
    seed: int = 0,
    never: int | None = None,
) -> "torch.Tensor":
    """Return `count` tokens after the given ones, (count,), on the model's device.

    `never` is a token that is not drawn. Tokens are drawn into one tensor allocated beforehand, so
    nothing is copied between device and host from one token to the next.
    """
    import torch

    device = model.embedding.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    with torch.inference_mode():
        text = torch.tensor([tokens + [0] * count], device=device)  # (1, given + count)
        _fill_text(model, text, len(tokens), temperature, generator, never)
    return text[0, len(tokens) :]


def _fill_text(
    model: "LanguageModel",
    text: "torch.Tensor",
    given: int,
    temperature: float,
    generator: "torch.Generator",
    never: int | None,
) -> None:
    """Draw all tokens of a text (1, N) after the given ones, in place."""
    from bench.model.sampling import sample_token

    context = model.backbone.context
    # tokens read, room left in the state, and from how far back an empty state reads
    read, room, reach, state = 0, 0, context, None
    for place in range(given, text.shape[1]):
        if place - read > room:  # the state is full: begin again from the last tokens
            state, room, read = model.init_state(1, context), context, max(0, place - reach)
            reach = max(1, context // 2)
        hidden, state = model.hidden(text.narrow(1, read, place - read), state)  # (1, T, D)
        room, read = room - (place - read), place
        logits = model.head(hidden.select(1, -1)).float()  # (1, V)
        if never is not None:
            logits[:, never] = -math.inf
        text.select(1, place).copy_(sample_token(logits, temperature, generator))
