"""Score causal models by a protocol: adjacent or overlapping windows, or a carried state."""

import copy

import numpy as np
import torch

from architectures.interface import State, Unsupported
from bench.config.schema import EvaluateConfig
from bench.data import Corpus, Part, Vocabulary, nats_per_unit
from bench.data.blocks import EVAL_BATCH
from bench.evaluation import sampling
from bench.evaluation.leak_check import LeakCheck, ScoredBatch
from bench.evaluation.likelihood import (
    Score,
    causal_likelihood,
    likelihood_metrics,
    target_nats,
)
from bench.evaluation.sampling import Stretches
from bench.model import LanguageModel
from bench.training import Objective, TrainSettings, autocast, logits_nats, tokens_per_piece

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
    if protocol == "chunk":
        return
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


def score_by_protocol(
    objective: Objective,
    corpus: Corpus,
    part: Part,
    options: EvaluateConfig,
    context: int,
    settings: TrainSettings,
) -> Score:
    """Score a part by the protocol that the options name. Raises Unsupported."""
    check_supported(objective.model, options.protocol, context)
    if options.protocol == "stateful":
        return stateful(objective, part, corpus.vocabulary, context, settings)
    stride = stride_of(options, context) if options.protocol == "stride" else 0
    return causal_likelihood(objective, part, corpus.vocabulary, context, settings, stride)


def stateful(
    objective: Objective, part: Part, vocabulary: Vocabulary, context: int, settings: TrainSettings
) -> Score:
    """Score a causal model in one pass over the part, with one state carried through it."""
    start, length = np.zeros(1, np.int64), len(part.tokens) - 1
    nats = carried_state_nats(objective, part, start, length, context, settings)
    documents, separator_nats, separators = nats_per_unit(
        part, np.r_[0.0, nats[0]], vocabulary.separator
    )
    return Score("stateful", likelihood_metrics(documents, separator_nats, separators), documents)


@torch.no_grad()
def carried_state_nats(
    objective: Objective,
    part: Part,
    starts: np.ndarray,
    length: int,
    piece: int,
    settings: TrainSettings,
) -> np.ndarray:
    """Return the nats of the `length` tokens after each start, (B, length).

    They are read in pieces of `piece` tokens, through a state that begins empty. Raises
    LeakDetected.
    """
    objective.eval()
    state: State = objective.model.init_state(len(starts), length)
    pieces, middle = list[np.ndarray](), (length - 1) // piece // 2 * piece
    with LeakCheck(objective, settings) as check:
        for first in range(0, length, piece):
            tokens = sampling.token_windows(part, starts + first, min(piece, length - first) + 1)
            before = copy.deepcopy(state) if first == middle else None
            nats, state = _piece_nats(objective.model, tokens, tokens[:, 1:], state, settings)
            if first == middle:
                check.add(_scored_piece(objective.model, tokens, nats, before, settings))
            pieces.append(nats)
    return np.concatenate(pieces, axis=1)


def _scored_piece(
    model: LanguageModel,
    tokens: np.ndarray,
    nats: np.ndarray,
    before: State,
    settings: TrainSettings,
) -> ScoredBatch:
    """Return a scored piece of tokens (B, T + 1) with what checks its nats for leaks."""
    targets = tokens[:, 1:]

    def rescore(read: np.ndarray, order: np.ndarray) -> np.ndarray:
        return _piece_nats(model, read, targets[order], copy.deepcopy(before), settings)[0]

    return ScoredBatch("carried state", tokens[:, :-1], nats, rescore, fixed_order=True)


def _piece_nats(
    model: LanguageModel,
    tokens: np.ndarray,
    targets: np.ndarray,
    state: State,
    settings: TrainSettings,
) -> tuple[np.ndarray, State]:
    """Return the nats (B, T) of targets (B, T), and the state after as many of the tokens."""
    rows = tokens_per_piece(model.vocabulary)
    flat = torch.from_numpy(targets).to(settings.device).flatten()
    with autocast(settings):
        read = torch.from_numpy(tokens[:, : targets.shape[1]]).to(settings.device)
        hidden, state = model.hidden(read, state)  # (B, T, D)
        pairs = zip(hidden.flatten(0, 1).split(rows), flat.split(rows), strict=True)
        nats = torch.cat([logits_nats(model.head(states), ones) for states, ones in pairs])
    return nats.view(len(tokens), -1).double().cpu().numpy(), state


def window_nats(
    objective: Objective,
    part: Part,
    stretches: Stretches,
    context: int,
    stride: int,
    settings: TrainSettings,
) -> np.ndarray:
    """Return the nats of the tokens of each stretch, (S, length), by windows of `context` tokens.

    The last `stride` tokens of a window are scored; with stride = context, windows are adjacent.
    Otherwise each reads up to context - stride tokens before those, also before the stretch.
    """
    objective.eval()
    steps = np.arange(stride, stretches.length + 1, stride)
    ends = (stretches.starts[:, None] + steps).ravel()  # offsets of the last targets
    begins = np.maximum(ends - context, 0)
    nats = np.zeros((len(ends), stride))
    # few lengths: a window is shorter only at the beginning of the part
    for length in np.unique(ends - begins):
        rows = np.flatnonzero(ends - begins == length)
        for batch in np.split(rows, range(EVAL_BATCH, len(rows), EVAL_BATCH)):
            block = sampling.token_windows(part, begins[batch], int(length) + 1)  # (b, T + 1)
            scores = target_nats(objective, block[:, :-1], block[:, 1:], settings)
            nats[batch] = scores[:, -stride:]
    return nats.reshape(len(stretches.starts), stretches.length)
