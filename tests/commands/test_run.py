"""The real command, from its words to its records and its exit code."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import (
    ROOT,
    Command,
    assert_one_error,
    run_command_in,
    tiny_overrides,
    write_words,
)

OWN = """
import torch
from torch import nn
from architectures.interface import Backbone

class Mean(Backbone):
    causal = True

    def __init__(self, width, context, layers=1):
        super().__init__(width, context)
        self.mix = nn.Linear(width, width)

    def forward(self, x, state=None, lengths=None):
        counts = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        return x + self.mix(x.cumsum(dim=1) / counts), None

    def flops(self, length, full_mask=False):
        return 2.0 * self.width**2
"""
OWN_YAML = """# A running mean.
_target_: {target}
family: own
card: {{summary: A mean., paper: ours}}
tune: {{learning_rate: 0.01}}
"""
LIGHT = """
import sys
from bench import run
assert run.main(["--cfg", "job"]) == 0
assert not set(sys.modules) & {"torch", "datasets"}
"""


def own(
    folder: Path, body: str = OWN, name: str = "mean", target: str = "my_module.Mean"
) -> list[str]:
    """A user's own architecture: one Python file and one YAML, outside the repo."""
    (folder / "my_module.py").write_text(body)
    (folder / "my_conf" / "arch").mkdir(parents=True, exist_ok=True)
    (folder / "my_conf" / "arch" / f"{name}.yaml").write_text(OWN_YAML.format(target=target))
    return ["--config-dir", str(folder / "my_conf")]


def results(folder: Path, suite: str = "single") -> dict[str, dict]:
    found = folder.glob(f"results/{suite}/runs/*/result.json")
    return {path.parent.name.partition("-")[0]: json.loads(path.read_text()) for path in found}


def statuses(folder: Path) -> list[str]:
    return sorted(
        json.loads(path.read_text())["status"]
        for path in folder.glob("results/single/runs/*/result.json")
    )


def curve(folder: Path) -> list[dict]:
    """A run's curve, but for the clock."""
    lines = (folder / "curve.jsonl").read_text().splitlines()
    return [json.loads(line) | {"seconds": 0} for line in lines]


FAST = (
    "measure.processes=1 measure.rounds=2 measure.window_seconds=0.02 measure.lengths=[8,16] "
    "measure.side_rounds=1 measure.curve_rounds=1 measure.batches=[2] measure.energy_seconds=0.01"
).split()


@pytest.fixture(scope="module")
def swept(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, list[str], subprocess.CompletedProcess]:
    """Run one sweep with measurements; return its folder, its words and the finished process."""
    folder = tmp_path_factory.mktemp("swept")
    options = [
        word
        for word in tiny_overrides(write_words(folder / "words.txt", 20_000))
        if word != "measure=off"
    ]
    words = ["arch=rnn,transformer", "-m", *options, *FAST]
    return folder, words, run_command_in(folder)(*words, BENCH_CACHE=str(folder / "cache"))


@pytest.mark.xdist_group("sweep")
def test_a_sweep_leaves_records_and_a_report(
    swept: tuple[Path, list[str], subprocess.CompletedProcess],
) -> None:
    folder, words, done = swept
    assert done.returncode == 0, done.stderr
    root = folder / "results" / "single"
    assert f"report: {Path('results/single/report/index.html')}" in done.stdout
    table = pd.read_csv(root / "report" / "summary.csv").set_index("arch")
    assert set(table.index) == {"rnn", "transformer"}
    assert table["data_digest"].nunique() == 1
    encoders_only = ["pseudo_perplexity", "reason"]
    stated = (
        "variant data data_digest tokenizer size objective protocol parameters seeds status "
        "bits_per_byte bits_per_byte_low bits_per_byte_high perplexity train_tokens_per_second "
        "prefill_tokens_per_second decode_tokens_per_second "
        "peak_train_memory_bytes state_bytes train_seconds tokens_seen"
    ).split()
    assert table[stated].notna().all().all(), table[stated].isna().sum()
    assert not {*encoders_only} & {*table.columns}  # empty columns are left out
    assert (table["tokens_seen"] == 8 * 4 * 32).all()
    assert (root / "report" / "index.html").stat().st_size > 10_000
    assert set(pd.read_csv(root / "report" / "curves.csv")["arch"]) == {"rnn", "transformer"}
    provenance = [json.loads(path.read_text()) for path in root.glob("runs/*/provenance.json")]
    assert len({p["digests"]["order"] for p in provenance}) == 1
    again = run_command_in(folder)(*words, BENCH_CACHE=str(folder / "cache"))
    assert again.returncode == 0
    assert again.stderr.count("done before, not run again") == 2
    assert len(list(root.glob("measure/*"))) == 1


