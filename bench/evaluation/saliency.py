"""Measure what predictions look at: gradient × input over the context, and attention weights.

One definition for all causal architectures. A prediction is the logit of the next token less the
mean logit of all others, weighted by how likely the model holds them: its gradient is that of the
token's log-probability, up to a factor. By the input of the backbone at each token (its embedding)
the saliency of the token is the Euclidean norm of gradient × embedding (Denil et al. 2014,
arXiv:1412.6815), and its share that norm over the sum of all. Encoders are left out: what they
predict lies between its context, so that distances mean something else.
"""

import time
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.config import Run
from bench.data import Corpus, Vocabulary
from bench.evaluation.sampling import sample_windows, token_windows
from bench.model import LanguageModel
from bench.records.schema import SCHEMA
from bench.training import TrainSettings, autocast

PASSAGES = 3  # that are stored as text: those with the most different tokens
PASSAGE_TOKENS = 256  # the last ones, of each passage
MAX_HEADS = 32  # whose weights are stored, evenly spaced over all layers
RUN_SHARE = 0.01  # of the sequences that a run trains on: what is explained of held-out text …
MIN_PREDICTIONS = 4  # … but no fewer
MAX_CHARACTER_BYTES = 4  # of UTF-8
DIGITS = 5  # of stored shares


def gradient_times_input(model: LanguageModel, tokens: Tensor, targets: Tensor) -> Tensor:
    """Return gradient × embedding for each row's prediction after its last token, (B, T, D).

    `tokens` (B, T), `targets` (B,).
    """
    # cuDNN's recurrent kernels have no backward pass outside of training
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        x = torch.embedding(model.embedding.weight, tokens).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(_prediction(model, x, targets).sum(), x)
    return (gradient * x.detach()).float()


def _prediction(model: LanguageModel, x: Tensor, targets: Tensor) -> Tensor:
    """Return the logit of the target less the weighted mean logit of all others, (B,)."""
    mixed, _ = model.backbone(x)
    logits = model.head(model.norm(mixed[:, -1])).float()
    others = logits.detach().scatter(1, targets[:, None], -torch.inf).softmax(dim=1)
    return logits.gather(1, targets[:, None])[:, 0] - (others * logits).sum(dim=1)


def token_shares(products: Tensor) -> np.ndarray:
    """Return the share of each token of the context, (B, T, D) -> (B, T) float64."""
    norms = products.norm(dim=2).double().cpu().numpy()
    total = norms.sum(axis=1, keepdims=True)
    return np.divide(norms, total, out=np.zeros_like(norms), where=total > 0)


