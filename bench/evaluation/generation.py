"""Writing with a trained model: `python -m bench.generate RUN --prompt "…"`."""

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
    """What a causal model writes after a prompt: `count` tokens, drawn from a seed (temperature 0: always the likeliest).

    The model reads and writes through its state; where that is full it goes on from the last half of its context, the
    same for every architecture. Raises Unsupported for a model that keeps no state.
    """
    tokens = [vocabulary.separator, *vocabulary.encode(prompt).tolist()]
    written = generate_tokens(
        model, tokens, count, temperature, seed, never=vocabulary.separator
    )  # one text, as long as was asked for
    return vocabulary.decode(written.cpu().numpy()) if count else ""


def generate_tokens(
    model: "LanguageModel",
    tokens: list[int],
    count: int,
    temperature: float,
    seed: int = 0,
    never: int | None = None,
) -> "torch.Tensor":
    """The `count` tokens that follow the given ones, (count,), on the model's device; `never` is a token that is not drawn.

    What is written lies in one place made beforehand, and each token is drawn there: nothing is copied to the processor and
    back between two tokens.
    """
    import torch

    device, context = model.embedding.weight.device, model.backbone.context
    generator = torch.Generator(device).manual_seed(seed)
    with torch.inference_mode():
        said = torch.tensor([tokens + [0] * count], device=device)  # (1, given + count)
        read, room, reach, state = (
            0,
            0,
            context,
            None,
        )  # `reach`: from how far back a fresh state reads
        for place in range(len(tokens), len(tokens) + count):
            if (
                place - read > room
            ):  # no room left in the state: begin again from what was said last
                state, room, read = model.init_state(1, context), context, max(0, place - reach)
                reach = max(1, context // 2)
            hidden, state = model.hidden(said.narrow(1, read, place - read), state)  # (1, T, D)
            room, read = room - (place - read), place
            logits = model.head(hidden.select(1, -1)).float()  # (1, V)
            if never is not None:
                logits[:, never] = -torch.inf
            said.select(1, place).copy_(_sample_token(logits, temperature, generator))
    return said[0, len(tokens) :]


def _sample_token(
    logits: "torch.Tensor", temperature: float, generator: "torch.Generator"
) -> "torch.Tensor":
    """A token of each row, (B, V) -> (B,)."""
    import torch

    if temperature < 1e-6:  # so near zero that dividing by it is no number
        return logits.argmax(dim=-1)
    likely = torch.softmax(logits / temperature, dim=-1)
    return (likely / torch.empty_like(likely).exponential_(generator=generator)).argmax(
        dim=-1
    )  # half the time of multinomial
