"""Score and decode answers: causal models through their state, encoders from left to right.

An encoder sees the input and a room of hidden places; each token of the answer is predicted with
it and all later places hidden. Both are true likelihoods of the answer, its end included.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from architectures.interface import State, Unsupported
from bench.data import Vocabulary
from bench.data.blocks import EVAL_BATCH
from bench.model import LanguageModel
from bench.records.metrics import Metric, metric
from bench.tasks.finetuning.batches import ExampleBlock
from bench.tasks.finetuning.encoding import EncodedPart
from bench.tasks.finetuning.objectives import CausalAnswer, MaskedAnswer
from bench.tasks.finetuning.scores import example_blocks
from bench.training import TrainSettings, autocast, logits_nats, torch_generator

Answerer = CausalAnswer | MaskedAnswer


@torch.no_grad()
def answer_nats(objective: Answerer, part: EncodedPart, settings: TrainSettings) -> np.ndarray:
    """Return the nats of each example's answer and its end, given its input: (N,) float64."""
    objective.eval()
    nats = np.zeros(len(part))
    for chosen, block in example_blocks(part):
        if isinstance(objective, MaskedAnswer):
            nats[chosen] = _left_to_right_nats(objective, block, settings)
            continue
        batch = objective.batch_of(block, torch_generator(0)).to(settings.device)
        with autocast(settings):
            scored = objective.token_nats(batch).double() * batch.weight
        nats[chosen] = scored.sum(dim=1).cpu().numpy()
    return nats


def _left_to_right_nats(
    objective: MaskedAnswer, block: ExampleBlock, settings: TrainSettings
) -> np.ndarray:
    """Return the nats of the answers of a block, (B,): a forward pass for each of their tokens."""
    tokens, places, lengths = objective.fill_room(block)
    rows, targets = _answer_tokens(block)
    nats = torch.zeros(len(tokens), dtype=torch.float64)
    for row, target in zip(rows.split(EVAL_BATCH), targets.split(EVAL_BATCH), strict=True):
        later = torch.arange(tokens.shape[1]) >= target[:, None]
        read = tokens[row].masked_fill(places[row] & later, objective.model.mask)
        logits = _logits_at(objective.model, read, lengths[row], target, settings)
        wanted = tokens[row, target].to(settings.device)
        nats.index_add_(0, row, logits_nats(logits, wanted).double().cpu())
    return nats.numpy()


def _answer_tokens(block: ExampleBlock) -> tuple[torch.Tensor, torch.Tensor]:
    """Return row and place of every token of the answers, (N,) each."""
    answers = block.lengths - block.inputs
    rows = np.repeat(np.arange(len(answers)), answers)
    offsets = np.arange(answers.sum()) - np.repeat(np.cumsum(answers) - answers, answers)
    return torch.from_numpy(rows), torch.from_numpy(block.inputs[rows] + offsets)


def _logits_at(
    model: LanguageModel,
    tokens: torch.Tensor,
    lengths: torch.Tensor,
    places: torch.Tensor,
    settings: TrainSettings,
) -> torch.Tensor:
    """Return the logits (B, V) at one place of each row of tokens (B, T)."""
    with autocast(settings):
        hidden, _ = model.hidden(tokens.to(settings.device), lengths=lengths.to(settings.device))
        chosen = hidden[torch.arange(len(hidden)), places.to(settings.device)]
        return model.head(chosen).float()


@torch.no_grad()
def decode_answers(
    objective: Answerer,
    part: EncodedPart,
    vocabulary: Vocabulary,
    room: int,
    settings: TrainSettings,
) -> list[str]:
    """Return the greedy answer to each input, as text: at most `room` tokens with its end."""
    objective.eval()
    decode = _decode_room if isinstance(objective, MaskedAnswer) else decode_greedily
    answers = [""] * len(part)
    for chosen in _of_equal_length(part):
        inputs = torch.from_numpy(np.stack([part.rows[index] for index in chosen]))
        written = decode(objective.model, inputs, room, vocabulary.separator, settings)
        for index, tokens in zip(chosen, written.cpu().numpy(), strict=True):
            ends = np.flatnonzero(tokens == vocabulary.separator)
            answers[index] = vocabulary.decode(tokens[: ends[0] if len(ends) else None])
    return answers


def _of_equal_length(part: EncodedPart) -> Iterator[np.ndarray]:
    """Yield the examples of batches without padding, which a state would read."""
    lengths = np.array([len(row) for row in part.rows])
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        yield from np.split(chosen, range(EVAL_BATCH, len(chosen), EVAL_BATCH))


def decode_greedily(
    model: LanguageModel, inputs: torch.Tensor, room: int, end: int, settings: TrainSettings
) -> torch.Tensor:
    """Return the likeliest token after each prefix of (B, T) inputs, (B, ≤ room), by a state.

    A model without one reads all tokens again for each.
    """
    text = inputs.to(settings.device)
    state = _empty_state(model, len(text), text.shape[1] + room)
    read, finished = text, torch.zeros(len(text), dtype=torch.bool, device=text.device)
    for _ in range(room):
        with autocast(settings):
            hidden, state = model.hidden(read, state)
            token = model.head(hidden[:, -1]).float().argmax(dim=-1)
        token = torch.where(finished, end, token)
        text, finished = torch.cat([text, token[:, None]], dim=1), finished | (token == end)
        if finished.all():
            break
        read = text if state is None else token[:, None]
    return text[:, inputs.shape[1] :]


def _empty_state(model: LanguageModel, rows: int, length: int) -> State | None:
    """Return an empty state; None for a model that keeps none."""
    try:
        return model.init_state(rows, length)
    except Unsupported:
        return None


def _decode_room(
    model: LanguageModel, inputs: torch.Tensor, room: int, end: int, settings: TrainSettings
) -> torch.Tensor:
    """Return what an encoder fills its room with, (B, room), from left to right."""
    tokens = torch.nn.functional.pad(inputs, (0, room), value=model.mask)
    lengths = torch.full((len(tokens),), tokens.shape[1])
    finished = torch.zeros(len(tokens), dtype=torch.bool)
    for place in range(inputs.shape[1], tokens.shape[1]):
        places = torch.full((len(tokens),), place)
        token = _logits_at(model, tokens, lengths, places, settings).argmax(dim=-1).cpu()
        tokens[:, place] = torch.where(finished, end, token)
        finished |= token == end
        if finished.all():
            tokens[:, place + 1 :] = end
            break
    return tokens[:, inputs.shape[1] :]


def turned(part: EncodedPart) -> EncodedPart:
    """Return a part in which each answer stands behind the input of the next example."""
    rows = [*part.rows[1:], part.rows[0]]
    return replace(part, rows=rows)


def likelihood_metrics(
    nats: np.ndarray, turned_nats: np.ndarray, sizes: np.ndarray
) -> list[Metric]:
    """Return bits per byte of the answers, and how many the right inputs save."""
    size = float(sizes.sum()) * math.log(2)
    true, other = float(nats.sum()) / size, float(turned_nats.sum()) / size
    note = f"{len(nats)} answers, their ends included"
    return [
        metric("answer_bits_per_byte", true, note),
        metric("input_worth", other - true, "bits per byte with the next example's input, less"),
    ]
