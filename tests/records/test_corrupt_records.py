"""A corrupt record does not count and is named with the reason; the others keep their numbers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from bench import reporting
from bench.analysis.build import build
from bench.execution import outcome
from bench.execution.reference_lines import has_score
from bench.records import loading, store
from bench.records.tables import read_records
from tests import fake_records

pytestmark = pytest.mark.xdist_group("damage")  # one report for all

Damage = Callable[[Path], object]
INTACT, CORRUPT, PARTIAL = "gru", "lstm", "decoder"  # architectures, by what happens to their runs


def content(name: str, value: Any) -> Damage:
    return lambda folder: (folder / name).write_text(
        value if isinstance(value, str) else json.dumps(value)
    )


def raw(name: str, value: bytes = b"\xff\xfe\x80 corrupt") -> Damage:
    return lambda folder: (folder / name).write_bytes(value)


def key(name: str, **changes: Any) -> Damage:
    """Change keys of a JSON file; `...` removes one."""

    def damage(folder: Path) -> None:
        tree = store.read_json(folder / name) | changes
        (folder / name).write_text(
            json.dumps({key: value for key, value in tree.items() if value is not ...})
        )

    return damage


def metric(name: str, **changes: Any) -> Damage:
    """Change keys of one metric of a run; without changes, remove it."""

    def damage(folder: Path) -> None:
        tree = store.read_json(folder / "result.json")
        others = [one for one in tree["metrics"] if one["name"] != name]
        (one,) = (one for one in tree["metrics"] if one["name"] == name)
        kept = {key: value for key, value in (one | changes).items() if value is not ...}
        (folder / "result.json").write_text(
            json.dumps(tree | {"metrics": [*others, *([kept] if changes else [])]})
        )

    return damage


def words(name: str, old: str, new: str) -> Damage:
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new))


def older(damage: Damage) -> Damage:
    """Damage a record of a version that kept no digests of files."""

    def without_digests(folder: Path) -> None:
        key("result.json", files=...)(folder)
        damage(folder)

    return without_digests


# its scores are missing or invalid: the record does not count
LOST: dict[str, tuple[Damage, str]] = {
    "a result that is a list": (content("result.json", [1, 2]), "result.json: it is [1, 2]"),
    "a result that is a string": (content("result.json", '"done"'), "result.json: it is 'done'"),
    "a result that is empty": (content("result.json", {}), "result.json: schema is missing"),
    "a result of another schema": (key("result.json", schema=2), "schema is 2"),
    "a result of no schema": (key("result.json", schema=...), "schema is missing"),
    "an unknown status": (key("result.json", status="cooked"), "status is 'cooked'"),
    "no status": (key("result.json", status=...), "status is missing"),
    "facts that are a list": (key("result.json", facts=[]), "facts is []"),
    "a reason that is a number": (key("result.json", reason=3), "reason is 3"),
    "metrics that are a string": (key("result.json", metrics="x"), "metrics is 'x'"),
    "no metrics at all": (key("result.json", metrics=[]), "has no bits_per_byte"),
    "metrics of strings": (key("result.json", metrics=["x"]), "a metric: it is 'x'"),
    "a metric without values": (metric("perplexity", values=...), "values is missing"),
    "a metric whose values are a number": (metric("bits_per_byte", values=1.5), "values is 1.5"),
    "a metric whose values are a string": (
        metric("bits_per_byte", values="3.5"),
        "values is '3.5'",
    ),
    "a metric that holds strings": (metric("perplexity", values=["3.5"]), "'perplexity' holds"),
    "a place that is no number": (metric("perplexity", at={"length": "far"}), "'perplexity' holds"),
    "a score that is missing": (metric("bits_per_byte"), "has no bits_per_byte"),
    "a score without a value": (metric("bits_per_byte", values=[]), "has no bits_per_byte"),
    "a score that is no number": (
        metric("bits_per_byte", values=[float("nan")]),
        "bits_per_byte is nan",
    ),
    "an infinite score": (metric("bits_per_byte", values=[float("inf")]), "bits_per_byte is inf"),
    "a score that is a string": (metric("bits_per_byte", values=["1.7"]), "'bits_per_byte' holds"),
    "a broken configuration": (content("config.yaml", "{: : ]["), "config.yaml: it cannot be read"),
    "a configuration that is no text": (raw("config.yaml"), "config.yaml: it cannot be read"),
    "a configuration without names": (
        words("config.yaml", "names:", "nomes:"),
        "names.arch is missing",
    ),
    "a configuration with empty names": (
        content("config.yaml", "names: {}\narch: {}\n"),
        "names.arch is missing",
    ),
    "a configuration with a seed in words": (
        words("config.yaml", "\nseed: ", "\nseed: s"),
        "seed is 's",
    ),
    "no configuration": (
        lambda folder: (folder / "config.yaml").unlink(),
        "config.yaml is missing",
    ),
    "an attempt in letters": (
        key("provenance.json", attempt="x"),
        "provenance.json: attempt is 'x'",
    ),
    "provenance that is a list": (content("provenance.json", []), "provenance.json: it is []"),
    "provenance that is no text": (raw("provenance.json"), "provenance.json: it cannot be read"),
    "no provenance": (
        lambda folder: (folder / "provenance.json").unlink(),
        "provenance.json is missing",
    ),
    "a text that is not named": (key("provenance.json", digests={}), "digests.data is missing"),
}

# another file is corrupt: its scores count
LESS: dict[str, tuple[Damage, str]] = {
    "a sample that is no text": (raw("text.txt"), "text.txt is left out"),
    "an environment that is a list": (
        content("environment.json", [1]),
        "environment.json is left out",
    ),
    "a curve that was changed": (words("curve.jsonl", "0", "1"), "curve.jsonl is left out (it"),
    "a curve that is no text": (older(raw("curve.jsonl")), "1 line is left out of curve.jsonl"),
    "a curve with lines that are no steps": (
        older(
            content("curve.jsonl", '[1]\n{"step": 1, "tokens": 9, "nats": 2.0}\n{"step": "x"}\n7\n')
        ),
        "3 lines are left out of curve.jsonl",
    ),
    "saliency of a list": (content("saliency.json", []), "saliency.json is left out (it is []"),
    "saliency without numbers": (
        content(
            "saliency.json",
            {
                "schema": 1,
                "reason": "",
                "part": "test",
                "context": 8,
                "distances": [[0, 0], [1, 7]],
                "shares": [[0.5, None]],
                "passages": [],
                "seconds": 0.1,
            },
        ),
        "saliency.json is left out (shares",
    ),
    "documents that are no table": (raw("documents.parquet"), "documents.parquet is left out"),
    "documents without nats": (
        lambda folder: pd.DataFrame({"document": [1]}).to_parquet(folder / "documents.parquet"),
        "documents.parquet is left out",
    ),
    "documents in words": (
        lambda folder: pd.DataFrame(
            {"document": ["a"], "bytes": ["b"], "tokens": [1], "nats": ["x"]}
        ).to_parquet(folder / "documents.parquet"),
        "documents.parquet is left out",
    ),
    "another scoring that is a list": (
        content("evaluations/stride-12345678/result.json", [1]),
        "stride-12345678/result.json",
    ),
}

MEASURED = {  # by architecture: which file, what stands in it, and the reason
    "one": ("result.json", "{}", "schema is missing"),
    "two": ("result.json", "[]", "it is []"),
    "three": ("result.json", "no json", "it cannot be read"),
    "four": ("subject.json", "[]", "subject.json: it is []"),
    "five": ("subject.json", "{}", "machine is missing"),
}
INVALID = ("[]", "{}", '{"lines": [{}]}', "no json")
COPIES = ("{}.bak", "{} (copy)", "old-{}", "z" * 60)


class ReportText(NamedTuple):
    """The texts of a report."""

    root: Path
    numbers: pd.DataFrame
    failures: str  # of the page
    text: str  # of the terminal

    def line(self, name: str) -> str:
        """Return the terminal's one line about a record, which the page names too."""
        (line,) = (
            line for line in self.text.splitlines() if f": {name}: " in line
        )  # status: name: reason
        assert name in self.failures
        return line


