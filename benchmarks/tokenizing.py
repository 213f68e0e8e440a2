"""A text larger than memory made ready: peak memory, and the rate beside that of the `tokenizers` library on the same text.

    python benchmarks/tokenizing.py                      2 GB of made-up text, as bytes and as learned byte pairs
    python benchmarks/tokenizing.py --megabytes 100      a quick look
    python benchmarks/tokenizing.py --text my_text.txt   a text of your own

The text is made by a seed. Each preparation runs in a fresh process, from the file to the finished cache, while the memory of
it and of all that it starts is watched. The rates of encoding are then taken in turns: a piece of the text by the bench, the
same piece by `encode_batch_fast`, the quickest call of the library, with all its threads; the ratio is the median over the
rounds, with its bootstrap interval of 95 %. Needs room on the disk for four times the text.

Not named `tokenize.py`: a script's folder comes before the standard library, whose `tokenize` every traceback needs.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.config.schema import DataConfig
from bench.data import prepare, tokenization, tokenizer
from bench.data.document_store import DocumentStore
from bench.system import host

KINDS = 200_000  # different words
ROUNDS = 12
PIECE = 8 << 20  # bytes of a round
HEAD = (
    "tokenizer",
    "MB",
    "learn s",
    "whole s",
    "whole MB/s",
    "encode MB/s",
    "library MB/s",
    "ratio",
    "95 %",
    "peak MB",
    "with pool",
)


def made_text(size: int, seed: int) -> Iterator[bytes]:
    """About a megabyte at a time: sentences of made-up words whose frequencies fall as those of a language do."""
    random = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwygpbvk"))
    words = np.array(
        ["".join(random.choice(letters, length)) for length in random.integers(2, 12, KINDS)],
        dtype=object,
    )
    words[50::100] += "é日"
    marks = np.array([" "] * 11 + [".\n"], dtype=object)
    while size > 0:
        ranks = np.minimum(random.zipf(1.3, 200_000), KINDS) - 1
        text = "".join(words[ranks] + np.resize(marks, len(ranks))).encode()[:size]
        yield text.decode(errors="ignore").encode() or b"\n"
        size -= len(text)


def memory(process: int, key: str) -> int:
    """A line of a process's status, in bytes; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith(key)), 0)
    except OSError:
        return 0


def family(process: int) -> list[int]:
    """A process and all that it started."""
    try:
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        started = [
            int(child)
            for task in tasks
            for child in (task / "children").read_text(encoding="ascii").split()
        ]
    except OSError:
        started = []
    return [process, *(below for child in started for below in family(child))]


def prepared(path: Path, kind: str, vocabulary: int, cache: Path) -> dict[str, float]:
    """Prepare the text in a fresh process. Seconds in sum and of learning, the text's bytes, and the peaks of memory."""
    command = [
        sys.executable,
        __file__,
        "--inside",
        json.dumps([str(path), kind, vocabulary, str(cache)]),
    ]
    together = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        while running.poll() is None:
            together = max(together, sum(memory(one, "VmRSS:") for one in family(running.pid)))
            time.sleep(0.02)
        answer = running.stdout.read() if running.stdout else ""
    if running.returncode:
        raise SystemExit(running.returncode)
    return json.loads(answer.splitlines()[-1]) | {"together": together}


def inside(path: str, kind: str, vocabulary: int, cache: str) -> None:
    """What the fresh process does; its last line is its answer."""
    moments = [(time.perf_counter(), "start")]
    options = DataConfig(path=path, tokenizer=kind, vocabulary=vocabulary, cache=cache)
    handler = logging.Handler()
    handler.emit = lambda record: moments.append((time.perf_counter(), record.getMessage()))  # type: ignore[method-assign]
    logging.getLogger("bench").addHandler(handler)
    logging.getLogger("bench").setLevel("INFO")
    corpus = prepare(options, "benchmark")
    end = time.perf_counter()
    learning = next((at for at, line in moments if line.startswith("learning")), 0.0)
    encoded = next(at for at, line in moments if line.startswith("tokenizing"))
    answer = {"whole": end - moments[0][0], "learn": encoded - learning if learning else 0.0}
    answer |= {"peak": memory(os.getpid(), "VmHWM:"), "bytes": sum(corpus.facts["bytes"].values())}
    print(json.dumps(answer | {"folder": str(corpus.folder)}))


