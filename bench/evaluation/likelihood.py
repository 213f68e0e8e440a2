"""Quality on held-out text: nats of every token, summed a document; never an average of averages."""

import itertools
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from bench.data import Part, TokenBlock, Vocabulary, nats_per_unit, windows
from bench.data.blocks import VALIDATION_BLOCKS, spaced_blocks, take_block
from bench.records.metrics import Metric
from bench.training import Batch, Objective, TrainSettings, autocast, torch_generator

EVAL_BATCH = 64  # windows that are scored at once
MAX_NATS = 709.0  # nats a token: beyond, the perplexity is more than a number can hold


class Score(NamedTuple):
    """What a protocol found: its name, its metrics, and nats and bytes a document where it scores whole documents."""

    protocol: str
    metrics: list[Metric]
    documents: pd.DataFrame | None


def spread_blocks(part: Part, context: int, count: int = VALIDATION_BLOCKS) -> TokenBlock:
    """Return up to `count` blocks (N, context + 1) spread evenly over a part, always the same."""
    starts, length = spaced_blocks(part, context, count)
    positions = starts[:, None] + np.arange(length + 1)
    return take_block(part.tokens, part.loss_mask, positions)


@torch.no_grad()
def validation_nats(objective: Objective, blocks: TokenBlock, plan: TrainSettings) -> float:
    """The training loss on fixed blocks (N, T + 1) of held-out text, nats a target; the same questions at every call."""
    objective.eval()
    nats = count = 0.0
    for first in range(0, len(blocks.tokens), EVAL_BATCH):
        block = blocks.rows(slice(first, first + EVAL_BATCH))
        batch = objective.batch_of(block, torch_generator(first)).to(plan.device)
        with (
            autocast(plan),
            torch.compiler.set_stance("force_eager"),
        ):  # compiled, if at all, for the shapes of training
            total = objective(batch)
        nats, count = nats + float(total.nats), count + float(total.count)
    return nats / count


def validation_bytes(
    objective: Objective, part: Part, vocabulary: Vocabulary, context: int
) -> list[Metric]:
    """Bytes of text a target of the blocks that training looks at: what turns `validation_nats` into bits per byte.

    Nothing for an encoder, whose loss is no likelihood of that text, and for symbols that say none.
    """
    if not objective.model.backbone.causal or not vocabulary.text:
        return []
    targets = spread_blocks(part, context).tokens[:, 1:]  # (N, T)
    size = sum(len(vocabulary.decode_bytes(block)) for block in targets)
    note = "of the fixed blocks that training looks at; separators are targets without bytes"
    return [
        Metric("validation_bytes_per_token", "bytes/token", "neither", (size / targets.size,), note)
    ]


@torch.no_grad()
def target_nats(
    objective: Objective,
    tokens: np.ndarray,
    targets: np.ndarray,
    plan: TrainSettings,
    lengths: np.ndarray | None = None,
) -> np.ndarray:
    """Nats of every target, (B, T) float64, of tokens (B, T); `lengths` (B,): the rest of a row is padding."""
    real = None if lengths is None else torch.from_numpy(lengths)
    batch = Batch(
        torch.from_numpy(tokens), torch.from_numpy(targets), torch.ones(targets.shape), real
    ).to(plan.device)
    with autocast(plan):
        return np.asarray(objective.token_nats(batch).double().cpu().numpy())


def causal_likelihood(
    objective: Objective,
    part: Part,
    vocabulary: Vocabulary,
    context: int,
    plan: TrainSettings,
    stride: int = 0,
) -> Score:
    """Score a causal model by windows side by side, or `stride` tokens apart: every token of the part once, with at most
    `context` tokens before it."""
    objective.eval()
    nats = np.zeros(len(part.tokens), dtype=np.float64)
    sums, counts = np.zeros(context), np.zeros(context)  # by how many tokens were read
    for window in windows(part, context, EVAL_BATCH, stride):
        found = target_nats(objective, window.tokens, window.targets, plan, window.lengths)
        new = window.positions >= 0
        nats[window.positions[new]] = found[new]
        text = new & (window.targets != vocabulary.separator)
        sums, counts = sums + np.where(text, found, 0.0).sum(axis=0), counts + text.sum(axis=0)
    documents, separator_nats, separators = nats_per_unit(part, nats, vocabulary.separator)
    metrics = likelihood_metrics(documents, separator_nats, separators)
    name = f"stride({context}, {stride})" if stride else f"chunk({context})"
    return Score(
        name, metrics if stride else [*metrics, *position_metrics(sums, counts)], documents
    )


def position_metrics(sums: np.ndarray, counts: np.ndarray) -> list[Metric]:
    """The loss against how many tokens of its window a token was made from: each of the first four alone, then wider steps."""
    edges = np.unique(
        np.round(np.r_[0:5, 4 * 2 ** np.arange(0.5, 30, 0.5)]).astype(int).clip(max=len(sums))
    )
    found = []
    for low, high in itertools.pairwise(edges.tolist()):
        if counts[low:high].sum():
            mean = float(sums[low:high].sum() / counts[low:high].sum())
            note = f"mean over tokens made from {low + 1} to {high} tokens of their window"
            found.append(
                Metric("position_nats", "nats/token", "lower", (mean,), note, {"position": high})
            )
    return found