def make_texts(root: Path) -> ReportText:
    page, text = reporting.make_report(root)
    html = page.read_text(encoding="utf-8")
    failures = html[html.index("Without a result") :]
    return ReportText(root, pd.read_csv(page.parent / "runs.csv"), failures, text)


def summary(root: Path) -> pd.DataFrame:
    return build(read_records(root)).variants.summary.set_index("arch")


def write_partial(root: Path, number: int) -> Path:
    """Write a run of which a file other than the result is going to be corrupted."""
    folder = fake_records.write_run(root, PARTIAL, 10 + number)
    again = folder / "evaluations" / "stride-12345678"
    again.mkdir(parents=True)
    shutil.copy(folder / "result.json", again)
    return folder


def write_good(root: Path) -> list[Path]:
    """Write an intact suite; return the runs whose other files are going to be corrupted."""
    for arch in (INTACT, CORRUPT, PARTIAL):
        for seed in range(2):
            fake_records.write_run(root, arch, seed)
        fake_records.write_measure(root, arch, rounds=6)
    fake_records.write_measure(root, INTACT, rounds=6, twin=True)
    fake_records.write_references(root)
    return [write_partial(root, number) for number in range(len(LESS))]


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> ReportText:
    """The same suite with every damage of this module."""
    root = tmp_path_factory.mktemp("bad") / "suite"
    for folder, (damage, _) in zip(write_good(root), LESS.values(), strict=True):
        damage(folder)
    for number, (damage, _) in enumerate(LOST.values()):
        damage(fake_records.write_run(root, CORRUPT, 10 + number))
    for name, (file, value, _) in MEASURED.items():
        (fake_records.write_measure(root, name, rounds=6) / file).write_text(value)
    for number, value in enumerate(INVALID):
        for place in ("references", "tune/searches"):
            (root / place).mkdir(parents=True, exist_ok=True)
            (root / place / f"corrupt-{number}.json").write_text(value)
    first, second = (next(root.glob(f"runs/{INTACT}-*-s{seed}-*")) for seed in range(2))
    for name in COPIES:
        shutil.copytree(first, first.with_name(name.format(first.name)))
    fake_records.write_run(
        root, INTACT, 1, "failed", "out of memory", folder=second.with_name(f"{second.name}-a2")
    )
    fake_records.write_run(
        root, INTACT, 1, "unfinished", folder=second.with_name(f"{second.name}-a3")
    )
    return make_texts(root)


