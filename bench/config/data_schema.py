"""Define the configuration of data: which text, how it is split, what a token is."""

from dataclasses import dataclass, field

from bench.config.fields import LATER, choice, option, setting

# synthetic sources of independent sequences, each of which fills one window
WINDOW_SOURCES = ("in_context_markov", "recall", "dyck", "parity")
SEEDS = (0, 2**31 - 1)


@dataclass
class SyntheticConfig:
    """Configure a source whose lowest possible loss is known."""

    kind: str = option("none", "name of a source in bench/data/synthetic")
    symbols: int = option(8, "size of the alphabet", (2, 60_000))
    order: int = option(2, "markov: number of previous symbols that decide the next", (1, 16))
    states: int = option(32, "hmm: number of hidden states", (2, 1000))
    concentration: float = option(0.5, "Dirichlet prior; lower is more predictable", (1e-3, 1e3))
    pairs: int = option(0, "recall: key-value pairs; 0: one per 16 tokens", (0, 10**6))
    depth: int = option(8, "dyck: maximum nesting depth", (1, 1000))
    length: int = option(0, "tokens per sequence that fills a window: size.context", (0, 10**6))
    tokens: int = option(4_000_000, "tokens of the training set", (1, 10**9))
    held_out: int = option(200_000, "tokens of the validation set, and of the test set", (1, 10**9))
    seed: int = option(0, "of the source's parameters and of the samples", SEEDS)


@dataclass
class DataConfig:
    """Choose the text, how it is split, and what a token is."""

    source: str = option("text", "synthetic, or the name of a source in bench/data/sources")
    path: str = option("", "text: a file, a folder or a glob")
    column: str = option(
        "text", "field that holds the text in .jsonl, .ndjson, .csv, .tsv, .parquet, hub datasets"
    )
    split: str = choice(
        "auto documents tail given",
        "tail: hold out the end of one text; given: as in the hub dataset; auto: by file type",
    )
    tokenizer: str = option(
        "bytes", "bytes, characters, bpe, symbols (synthetic), or the path of a tokenizer.json"
    )
    vocabulary: int = option(4096, "bpe: number of tokens to learn", (300, 1_000_000))
    deduplicate: str = choice(
        "exact near", "near: also remove documents that share over 20 % of their 13-word shingles"
    )
    repository: str = option("", "hub: name or name@revision of the dataset, or a local folder")
    subset: str = option("", "hub: name of the configuration")
    parts: dict[str, str] = option({}, "hub: split expression of each part")
    streamed: bool = option(False, "hub: read without downloading everything")
    documents: int = option(0, "hub: documents to read per part; 0: all", (0, 10**12))
    joined: bool = option(False, "hub: rows are lines of one text, not documents")
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    searching: bool = option(False, "set for trials: never score the test set", identity=LATER)
    cache: str = setting("", "folder of tokens; default: $BENCH_CACHE, else the user's cache")
