"""A law's parts drawn into the cache, where every text lies too: memory-mapped, checked, made once."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.config.schema import DataConfig, SyntheticConfig
from bench.data import cache
from bench.data.corpus import Corpus, read_corpus, write_corpus_manifest
from bench.data.synthetic.base import Sample, SyntheticSource, open_synthetic
from bench.data.tokenization import token_dtype
from bench.data.tokenizer import SymbolVocabulary

FORMAT = 1  # raise it when the same numbers draw something else
PARTS = ("train", "validation", "test")


def prepare(options: DataConfig, name: str, progress: Callable[[str], None]) -> Corpus:
    """Draw the parts, or open what an earlier call left. Raises UserError for numbers that do not go together."""
    known = open_synthetic(options.synthetic)
    folder = cache.cache_folder(
        options.cache, name, {"synthetic": FORMAT} | asdict(options.synthetic)
    )
    with cache.build_once(folder, progress) as missing:
        if missing:
            progress(f"drawing {name}: {options.synthetic.tokens:,} symbols to train on")
            _build(known, options.synthetic, folder)
    return replace(read_corpus(folder), law=known)


def _build(known: SyntheticSource, options: SyntheticConfig, folder: Path) -> None:
    vocabulary = SymbolVocabulary(known.symbols)
    parts = {}
    for number, part in enumerate(PARTS, 1):
        random = np.random.default_rng([options.seed, number])
        drawn = known.draw(options.tokens if part == "train" else options.held_out, random)
        parts[part] = _write(folder, part, drawn, known, token_dtype(vocabulary))
    write_corpus_manifest(
        folder,
        vocabulary,
        parts,
        {"law": options.kind, "seed": options.seed, "tokenizer": "symbols"},
    )


def _write(
    folder: Path, part: str, drawn: Sample, known: SyntheticSource, dtype: np.dtype
) -> dict[str, Any]:
    content = drawn.tokens.astype(dtype).tobytes()
    starts = (
        np.flatnonzero(drawn.tokens == known.symbols)[:-1] + 1
        if known.windows
        else np.zeros(1, np.int64)
    )
    files = {f"{part}.tokens": content}
    if drawn.counted is not None:
        files[f"{part}.counted"] = drawn.counted.tobytes()
    for name, written in files.items():
        with open(folder / name, "wb") as file:
            file.write(written)
            cache.fsync(file)
    np.save(folder / f"{part}.units.npy", np.stack([starts, np.zeros_like(starts)]))
    digest = hashlib.sha256(b"".join(files.values())).hexdigest()
    return {
        "dtype": dtype.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "losses": 0,
        "text_sha256": digest,
        "documents": len(starts),
        "bytes": 0,
        "tokens": len(drawn.tokens),
        "units": len(starts),
        "unit": "sequences" if known.windows else "one chain",
        "bytes_per_token": 0.0,
    }
