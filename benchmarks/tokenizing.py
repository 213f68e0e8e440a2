"""Measure the preparation of a text larger than memory: peak memory, and the encoding rate.

    python benchmarks/tokenizing.py                      2 GB of artificial text, bytes and BPE
    python benchmarks/tokenizing.py --megabytes 100      a quick look
    python benchmarks/tokenizing.py --text my_text.txt   a text of your own

The artificial text is drawn from a seed. Each preparation runs in a fresh process, from the file to
the finished cache, while the memory of it and of its child processes is sampled. The encoding rates
are then measured in alternating order: a piece of the text by this project, the same piece by
`encode_batch_fast`, the fastest call of the `tokenizers` library, with all its threads. The ratio
is the median over the rounds, with its 95 % bootstrap interval. Needs four times the text on disk.

Not named `tokenize.py`: a script's folder comes before the standard library, whose `tokenize` every
traceback needs.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.config.schema import DataConfig
from bench.data import Vocabulary, prepare, subword, tokenization, tokenizer
from bench.data.document_store import DocumentStore
from bench.system import host

WORDS = 200_000  # different words of the artificial text
ROUNDS = 12
PIECE_BYTES = 8 << 20  # encoded in a round
COLUMNS = (
    "tokenizer,MB,learn s,whole s,whole MB/s,encode MB/s,library MB/s,ratio,95 %,peak MB,with child"
).split(",")


def artificial_text(size: int, seed: int) -> Iterator[bytes]:
    """Yield about a megabyte at a time: sentences of random words with Zipf frequencies."""
    random = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwygpbvk"))
    words = np.array(
        ["".join(random.choice(letters, length)) for length in random.integers(2, 12, WORDS)],
        dtype=object,
    )
    words[50::100] += "é日"
    marks = np.array([" "] * 11 + [".\n"], dtype=object)
    while size > 0:
        ranks = np.minimum(random.zipf(1.3, 200_000), WORDS) - 1
        text = "".join(words[ranks] + np.resize(marks, len(ranks))).encode()[:size]
        yield text.decode(errors="ignore").encode() or b"\n"
        size -= len(text)


def process_memory(process: int, key: str) -> int:
    """Return a line of a process's status, in bytes; 0 where the process has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith(key)), 0)
    except OSError:
        return 0


def process_tree(process: int) -> list[int]:
    """Return a process and its descendants."""
    try:
        files = Path(f"/proc/{process}/task").glob("*/children")
        children = [int(child) for file in files for child in file.read_text("ascii").split()]
    except OSError:
        children = []
    return [process, *(below for child in children for below in process_tree(child))]


def measure_preparation(
    path: Path, kind: str, vocabulary: int, cache: Path
) -> tuple[dict[str, float], Path]:
    """Prepare the text in a fresh process.

    Return seconds in total and of learning, the bytes of the text and the peaks of memory; and the
    folder of the prepared text.
    """
    arguments = json.dumps([str(path), kind, vocabulary, str(cache)])
    command, together = [sys.executable, __file__, "--inside", arguments], 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        while running.poll() is None:
            resident = sum(process_memory(one, "VmRSS:") for one in process_tree(running.pid))
            together = max(together, resident)
            time.sleep(0.02)
        answer = running.stdout.read() if running.stdout else ""
    if running.returncode:
        raise SystemExit(running.returncode)
    measured = json.loads(answer.splitlines()[-1])
    folder = Path(measured.pop("folder"))
    return measured | {"together": together}, folder


def prepare_inside(path: str, kind: str, vocabulary: int, cache: str) -> None:
    """Prepare the text in this process; print what was measured as a last line of JSON."""
    moments = [(time.perf_counter(), "start")]
    options = DataConfig(path=path, tokenizer=kind, vocabulary=vocabulary, cache=cache)
    handler = logging.Handler()
    handler.emit = lambda record: moments.append(  # type: ignore[method-assign]
        (time.perf_counter(), record.getMessage())
    )
    logging.getLogger("bench").addHandler(handler)
    logging.getLogger("bench").setLevel("INFO")
    corpus = prepare(options, "benchmark")
    end = time.perf_counter()
    learning = next((at for at, line in moments if line.startswith("learning")), 0.0)
    encoding = next(at for at, line in moments if line.startswith("tokenizing"))
    answer = {
        "total": end - moments[0][0],
        "learn": encoding - learning if learning else 0.0,
        "peak": process_memory(os.getpid(), "VmHWM:"),
        "bytes": sum(corpus.facts["bytes"].values()),
        "folder": str(corpus.folder),
    }
    print(json.dumps(answer))


def library_vocabulary(description: dict[str, str]) -> subword.SubwordVocabulary:
    """Return the same byte pairs; for bytes a vocabulary of the 256 bytes and no pair."""
    if description["kind"] != "bytes":
        return subword.SubwordVocabulary(description["tokenizer"], "bpe")
    return subword.learn_bpe(lambda: iter(["a"]), 256)