@pytest.mark.xdist_group("sweep")
def test_the_same_run_twice_gives_the_same_losses_by_bit(
    swept: tuple[Path, list[str], subprocess.CompletedProcess],
) -> None:
    folder, words, _ = swept
    options = [word for word in words[2:] if not word.startswith("measure.")]
    alone = run_command_in(folder)(
        "arch=transformer",
        "results=alone",
        "measure=off",
        *options,
        BENCH_CACHE=str(folder / "cache"),
    )
    assert alone.returncode == 0, alone.stderr
    first, second = (
        next((folder / name / "single" / "runs").glob("transformer*"))
        for name in ("results", "alone")
    )
    assert first.name == second.name
    assert curve(first) == curve(second)
    documents = [pd.read_parquet(run / "documents.parquet") for run in (first, second)]
    assert documents[0].equals(documents[1])


@pytest.mark.slow  # test_plugins.py shows each fault without a command
@pytest.mark.parametrize(
    ("change", "word"),
    [
        (("x.cumsum(dim=1) / counts", "x.mean(dim=1, keepdim=True)"), "look"),
        (("return x + self", "return x[:, 1:] + self"), "shape"),
        (
            ("import torch\n", "import a_module_that_is_not_there\nimport torch\n", 1),
            "a_module_that_is_not_there",
        ),
    ],
    ids=["looks ahead", "wrong shape", "does not import"],
)
def test_in_a_sweep_only_the_bad_run_fails(
    run_command: Command, tiny: list[str], tmp_path: Path, change: tuple, word: str
) -> None:
    flags = own(tmp_path, OWN.replace(*change))
    path = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    if word == "shape":
        (tmp_path / "my_module.py").write_text(
            OWN.replace(*change).replace("self.mix(x.cumsum(dim=1) / counts)", "0")
        )
    done = run_command(*flags, "arch=mean,bigram", "-m", *tiny, **path)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    found = results(tmp_path)
    assert found["bigram"]["status"] == "done"
    assert found["mean"]["status"] == "failed"
    assert word in found["mean"]["reason"]
    assert_one_error(run_command(*flags, "arch=mean", *tiny, **path), 2, word)


@pytest.mark.slow
def test_an_encoder_has_a_column_of_its_own_and_what_does_not_suit_is_skipped(
    run_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    done = run_command("arch=bert", "objective=auto,causal", "-m", *tiny)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "results" / "single" / "report" / "summary.csv").set_index(
        "status"
    )
    assert "bidirectional" in table.loc["skipped"]["reason"]
    row = table.loc["done"]
    assert row["pseudo_perplexity"] > 1
    assert not {"perplexity", "bits_per_byte"} & {*table.columns}  # empty columns are left out


