"""What one session of several backbones writes, and when another session is needed."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.config import plugins
from bench.config.identity import workload_id
from bench.performance import needs_measuring, run_session
from bench.performance.memory import MEMORY_KINDS
from bench.performance.session import compiles_decoding
from bench.records import source, store
from bench.records.tables import read_records
from tests.performance import fake_backbones
from tests.performance.conftest import OPTIONS, make_run

pytestmark = pytest.mark.xdist_group("session")  # they share one session

RATES = (
    "train_tokens_per_second",
    "train_tokens_per_cpu_second",
    "prefill_tokens_per_second",
    "decode_tokens_per_second",
)
BACKBONES = ("Sum", "Short", "Encoder", "Greedy", "Hangs", "Dies")
Metrics = dict[str, list[dict]]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a suite with one session of every backbone."""
    suite = tmp_path_factory.mktemp("results") / "suite"
    runs = [make_run(backbone) for backbone in BACKBONES]
    folder = run_session([*runs, runs[0]], {workload_id(r): 30 for r in runs}, suite, OPTIONS)
    assert folder is not None
    assert folder.parent == suite / "measure"
    return suite


def read_result(suite: Path, backbone: str, duplicate: bool = False) -> tuple[dict, Metrics]:
    """Return a backbone's result, and its metrics by name."""
    name = f"{backbone.lower()}-{workload_id(make_run(backbone))}" + "-again" * duplicate
    (path,) = suite.glob(f"measure/*/{name}/result.json")
    result = store.read_json(path)
    metrics: Metrics = {}
    for metric in result["metrics"]:
        metrics.setdefault(metric["name"], []).append(metric)
    return result, metrics


def by_length(metrics: list[dict]) -> dict[float, dict]:
    return {m["at"]["length"]: m for m in metrics if "length" in m["at"]}


def width_of(suite: Path) -> int:
    return store.read_json(next(suite.glob("measure/*/sum-*/subject.json")))["width"]


@pytest.mark.parametrize("duplicate", [False, True])
def test_rates_have_samples_units_and_rounds(suite: Path, duplicate: bool) -> None:
    result, metrics = read_result(suite, "Sum", duplicate)
    assert (result["status"], result["reason"]) == ("done", "")
    for name in RATES:
        (metric,) = (metric for metric in metrics[name] if not metric["at"])
        assert metric["rounds"] == [0, 1, 2, 3, 4], name
        assert len(metric["values"]) == 5, name
        assert min(metric["values"]) > 0
        assert metric["better"] == "higher"
    assert metrics["train_tokens_per_second"][0]["unit"] == "tokens/s"
    assert metrics["train_tokens_per_cpu_second"][0]["unit"] == "tokens/CPU s"
    width = width_of(suite)
    assert metrics["flops_per_token"][0]["values"] == [2.0 * width**2 + 2 * width * 30]
    assert metrics["parameters"][0]["values"][0] <= 3000


def test_step_details_larger_batches_and_memory_are_recorded(suite: Path) -> None:
    _, metrics = read_result(suite, "Sum")
    phases = [f"{phase}_seconds" for phase in ("forward", "backward", "optimizer")]
    for name in (*phases, "product_flops_per_second", "copy_bytes_per_second"):
        (metric,) = metrics[name]
        assert metric["rounds"] == [0, 1], name
        assert min(metric["values"]) > 0
    assert {m["at"].get("batch") for m in metrics["decode_tokens_per_second"]} == {None, 3}
    first_token = (m["at"] for m in metrics["first_token_seconds"] if "length" not in m["at"])
    assert {at.get("batch") for at in first_token} == {None, 3}
    # four times the training batch
    assert 16 in {m["at"].get("batch") for m in metrics["train_tokens_per_second"]}
    assert metrics["first_step_seconds"][0]["values"][0] > 0
    peak = metrics["peak_train_memory_bytes"][0]["values"][0]
    assert peak == sum(metrics[f"memory_{kind}_bytes"][0]["values"][0] for kind in MEMORY_KINDS)
    (joules,) = metrics["train_joules_per_token"]
    assert joules["values"] or joules["note"].startswith("not available")


def test_curves_have_a_point_at_each_length(suite: Path) -> None:
    _, metrics = read_result(suite, "Sum")
    for name in ("train_tokens_per_second", "first_token_seconds", "decode_seconds_per_token"):
        curve = by_length(metrics[name])
        assert set(curve) == {4, 16, 24, 32}, name
        assert all(metric["rounds"] == [0, 1] for metric in curve.values())
    states = {m["at"].get("length"): m["values"] for m in metrics["state_bytes"]}
    assert all(states[n] == [4.0 * width_of(suite)] for n in (None, 4, 16, 24, 32))


def test_the_first_entry_has_a_duplicate(suite: Path) -> None:
    (folder,) = suite.glob("measure/*/*-again")
    subject = store.read_json(folder / "subject.json")
    assert subject["twin"]
    assert subject["arch"] == "sum"
    assert subject["options"]["rounds"] == 5
    assert subject["environment"]["openmp_wait_policy"] == "PASSIVE"
    assert subject["environment"]["torch_threads"] == 1
    # the duplicate serves ratios of rates alone
    assert "product_flops_per_second" not in read_result(suite, "Sum", duplicate=True)[1]
    assert (folder.parent / "doctor.json").is_file()


def test_an_encoder_has_a_reason_in_place_of_decoding(suite: Path) -> None:
    result, metrics = read_result(suite, "Encoder")
    assert result["status"] == "done"
    assert metrics["train_tokens_per_second"][0]["values"]
    for name in (
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
        "decode_seconds_per_token",
        "state_bytes",
    ):
        for metric in metrics[name]:
            assert (metric["values"], metric["note"]) == ([], "an encoder keeps no state"), name