def likelihood_metrics(
    documents: pd.DataFrame, separator_nats: float, separators: int
) -> list[Metric]:
    # not pandas' sum: it passes over what is no number, and so would make the score of the rest out of it
    nats, tokens, size = (
        float(documents[name].to_numpy(dtype=float).sum()) for name in ("nats", "tokens", "bytes")
    )
    metrics = [
        Metric("bits_per_byte", "bits/byte", "lower", (nats / (size * math.log(2)),)),
        Metric("perplexity", "per token", "lower", (perplexity(nats / tokens),)),
        Metric("nats_per_token", "nats/token", "lower", (nats / tokens,)),
        Metric("scored_tokens", "tokens", "neither", (tokens,)),
        Metric("scored_bytes", "bytes", "neither", (size,)),
    ]
    if separators:
        note = "the token between documents; outside bits per byte and perplexity"
        metrics.append(
            Metric(
                "separator_nats", "nats/separator", "lower", (separator_nats / separators,), note
            )
        )
    return metrics


@torch.no_grad()
def pseudo_likelihood(
    objective: Objective,
    part: Part,
    vocabulary: Vocabulary,
    context: int,
    plan: TrainSettings,
    positions: int,
    seed: int = 0,
) -> Score:
    """Score an encoder by pseudo-perplexity (Salazar et al. 2020) on a seeded sample of positions: each hidden alone.

    With subword tokens the later tokens of the same word are hidden too (Kauf & Ivanova 2023). Not a likelihood.
    """
    objective.eval()
    # every position of every whole window is equally likely to be asked, and the same ones are asked of every encoder
    generator = np.random.default_rng([seed, positions])
    length = min(context, len(part.tokens) - 1)
    starts = 1 + length * generator.integers(0, (len(part.tokens) - 1) // length, positions)
    places = generator.integers(0, length, positions)
    found = [
        _masked_token_nats(
            objective,
            part,
            vocabulary,
            starts[i : i + EVAL_BATCH],
            places[i : i + EVAL_BATCH],
            length,
            plan,
        )
        for i in range(0, positions, EVAL_BATCH)
    ]
    nats, asked = (np.concatenate(each) for each in zip(*found, strict=True))
    if part.loss_mask is not None:
        asked &= part.loss_mask[starts + places]
    kept = nats[asked]
    mean, error = float(kept.mean()), float(kept.std(ddof=1) / math.sqrt(len(kept)))
    note = f"{len(kept)} positions; not a likelihood: never ranked beside perplexity"
    metrics = [
        Metric("pseudo_perplexity", "per token", "lower", (perplexity(mean),), note),
        Metric(
            "pseudo_perplexity_standard_error",
            "per token",
            "lower",
            (perplexity(mean) * error,),
            note,
        ),
        Metric("pseudo_nats_per_token", "nats/token", "lower", (mean,), note),
    ]
    return Score(f"pseudo({context}, {positions} positions)", metrics, None)


def _masked_token_nats(
    objective: Objective,
    part: Part,
    vocabulary: Vocabulary,
    starts: np.ndarray,
    places: np.ndarray,
    length: int,
    plan: TrainSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Nats of one hidden token in each window (B,), and whether it counts: no score counts separators."""
    tokens = np.stack([part.tokens[start : start + length] for start in starts]).astype(
        np.int64
    )  # (B, T)
    rows = np.arange(len(tokens))
    targets = tokens[rows, places].copy()
    hidden = np.zeros(tokens.shape, dtype=bool)
    hidden[rows, places] = True
    if vocabulary.continues_word is not None:
        for row, place in zip(rows, places, strict=True):
            hidden[row, place + 1 : _word_end(tokens[row], place, vocabulary)] = True
    tokens[hidden] = objective.model.mask
    with autocast(plan):
        states, _ = objective.model.hidden(torch.from_numpy(tokens).to(plan.device))  # (B, T, D)
        logits = objective.model.head(
            states[torch.from_numpy(rows), torch.from_numpy(places)]
        )  # (B, V)
    logits[:, vocabulary.separator] = -math.inf  # a hidden token of a text is known to be text
    nats = (
        functional.cross_entropy(logits.float().cpu(), torch.from_numpy(targets), reduction="none")
        .double()
        .numpy()
    )
    return nats, targets != vocabulary.separator


def _word_end(tokens: np.ndarray, place: int, vocabulary: Vocabulary) -> int:
    """Where the word of the token at `place` ends: behind the last token that goes on with it."""
    assert vocabulary.continues_word is not None
    end = place + 1
    while (
        end < len(tokens)
        and vocabulary.continues_word[tokens[end]]
        and vocabulary.decode([tokens[end - 1]])[-1:].isalnum()
    ):
        end += 1
    return end


def perplexity(nats: float) -> float:
    """The exponential of nats a token; infinite beyond what a number can hold."""
    return math.exp(nats) if nats < MAX_NATS else math.inf if nats == nats else math.nan


def first_non_finite(metrics: Iterable[Metric]) -> str:
    """The name of a metric that is no finite number: the model diverged, or answers none for some token. Empty: all are."""
    scores = (
        metric for metric in metrics if not metric.name.endswith("_standard_error")
    )  # of one sample there is none
    return next(
        (metric.name for metric in scores if not all(map(math.isfinite, metric.values))), ""
    )


def metric_value(metrics: Iterable[Metric], name: str) -> float | None:
    """The value of one metric, where it is there."""
    return next(
        (metric.values[0] for metric in metrics if metric.name == name and metric.values), None
    )
