"""Filling in one hidden token with the same information: an encoder at once, a causal model by Bayes over the vocabulary.

p(x_i | all others) = p(x) / Σ_v p(x with v in place i): what a causal model believes of a hidden token once it has read what
comes after. It costs a forward for each token that could stand there, so that only small vocabularies are asked.
"""

import numpy as np
import torch

from bench.data import Corpus, Part
from bench.evaluation import sampling
from bench.evaluation.likelihood import EVAL_BATCH, target_nats
from bench.records.metrics import Metric
from bench.training import Masked, Objective, TrainSettings, autocast

WINDOW_TOKENS = 32  # tokens that are shown, or the context where it is shorter
MAX_VOCABULARY = 1000  # tokens of a vocabulary that is asked
COUNTED_TOKENS = 1 << 24  # tokens of the training part that are looked through


def infill(
    objective: Objective,
    corpus: Corpus,
    part: Part,
    context: int,
    count: int,
    seed: int,
    plan: TrainSettings,
) -> list[Metric]:
    """How often the likeliest token is the hidden one, and the nats of the hidden one; nothing for a large vocabulary."""
    if corpus.vocabulary.size > MAX_VOCABULARY or corpus.vocabulary.continues_word is not None:
        return []
    objective.eval()
    asked = candidate_tokens(corpus)
    windows, places = sampling.sample_infilling(
        part, corpus.digest, min(WINDOW_TOKENS, context), count, asked, seed
    )
    if not len(windows):
        return []
    fill = masked_infill_nats if isinstance(objective, Masked) else causal_infill_nats
    nats = fill(objective, windows, places, np.flatnonzero(asked), plan)  # (N, candidates)
    truth = np.flatnonzero(asked).searchsorted(windows[np.arange(len(windows)), places])
    right = (nats.argmin(axis=1) == truth).astype(float)
    note = f"{len(windows)} hidden tokens, each in {windows.shape[1]} tokens, among {asked.sum()} that the training part has"
    found = [Metric("filling_tokens", "tokens", "neither", (float(len(windows)),), note)]
    for name, unit, better, values in (
        ("filling_accuracy", "share", "higher", right),
        ("filling_nats", "nats/token", "lower", nats[np.arange(len(nats)), truth]),
    ):
        mean, error = sampling.mean_and_standard_error(values)
        found.append(Metric(name, unit, better, (mean,), note))  # type: ignore[arg-type]
        if error == error:
            found.append(Metric(f"{name}_standard_error", unit, "neither", (error,), note))
    return found


def candidate_tokens(corpus: Corpus) -> np.ndarray:
    """Which tokens the training part has, (V,) bool, the separator aside: a hidden token of a text is known to be text."""
    counts = np.bincount(
        np.asarray(corpus.parts["train"].tokens[:COUNTED_TOKENS]), minlength=corpus.vocabulary.size
    )
    counts[corpus.vocabulary.separator] = 0
    return np.asarray(counts > 0)


@torch.no_grad()
def masked_infill_nats(
    objective: Objective,
    windows: np.ndarray,
    places: np.ndarray,
    asked: np.ndarray,
    plan: TrainSettings,
) -> np.ndarray:
    """-log p(candidate | all others) in place of the one hidden token of each window (N, L): (N, candidates)."""
    model, found = objective.model, []
    for some in np.split(np.arange(len(windows)), range(EVAL_BATCH, len(windows), EVAL_BATCH)):
        read = windows[some].copy()
        read[np.arange(len(some)), places[some]] = model.mask
        with autocast(plan):
            states, _ = model.hidden(torch.from_numpy(read).to(plan.device))  # (b, L, D)
            logits = model.head(
                states[torch.arange(len(some)), torch.from_numpy(places[some])]
            )  # (b, V)
        found.append(-logits[:, torch.from_numpy(asked)].double().log_softmax(dim=1).cpu().numpy())
    return np.concatenate(found)


def causal_infill_nats(
    objective: Objective,
    windows: np.ndarray,
    places: np.ndarray,
    asked: np.ndarray,
    plan: TrainSettings,
) -> np.ndarray:
    """The same of a causal model: each candidate put into its place, and the whole window read; the first token is given."""
    found = []
    for window, place in zip(windows, places, strict=True):
        rows = np.repeat(window[None], len(asked), axis=0)  # (candidates, L)
        rows[:, place] = asked
        whole = target_nats(objective, rows[:, :-1], rows[:, 1:], plan).sum(axis=1)  # (candidates,)
        found.append(whole + np.logaddexp.reduce(-whole))
    return np.stack(found)
