"""A finished run as a model of lm-evaluation-harness, for its registry."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows

from architectures.interface import Unsupported
from bench.config.errors import UserError
from bench.evaluation.generation import generate_tokens
from bench.training import Batch, Causal, load

MAX_GENERATED = 256  # tokens, where a task sets no max_gen_toks, as for other models of lm_eval


class Window(NamedTuple):
    """Tokens that are read at once; the last `scored` of them after the first are scored."""

    request: int
    tokens: list[int]
    scored: int


@register_model("architecture_bench")
class TrainedRun(TemplateLM):
    """Score and continue text by the weights of a run, in windows of its training context.

    `run`: its folder · `batch_size`: windows at once. Raise UserError for an encoder.
    """

    def __init__(
        self, run: str, batch_size: int | str = 32, device: str | None = None, **_: Any
    ) -> None:
        super().__init__()
        trained = load(run, device or "cpu")
        if not trained.model.backbone.causal:
            raise UserError(
                f"{run} is an encoder, which reads both ways: the probability of a text from left "
                "to right, which lm_eval needs, is not defined for it",
                "not-supported",
            )
        if not trained.vocabulary.text:
            raise UserError(f"{run} was trained on symbols that are not text", "not-supported")
        self.trained, self.context = trained, trained.run.size.context
        self.objective = Causal(trained.model).eval()
        self.rows = int(batch_size) if str(batch_size).isdigit() else 32
        self._device = trained.model.embedding.weight.device

    @property
    def eot_token_id(self) -> int:
        """Return the separator, which precedes and ends each document."""
        return self.trained.vocabulary.separator

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """Return the ids of a text, without a separator."""
        return self.trained.vocabulary.encode(string).tolist()

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        """Return for each request the log-probability of its continuation, and if it is greedy.

        A separator precedes the context, as it does in training.
        """
        start = self.eot_token_id
        pairs = ((before, after) for _, before, after in requests)
        return self._score([
            self._windows(before if before[:1] == [start] else [start, *before], after)
            for before, after in pairs
        ])  # fmt: skip

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """Return the log-probability of each text, after a separator."""
        texts = (self.tok_encode(request.args[0]) for request in requests)
        scores = self._score([self._windows([self.eot_token_id], ids) for ids in texts])
        return [score for score, _ in scores]

    def _windows(self, before: list[int], after: list[int]) -> list[tuple[list[int], int]]:
        """Return windows in which each token of `after` is scored once, and how many each scores.

        A text that is longer than the context is cut as for other models of lm_eval: windows side
        by side, the last one reaching back for a full context.
        """
        if len(after) <= self.context:
            return [((before + after)[-self.context - 1 :], len(after))]
        cut = get_rolling_token_windows(after, before[-1], self.context, context_len=1)
        return [([*read, ids[-1]], len(ids)) for read, ids in cut]

    def _score(self, requests: Iterable[list[tuple[list[int], int]]]) -> list[tuple[float, bool]]:
        """Return the sum over the windows of each request, and whether all tokens are greedy."""
        listed = [*requests]
        windows = [Window(i, *one) for i, own in enumerate(listed) for one in own if one[1]]
        sums, greedy = np.zeros(len(listed)), np.ones(len(listed), bool)
        windows.sort(key=lambda one: len(one.tokens))  # little padding
        for first in range(0, len(windows), self.rows):
            rows = windows[first : first + self.rows]
            for window, (nats, hit) in zip(rows, self._nats_and_hits(rows), strict=True):
                sums[window.request] -= nats
                greedy[window.request] &= hit
        return list(zip(sums.tolist(), greedy.tolist(), strict=True))

    @torch.inference_mode()
    def _nats_and_hits(self, windows: list[Window]) -> Iterator[tuple[float, bool]]:
        """Return the nats of what each window scores, and whether all of it is greedy."""
        lengths = [len(one.tokens) - 1 for one in windows]
        batch = _padded_batch(windows, lengths).to(torch.device(self._device))
        nats, hits = (x.cpu().double() for x in self.objective.token_nats_and_hits(batch))
        for place, (one, length) in enumerate(zip(windows, lengths, strict=True)):
            new = slice(length - one.scored, length)
            yield float(nats[place, new].sum()), bool(hits[place, new].all())

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """Return the text after each prompt, up to a separator or the first of its stops."""
        return [self._continue(*request.args) for request in requests]

    def _continue(self, prompt: str, options: dict[str, Any]) -> str:
        vocabulary = self.trained.vocabulary
        tokens = [self.eot_token_id, *self.tok_encode(prompt)]
        count = int(options.get("max_gen_toks", MAX_GENERATED))
        temperature = float(options.get("temperature", 0.0)) if options.get("do_sample") else 0.0
        try:
            ids = generate_tokens(self.trained.model, tokens, count, temperature).tolist()
        except Unsupported as reason:
            raise UserError(f"generate_until: {reason}", "not-supported") from None
        text = vocabulary.decode(ids[: [*ids, vocabulary.separator].index(vocabulary.separator)])
        stops = options.get("until") or []
        for stop in [stops] if isinstance(stops, str) else stops:
            text = text.split(stop)[0] if stop else text
        return text


def _padded_batch(windows: list[Window], lengths: list[int]) -> Batch:
    """Return windows as inputs and targets (B, T), padded on the right."""
    tokens = np.zeros((len(windows), max(lengths) + 1), np.int64)  # (B, T + 1)
    for row, one in zip(tokens, windows, strict=True):
        row[: len(one.tokens)] = one.tokens
    inputs, targets = torch.from_numpy(tokens[:, :-1]), torch.from_numpy(tokens[:, 1:])
    return Batch(inputs, targets, torch.ones(targets.shape), torch.tensor(lengths))
