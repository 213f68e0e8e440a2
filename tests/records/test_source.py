"""A changed byte in a module that decides weights or scores marks runs stale and refuses to resume.

changed byte in a module that decides weights or scores marks runs stale and refuses to resume.
"""

import shutil
import sys
from pathlib import Path

import pytest
import torch

from bench.records import source, store
from bench.records.metrics import metric
from bench.records.tables import read_records
from bench.training import checkpoint
from tests import fake_records

PLUG_IN = "my_package.my_module.Model"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, with the package of a plug-in beside it."""
    root = tmp_path_factory.mktemp("tree")
    for name in ("bench", "architectures"):
        shutil.copytree(
            source.ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    (root / "my_package").mkdir()
    for name in ("__init__", "my_module", "other"):
        (root / "my_package" / f"{name}.py").write_text("")
    return root


@pytest.fixture(autouse=True)
def in_tree(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "ROOT", tree)
    monkeypatch.syspath_prepend(str(tree))
    sys.modules.pop("my_package", None)


def modules(tree: Path) -> list[Path]:
    folders = [tree / "architectures", *(tree / "bench" / name for name in source.TRAINING)]
    return [path for folder in folders for path in folder.rglob("*.py")]


def test_the_digest_covers_each_module_that_decides_weights_or_scores(tree: Path) -> None:
    before = source.training_source(PLUG_IN)
    names = {path.stem for path in modules(tree)}
    assert names >= {"optimizer", "cross_entropy", "distributed", "compilation", "sizing", "rnn"}
    for path in [*modules(tree), tree / "my_package" / "my_module.py"]:
        content = path.read_bytes()
        path.write_bytes(content + b"#")
        assert source.training_source(PLUG_IN) != before, path
        path.write_bytes(content)
    assert source.training_source(PLUG_IN) == before


@pytest.mark.parametrize("name", ["bench/reporting/page.py", "bench/run.py", "my_package/other.py"])
def test_the_digest_does_not_cover_what_decides_neither(tree: Path, name: str) -> None:
    before = source.training_source(PLUG_IN)
    with open(tree / name, "a", encoding="utf-8") as file:
        file.write("#")
    assert source.training_source(PLUG_IN) == before


def test_a_changed_plug_in_marks_its_own_runs_stale_alone(tree: Path, tmp_path: Path) -> None:
    for arch, target in (("lstm", "architectures.rnn.RNN"), ("gru", PLUG_IN)):
        run = fake_records.make_run(tmp_path / "suite", arch)
        run.arch["_target_"] = target
        folder, _ = store.select_folder(run)
        store.create_record(folder, run, {}, {})
        store.add_provenance(folder, {"data": "d"}, {})
        store.write_result(folder, "done", metrics=[metric("bits_per_byte", 1.7)])
    assert stale(tmp_path) == {"lstm": False, "gru": False}
    (tree / "my_package" / "my_module.py").write_text("#")
    assert stale(tmp_path) == {"lstm": False, "gru": True}
    (tree / "bench" / "training" / "optimizer.py").write_text("#")
    assert stale(tmp_path) == {"lstm": True, "gru": True}


def stale(results: Path) -> dict[str, bool]:
    return read_records(results / "suite").runs.set_index("arch")["stale"].to_dict()


def test_a_changed_source_refuses_to_resume(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    state = checkpoint.TrainState(step=5)
    caplog.set_level("INFO", "bench")

    def resumed_step() -> int:
        origin = {"source": source.training_source(PLUG_IN)}
        return checkpoint.load_train_state(tmp_path, model, optimizer, origin).step

    origin = {"source": source.training_source(PLUG_IN)}
    checkpoint.save_train_state(tmp_path, state, model, optimizer, origin)
    assert resumed_step() == 5
    (tree / "bench" / "training" / "optimizer.py").write_text("##")
    assert resumed_step() == 0
    assert len(caplog.messages) == 1
    assert "source" in caplog.messages[0]
