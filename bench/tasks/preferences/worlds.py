"""Hold what a stage learns from: pairs, labels, prompts and the gold that annotators follow."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.config.schema import Run
from bench.data import Corpus
from bench.data.blocks import seeded_generator
from bench.model import LanguageModel
from bench.tasks.preferences.annotators import Annotators
from bench.tasks.preferences.gold import Gold, gold_class
from bench.tasks.preferences.ngram_author import NgramAuthor
from bench.tasks.preferences.people import with_labels
from bench.tasks.preferences.prompts import draw_prompts, part_bytes
from bench.tasks.preferences.reward_model import LabelledPairs
from bench.tasks.preferences.rollouts import Responses, responses_of, write_batches
from bench.training import torch_generator


class World(ABC):
    """What the parts of a stage need besides the model that they start from."""

    update_prompts: Tensor  # (N, P): of updates
    look_prompts: Tensor  # (M, P): held out
    digest: str  # of the texts and labels that it comes from
    gold: Gold | None = None

    def __init__(self, run: Run, corpus: Corpus) -> None:
        self.run, self.options, self.vocabulary = run, run.preference, corpus.vocabulary
        self.digest = with_labels(corpus.digest, run)

    @abstractmethod
    def training_pairs(self, labels: int, flip: float) -> LabelledPairs:
        """Return the first `labels` pairs of the run's seed, with a share of labels reversed."""

    @property
    @abstractmethod
    def held_out(self) -> LabelledPairs:
        """Return pairs that no reward model is trained on."""

    @abstractmethod
    def label_rows(self) -> list[dict[str, Any]]:
        """Return the labels of the main reward model, in the order in which they were given."""

    def prompts_of(self, update: int) -> Tensor:
        """Return the prompts of an update: a function of (seed, update), for every architecture."""
        count = self.options.policy.prompts
        generator = torch_generator(self.run.seed, 5, update)
        return self.update_prompts[
            torch.randint(len(self.update_prompts), (count,), generator=generator)
        ]

    def gold_of(self, responses: Responses) -> np.ndarray | None:
        """Return the gold rewards of responses, (B,); None where there is no gold."""
        gold, decode = self.gold, self.vocabulary.decode_bytes
        if gold is None:
            return None
        ended = [int(row[-1]) == self.vocabulary.separator for row in token_rows(responses)]
        texts = map(decode, token_rows(responses))
        return np.array([gold.score(*one) for one in zip(texts, ended, strict=True)])

    def words_of(self, responses: Responses) -> np.ndarray | None:
        """Return the words that each response completes, repeats too, (B,)."""
        gold, decode = self.gold, self.vocabulary.decode_bytes
        if gold is None:
            return None
        return np.array([float(gold.words(decode(row))) for row in token_rows(responses)])


def token_rows(responses: Responses) -> list[np.ndarray]:
    """Return the tokens of each response, the separator that ends it included."""
    tokens, mask = responses.tokens.cpu().numpy(), responses.mask.cpu().numpy() > 0
    return [row[kept] for row, kept in zip(tokens, mask, strict=True)]


class SimulatedWorld(World):
    """Pairs that one author wrote, labelled by simulated annotators of a gold reward."""

    def __init__(self, run: Run, corpus: Corpus, base: LanguageModel, pool: int) -> None:
        super().__init__(run, corpus)
        self.corpus, self.base, options = corpus, base, run.preference
        train = corpus.parts["train"]
        text = part_bytes(train, corpus.vocabulary)
        room = options.response * len(text) / max(1, len(train.tokens))
        self.gold: Gold = gold_class(options.gold)(text, max(1.0, room))
        count = pool + options.held_out
        prompts = draw_prompts(corpus, "validation", options.prompt, count, least=2)
        self.update_prompts = torch.from_numpy(prompts)
        looks = draw_prompts(corpus, corpus.scored, options.prompt, options.look_prompts)
        self.look_prompts = torch.from_numpy(looks)
        self.pool = pool

    @cached_property
    def pairs(self) -> tuple[Responses, Responses]:
        """Return the responses of all pairs, held-out ones first, the same for every seed."""
        count = self.pool + self.options.held_out
        prompts = self.update_prompts[torch.arange(count) % len(self.update_prompts)]
        room, separator = self.options.response, self.vocabulary.separator
        if self.options.pairs == "own":
            first, second = (
                write_batches(self.base, prompts, room, separator, (self.run.seed, 6, side))
                for side in (0, 1)
            )
            return first, second
        author = NgramAuthor(self.corpus.parts["train"].tokens, self.vocabulary)
        draw = seeded_generator(self.corpus.digest, self.options.prompt, room, 8)
        first, second = (
            responses_of(
                prompts, torch.from_numpy(author.write(prompts.numpy(), room, draw)), separator
            )
            for _ in range(2)
        )
        return first, second

    @cached_property
    def pair_gold(self) -> np.ndarray:
        """Return the gold rewards of all pairs, (N, 2)."""
        return np.stack([np.asarray(self.gold_of(side)) for side in self.pairs], axis=1)

    @cached_property
    def order(self) -> np.ndarray:
        """Return the pairs that may be trained on, in the order in which they are labelled."""
        draw = np.random.default_rng([self.run.seed, 9])
        return self.options.held_out + draw.permutation(self.pool)

    def annotators(self, flip: float) -> Annotators:
        """Return the annotators, with a share of their labels reversed."""
        options = self.options
        return Annotators(
            options.temperature, flip, options.annotators, options.length_bias,
            options.position_bias,
        )  # fmt: skip

    def training_pairs(self, labels: int, flip: float) -> LabelledPairs:
        """Return the first `labels` pairs of the run's seed, with a share of labels reversed.

        Equal seeds give equal labels.
        """
        chosen = self.order[:labels]
        lengths = np.stack([side.lengths.numpy() for side in self.pairs], axis=1)
        draw, shares = np.random.default_rng([self.run.seed, 10]), lengths / self.options.response
        answers, _ = self.annotators(flip).answer(self.pair_gold[chosen], shares[chosen], draw)
        return self._labelled(chosen, answers)

    def _labelled(self, chosen: np.ndarray, labels: np.ndarray) -> LabelledPairs:
        rows = torch.from_numpy(chosen)
        first, second = (side.rows(rows) for side in self.pairs)
        return LabelledPairs(first, second, torch.from_numpy(labels).float())

    @cached_property
    def held_out(self) -> LabelledPairs:
        """Return pairs with the probability that the first is preferred, by the gold alone."""
        chosen = np.arange(self.options.held_out)
        return self._labelled(chosen, self.annotators(0.0).probabilities(self.pair_gold[chosen]))

    def label_rows(self) -> list[dict[str, Any]]:
        """Return the labels of the main reward model, in the order in which they were given."""
        pairs = self.training_pairs(self.options.labels, self.options.flip)
        decode, start = self.vocabulary.decode, pairs.first.start
        prompts = [decode(row[:start]) for row in pairs.first.tokens.numpy()]
        texts = [map(decode, token_rows(side)) for side in (pairs.first, pairs.second)]
        return [
            {"prompt": prompt, "chosen": first if label else second,
             "rejected": second if label else first, "chosen_first": bool(label)}
            for prompt, first, second, label in zip(
                prompts, *texts, pairs.labels.tolist(), strict=True
            )
        ]  # fmt: skip