def test_intact_records_keep_their_numbers(tmp_path: Path, bad: ReportText) -> None:
    write_good(tmp_path / "suite")
    good, found = summary(tmp_path / "suite"), summary(bad.root)
    pd.testing.assert_frame_equal(found.loc[[INTACT]], good.loc[[INTACT]], check_dtype=False)
    kept = ["seeds", "bits_per_byte", "perplexity", "parameters", "train_tokens_per_second"]
    pd.testing.assert_frame_equal(
        found.loc[[CORRUPT, PARTIAL], kept], good.loc[[CORRUPT, PARTIAL], kept]
    )
    assert found.loc[CORRUPT, "seeds_asked"] > 2 == found.loc[CORRUPT, "seeds"]
    assert "seed 10 unreadable: result.json: it is [1, 2]" in found.loc[CORRUPT, "reason"]
    assert bad.numbers[bad.numbers["status"] == "unreadable"]["value"].isna().all()


@pytest.mark.parametrize("name", LOST)
def test_a_corrupt_record_does_not_count_and_is_named(name: str, bad: ReportText) -> None:
    (folder,) = bad.root.glob(f"runs/{CORRUPT}-*-s{10 + list(LOST).index(name)}-*")
    line = bad.line(folder.name)
    assert line.startswith("unreadable: ")
    assert LOST[name][1] in line
    (row,) = bad.numbers[bad.numbers["run"] == folder.name].itertuples()
    assert LOST[name][1] in row.reason
    assert pd.isna(row.value)


@pytest.mark.parametrize("name", LESS)
def test_a_corrupt_file_other_than_the_result_is_left_out_alone(name: str, bad: ReportText) -> None:
    (folder,) = bad.root.glob(f"runs/{PARTIAL}-*-s{10 + list(LESS).index(name)}-*")
    line = bad.line(folder.name)
    assert line.startswith("damaged: ")
    assert LESS[name][1] in line
    assert store.run_status(folder) == "done"


@pytest.mark.parametrize("name", MEASURED)
def test_a_corrupt_measurement_is_named(name: str, bad: ReportText) -> None:
    line = bad.line(f"measurement of {name}")
    assert line.startswith("unreadable: ")
    assert MEASURED[name][2] in line
    assert f"measurement of {name} on machine 0a1b2c3d" in bad.failures


@pytest.mark.parametrize("number", range(len(INVALID)))
def test_corrupt_baselines_and_searches_are_named(number: int, bad: ReportText) -> None:
    for place in ("references", "tune/searches"):
        assert bad.line(f"{place}/corrupt-{number}.json").startswith("unreadable: ")