@pytest.mark.slow
def test_a_run_that_diverges_fails_alone(
    run_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    moved = "bool((self.mix.bias != 0).any()) and self.training"  # from the second step on
    body = OWN.replace(
        "return x + self.mix", f"return x * (float('nan') if {moved} else 1.0) + self.mix"
    )
    path = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    done = run_command(*own(tmp_path, body), "arch=mean,bigram", "-m", *tiny, **path)
    assert done.returncode == 1, done.stderr
    found = results(tmp_path)
    assert (found["bigram"]["status"], found["mean"]["status"]) == ("done", "failed")
    assert "diverged at step 2" in found["mean"]["reason"]


def test_a_forecast_lists_the_runs_and_runs_nothing(
    call_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    done = call_command("arch=rnn,gpt", "dry=true", "-m", *tiny)
    assert done.returncode == 0, done.stderr
    assert re.search(r"rnn-text-s0-\w{8} .*\d+ +[\d,]+ +8 +1,024", done.stdout)
    assert "2 runs" in done.stdout
    assert not list(tmp_path.glob("results/*/runs/*/config.yaml"))


@pytest.mark.xdist_group("sweep")
def test_a_trained_model_writes(
    swept: tuple[Path, list[str], subprocess.CompletedProcess], run_command: Command, tmp_path: Path
) -> None:
    folder = next((swept[0] / "results" / "single" / "runs").glob("rnn*"))
    first, second = (
        run_command(str(folder), "--prompt", "The tree", "--tokens", "80", module="bench.generate")
        for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("The tree")
    assert len(first.stdout) > 40
    assert first.stdout == second.stdout
    assert_one_error(
        run_command(str(tmp_path), module="bench.generate"), 2, "not the folder of a run"
    )


def test_the_configuration_needs_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "learning_rate: null" in done.stdout
    assert done.returncode == 0, done.stderr


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "names"),
    [
        ("arch=transfomer", "unknown-choice", ["arch=transfomer", "transformer"]),
        ("data=pyton_docs", "unknown-choice", ["python_docs"]),
        ("suite=null", "unknown-choice", ["suite=null", "conf/suite"]),
        ("train.stepz=5", "unknown-key", ["train.stepz", "train.steps"]),
        ("arch.layerz=3", "unknown-key", ["arch.layerz"]),
        ("+arch.layerz=3", "unknown-key", ["layerz", "layers"]),
        ("train.steps=0", "invalid-value", ["train.steps=0"]),
        ("train.learning_rate=nan", "invalid-value", ["train.learning_rate"]),
        ("arch.layers=two", "invalid-value", ["arch.layers=two"]),
        ("seed=null", "invalid-value", ["seed"]),
        ("arch=rnn,foo -m", "unknown-choice", ["foo"]),
        ("train.steps=5,-1 -m", "invalid-value", ["train.steps=-1"]),
        ("hydra/launcher=slurmm", "unknown-choice", ["slurmm"]),
        ("--config-dir nowhere", "missing-file", ["nowhere"]),
        ("data.path=missing.txt", "missing-file", ["missing.txt"]),
    ],
)
def test_a_mistake_in_the_arguments_is_one_line(
    call_command: Command,
    tiny: list[str],
    tmp_path: Path,
    arguments: str,
    code: str,
    names: list[str],
) -> None:
    assert_one_error(call_command(*tiny, *arguments.split()), 2, *names, f"[{code}]")
    assert not list(tmp_path.glob("results/*/runs/*/config.yaml"))


def text_of(tmp_path: Path, kind: str) -> tuple[Path, list[str]]:
    path = tmp_path / "bad.txt"
    if kind == "empty":
        path.write_text("")
    elif kind == "binary":
        path.write_bytes(bytes(range(256)) * 50)
    elif kind == "not utf-8":
        path.write_bytes(b"a word and another " * 50 + b"\xff\xfe caf\xe9 " + b"more " * 50)
    elif kind == "too short":
        path.write_text("too short")
    elif kind == "no field":
        path = tmp_path / "bad.jsonl"
        path.write_text('{"title": "a", "body": "b"}\n' * 20)
    elif kind == "no files":
        path = tmp_path / "folder"
        path.mkdir()
    return path, {"no field": ["text", "title"], "no files": ["folder"]}.get(kind, [path.name])


@pytest.mark.parametrize(
    "kind", ["empty", "binary", "not utf-8", "too short", "no field", "no files"]
)
def test_an_unusable_text_is_one_line(
    call_command: Command, tiny: list[str], tmp_path: Path, kind: str
) -> None:
    path, said = text_of(tmp_path, kind)
    assert_one_error(call_command(*tiny, f"data.path={path}", "arch=rnn,gpt", "-m"), 2, *said)
    assert not list(tmp_path.glob("results/*/runs/*/config.yaml"))


@pytest.mark.parametrize("word", ["size.context=100000", "size.parameters=100"])
def test_an_impossible_size_is_one_line(call_command: Command, tiny: list[str], word: str) -> None:
    assert_one_error(call_command(*tiny, word), 2, word)


@pytest.mark.slow
def test_in_a_sweep_only_the_impossible_sizes_fail(
    run_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    done = run_command(
        *tiny, "size.context=100000,32", "size.parameters=100,30000", "arch=bigram", "-m"
    )
    assert done.returncode == 1, done.stderr
    assert statuses(tmp_path) == ["done", "failed", "failed", "failed"]


def test_a_hub_set_without_a_network_names_what_works(
    run_command: Command, tiny: list[str]
) -> None:
    words = [word for word in tiny if not word.startswith("data")]
    assert_one_error(
        run_command(*words, "data=wikitext2", HF_HUB_OFFLINE="1"), 2, "data=text", "data.path"
    )


def test_a_results_folder_that_cannot_be_written(
    call_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert_one_error(call_command(*tiny, "results=file/results"), 2, "results=file/results")


@pytest.mark.slow  # test_data.py shows the same without a command
def test_a_corrupt_cache_is_rebuilt_and_the_run_goes_on(
    run_command: Command, tiny: list[str], tmp_path: Path, cache: Path
) -> None:
    private = {"BENCH_CACHE": str(tmp_path / "cache")}
    assert run_command("arch=bigram", *tiny, **private).returncode == 0
    files = list((tmp_path / "cache").rglob("*.tokens"))
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[:-7])
    done = run_command("arch=bigram", "seed=1", *tiny, **private)
    assert done.returncode == 0, done.stderr
    digests = {
        json.loads(path.read_text())["digests"]["data"]
        for path in tmp_path.glob("results/single/runs/*/provenance.json")
    }
    assert len(digests) == 1


@pytest.mark.slow
def test_a_run_past_its_limit_is_failed(
    run_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    done = run_command(*tiny, "arch=bigram", "train.steps=100000000", "train.limit_seconds=6")
    assert done.returncode == 1, done.stderr
    assert "train.limit_seconds=6" in results(tmp_path)["bigram"]["reason"]


@pytest.mark.slow
def test_a_forward_that_never_returns_is_failed_and_the_sweep_goes_on(
    tiny: list[str], tmp_path: Path
) -> None:
    """With a limit of 40 seconds in place of ten minutes."""
    flags = own(
        tmp_path, OWN.replace("        counts", "        time.sleep(10**6)\n        counts")
    )
    module = tmp_path / "my_module.py"
    module.write_text(f"import time\n{module.read_text()}")
    command = (
        "import sys; from bench.system import processes; processes.MIN_LIMIT_SECONDS = 40; "
        "from bench.run import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", command, *flags, *tiny, "arch=mean,bigram", "-m",
         "hydra/launcher=basic"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    ended = results(tmp_path)
    assert {name: result["status"] for name, result in ended.items()} == {
        "mean": "failed", "bigram": "done",
    }  # fmt: skip
    assert "made no progress for 40 s" in ended["mean"]["reason"]


@pytest.mark.parametrize("sweep", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(
    tiny: list[str], tmp_path: Path, sweep: bool
) -> None:
    words = [word for word in tiny if not word.startswith(("train.steps", "train.log_every"))]
    several = ["seed=0,1", "-m"] if sweep else []
    command = [
        sys.executable,
        "-m",
        "bench.run",
        "arch=bigram",
        "train.steps=500",
        "train.log_every=10",
        *words,
        *several,
    ]
    options = {
        "cwd": tmp_path,
        "env": {**os.environ, "PYTHONPATH": str(ROOT)},
        "stderr": subprocess.PIPE,
        "text": True,
    }
    process = subprocess.Popen(command, start_new_session=True, **options)  # type: ignore[call-overload]
    until = time.monotonic() + 120
    while (
        not any(path.stat().st_size for path in tmp_path.glob("results/single/runs/*/curve.jsonl"))
        and time.monotonic() < until
    ):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "stopped: " in said
    assert not results(tmp_path)
    until = time.monotonic() + 30
    while (
        not list(tmp_path.glob("results/single/runs/*/checkpoint/training.pt"))
        and time.monotonic() < until
    ):
        time.sleep(0.05)  # a job that lost its launcher saves what it has, then ends
    assert list(tmp_path.glob("results/single/runs/*/checkpoint/training.pt"))
    assert subprocess.run(command, check=False, **options).returncode == 0  # type: ignore[call-overload]
    assert results(tmp_path)["bigram"]["status"] == "done"


@pytest.mark.slow
def test_a_long_text_of_ours_is_learned(
    run_command: Command, tmp_path: Path, tiny: list[str]
) -> None:
    """From end to end: more training tells more, and the text's own statistics are the floor."""
    path = write_words(tmp_path / "long.txt", 30_000)
    words = [word for word in tiny if not word.startswith(("data.path", "train.steps"))]
    assert (
        run_command("arch=gru", f"data.path={path}", "train.steps=20,300", "-m", *words).returncode
        == 0
    )
    table = pd.read_csv(tmp_path / "results" / "single" / "report" / "summary.csv").sort_values(
        "tokens_seen"
    )
    assert table["bits_per_byte"].is_monotonic_decreasing
    assert table["bits_per_byte"].iloc[-1] < 2.5
