"""Draw prompts of one length from held-out text, the same for every architecture and seed."""

import numpy as np

from bench.config.errors import UserError
from bench.data import Corpus, Part, Vocabulary
from bench.data.blocks import seeded_generator

CANDIDATES = 50  # places that are tried for each prompt that is wanted


def draw_prompts(corpus: Corpus, name: str, length: int, count: int, least: int = 1) -> np.ndarray:
    """Return up to `count` prompts of `length` tokens from a part, (N, length) int64.

    They hold no separator, at least half of their characters are letters, and a word begins
    behind them. Raise UserError where the part has fewer than `least`.
    """
    part, vocabulary = corpus.parts[name], corpus.vocabulary
    order = seeded_generator(corpus.digest, length, 7).permutation(len(part.tokens) - length - 1)
    rows: list[np.ndarray] = []
    for start in order[: CANDIDATES * count]:
        window = np.asarray(part.tokens[start : start + length + 1]).astype(np.int64)
        if is_prompt(window[:-1], int(window[-1]), vocabulary):
            rows.append(window[:-1])
        if len(rows) == count:
            break
    if len(rows) < max(1, least):
        raise UserError(
            f"the {name} part has {len(rows)} prompts of {length} tokens that end before a word, "
            f"and {least} are needed: give a longer text, or a smaller preference.prompt",
            "too-little-text",
        )
    return np.stack(rows)


def is_prompt(tokens: np.ndarray, following: int, vocabulary: Vocabulary) -> bool:
    """Return whether tokens can be a prompt, before a token that follows them in the text."""
    if (tokens == vocabulary.separator).any():
        return False
    text = vocabulary.decode(tokens)
    if 2 * sum(map(str.isalpha, text)) < len(text):
        return False
    if vocabulary.continues_word is None:
        return text[-1:].isspace()
    return following != vocabulary.separator and not vocabulary.continues_word[following]


def part_bytes(part: Part, vocabulary: Vocabulary) -> bytes:
    """Return the text of a part, a space between documents."""
    tokens = np.asarray(part.tokens)
    ends = np.flatnonzero(tokens == vocabulary.separator)
    return b" ".join(vocabulary.decode_bytes(piece) for piece in np.split(tokens, ends))
