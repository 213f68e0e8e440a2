"""What is exported for a tracker is what the tracker reads back, without a network."""

import importlib.util
import json
from pathlib import Path

import pytest

from bench import export
from bench.execution import tracked
from tests import fake_records
from tests.execution.test_huggingface_format import made_run

CURVE = [{"step": 1, "nats": 5.5, "seconds": 0.1}, {"step": 2, "nats": 5.25, "seconds": 0.2}]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = made_run(tmp_path / "suite", "bigram")
    (folder / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CURVE))
    fake_records.seal(folder)
    return folder


def exported(package: str, run: Path, into: Path) -> Path:
    pytest.importorskip(package)
    assert export.main([str(run), f"to={package}", f"into={into}", "license=mit"]) == 0
    return into


def test_tensorboard_reads_curve_and_scores(run: Path, tmp_path: Path) -> None:
    into = exported("tensorboard", run, tmp_path / "out")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(into / run.name))
    events.Reload()
    rows = [(one.step, one.value) for one in events.Scalars("curve/nats")]
    assert rows == [(1, 5.5), (2, 5.25)]
    assert [one.value for one in events.Scalars("score/bits_per_byte")] == [2.125]


def test_mlflow_reads_curve_scores_and_configuration(run: Path, tmp_path: Path) -> None:
    into = exported("mlflow", run, tmp_path / "out")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{into / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("architecture-bench")
    assert experiment is not None
    (read,) = client.search_runs([experiment.experiment_id])
    assert read.info.run_name == run.name
    assert read.data.metrics["score/bits_per_byte"] == 2.125
    assert read.data.params["size.context"] == "16"
    assert "license: mit" in read.data.tags["mlflow.note.content"]
    history = client.get_metric_history(read.info.run_id, "curve/nats")
    assert [(one.step, one.value) for one in history] == [(1, 5.5), (2, 5.25)]


@pytest.mark.slow  # it starts a service of its own
def test_wandb_keeps_an_offline_run(run: Path, tmp_path: Path) -> None:
    into = exported("wandb", run, tmp_path / "out")
    (log,) = into.glob("wandb/offline-run-*/*.wandb")
    content = log.read_bytes()
    for name in (b"score/bits_per_byte", b"curve/nats", b"size.context", run.name.encode()):
        assert name in content


def test_a_tracker_that_is_not_installed_is_named(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracked, "find_spec", lambda name: None)
    assert export.main([str(run), "to=wandb"]) == 2
    error = capsys.readouterr().err
    assert "architecture-bench[wandb]" in error
    assert "[missing-package]" in error
    assert importlib.util.find_spec("json")
