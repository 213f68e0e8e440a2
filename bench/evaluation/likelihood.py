"""Score causal models on held-out text: the nats of every token, summed per document."""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from bench.data import Part, TokenBlock, Vocabulary, nats_per_unit, windows
from bench.data.blocks import (
    EVAL_BATCH,
    TOKENS_PER_CHUNK,
    VALIDATION_BLOCKS,
    spaced_blocks,
    take_block,
)
from bench.evaluation.scorer import Scorer
from bench.records.metrics import Metric, metric
from bench.training import Objective, TrainSettings, autocast, torch_generator

MAX_NATS = 709.0  # per token: beyond it the perplexity overflows


class Score(NamedTuple):
    """The score by a protocol, with nats and bytes per document where it scores whole documents."""

    protocol: str
    metrics: list[Metric]
    documents: pd.DataFrame | None


# --- the loss that training logs -----------------------------------------------------------------


def spread_blocks(part: Part, context: int, count: int = VALIDATION_BLOCKS) -> TokenBlock:
    """Return up to `count` blocks (N, context + 1) spread evenly over a part, always the same."""
    starts, length = spaced_blocks(part, context, count)
    return take_block(part.tokens, part.loss_mask, starts[:, None] + np.arange(length + 1))


@torch.no_grad()
def validation_nats(objective: Objective, blocks: TokenBlock, settings: TrainSettings) -> float:
    """Return the training loss on fixed blocks (N, T + 1), in nats per target.

    Masks, where there are any, are the same in every call.
    """
    objective.eval()
    nats = count = 0.0
    for first in range(0, len(blocks.tokens), EVAL_BATCH):
        block = blocks.rows(slice(first, first + EVAL_BATCH))
        batch = objective.batch_of(block, torch_generator(first)).to(settings.device)
        # what is compiled is compiled for the shapes of training
        with autocast(settings), torch.compiler.set_stance("force_eager"):
            total = objective(batch)
        nats, count = nats + float(total.nats), count + float(total.count)
    return nats / count if count else math.nan


def validation_bytes(
    objective: Objective, part: Part, vocabulary: Vocabulary, context: int
) -> list[Metric]:
    """Return the bytes of text per target of the validation blocks.

    They convert `validation_nats` to bits per byte. Empty for an encoder, whose loss is not a
    likelihood of that text, and for a vocabulary without text.
    """
    if not objective.model.backbone.causal or not vocabulary.text:
        return []
    targets = spread_blocks(part, context).tokens[:, 1:]  # (N, T)
    size = text_bytes(part, vocabulary, targets)
    note = "of the fixed validation blocks; separators are targets without bytes"
    return [metric("validation_bytes_per_token", size / targets.size, note)]


def text_bytes(part: Part, vocabulary: Vocabulary, tokens: np.ndarray) -> float:
    """Return the bytes of text that some tokens of a part stand for.

    They are those of the tokens themselves, scaled so that all tokens of the part have the bytes of
    its text: a tokenizer may add spaces or lose characters.
    """
    sizes = vocabulary.token_sizes
    chunks = range(1, len(part.tokens), TOKENS_PER_CHUNK)  # the first token is no target
    total = sum(int(sizes[part.tokens[at : at + TOKENS_PER_CHUNK]].sum()) for at in chunks)
    return float(sizes[tokens].sum()) * (int(part.sizes.sum()) / max(1, total))


# --- the likelihood of a part --------------------------------------------------------------------


def causal_likelihood(scorer: Scorer, stride: int = 0) -> Score:
    """Score every token of a part once, with at most `context` tokens before it.

    The windows lie side by side, or `stride` tokens apart. Raises LeakDetected.
    """
    part, context = scorer.part, scorer.context
    name = f"stride({context}, {stride})" if stride else f"chunk({context})"
    nats = np.zeros(len(part.tokens))
    sums, counts = np.zeros(context), np.zeros(context)  # by position in the window
    with scorer.check() as check:
        for window in windows(part, context, EVAL_BATCH, stride):
            scoring = scorer.scoring(window.targets, window.lengths)
            scores = check.score(name, window.tokens, scoring)
            new = window.positions >= 0
            nats[window.positions[new]] = scores[new]
            text = new & (window.targets != scorer.separator)
            sums += np.where(text, scores, 0.0).sum(axis=0)
            counts += text.sum(axis=0)
    return document_score(name, scorer, nats, [] if stride else position_metrics(sums, counts))


def document_score(
    name: str, scorer: Scorer, nats: np.ndarray, further: Sequence[Metric] = ()
) -> Score:
    """Return the score by a protocol from the nats of every token of the part, (N,)."""
    documents, separator_nats, separators = nats_per_unit(scorer.part, nats, scorer.separator)
    metrics = likelihood_metrics(documents, separator_nats, separators)
    return Score(name, [*metrics, *further], documents)


def position_metrics(sums: np.ndarray, counts: np.ndarray) -> list[Metric]:
    """Return the loss by position in the window, from sums and counts per position (T,).

    The first four positions stand alone, further ones in steps that widen.
    """
    steps = np.round(np.r_[0:5, 4 * 2 ** np.arange(0.5, 30, 0.5)]).astype(int)
    edges = np.unique(steps.clip(max=len(sums)))
    metrics = []
    for low, high in itertools.pairwise(edges.tolist()):
        if counts[low:high].sum():
            mean = float(sums[low:high].sum() / counts[low:high].sum())
            note = f"mean over tokens predicted from {low + 1} to {high} tokens of their window"
            metrics.append(metric("position_nats", mean, note, {"position": high}))
    return metrics


def likelihood_metrics(
    documents: pd.DataFrame, separator_nats: float, separators: int
) -> list[Metric]:
    """Return the headline metrics from nats, tokens and bytes per document."""
    # numpy's sum, as pandas' leaves NaN out and would score the rest
    nats, tokens, size = (
        float(documents[name].to_numpy(dtype=float).sum()) for name in ("nats", "tokens", "bytes")
    )
    metrics = [
        metric("bits_per_byte", nats / (size * math.log(2))),
        metric("perplexity", perplexity(nats / tokens)),
        metric("nats_per_token", nats / tokens),
        metric("scored_tokens", tokens),
        metric("scored_bytes", size),
    ]
    separator = [metric("separator_nats", separator_nats / separators)] if separators else []
    return metrics + separator


def perplexity(nats: float) -> float:
    """Return the exponential of nats per token; infinite where that overflows."""
    return math.exp(nats) if nats < MAX_NATS else math.inf if nats == nats else math.nan


def first_non_finite(metrics: Iterable[Metric]) -> str:
    """Return the name of the first metric that is not finite, standard errors aside; else empty."""
    scores = (one for one in metrics if not one.name.endswith("_standard_error"))
    return next((one.name for one in scores if not all(map(math.isfinite, one.values))), "")


def metric_value(metrics: Iterable[Metric], name: str) -> float | None:
    """Return the value of a metric; None where there is none."""
    return next((one.values[0] for one in metrics if one.name == name and one.values), None)
