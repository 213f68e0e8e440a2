"""Judge minimal pairs without training: whether the acceptable text is the likelier one.

As in BLiMP, Warstadt et al. 2020, arXiv:1912.00582. Encoders are judged by a true likelihood too:
from left to right, each token with it and all later ones hidden.
"""

import numpy as np
import pandas as pd

from bench.config.errors import UserError
from bench.data import Vocabulary
from bench.model import LanguageModel
from bench.records.metrics import Metric, metric
from bench.tasks.finetuning.answers import answer_nats
from bench.tasks.finetuning.encoding import EncodedPart
from bench.tasks.finetuning.objectives import CausalAnswer, MaskedAnswer
from bench.tasks.finetuning.scores import example_table
from bench.tasks.finetuning.sources.base import Example
from bench.training import TrainSettings

TOO_LONG = "a text of the pairs has {} tokens, and size.context={}: leave it out"


def score_pairs(
    model: LanguageModel, vocabulary: Vocabulary, pairs: list[Example], settings: TrainSettings
) -> tuple[list[Metric], pd.DataFrame]:
    """Return the share of pairs whose `text` is likelier than its `target`; a tie is half.

    What both begin with has the same likelihood and is only read. Raise UserError where a text
    does not fit the context.
    """
    good, bad = encode_pairs(pairs, vocabulary, model.backbone.context)
    losses = [_nats(model, vocabulary, part, settings) for part in (good, bad)]
    margin = losses[1] - losses[0]
    table = example_table(good, (np.sign(margin) + 1) / 2, losses[0])
    table["nats_of_other"] = losses[1]
    table["prediction"] = np.where(margin > 0, "text", "other")
    return [metric("pair_accuracy", float(table["hit"].mean()), f"{len(pairs)} pairs")], table


def encode_pairs(
    pairs: list[Example], vocabulary: Vocabulary, context: int
) -> tuple[EncodedPart, EncodedPart]:
    """Return both sides: as input what they begin with, as answer the rest."""
    good = vocabulary.encode_batch([pair.text.encode() for pair in pairs])
    bad = vocabulary.encode_batch([pair.target.encode() for pair in pairs])
    longest = 1 + max(len(text) for text in (*good, *bad))
    if longest > context:
        raise UserError(TOO_LONG.format(longest, context), "conflicting-values")
    shared = [_common_prefix(one, other) for one, other in zip(good, bad, strict=True)]
    rows = [
        np.array([vocabulary.separator, *text[:count]], np.int64)
        for text, count in zip(good, shared, strict=True)
    ]
    first, second = (_part(pairs, rows, texts, shared) for texts in (good, bad))
    return first, second


def _common_prefix(one: np.ndarray, other: np.ndarray) -> int:
    """Return how many tokens two texts begin with alike."""
    count = min(len(one), len(other))
    return int(np.append(one[:count] == other[:count], False).argmin())


def _part(
    pairs: list[Example], rows: list[np.ndarray], texts: list[np.ndarray], shared: list[int]
) -> EncodedPart:
    rests = [text[count:].astype(np.int64) for text, count in zip(texts, shared, strict=True)]
    zeros = np.zeros(len(pairs), np.int64)
    return EncodedPart(pairs, rows, rests, zeros, zeros, zeros > 0)


def _nats(
    model: LanguageModel, vocabulary: Vocabulary, part: EncodedPart, settings: TrainSettings
) -> np.ndarray:
    """Return the nats of each answer given its input, (N,)."""
    if model.backbone.causal:
        return answer_nats(CausalAnswer(model), part, settings)
    nats, lengths = np.zeros(len(part)), np.array([len(answer) for answer in part.answers])
    for length in np.unique(lengths[lengths > 0]):  # the room of each is as long as its answer
        chosen = np.flatnonzero(lengths == length)
        objective = MaskedAnswer(model, int(length), vocabulary.separator)
        nats[chosen] = answer_nats(objective, part.take(chosen), settings)
    return nats
