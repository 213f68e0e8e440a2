"""Draw the parts of a synthetic source into a cache folder, as text is tokenized into one."""

import hashlib
from array import array
from pathlib import Path

import numpy as np

from bench.config.schema import SyntheticConfig
from bench.data import cache
from bench.data.corpus_files import PartFacts, write_corpus_manifest, write_units
from bench.data.splits import PARTS
from bench.data.synthetic.base import Sample, SyntheticSource
from bench.data.tokenization import token_dtype
from bench.data.vocabulary import SymbolVocabulary

SYNTHETIC_FORMAT = 1  # raise it when the same numbers draw something else


def draw_corpus(source: SyntheticSource, options: SyntheticConfig, folder: Path) -> None:
    """Fill the cache folder; the manifest is written last."""
    vocabulary, parts = SymbolVocabulary(source.symbols), {}
    for stream, part in enumerate(PARTS, 1):
        random = np.random.default_rng([options.seed, stream])
        count = options.tokens if part == "train" else options.held_out
        sample = source.draw(count, random)
        parts[part] = _write(folder / part, sample, source, token_dtype(vocabulary))
    facts = {"law": options.kind, "seed": options.seed, "tokenizer": "symbols"}
    write_corpus_manifest(folder, vocabulary, parts, facts)


def _write(path: Path, sample: Sample, source: SyntheticSource, dtype: np.dtype) -> PartFacts:
    """Write the files of a part; `path` lacks their suffixes."""
    content, starts = sample.tokens.astype(dtype).tobytes(), np.zeros(1, np.int64)
    if source.windows:
        starts = np.flatnonzero(sample.tokens == source.symbols)[:-1] + 1
    cache.write_bytes(path.with_suffix(".tokens"), content)
    mask = b"" if sample.loss_mask is None else sample.loss_mask.tobytes()
    if mask:
        cache.write_bytes(path.with_suffix(".counted"), mask)
    write_units(path, array("q", starts.tobytes()), array("q", bytes(8 * len(starts))))
    return PartFacts(
        dtype=dtype.name,
        sha256=hashlib.sha256(content).hexdigest(),
        text_sha256=hashlib.sha256(content + mask).hexdigest(),
        documents=len(starts),
        bytes=0,
        tokens=len(sample.tokens),
        units=len(starts),
        unit="sequences" if source.windows else "one chain",
    )