def library(description: dict[str, str]) -> tokenizer.SubwordVocabulary:
    """The peer: the same byte pairs; for bytes a vocabulary of the 256 bytes and no pair."""
    if description["kind"] != "bytes":
        return tokenizer.SubwordVocabulary(description["tokenizer"], "bpe")
    return tokenizer.learn_bpe(lambda: iter(["a"]), 256)


def rounds(path: Path, description: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """(R,) seconds of the bench and of the library for the same pieces, in turns; who begins changes."""
    vocabulary, peer = tokenizer.load_vocabulary(description), library(description).tokenizer
    with DocumentStore(path) as text:
        size = min(PIECE, text.length // 2)
        step = max(tokenization.BLOCK_BYTES, (text.length - size) // (ROUNDS + 1))
        starts = [low for low, _ in text.cut(0, text.length - size, step)][:ROUNDS]
        seconds = np.zeros((2, len(starts)))
        with tokenization.open_encoder(text, vocabulary, tokenization.MIN_POOL_BYTES) as encode:
            for number, begin in enumerate([0, *starts]):  # the first is a warm-up
                _, end = next(text.cut(begin, text.length, size // 2))
                batches = list(
                    tokenization.text_batches(
                        text, np.array([[begin, end]]), tokenization.BLOCK_BYTES
                    )
                )
                for who in (0, 1) if number % 2 else (1, 0):
                    start = time.perf_counter()
                    if who == 0:
                        tokens = sum(len(found.tokens) for _, found in encode(batches, False)) - 1
                    else:
                        pieces = [
                            text.read(*span) for batch in batches for span in batch.spans.tolist()
                        ]
                        count = sum(
                            len(found.ids)
                            for found in peer.encode_batch_fast(pieces, add_special_tokens=False)
                        )
                    seconds[who, number - 1] = (time.perf_counter() - start) / (end - begin)
                assert tokens == count, (tokens, count)  # the two did the same work
    return seconds[0], seconds[1]


def row(path: Path, kind: str, vocabulary: int, cache: Path) -> list[str]:
    """One line of the table."""
    found = prepared(path, kind, vocabulary, cache)
    description = json.loads(
        (Path(str(found["folder"])) / "vocabulary.json").read_text(encoding="utf-8")
    )
    own, peer = rounds(path, description)
    ratios = peer / own
    drawn = np.median(np.random.default_rng(0).choice(ratios, (2000, len(ratios))), axis=1)
    size = found["bytes"] / 1e6
    numbers = [
        size,
        found["learn"],
        found["whole"],
        size / found["whole"],
        1e-6 / np.median(own),
        1e-6 / np.median(peer),
    ]
    interval = " to ".join(f"{edge:.2f}" for edge in np.quantile(drawn, [0.025, 0.975]))
    peaks = [f"{found[name] / 2**20:.0f}" for name in ("peak", "together")]
    return [
        kind,
        *(f"{number:.1f}" for number in numbers),
        f"{np.median(ratios):.2f}",
        interval,
        *peaks,
    ]


def main() -> None:
    """Make the text, prepare it, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--megabytes", type=float, default=2000)
    parser.add_argument("--text", type=Path, help="a .txt of your own instead of a made-up one")
    parser.add_argument(
        "--tokenizers", nargs="+", default=["bytes", "bpe"], choices=["bytes", "bpe"]
    )
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where text and caches lie while this runs")
    parser.add_argument("--inside", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        inside(*asked.inside)
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        path = asked.text or Path(folder, "text.txt")
        if not asked.text:
            with open(path, "wb") as file:
                file.writelines(made_text(int(asked.megabytes * 1e6), asked.seed))
        print(
            f"{host.processor_name()}, {host.available_cores()} cores, tokenizers {host.package_version('tokenizers')}",
            file=sys.stderr,
        )
        rows = [
            row(path, kind, asked.vocabulary, Path(folder, f"cache-{kind}"))
            for kind in asked.tokenizers
        ]
    widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
    for line in (HEAD, *rows):
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    main()
