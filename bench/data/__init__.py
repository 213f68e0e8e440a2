"""Turn text, or a synthetic source, into parts of tokens and batches of blocks; import no torch."""

from bench.data.blocks import Blocks, TokenBlock, WindowBatch, nats_per_unit, windows
from bench.data.corpus import Corpus, Part
from bench.data.preparation import prepare, prepared_digest
from bench.data.synthetic.base import SyntheticSource
from bench.data.vocabulary import Vocabulary

__all__ = [
    "Blocks",
    "Corpus",
    "Part",
    "SyntheticSource",
    "TokenBlock",
    "Vocabulary",
    "WindowBatch",
    "nats_per_unit",
    "prepare",
    "prepared_digest",
    "windows",
]
