"""Text in, equal blocks out: sources, known laws, splits, tokenizers, the cache of tokens, the order of training. No torch."""

from bench.data.blocks import Blocks, WindowBatch, nats_per_unit, windows
from bench.data.corpus import Corpus, Part, prepare
from bench.data.synthetic import SyntheticSource
from bench.data.tokenizer import Vocabulary

__all__ = [
    "Blocks",
    "Corpus",
    "Part",
    "SyntheticSource",
    "Vocabulary",
    "WindowBatch",
    "nats_per_unit",
    "prepare",
    "windows",
]
