"""Score causal models by a protocol: adjacent or overlapping windows, or a carried state."""

import copy

import numpy as np
import torch

from architectures.interface import State, Unsupported
from bench.config.schema import EvaluateConfig
from bench.evaluation import sampling
from bench.evaluation.leak_check import ScoredBatch
from bench.evaluation.likelihood import Score, causal_likelihood, document_score
from bench.evaluation.sampling import Stretches
from bench.evaluation.scorer import Scorer, eval_batches
from bench.model import LanguageModel
from bench.training import autocast, logits_nats, tokens_per_piece

# of a model that is given more than its context
UNSUPPORTED_ERRORS = (ValueError, RuntimeError, IndexError, Unsupported)


def stride_of(options: EvaluateConfig, context: int) -> int:
    """Return the tokens that the windows of the protocol `stride` advance by."""
    return options.stride or max(1, context // 4)


def check_supported(model: LanguageModel, protocol: str, context: int) -> None:
    """Raise Unsupported where the model cannot be scored by a protocol."""
    if not model.backbone.causal:
        raise Unsupported(
            "an encoder reads both ways: its likelihood is estimated by unmasking, "
            "under no such protocol"
        )
    if protocol == "stateful" and state_grows(model, context):
        raise Unsupported(
            "its state grows with the text, so it cannot be carried through a part: use stride"
        )


def error_text(error: Exception) -> str:
    """Return the message of an error on one line, or its class where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


@torch.no_grad()
def state_grows(model: LanguageModel, context: int) -> bool:
    """Return whether the state of twice as long a text is larger, before or after reading it."""
    lengths = (context, 2 * context)
    empty = [model.backbone.state_bytes(model.init_state(1, length)) for length in lengths]
    if empty[1] > empty[0]:
        return True
    read = torch.zeros(1, 2 * context, dtype=torch.long, device=model.embedding.weight.device)
    try:
        full = [
            model.hidden(read[:, :length], model.init_state(1, length))[1] for length in lengths
        ]
    except UNSUPPORTED_ERRORS as reason:
        raise Unsupported(error_text(reason)) from None
    return model.backbone.state_bytes(full[1]) > model.backbone.state_bytes(full[0])


def score_by_protocol(scorer: Scorer, options: EvaluateConfig) -> Score:
    """Score a part by the protocol that the options name. Raises Unsupported."""
    check_supported(scorer.model, options.protocol, scorer.context)
    if options.protocol == "stateful":  # one pass over the part
        nats = carried_state_nats(scorer, np.zeros(1, np.int64), len(scorer.part.tokens) - 1)
        return document_score("stateful", scorer, np.r_[0.0, nats[0]])
    stride = stride_of(options, scorer.context) if options.protocol == "stride" else 0
    return causal_likelihood(scorer, stride)


@torch.no_grad()
def carried_state_nats(scorer: Scorer, starts: np.ndarray, length: int) -> np.ndarray:
    """Return the nats of the `length` tokens after each start, (B, length).

    They are read in pieces of `context` tokens, through a state that begins empty. Raises
    LeakDetected.
    """
    state, piece = scorer.model.init_state(len(starts), length), scorer.context
    pieces, middle = list[np.ndarray](), (length - 1) // piece // 2 * piece
    with scorer.check() as check:
        for first in range(0, length, piece):
            count = min(piece, length - first) + 1
            tokens = sampling.token_windows(scorer.part, starts + first, count)
            before = copy.deepcopy(state) if first == middle else None
            nats, state = _piece_nats(scorer, tokens, tokens[:, 1:], state)
            if first == middle:
                check.add(_scored_piece(scorer, tokens, nats, before))
            pieces.append(nats)
    return np.concatenate(pieces, axis=1)


def _scored_piece(
    scorer: Scorer, tokens: np.ndarray, nats: np.ndarray, before: State
) -> ScoredBatch:
    """Return a scored piece of tokens (B, T + 1) with what checks its nats for leaks."""
    targets = tokens[:, 1:]

    def rescore(read: np.ndarray, order: np.ndarray) -> np.ndarray:
        return _piece_nats(scorer, read, targets[order], copy.deepcopy(before))[0]

    return ScoredBatch("carried state", tokens[:, :-1], nats, rescore, fixed_order=True)


def _piece_nats(
    scorer: Scorer, tokens: np.ndarray, targets: np.ndarray, state: State
) -> tuple[np.ndarray, State]:
    """Return the nats (B, T) of targets (B, T), and the state after as many of the tokens."""
    model, flat = scorer.model, scorer.tensor(targets).flatten()
    rows = tokens_per_piece(model.vocabulary)
    with autocast(scorer.settings):
        hidden, state = model.hidden(scorer.tensor(tokens[:, : targets.shape[1]]), state)
        pairs = zip(hidden.flatten(0, 1).split(rows), flat.split(rows), strict=True)
        nats = torch.cat([logits_nats(model.head(states), ones) for states, ones in pairs])
    return nats.view(len(tokens), -1).double().cpu().numpy(), state


def window_nats(scorer: Scorer, stretches: Stretches, context: int, stride: int) -> np.ndarray:
    """Return the nats of the tokens of each stretch, (S, length), by windows of `context` tokens.

    The last `stride` tokens of a window are scored; with stride = context, windows are adjacent.
    Otherwise each reads up to context - stride tokens before those, also before the stretch.
    """
    steps = np.arange(stride, stretches.length + 1, stride)
    ends = (stretches.starts[:, None] + steps).ravel()  # offsets of the last targets
    begins = np.maximum(ends - context, 0)
    nats = np.zeros((len(ends), stride))
    # few lengths: a window is shorter only at the beginning of the part
    for length in np.unique(ends - begins):
        for batch in eval_batches(np.flatnonzero(ends - begins == length)):
            block = sampling.token_windows(scorer.part, begins[batch], int(length) + 1)
            scores = scorer.target_nats(block[:, :-1], block[:, 1:])  # (b, T)
            nats[batch] = scores[:, -stride:]
    return nats.reshape(len(stretches.starts), stretches.length)
