"""Share fixtures: a text, commands, a cache, the overrides of a tiny run."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
WORDS = (
    "the a small large red green house tree river stone walks sleeps sings falls under over near "
    "and but slowly"
).split()
Command = Callable[..., subprocess.CompletedProcess]
OWN = [
    path
    for path in sorted((ROOT / "conf" / "arch").glob("*.yaml"))
    if not path.stem.startswith("huggingface")
]
WRAPPED = [path for path in sorted((ROOT / "conf" / "arch").glob("*.yaml")) if path not in OWN]
QUICK = ("huggingface",)  # the others are the same wrapper
# one of each family, for checks that take seconds; the others are slow there
REPRESENTATIVES = ("rnn", "transformer", "retnet", "cnn", "griffin", "bert", "bigram")


def each_architecture(quick: tuple[str, ...] = ()) -> list[Any]:
    """Return every YAML of conf/arch as a parameter; all but one of the wrapped models are slow.

    With `quick`, all architectures but these are.
    """
    names = quick or (*(path.stem for path in OWN), *QUICK)
    return [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem not in names))
        for path in [*OWN, *WRAPPED]
    ]


if not os.environ.get(
    "BENCH_TEST_CUDA"
):  # what is compared by the bit is compared on a processor, wherever the tests run
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # so a shell starts what it puts behind: no test of Ctrl-C would end
    signal.signal(signal.SIGINT, signal.default_int_handler)


def write_words(path: Path, words: int, seed: int = 0) -> Path:
    """Write random sentences: learnable, and the same everywhere."""
    draw = random.Random(seed)
    sentences = []
    while words > 0:
        length = draw.randint(4, 12)
        sentences.append(" ".join(draw.choices(WORDS, k=length)).capitalize() + ".")
        words -= length
    path.write_text(" ".join(sentences) + "\n", encoding="utf-8")
    return path


@pytest.fixture(autouse=True, scope="session")
def locks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep locks apart from the user's, and from those of tests in other processes."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.getbasetemp() / "user")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use one cache of tokens for the whole test run, apart from the user's."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("BENCH_CACHE", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_words(tmp_path / "words.txt", 20_000)


def run_command_in(folder: Path) -> Command:
    """Return a function that runs the real command in a folder."""

    def call(
        *arguments: str, module: str = "bench.run", timeout: float = 240, **environment: str
    ) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    return call


@pytest.fixture
def run_command(tmp_path: Path) -> Command:
    """Run the real command in an empty folder: run_command("arch=rnn", …)."""
    return run_command_in(tmp_path)


@pytest.fixture
def call_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run the command within this process: for what ends before any run begins."""

    def call(*arguments: str) -> subprocess.CompletedProcess:
        from bench import run

        monkeypatch.chdir(tmp_path)
        # the command sets it; it is restored afterwards
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        code = run.main(arguments)
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return call


def tiny_overrides(text: Path) -> list[str]:
    """Return the overrides of a run that takes seconds."""
    words = (
        f"data=text data.path={text} size=tiny measure=off figures=none train.steps=8 train.batch=4 "
        "train.log_every=2 train.validations=2 evaluate.sample_tokens=10 "
        "evaluate.pseudo_positions=40 evaluate.stretches=2 evaluate.windows=4 evaluate.fillings=4"
    )
    return words.split()


def write_arch(folder: Path, name: str, target: str) -> Path:
    """Write the YAML of an architecture into a configuration folder."""
    path = folder / "arch" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"_target_: {target}\nfamily: own\ncard: {{summary: A test., paper: ''}}\n"
        "tune: {learning_rate: 1.0e-3}\n"
    )
    return path


@pytest.fixture
def tiny(text: Path) -> list[str]:
    return tiny_overrides(text)


def assert_one_error(done: subprocess.CompletedProcess, code: int, *words: str) -> str:
    """Assert the exit code and one line of error that contains the words; return the line."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]
    return lines[0]
