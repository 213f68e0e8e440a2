"""Have a person compare pairs of responses, one by one, into a file that training reads."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from architectures.interface import Unsupported
from bench.config.errors import UserError
from bench.data import prepare
from bench.system.files import check_writable
from bench.tasks.preferences.label_curves import pair_features
from bench.tasks.preferences.learning import check_supported
from bench.tasks.preferences.prompts import draw_prompts
from bench.tasks.preferences.reward_model import RewardModel
from bench.tasks.preferences.rollouts import Responses, write
from bench.tasks.preferences.selection import Pool, by_fisher, standardise
from bench.tasks.preferences.worlds import token_rows
from bench.training import TrainedModel, torch_generator

POOL = 256  # pairs that are offered
LEAST_LABELS = 8  # from which labels say which pair to ask for next
FIRST, SECOND, TIE, SKIP, QUIT = ANSWERS = ("1", "2", "=", "s", "q")
QUESTION = "better: 1, 2, = for a tie, s to skip, q to stop? "


@dataclass(frozen=True)
class Labelling:
    """Pairs that a run's model wrote, the labels given so far, and whose they are."""

    trained: TrainedModel
    out: Path
    annotator: str
    active: bool

    @cached_property
    def sides(self) -> tuple[Responses, Responses]:
        """Return the two responses of every pair: a function of the run alone."""
        run, vocabulary = self.trained.run, self.trained.vocabulary
        corpus = prepare(run.data, run.names["data"])
        length = min(run.preference.prompt, run.size.context // 2)
        room = min(run.preference.response, run.size.context - length)
        prompts = torch.from_numpy(draw_prompts(corpus, "validation", length, POOL))
        first, second = (
            write(self.trained.model, prompts, room, vocabulary.separator, torch_generator(side))
            for side in (0, 1)
        )
        return first, second

    def check(self) -> None:
        """Raise UserError where the model cannot write, or the file is another or not writable."""
        try:
            check_supported(self.trained)
        except Unsupported as reason:
            raise UserError(str(reason), "not-supported") from None
        check_writable(self.out.absolute().parent)
        self.given()

    def given(self) -> list[dict[str, Any]]:
        """Return the lines that this command wrote before. Raise UserError for another file."""
        if not self.out.exists():
            return []
        try:
            rows = [json.loads(line) for line in self.out.read_text(encoding="utf-8").splitlines()]
            return [row for row in rows if row["run"] == self.run_name]
        except (ValueError, TypeError, KeyError):
            raise UserError(
                f"--out {self.out} holds lines that this command did not write: name another file",
                "unreadable-file",
            ) from None

    @property
    def run_name(self) -> str:
        """Return what identifies the pairs of this run."""
        run = self.trained.run
        return f"{run.names['arch']}-{run.names['data']}-s{run.seed}"

    @cached_property
    def features(self) -> np.ndarray:
        """Return the differences of the pooled states of the two responses, (N, D)."""
        untrained = RewardModel(self.trained.model, "mean").eval()
        return standardise(pair_features(untrained, *self.sides))

    def next_pair(self) -> int | None:
        """Return the pair to ask for next: in order, or the most informative; None at the end."""
        rows = [row for row in self.given() if row["annotator"] == self.annotator]
        seen = np.array(sorted({row["pair"] for row in rows}), dtype=np.int64)
        rest = np.setdiff1d(np.arange(len(self.sides[0])), seen)
        if not len(rest):
            return None
        decided = [row for row in rows if not row["tie"] and not row["skipped"]]
        if not self.active or len(decided) < LEAST_LABELS:
            return int(rest[0])
        kept = np.array([row["pair"] for row in decided])
        chosen = by_fisher(
            Pool(self.features, kept, np.array([float(row["first"]) for row in decided])),
            len(self.features), np.random.default_rng(0),
        )  # fmt: skip
        return int(next(pair for pair in chosen if pair in rest))

    def texts(self, pair: int) -> tuple[str, str, str]:
        """Return the prompt and both responses of a pair."""
        decode, (first, second) = self.trained.vocabulary.decode, self.sides
        rows = slice(pair, pair + 1)
        prompt = decode(first.tokens[pair, : first.start].numpy())
        responses = [decode(token_rows(side.rows(rows))[0]) for side in (first, second)]
        return prompt, responses[0], responses[1]

    def record(self, pair: int, answer: str, swapped: bool) -> None:
        """Append an answer to the file; `swapped`: the second response was shown first."""
        prompt, *responses = self.texts(pair)
        first = (answer == FIRST) != swapped  # whether the first response of the pair is preferred
        chosen, rejected = responses if first else responses[::-1]
        row = {
            "prompt": prompt, "chosen": chosen, "rejected": rejected, "annotator": self.annotator,
            "tie": answer == TIE, "skipped": answer == SKIP, "chosen_first": answer == FIRST,
            "first": first, "pair": pair, "run": self.run_name,
        }  # fmt: skip
        with open(self.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def label_pairs(
    labelling: Labelling, ask: Callable[[str, str, str], str], count: int
) -> Iterator[str]:
    """Yield each answer that is recorded, up to `count` of them; the order of a pair is random.

    `ask` gets the prompt and both responses in the order of showing, and returns an answer.
    """
    done = 0
    while done < count and (pair := labelling.next_pair()) is not None:
        swapped = bool(np.random.default_rng([pair, 13]).integers(2))
        prompt, *responses = labelling.texts(pair)
        shown = responses[::-1] if swapped else responses
        answer = ask(prompt, *shown)
        if answer == QUIT:
            return
        labelling.record(pair, answer, swapped)
        done += answer != SKIP
        yield answer
