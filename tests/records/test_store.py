"""Records are written whole, read back as written, and repeated where that was asked for."""

import dataclasses
from pathlib import Path

import pytest

from bench.config.errors import UserError
from bench.config.identity import run_name
from bench.config.schema import Run, TrainConfig
from bench.records import store
from bench.records.metrics import metric
from bench.records.tables import read_records
from bench.system import files


def make_run(results: Path, **changes: object) -> Run:
    arch = {"_target_": "module.Class", "layers": 2, "family": "f", "tune": {"learning_rate": 0.01}}
    names = {"arch": "mine", "data": "text", "size": "small", "objective": "auto"}
    return dataclasses.replace(Run(arch=arch, names=names, results=str(results)), **changes)  # type: ignore[arg-type]


def write(run: Run, status: str = "done", value: float = 1.5, **facts: object) -> Path:
    folder, _ = store.select_folder(run)
    store.create_record(
        folder, run, {"machine": "m"}, {"digests": {"source": "s"}, "rerun": "again"}
    )
    store.add_provenance(folder, {"data": "d", "order": "o"}, {"bytes": 3})
    store.append_curve(folder, {"step": 2, "tokens": 20, "nats": 3.0, "seconds": 0.1})
    metrics = [metric("bits_per_byte", value)]
    store.write_result(folder, status, "because" if status != "done" else "", metrics, facts)
    return folder


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write(make_run(tmp_path), protocol="chunk(8)", objective="causal", part="test")
    records = read_records(tmp_path / "single")
    row = records.runs.iloc[0]
    values = row[["arch", "status", "data_digest", "order_digest", "protocol"]].tolist()
    assert values == ["mine", "done", "d", "o", "chunk(8)"]
    assert records.values.iloc[0][["metric", "unit", "better", "value"]].tolist() == [
        "bits_per_byte",
        "bits/byte",
        "lower",
        1.5,
    ]
    assert records.curves.iloc[0][["step", "tokens", "nats"]].tolist() == [2, 20, 3.0]


def test_a_record_without_a_result_file_is_unfinished(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    folder = tmp_path / "single" / "runs" / run_name(run)
    assert store.run_status(folder) == "absent"
    store.create_record(folder, run, {}, {})
    assert store.run_status(folder) == "unfinished"
    assert store.select_folder(run) == (folder, True)
    assert read_records(tmp_path / "single").runs["status"].tolist() == ["unfinished"]
    (folder / "result.json").write_text('{"status": "do')  # it is written whole or not at all
    assert store.run_status(folder) == "unreadable"
    assert store.select_folder(run) == (folder.with_name(f"{folder.name}-a2"), True)


@pytest.mark.parametrize(
    ("status", "again", "runs"),
    [
        ("done", "none", False),
        ("done", "failed", False),
        ("done", "all", True),
        ("skipped", "failed", False),
        ("failed", "none", False),
        ("failed", "failed", True),
        ("skipped", "all", True),
    ],
)
def test_which_runs_are_repeated(tmp_path: Path, status: str, again: str, runs: bool) -> None:
    first = write(make_run(tmp_path), status)
    folder, needed = store.select_folder(make_run(tmp_path, again=again))
    assert needed is runs
    assert folder == (first.with_name(first.name + "-a2") if runs else first)


def test_a_run_that_could_not_start_uses_its_folder_again(tmp_path: Path) -> None:
    first = write(make_run(tmp_path), "failed", started=False)
    assert store.select_folder(make_run(tmp_path)) == (first, True)


def test_the_last_attempt_counts(tmp_path: Path) -> None:
    write(make_run(tmp_path), "failed")
    write(make_run(tmp_path, again="all"), value=2.5)
    write(make_run(tmp_path, again="all"), value=3.5)
    records = read_records(tmp_path / "single")
    assert records.values["value"].tolist() == [3.5]
    assert len(list((tmp_path / "single" / "runs").iterdir())) == 3


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    store.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        store.write_json(path, {("a", "b"): 2})  # a key that is none
    assert store.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_labels_distinguish_the_variants_of_an_architecture(tmp_path: Path) -> None:
    write(make_run(tmp_path))
    write(make_run(tmp_path, seed=1))
    write(make_run(tmp_path, arch={**make_run(tmp_path).arch, "layers": 3}))
    write(
        make_run(
            tmp_path,
            train=TrainConfig(steps=7),
            names={**make_run(tmp_path).names, "arch": "other"},
        )
    )
    labels = read_records(tmp_path / "single").runs["label"].tolist()
    assert sorted(labels) == ["mine (layers=2)", "mine (layers=2)", "mine (layers=3)", "other"]


def test_a_folder_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError):
        files.check_writable(tmp_path / "file" / "results")


def test_reading_writes_nothing_and_skips_what_is_broken(tmp_path: Path) -> None:
    folder = write(make_run(tmp_path))
    broken = folder.with_name("broken")
    broken.mkdir()
    (broken / "config.yaml").write_text("{: : ][")
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*"))
    assert len(read_records(tmp_path / "single").runs) == 1
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*")) == before


def test_an_empty_folder_gives_empty_tables(tmp_path: Path) -> None:
    records = read_records(tmp_path)
    assert records.runs.empty
    assert records.measures.empty
    assert "label" in records.curves.columns
