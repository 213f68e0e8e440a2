"""Text in, equal blocks out: sources, known laws, splits, tokenizers, the cache of tokens, the order of training. No torch."""

from bench.data.blocks import Blocks, Window, per_unit, windows
from bench.data.corpus import Corpus, Part, prepare
from bench.data.synthetic import Law
from bench.data.tokenizer import Vocabulary

__all__ = [
    "Blocks",
    "Corpus",
    "Law",
    "Part",
    "Vocabulary",
    "Window",
    "per_unit",
    "prepare",
    "windows",
]