def test_a_failure_in_decoding_leaves_the_rest(suite: Path) -> None:
    result, metrics = read_result(suite, "Short")
    assert result["status"] == "done"
    assert metrics["prefill_tokens_per_second"][0]["values"]
    assert metrics["decode_tokens_per_second"][0]["note"] == "RuntimeError: no single tokens"
    trained = by_length(metrics["train_tokens_per_second"])
    assert trained[16]["values"]
    assert "no further than 16 tokens" in trained[24]["note"]
    decoded = by_length(metrics["decode_seconds_per_token"])
    assert not decoded[16]["values"]
    assert "no single tokens" in decoded[16]["note"]


def test_a_death_at_one_length_leaves_the_rest(suite: Path) -> None:
    result, metrics = read_result(suite, "Greedy")
    assert result["status"] == "done"
    assert metrics["train_tokens_per_second"][0]["values"]
    assert metrics["peak_train_memory_bytes"][0]["values"], "measured in a fresh process"
    trained = by_length(metrics["train_tokens_per_second"])
    assert trained[16]["values"]
    assert "signal 9" in trained[24]["note"]
    assert trained[32]["note"].startswith("left out: at 24:")
    assert by_length(metrics["first_token_seconds"])[32]["values"], "only training was killed"


@pytest.mark.parametrize(
    ("backbone", "details"),
    [("Hangs", ("train:", "12 s")), ("Dies", ("train:", "exit code 7", "the last words"))],
)
def test_a_failed_entry_is_recorded(suite: Path, backbone: str, details: tuple[str, ...]) -> None:
    result, metrics = read_result(suite, backbone)
    assert result["status"] == "failed"
    assert all(detail in result["reason"] for detail in details)
    assert metrics == {}


def test_the_records_are_read_as_a_table(suite: Path) -> None:
    table = read_records(suite).measures
    rates = table[
        (table["metric"] == "train_tokens_per_second")
        & (table["arch"] == "sum")
        & ~table["at"].astype(bool)
    ]
    assert sorted(rates["round"]) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert set(rates["twin"]) == {False, True}


@pytest.mark.parametrize(
    ("backbone", "form"),
    [
        ("Sum", "eager, because compiling is not repaid"),
        ("Encoder", "none, because an encoder"),
    ],
)
def test_the_forms_of_decoding_are_recorded(suite: Path, backbone: str, form: str) -> None:
    name = f"{backbone.lower()}-{workload_id(make_run(backbone))}"
    (path,) = suite.glob(f"measure/*/{name}/subject.json")
    assert store.read_json(path)["decode"].startswith(form)


def test_the_compiled_step_is_measured_where_it_is_asked_for() -> None:
    run = make_run("Sum")
    assert not compiles_decoding(run, OPTIONS)
    assert compiles_decoding(run, replace(OPTIONS, depth="full"))
    assert not compiles_decoding(replace(run, decode="eager"), replace(OPTIONS, depth="full"))
    assert compiles_decoding(replace(run, decode="compiled"), OPTIONS)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_both_forms_are_measured_in_the_same_rounds(tmp_path: Path) -> None:
    """What cannot be compiled is measured as it is, and says why."""
    options = replace(OPTIONS, lengths=[], batches=[], side_rounds=0, limit_seconds=120.0)
    runs = [make_run(name, decode="compiled") for name in ("Sum", "Branches")]
    for run in runs:
        run.data.cache = str(tmp_path / "cache")
    folder = run_session(runs, {workload_id(run): 30 for run in runs}, tmp_path, options)
    assert folder is not None
    assert needs_measuring([make_run("Sum")], tmp_path, options)
    result, metrics = read_result(tmp_path, "Sum")
    eager, compiled = (metrics[f"decode_{form}tokens_per_second"][0] for form in ("", "compiled_"))
    assert result["status"] == "done"
    assert eager["rounds"] == compiled["rounds"] == [0, 1, 2, 3, 4]
    assert min(compiled["values"]) > 0
    forms = {
        path.parent.name.partition("-")[0]: store.read_json(path)["decode"]
        for path in folder.glob("*/subject.json")
    }
    assert forms["sum"] == "eager and compiled"
    assert forms["branches"].startswith("eager, because it cannot be exported: ")
    assert read_result(tmp_path, "Branches")[0]["status"] == "done"


# --- when another session is needed ---------------------------------------------------------------


def test_measuring_is_needed_unless_one_session_holds_all(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = [make_run("Sum"), make_run("Encoder")]
    assert not needs_measuring(done, suite, OPTIONS)
    same, other = ({workload_id(run): size for run in done} for size in (30, 31))
    assert not needs_measuring(done, suite, OPTIONS, same)
    assert needs_measuring(done, suite, OPTIONS, other)
    assert needs_measuring(done, suite, replace(OPTIONS, rounds=6))
    assert needs_measuring([replace(done[0], threads=2)], suite, OPTIONS)
    assert needs_measuring([*done, make_run("Hangs")], suite, OPTIONS)
    assert needs_measuring(done, tmp_path, OPTIONS)
    assert not needs_measuring(done, tmp_path, replace(OPTIONS, depth="off"))
    monkeypatch.setattr("bench.system.host.machine_digest", lambda: "another1")
    assert needs_measuring(done, suite, OPTIONS)


def test_measuring_is_needed_when_a_source_has_changed(
    suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = make_run("Sum").arch["_target_"]
    assert plugins.find_module_file(target) == Path(fake_backbones.__file__)
    monkeypatch.setattr(source, "find_module_file", lambda target: None)  # as other content
    assert needs_measuring([make_run("Sum")], suite, OPTIONS)
