"""A command line composed into runs, and these handed to a launcher."""

from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

from bench.cli.compose import compose_sweep
from bench.cli.composer import Composer
from bench.cli.launch import launch
from bench.cli.sweep import Sweep
from bench.execution.hydra_task import HydraTask

BASIC = "hydra/launcher=basic"


class TwoSeeds(Sweeper):
    """Choose the seeds 7 and 8, as a sweeper that searches would."""

    def setup(self, *, hydra_context, task_function, config):  # type: ignore[no-untyped-def]
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        assert self.launcher is not None
        self.launcher.launch([["arch=gru", f"seed={seed}"] for seed in (7, 8)], initial_job_idx=0)


def launched(sweep: Sweep, monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[tuple[str, int]]:
    """Return the architectures and seeds that a launcher runs, without running them."""
    monkeypatch.chdir(folder)
    runs = []
    monkeypatch.setattr(HydraTask, "run", lambda task, job: runs.append(job.run))
    launch(sweep, HydraTask(sweep))
    return [(run.names["arch"], run.seed) for run in runs]


def test_a_launcher_runs_what_was_composed_and_the_control_in_one_batch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    control = ["control.arch=gru", "control.seeds=[7,8]"]
    sweep = compose_sweep(["arch=bigram,gru", *control, "-m", BASIC])
    assert sweep.jobs[2].overrides == ("arch=gru", *control, "seed=7")
    runs = [("bigram", 0), ("gru", 0), ("gru", 7), ("gru", 8)]
    assert [(run.names["arch"], run.seed) for run in sweep.runs] == runs
    assert launched(sweep, monkeypatch, tmp_path) == runs


def test_seeds_of_one_run_are_composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["arch=bigram,gru", "train.steps=7"]
    alone = [
        compose_sweep([f"arch={arch}", f"seed={seed}", "train.steps=7"]).runs[0]
        for arch in ("bigram", "gru")
        for seed in range(3)
    ]
    composed, compose = list[list[str]](), Composer._compose
    monkeypatch.setattr(
        Composer, "_compose", lambda self, *call: composed.append(call[0]) or compose(self, *call)
    )
    runs = compose_sweep([*words, "seed=0,1,2", "-m"]).runs
    assert runs == alone
    assert len(composed) == 1 + 2
    assert runs[0].train is not runs[1].train
    used = compose_sweep(["seed=4,5", "train.warmup=${seed}", "-m"]).runs
    assert [run.train.warmup for run in used] == [4, 5]


def test_batches_are_as_large_as_the_sweeper_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sweep = compose_sweep(["seed=0,1,2", "-m", BASIC, "hydra.sweeper.max_batch_size=2"])
    assert [seed for _, seed in launched(sweep, monkeypatch, tmp_path)] == [0, 1, 2]


def test_another_sweeper_chooses_its_runs_as_it_goes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "conf" / "hydra" / "sweeper"
    folder.mkdir(parents=True)
    (folder / "two.yaml").write_text("_target_: hydra_plugins.two_seeds.TwoSeeds\n")
    real = Plugins._instantiate
    monkeypatch.setattr(
        Plugins,
        "_instantiate",
        lambda plugins, config: (
            TwoSeeds() if "two_seeds" in config._target_ else real(plugins, config)
        ),
    )
    words = ["--config-dir", str(tmp_path / "conf"), "hydra/sweeper=two", "-m", BASIC]
    sweep = compose_sweep(words)
    assert not sweep.is_enumerated
    assert launched(sweep, monkeypatch, tmp_path) == [("gru", 7), ("gru", 8)]


def test_processors_are_reserved_for_the_largest_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reserved = []
    monkeypatch.setattr(
        Plugins,
        "instantiate_launcher",
        lambda plugins, context, task, config: reserved.append(config.threads) or NoLauncher(),
    )
    monkeypatch.chdir(tmp_path)
    sweep = compose_sweep(["threads=1,2", "-m", BASIC])
    launch(sweep, lambda config: None)
    assert reserved == [2]


class NoLauncher:
    def launch(self, overrides: list[list[str]], initial_job_idx: int) -> list[object]:
        return []


def test_what_a_run_raises_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: DictConfig) -> None:
        raise ZeroDivisionError

    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZeroDivisionError):
        launch(compose_sweep(["seed=0,1", "-m", BASIC]), fail)


def test_a_home_in_quotes_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (run,) = compose_sweep(['results="~/out"']).runs
    assert run.results == str(tmp_path / "out")


def test_a_config_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "päth, it's [1]=2" / "arch"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "_target_: architectures.rnn.RNN\ntune: {learning_rate: 0.01}\n"
    )
    (run,) = compose_sweep(["--config-dir", str(folder.parent), "arch=mine"]).runs
    assert run.names["arch"] == "mine"
