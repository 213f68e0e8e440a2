"""Write responses in batches through the state, and read their log-probabilities.

Rollouts have prompts of one length, so that they hold no padding. Responses are drawn from the
full softmax at temperature 1; log-probabilities are those of a forward pass over the full text.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from architectures.interface import Unsupported
from bench.model import LanguageModel
from bench.model.sampling import sample_token
from bench.tasks.preferences.losses import exact_kl
from bench.training import torch_generator

BATCH = 256  # responses that are written at a time
SCORING_BATCH = 128


@dataclass(frozen=True)
class Responses:
    """Prompts with responses, padded on the right, where a causal model cannot see it."""

    tokens: Tensor  # (B, T) int64
    mask: Tensor  # (B, T): 1 at tokens of the response, the separator that ends it included

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def start(self) -> int:
        """Return the first place of a response in any row."""
        return int(self.mask.any(dim=0).int().argmax())

    @property
    def response_mask(self) -> Tensor:
        """Return the mask from `start` on, (B, R)."""
        return self.mask[:, self.start :]

    @property
    def lengths(self) -> Tensor:
        """Return the tokens of each response, (B,)."""
        return self.mask.sum(dim=1)

    def rows(self, chosen: Tensor | slice) -> "Responses":
        """Return some rows."""
        return Responses(self.tokens[chosen], self.mask[chosen])

    def batches(self, size: int) -> Iterator["Responses"]:
        """Yield the rows in order, `size` at a time."""
        for first in range(0, len(self), size):
            yield self.rows(slice(first, first + size))


def responses_of(prompts: Tensor, written: Tensor, separator: int) -> Responses:
    """Return responses (B, R) to prompts (B, P); each ends with its first separator."""
    ended = (written == separator).long().cumsum(dim=1)
    mask = (ended - (written == separator).long()) == 0  # nothing before it was a separator
    tokens = torch.cat([prompts, written.masked_fill(~mask, separator)], dim=1)
    return Responses(tokens, torch.cat([torch.zeros_like(prompts), mask.long()], dim=1).float())


class Decoder:
    """Give the logits of the next token, through the state where the architecture keeps one."""

    def __init__(self, model: LanguageModel, prompts: Tensor, room: int) -> None:
        self.model, self.text = model, prompts
        try:
            self.state = model.init_state(len(prompts), prompts.shape[1] + room)
        except Unsupported:  # a forward pass over the text for every token
            self.state = None

    def logits(self, tokens: Tensor) -> Tensor:
        """Return logits (B, V) after `tokens` (B, N), which follow those given before."""
        if self.state is None:
            self.text = tokens if tokens is self.text else torch.cat([self.text, tokens], dim=1)
            tokens = self.text
        logits, self.state = self.model.next_logits(tokens, self.state)
        return logits.float()


@torch.no_grad()
def write(
    model: LanguageModel, prompts: Tensor, room: int, separator: int, generator: torch.Generator
) -> Responses:
    """Return a response of up to `room` tokens to each prompt (B, P), drawn by the model."""
    model.eval()
    written = torch.full((len(prompts), room), separator, device=prompts.device)
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=prompts.device)
    decoder, read = Decoder(model, prompts, room), prompts
    for place in range(room):
        token = sample_token(decoder.logits(read), 1.0, generator)
        written[:, place] = torch.where(ended, separator, token)
        ended |= token == separator
        if ended.all():
            break
        read = token[:, None]
    return responses_of(prompts, written, separator)


def write_batches(
    model: LanguageModel, prompts: Tensor, room: int, separator: int, key: tuple[int, ...]
) -> Responses:
    """Return a response to each of any number of prompts: a function of the model and the key."""
    parts = [
        write(model, piece, room, separator, torch_generator(*key, number))
        for number, piece in enumerate(prompts.split(BATCH))
    ]
    tokens, masks = [part.tokens for part in parts], [part.mask for part in parts]
    return Responses(torch.cat(tokens), torch.cat(masks))


def response_logits(model: LanguageModel, responses: Responses) -> Tensor:
    """Return the logits of every token of the responses, (B, R, V), by one forward pass."""
    hidden, _ = model.hidden(responses.tokens[:, :-1])
    return model.head(hidden[:, responses.start - 1 :]).float()


def token_log_probabilities(logits: Tensor, responses: Responses) -> Tensor:
    """Return the log-probability of every token of the responses, (B, R); zero after the end."""
    targets = responses.tokens[:, responses.start :, None]
    return logits.log_softmax(dim=-1).gather(-1, targets).squeeze(-1) * responses.response_mask


def log_probabilities(model: LanguageModel, responses: Responses) -> Tensor:
    """Return the log-probability of every token of the responses, (B, R); zero after the end."""
    return token_log_probabilities(response_logits(model, responses), responses)


@torch.no_grad()
def divergence(
    policy: LanguageModel, reference: LanguageModel, responses: Responses
) -> tuple[Tensor, Tensor]:
    """Return KL(policy || reference) along each response, exact and sampled, (B,) nats each.

    Exact is the sum over the vocabulary at every visited place: its mean over the policy's own
    responses is unbiased, with less spread than any sample of log-probabilities. Sampled is the
    log-ratio of the drawn tokens (k1).
    """
    exact, sampled = [], []
    for piece in responses.batches(SCORING_BATCH):
        logits = [response_logits(model, piece) for model in (policy, reference)]
        exact.append((exact_kl(*logits) * piece.response_mask).sum(dim=1))
        own, base = (token_log_probabilities(each, piece) for each in logits)
        sampled.append((own - base).sum(dim=1))
    return torch.cat(exact), torch.cat(sampled)
