"""Generate text with a trained model: `python -m bench.generate RUN --prompt "…"`."""

import logging
import math
from typing import TYPE_CHECKING

from bench.config.errors import UserError

if TYPE_CHECKING:  # torch costs seconds, and --help needs none of it
    import torch

    from bench.data import Vocabulary
    from bench.model import LanguageModel
    from bench.model.decoding import CompiledStep
    from bench.training import TrainedModel

    Decoder = LanguageModel | CompiledStep

logger = logging.getLogger(__name__)


def decoding_form(trained: "TrainedModel", form: str, count: int) -> "Decoder":
    """Return the model, or its compiled step for `count` tokens: what `continue_text` takes.

    `form`: auto compiles where that is repaid, and logs the reason where it cannot be had. Raise
    UserError for `compiled` where it cannot be had.
    """
    from architectures.interface import Unsupported
    from bench.model.decoding import REPAID_TOKENS, compiled_step

    if form == "eager" or (form == "auto" and count < REPAID_TOKENS):
        return trained.model
    try:
        return compiled_step(trained.model, trained.run.arch, root=trained.run.data.cache)
    except Unsupported as reason:
        if form == "compiled":
            raise UserError(f"--decode compiled: {reason}; use auto", "not-supported") from None
        logger.warning("decode: eager, because %s", reason)
        return trained.model


def continue_text(
    model: "Decoder",
    vocabulary: "Vocabulary",
    prompt: str,
    count: int,
    temperature: float = 0.8,
    seed: int = 0,
) -> str:
    """Return `count` tokens that a causal model draws after a prompt, as text.

    Temperature 0 takes the likeliest token. The model reads and generates through its state; where
    that is full, it continues from the last half of its context, the same for every architecture.
    Raises Unsupported for a model that keeps no state. `model` may be its compiled step.
    """
    tokens = [vocabulary.separator, *vocabulary.encode(prompt).tolist()]
    # without separators it is one text of the requested length
    generated = generate_tokens(model, tokens, count, temperature, seed, never=vocabulary.separator)
    return vocabulary.decode(generated.cpu().numpy()) if count else ""


def generate_tokens(
    model: "Decoder",
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
    model: "Decoder",
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
        logits, state = model.next_logits(text.narrow(1, read, place - read), state)
        room, read, logits = room - (place - read), place, logits.float()  # (1, V)
        if never is not None:
            logits[:, never] = -math.inf
        text.select(1, place).copy_(sample_token(logits, temperature, generator))
