"""Check that what is measured is the model that is scored: prefill and decoding through a state."""

import numpy as np
import torch
from torch import Tensor

from bench.model import LanguageModel
from bench.model.contract.perturbation import draw_cuts, rounding_of
from bench.model.contract.probes import CheckFailed

# of the largest output, between prefill and one more decoded token: of bfloat16, whose products of
# another shape round otherwise; a state that is not used is off by more
DECODE_TOLERANCE = 0.05


def check_prefill(model: LanguageModel, prompt: Tensor, length: int) -> None:
    """Raise CheckFailed where reading prompts (B, T) into a state looks ahead or mixes rows.

    It runs as it is measured: in evaluation, in inference mode, in the caller's precision.
    """
    reference = _read(model, prompt, length)
    rows, tokens = prompt.shape
    cuts = torch.from_numpy(draw_cuts(rows, tokens, np.random.default_rng(0))).to(prompt.device)
    before = torch.arange(tokens, device=prompt.device) < cuts[:, None]  # (B, T)
    changed = torch.where(before, prompt, (prompt + 1) % model.vocabulary)
    distances = (_read(model, changed, length) - reference).abs().amax(dim=-1)
    distance = distances.where(before, 0).max().item()
    if distance and distance > rounding_of(model, lambda: _read(model, prompt, length), reference):
        message = f"prefill looks ahead or mixes rows: it changed earlier outputs by {distance:.2g}"
        raise CheckFailed(message, "looks-ahead")


def check_decode(model: LanguageModel, prompt: Tensor, length: int) -> None:
    """Raise CheckFailed where a token after the others (B, T) has another output than in prefill.

    It runs as it is measured, like `check_prefill`.
    """
    reference = _read(model, prompt, length)
    decoded = _read(model, prompt, length, prompt.shape[1] - 1)
    share = (decoded[:, -1] - reference[:, -1]).abs().max() / reference.abs().max()
    if not share <= DECODE_TOLERANCE:
        message = f"a decoded token differs from its output in prefill by {share:.2g}"
        raise CheckFailed(message, "state-diverges")


def _read(model: LanguageModel, prompt: Tensor, length: int, first: int = 0) -> Tensor:
    """Return hidden outputs (B, T, D) of prompts; those from `first` on token by token."""
    with torch.inference_mode():
        state = model.init_state(prompt.shape[0], length)
        pieces = [prompt] if not first else [prompt[:, :first], *prompt[:, first:].split(1, dim=1)]
        outputs = []
        for piece in pieces:
            hidden, state = model.hidden(piece, state)
            outputs.append(hidden.float())
        return torch.cat(outputs, dim=1)
