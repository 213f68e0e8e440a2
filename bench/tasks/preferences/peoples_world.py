"""Hold what a stage learns from people: their pairs and labels as tokens, without a gold."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.config.schema import Run
from bench.data import Corpus
from bench.tasks.preferences.people import (
    PersonLabel,
    Spans,
    read_labels,
    training_labels,
)
from bench.tasks.preferences.reward_model import LabelledPairs
from bench.tasks.preferences.rollouts import Responses
from bench.tasks.preferences.worlds import World

Tokens = list[np.ndarray]


class PeoplesWorld(World):
    """Pairs that people labelled: a tenth of the prompts is held out, and nothing is gold."""

    def __init__(self, run: Run, corpus: Corpus) -> None:
        super().__init__(run, corpus)
        labels = read_labels(Path(run.preference.path))
        path, wanted = run.preference.path, run.preference.labels
        trained, held = training_labels(labels, wanted, path)
        draw = np.random.default_rng([run.seed, 9])
        self.trained = [trained[place] for place in draw.permutation(len(trained))]
        self.held = held
        self.update_prompts = self._prompts(trained)
        self.look_prompts = self._prompts(held)[: run.preference.look_prompts]

    def _prompts(self, labels: Sequence[PersonLabel]) -> Tensor:
        """Return the ends of the prompts that are long enough, (N, P)."""
        length = self.options.prompt
        texts = dict.fromkeys(label.prompt for label in labels)
        rows = [self.vocabulary.encode(text)[-length:] for text in texts]
        kept = [row for row in rows if len(row) == length]
        return torch.from_numpy(np.array(kept, dtype=np.int64).reshape(-1, length))

    def _fit(self, prompt: str, responses: Sequence[str]) -> tuple[np.ndarray, Tokens, bool]:
        """Return the tokens of a prompt and of responses that fit the context, and if any is cut.

        Responses keep their beginning, then the prompt its end.
        """
        context, separator = self.run.size.context, self.vocabulary.separator
        start = np.concatenate([[separator], self.vocabulary.encode(prompt)])
        ended = [np.concatenate([self.vocabulary.encode(text), [separator]]) for text in responses]
        kept = [side[: context - 1] for side in ended]
        left = context - max(map(len, kept))
        cut = len(start) > left or any(map(np.not_equal, map(len, kept), map(len, ended)))
        return start[-left:], kept, cut

    @cached_property
    def cut_pairs(self) -> int:
        """Count the pairs that do not fit the context."""
        labels = [*self.trained, *self.held]
        return sum(self._fit(label.prompt, label[1:3])[2] for label in labels)

    def _pairs(self, labels: Sequence[PersonLabel]) -> LabelledPairs:
        """Return labels as pairs: the chosen response is the first, as rewards know no order."""
        encoded = [self._fit(label.prompt, label[1:3])[:2] for label in labels]
        width = max(len(prompt) + max(map(len, sides)) for prompt, sides in encoded)
        chosen, rejected = (
            self._padded([(prompt, sides[side]) for prompt, sides in encoded], width)
            for side in (0, 1)
        )
        return LabelledPairs(chosen, rejected, torch.ones(len(labels)))

    def _padded(self, texts: Sequence[tuple[np.ndarray, np.ndarray]], width: int) -> Responses:
        tokens = np.full((len(texts), width), self.vocabulary.separator, np.int64)
        mask = np.zeros((len(texts), width), np.float32)
        for row, (prompt, response) in enumerate(texts):
            end = len(prompt) + len(response)
            tokens[row, :end] = np.concatenate([prompt, response])
            mask[row, len(prompt) : end] = 1
        return Responses(torch.from_numpy(tokens), torch.from_numpy(mask))

    def training_pairs(self, labels: int, flip: float) -> LabelledPairs:
        """Return the first `labels` pairs of the run's seed; people's labels are not reversed."""
        return self._pairs(self.trained[:labels])

    @cached_property
    def held_out(self) -> LabelledPairs:
        """Return the labels of a tenth of the prompts."""
        return self._pairs(self.held)

    def span_examples(self, held: bool) -> tuple[Responses, Tensor]:
        """Return the responses in which people marked what is wrong, and the marks, (B, T)."""
        examples = _marked(self.held if held else self.trained)
        fitted = [self._fit(prompt, [text])[:2] for prompt, text, _ in examples]
        width = max(len(prompt) + len(kept[0]) for prompt, kept in fitted)
        responses = self._padded([(prompt, kept[0]) for prompt, kept in fitted], width)
        marks = torch.zeros(responses.tokens.shape)
        for row, ((start, kept), (_, text, spans)) in enumerate(zip(fitted, examples, strict=True)):
            inside = self._marks(text, kept[0], spans)
            marks[row, len(start) : len(start) + len(inside)] = inside
        return responses, marks

    def _marks(self, text: str, tokens: np.ndarray, spans: Spans) -> Tensor:
        """Return whether each token of a text lies in a span, in part at least, (R,)."""
        last = np.cumsum(self.vocabulary.token_sizes[tokens])
        first, inside = last - self.vocabulary.token_sizes[tokens], np.zeros(len(tokens), bool)
        for span in spans:
            start, end = (len(text[:place].encode()) for place in span)
            inside |= (first < end) & (last > start)
        return torch.from_numpy(inside).float()

    def label_rows(self) -> list[dict[str, Any]]:
        """Return the labels that are trained on, in their order."""
        count = self.options.labels or len(self.trained)
        rows = (label._asdict() for label in self.trained[:count])
        return [{key: value for key, value in row.items() if value is not None} for row in rows]


def _marked(labels: Sequence[PersonLabel]) -> list[tuple[str, str, Spans]]:
    """Return prompt, text and spans of the responses in which people marked what is wrong."""
    sides = [
        (label.prompt, text, spans)
        for label in labels
        for text, spans in (
            (label.chosen, label.chosen_spans), (label.rejected, label.rejected_spans)
        )
        if spans is not None
    ]  # fmt: skip
    return list(dict.fromkeys(sides))