@pytest.mark.parametrize("name", LOST)
def test_a_corrupt_record_is_repeated_beside_it(name: str, tmp_path: Path) -> None:
    root = tmp_path / "suite"
    folder, asked = (
        fake_records.write_run(root, CORRUPT, 2),
        fake_records.make_run(root, CORRUPT, 2),
    )
    assert store.select_folder(asked) == (folder, False)
    LOST[name][0](folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert store.run_status(folder) == "unreadable"
    assert store.select_folder(asked) == (folder.with_name(f"{folder.name}-a2"), True)
    assert not has_score(folder)
    outcome.raise_if_not_started(folder)
    assert outcome.status_line(folder).startswith("unreadable: ")
    written = fake_records.write_run(root, CORRUPT, 2, folder=folder.with_name(f"{folder.name}-a2"))
    records = read_records(root)
    assert records.runs[["run", "status"]].to_numpy().tolist() == [[written.name, "done"]]
    assert records.excluded.empty
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


# --- attempts and copies -------------------------------------------------------------------------


@pytest.mark.parametrize("name", COPIES)
def test_a_copied_folder_is_not_another_seed(name: str, bad: ReportText) -> None:
    (folder,) = bad.root.glob(f"runs/{INTACT}-*-s0-????????")
    assert bad.line(name.format(folder.name)).startswith("copy: ")
    assert f"the same run as {folder.name}" in bad.line(name.format(folder.name))


def test_a_finished_attempt_counts_before_later_unfinished_ones(bad: ReportText) -> None:
    (folder,) = bad.root.glob(f"runs/{INTACT}-*-s1-????????")
    failed, unfinished = (bad.line(f"{folder.name}-a{number}") for number in (2, 3))
    assert (
        failed == f"failed: {folder.name}-a2: out of memory; "
        f"{folder.name}, which is done, counts in its place"
    )
    assert unfinished.startswith("unfinished: ")


def test_the_last_attempt_counts_where_none_is_done(tmp_path: Path) -> None:
    folder = fake_records.write_run(tmp_path, CORRUPT, 0, "failed", "first")
    fake_records.write_run(
        tmp_path, CORRUPT, 0, "failed", "second", folder=folder.with_name(f"{folder.name}-a2")
    )
    records = read_records(tmp_path)
    assert records.runs["reason"].tolist() == ["second"]
    assert records.excluded.empty


def test_a_run_without_provenance_has_the_label_of_its_variant(tmp_path: Path) -> None:
    for seed in range(2):
        folder = fake_records.write_run(tmp_path, CORRUPT, seed)
        for name in ("provenance.json", "result.json") if seed else ():
            (folder / name).unlink()
    runs = read_records(tmp_path).runs
    assert runs["status"].tolist() == ["done", "unfinished"]
    assert runs["variant"].nunique() == 1
    assert set(runs["label"]) == {CORRUPT}


# --- resuming ------------------------------------------------------------------------------------


def test_a_run_resumes_whatever_its_folder_holds(tmp_path: Path) -> None:
    asked = fake_records.make_run(tmp_path / "suite", CORRUPT, 0)
    folder, _ = store.select_folder(asked)
    store.create_record(folder, asked, {}, {})
    for name, value in (
        ("provenance.json", b"[]"),
        ("config.yaml", b"\xff"),
        ("curve.jsonl", b'[1]\n\xff\n{"step": 2}\n{"st'),
    ):
        (folder / name).write_bytes(value)
    assert store.select_folder(asked) == (folder, True)
    store.create_record(folder, asked, {}, {})
    store.add_provenance(folder, {"data": "d"}, {})
    assert store.read_curve(folder) == [{"step": 2}]
    assert loading.load_record(folder).reason == ""


def test_windows_have_fractional_bytes(tmp_path: Path) -> None:
    """The bytes of a window are its tokens times the bytes per token of the whole part."""
    folder = fake_records.write_run(tmp_path, "lstm", 0)
    windows = pd.DataFrame(
        {"window": [1, 65], "tokens": [63, 63], "bytes": [62.754, 62.754], "nats": [90.5, 91.5]}
    )
    store.write_parquet(folder / "windows.parquet", windows)
    found = read_records(tmp_path)
    assert found.excluded.empty
    assert found.windows["bytes"].tolist() == [62.754, 62.754]
