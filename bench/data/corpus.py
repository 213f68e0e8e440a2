"""Hold a prepared text: its parts as memory-mapped tokens, and what the record keeps about it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.config.errors import UserError
from bench.data.cache import combine_digests
from bench.data.synthetic.base import SyntheticSource
from bench.data.vocabulary import Vocabulary


def check_context(context: int, part: str, tokens: int) -> None:
    """Raise UserError where the tokens of a part do not fill one window and its first target."""
    if tokens <= context:
        raise UserError(
            f"size.context={context} is longer than the {part} part ({tokens} tokens): give a "
            "longer text or a shorter context",
            "too-little-text",
        )


@dataclass(frozen=True)
class Part:
    """One part of a corpus: separator, document, separator, document, …; N tokens, U units.

    Units are what statistics count: documents, or blocks of one long text.
    """

    tokens: np.ndarray  # (N,) uint16 or uint32, memory-mapped
    starts: np.ndarray  # (U,) int64: token offset of each unit's first token
    sizes: np.ndarray  # (U,) int64: UTF-8 bytes of each unit's text
    loss_mask: np.ndarray | None = None  # (N,) bool: the tokens that are targets; None: all


@dataclass(frozen=True)
class Corpus:
    """The parts of a text as tokens."""

    folder: Path
    digest: str  # 16 hexadecimal digits: of the tokens of all parts and the vocabulary
    vocabulary: Vocabulary
    parts: dict[str, Part]
    facts: dict[str, Any]
    synthetic: SyntheticSource | None = None  # that drew it, where it is not text

    @property
    def scored(self) -> str:
        """Return the name of the part that is reported: test where there is one."""
        return "test" if "test" in self.parts else "validation"

    def for_search(self) -> "Corpus":
        """Return what a learning-rate search may see: never the part that runs are scored on.

        Without a test part the last tenth of the training part is scored and not trained on.
        """
        if "test" in self.parts:
            parts = {name: part for name, part in self.parts.items() if name != "test"}
            return replace(self, parts=parts)
        train, validation = split_part(self.parts["train"], 0.9)
        digest = combine_digests([self.digest, "searching"])
        return replace(self, digest=digest, parts={"train": train, "validation": validation})

    def check(self, context: int) -> None:
        """Raise UserError where a part does not fill one window."""
        for name, part in self.parts.items():
            check_context(context, name, len(part.tokens))


def split_part(part: Part, share: float) -> tuple[Part, Part]:
    """Split a part between units, about `share` of the bytes first; raise UserError for one."""
    ends = np.cumsum(part.sizes)
    units = int(np.searchsorted(ends, share * ends[-1])) + 1  # of the first
    units = min(units, len(part.starts) - 1)
    if units < 1:
        raise UserError(
            "the training part is too short to hold its last tenth back for tune.trials: give a "
            "longer text",
            "too-little-text",
        )
    border = int(part.starts[units]) - 1  # the token before it is read, and is not a target
    first, rest = slice(border + 1), slice(border, None)
    masks = [None if part.loss_mask is None else part.loss_mask[cut] for cut in (first, rest)]
    return (
        Part(part.tokens[first], part.starts[:units], part.sizes[:units], masks[0]),
        Part(part.tokens[rest], part.starts[units:] - border, part.sizes[units:], masks[1]),
    )
