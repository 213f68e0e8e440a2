"""Text in, equal blocks out: sources, splits, tokenizers, the cache of tokens, and the order of training. Imports no torch."""

from bench.data.blocks import Blocks, Window, per_unit, windows
from bench.data.corpus import Corpus, Part, prepare
from bench.data.tokenizer import Vocabulary

__all__ = ["Blocks", "Corpus", "Part", "Vocabulary", "Window", "per_unit", "prepare", "windows"]
