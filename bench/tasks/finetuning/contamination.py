"""Find the test texts that a model has read in pre-training."""

import numpy as np

from bench.data import Corpus

MIN_BYTES = 20  # a shorter text stands anywhere by chance
MAX_SEARCHED_BYTES = 64 << 20  # of pre-training text: each test text is searched for in all of it


def seen_in_pretraining(texts: list[str], corpus: Corpus) -> np.ndarray | None:
    """Return which texts stand in the training part, white space aside: (N,) bool.

    None where that text is too long to be searched.
    """
    part = corpus.parts["train"]
    if int(part.sizes.sum()) > MAX_SEARCHED_BYTES:
        return None
    read = b" ".join(corpus.vocabulary.decode_bytes(np.asarray(part.tokens)).split())
    wanted = [b" ".join(text.encode().split()) for text in texts]
    return np.array([len(text) >= MIN_BYTES and text in read for text in wanted])