def count_own_tokens(
    text: DocumentStore, vocabulary: Vocabulary, batches: list[tokenization.TextBatch]
) -> int:
    """Encode by this project; return the number of tokens without the last end of text."""
    encoded = (tokenization.encode_batch(text, vocabulary, batch, False) for batch in batches)
    return sum(len(batch.tokens) for batch in encoded) - 1


def count_library_tokens(
    peer: subword.SubwordVocabulary, text: DocumentStore, batches: list[tokenization.TextBatch]
) -> int:
    """Encode by the library; return the number of tokens."""
    pieces = [text.read(*span) for batch in batches for span in batch.spans.tolist()]
    encodings = peer.tokenizer.encode_batch_fast(pieces, add_special_tokens=False)
    return sum(len(encoding.ids) for encoding in encodings)


def time_both(own: Callable[[], int], library: Callable[[], int], own_first: bool) -> np.ndarray:
    """Return the seconds of each, (2,)."""
    seconds, counts = np.zeros(2), dict[int, int]()
    for i in (0, 1) if own_first else (1, 0):
        start = time.perf_counter()
        counts[i] = (own, library)[i]()
        seconds[i] = time.perf_counter() - start
    assert counts[0] == counts[1], counts  # the two did the same work
    return seconds


def cut_pieces(text: DocumentStore) -> Iterator[tuple[int, list[tokenization.TextBatch]]]:
    """Yield the bytes and the batches of a piece for each round, and of one more before them."""
    size, least = min(PIECE_BYTES, text.length // 2), tokenization.BLOCK_BYTES
    step = max(least, (text.length - size) // (ROUNDS + 1))
    starts = [low for low, _ in text.cut(0, text.length - size, step)][:ROUNDS]
    for begin in [0, *starts]:
        _, end = next(text.cut(begin, text.length, size // 2))
        spans = np.array([[begin, end]])
        yield end - begin, list(tokenization.text_batches(text, spans, least))


def time_rounds(path: Path, description: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Return seconds per byte, (R,), of this project and of the library, in alternating order."""
    vocabulary, peer = tokenizer.load_vocabulary(description), library_vocabulary(description)
    rounds = []
    with DocumentStore(path) as text:
        for number, (size, batches) in enumerate(cut_pieces(text)):
            own = partial(count_own_tokens, text, vocabulary, batches)
            library = partial(count_library_tokens, peer, text, batches)
            rounds.append(time_both(own, library, number % 2 == 1) / size)
    own_seconds, library_seconds = np.array(rounds[1:]).T  # the first is a warm-up
    return own_seconds, library_seconds


def measure_row(path: Path, kind: str, vocabulary: int, cache: Path) -> list[str]:
    """Return one line of the table."""
    measured, folder = measure_preparation(path, kind, vocabulary, cache)
    description = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    own, library = time_rounds(path, description)
    size, total = measured["bytes"] / 1e6, measured["total"]
    rates = [1e-6 / np.median(seconds) for seconds in (own, library)]
    numbers = [size, measured["learn"], total, size / total, *rates]
    peaks = [f"{measured[name] / 2**20:.0f}" for name in ("peak", "together")]
    return [kind, *(f"{number:.1f}" for number in numbers), *format_ratio(library / own), *peaks]


def format_ratio(ratios: np.ndarray) -> list[str]:
    """Return the median and its bootstrap interval."""
    drawn = np.median(np.random.default_rng(0).choice(ratios, (2000, len(ratios))), axis=1)
    interval = " to ".join(f"{edge:.2f}" for edge in np.quantile(drawn, [0.025, 0.975]))
    return [f"{np.median(ratios):.2f}", interval]


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--megabytes", type=float, default=2000)
    parser.add_argument("--text", type=Path, help="a .txt of your own instead of an artificial one")
    kinds = ["bytes", "bpe"]
    parser.add_argument("--tokenizers", nargs="+", default=kinds, choices=kinds)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="of the temporary text and caches")
    parser.add_argument("--inside", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure_table(args: argparse.Namespace) -> list[list[str]]:
    """Write the text, prepare it with each tokenizer, return the lines of the table."""
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = args.text or Path(folder, "text.txt")
        if not args.text:
            with open(path, "wb") as file:
                file.writelines(artificial_text(int(args.megabytes * 1e6), args.seed))
        machine = f"{host.processor_name()}, {host.available_cores()} cores"
        print(f"{machine}, tokenizers {host.package_version('tokenizers')}", file=sys.stderr)
        return [
            measure_row(path, kind, args.vocabulary, Path(folder, f"cache-{kind}"))
            for kind in args.tokenizers
        ]


def main() -> None:
    """Print the table."""
    args = parse_arguments()
    if args.inside:
        prepare_inside(*args.inside)
        return
    import turns  # not at the top: it would add to the memory of the process that prepares

    turns.print_columns([COLUMNS, *measure_table(args)])


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    main()