def distance_bins(length: int) -> list[tuple[int, int]]:
    """Return the first and last distance of each bin: 0, 1, 2, 3, 4–5, 6–7, 8–11, two per octave.

    The distance of the last token of the context is 0.
    """
    octaves = 2 ** np.arange(1, 64)[:, None]
    starts = np.r_[0, 1, np.stack([octaves, octaves * 3 // 2], axis=1).ravel()]
    starts = np.unique(starts[(starts >= 0) & (starts < length)])
    return list(zip(starts.tolist(), [*(starts[1:] - 1).tolist(), length - 1], strict=True))


def measure_saliency(
    model: LanguageModel, corpus: Corpus, run: Run, settings: TrainSettings
) -> dict[str, Any]:
    """Return the content of saliency.json for a seeded sample, the same for every architecture.

    A model whose gradient cannot be taken has a reason in place of numbers.
    """
    began = time.perf_counter()
    about = {"schema": SCHEMA, "part": corpus.scored, "context": run.size.context}
    content: dict[str, Any] = {"reason": "", "distances": [], "shares": [], "passages": []}
    model.eval()
    affordable = max(MIN_PREDICTIONS, int(RUN_SHARE * settings.steps * settings.batch))
    offsets, windows = _sample(corpus, run, min(run.evaluate.saliency, affordable))
    if len(windows):
        try:
            content |= _explain(Explained(model, corpus.vocabulary, settings), offsets, windows)
        except (RuntimeError, NotImplementedError, ValueError) as error:  # no run fails by it
            reason = str(error).strip().partition("\n")[0]
            content["reason"] = reason or type(error).__name__
    else:
        content["reason"] = "the held-out text fills no window"
    return about | content | {"seconds": round(time.perf_counter() - began, 4)}


def _sample(corpus: Corpus, run: Run, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return windows whose last token is the target, (N, T + 1), and their offsets.

    None ends in a separator, which is outside the score.
    """
    part = corpus.parts[corpus.scored]
    starts, tokens = sample_windows(part, corpus.digest, run.size.context, count)
    windows = token_windows(part, starts - 1, tokens.shape[1] + 1)
    kept = windows[:, -1] != corpus.vocabulary.separator
    return starts[kept] - 1, windows[kept]


class Explained(NamedTuple):
    """The model that is explained, and how it is run."""

    model: LanguageModel
    vocabulary: Vocabulary
    settings: TrainSettings

    def tensor(self, tokens: np.ndarray) -> Tensor:
        """Return token ids on the model's device."""
        return torch.from_numpy(tokens).to(self.settings.device)

    def shares(self, windows: np.ndarray) -> np.ndarray:
        """Return the share of each token in the prediction of the last, (N, T + 1) -> (N, T)."""
        rows = max(1, self.settings.batch // self.settings.accumulate)  # that training held at once
        batches = np.split(windows, range(rows, len(windows), rows))
        with autocast(self.settings):
            products = (
                gradient_times_input(self.model, tokens[:, :-1], tokens[:, -1])
                for tokens in map(self.tensor, batches)
            )
            return np.concatenate([token_shares(product) for product in products])

    @torch.no_grad()
    def predict(self, window: np.ndarray) -> tuple[np.ndarray, list[Tensor]]:
        """Return the probabilities of the last token (V,), and the attention weights by layer."""
        with autocast(self.settings):
            x = torch.embedding(self.model.embedding.weight, self.tensor(window[None, :-1]))
            mixed, _ = self.model.backbone(x)
            logits = self.model.head(self.model.norm(mixed[:, -1]))[0]
            return logits.float().softmax(0).cpu().numpy(), self.model.backbone.attention_weights(x)


def _explain(explained: Explained, offsets: np.ndarray, windows: np.ndarray) -> dict[str, Any]:
    """Return shares by distance of all windows (N, T + 1), and some of them as passages."""
    shares = explained.shares(windows)
    bins = distance_bins(shares.shape[1])
    # from the last token backwards
    by_bin = np.add.reduceat(shares[:, ::-1], [first for first, _ in bins], axis=1)
    if not (by_bin.sum(axis=1) > 0).all():
        return {"reason": "a gradient is zero or not finite"}
    passages = [
        {"offset": int(offsets[row]), **_passage(explained, windows[row], shares[row])}
        for row in most_varied(windows)[:PASSAGES]
    ]
    return {"distances": bins, "shares": by_bin.round(DIGITS).tolist(), "passages": passages}


# --- passages ------------------------------------------------------------------------------------


def most_varied(windows: np.ndarray) -> np.ndarray:
    """Return the rows of (N, T) by how many different tokens they have, the most first."""
    distinct = 1 + (np.diff(np.sort(windows, axis=1), axis=1) != 0).sum(axis=1)
    return np.argsort(-distinct, kind="stable")


def _passage(explained: Explained, window: np.ndarray, shares: np.ndarray) -> dict[str, Any]:
    """Return one prediction as text: its context in pieces, with the share of each."""
    odds, layers = explained.predict(window)
    context, target = window[:-1][-PASSAGE_TOKENS:], int(window[-1])
    pieces, starts = text_pieces(explained.vocabulary, context)

    def by_piece(weights: np.ndarray) -> list[float]:
        return np.add.reduceat(weights[-len(context) :], starts).round(DIGITS).tolist()

    heads = [
        {"layer": layer, "head": head, "weights": by_piece(weights)}
        for layer, head, weights in _spread_heads(layers)
    ]
    return {
        "pieces": pieces,
        "shares": by_piece(shares),
        "target": explained.vocabulary.decode(np.array([target])),
        "probability": round(float(odds[target]), DIGITS),
        "prediction": explained.vocabulary.decode(np.array([odds.argmax()])),
        "attention": heads,
    }


def _spread_heads(layers: list[Tensor]) -> list[tuple[int, int, np.ndarray]]:
    """Return (layer, head, weights (T,)) of at most MAX_HEADS heads; each of `layers` (1, H, T)."""
    heads = [
        (number, head, weights.float().cpu().numpy())
        for number, layer in enumerate(layers)
        for head, weights in enumerate(layer[0])
    ]
    places = np.unique(np.linspace(0, len(heads) - 1, min(len(heads), MAX_HEADS)).astype(int))
    return [heads[place] for place in places]


def text_pieces(vocabulary: Vocabulary, tokens: np.ndarray) -> tuple[list[str], list[int]]:
    """Return the shortest runs of tokens that are whole characters, and where each starts."""
    pieces, starts, start = list[str](), list[int](), 0
    for end in range(1, len(tokens) + 1):
        text = vocabulary.decode(tokens[start:end])
        if "\ufffd" not in text or end - start == MAX_CHARACTER_BYTES or end == len(tokens):
            pieces.append(text)
            starts.append(start)
            start = end
    return pieces, starts
