"""The report: columns, values, intervals, escaping, and what may stand beside what."""

import ast
import base64
import hashlib
import math
import re
import resource
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import reporting
from bench.analysis import formatting
from bench.analysis.build import build
from bench.records import source
from bench.records.metrics import Metric
from bench.records.tables import read_records
from bench.reporting import summary_text
from bench.reporting.csv_export import FILES
from bench.reporting.page_data import measure_table
from bench.reporting.views import build_views
from tests import fake_records

SUMMARY = (
    "arch,variant,data,data_digest,tokenizer,size,objective,protocol,parameters,seeds,status,reason,bits_per_byte,"
    "bits_per_byte_low,bits_per_byte_high,perplexity,pseudo_perplexity,train_tokens_per_second,prefill_tokens_per_second,"
    "decode_tokens_per_second,peak_train_memory_bytes,state_bytes,train_seconds,tokens_seen"
).split(",")
RUNS = "run,arch,variant,data,size,seed,status,reason,metric,unit,better,sample,value".split(",")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic suite with its report."""
    root = fake_records.write(tmp_path_factory.mktemp("results") / "suite")
    reporting.make_report(root)[0]
    return root


@pytest.fixture(scope="module")
def page(suite: Path) -> str:
    return (suite / "report" / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def summary(suite: Path) -> pd.DataFrame:
    return pd.read_csv(suite / "report" / "summary.csv").set_index("arch")


def section(page: str, start: str, end: str) -> str:
    return page[page.index(f"<h3>{start}</h3>") : page.index(f"<h3>{end}</h3>")]


# --- files and columns ----------------------------------------------------------------------------


def test_every_stated_column_is_there_in_order(suite: Path) -> None:
    assert list(pd.read_csv(suite / "report" / "summary.csv").columns)[: len(SUMMARY)] == SUMMARY
    assert list(pd.read_csv(suite / "report" / "runs.csv").columns)[: len(RUNS)] == RUNS
    assert {"run", "step", "tokens", "nats", "validation_nats"} <= set(
        pd.read_csv(suite / "report" / "curves.csv").columns
    )


def test_a_row_a_variant_with_mean_and_counts(summary: pd.DataFrame, suite: Path) -> None:
    values = read_records(suite).values
    runs = values[values["run"].str.startswith("decoder-")]
    bits = runs.loc[runs["metric"] == "bits_per_byte", "value"].astype(float)
    nats = runs.loc[runs["metric"] == "nats_per_token", "value"].astype(float)
    row = summary.loc["decoder"]
    assert row["seeds"] == 3
    assert row["bits_per_byte"] == pytest.approx(bits.mean())
    assert row["perplexity"] == pytest.approx(math.exp(nats.mean()))
    assert row["parameters"] == 795_000
    assert row["tokens_seen"] == 1_024_000
    assert row["bits_per_byte_low"] < row["bits_per_byte"] < row["bits_per_byte_high"]


def test_speeds_are_medians_of_the_sitting_without_the_twin(summary: pd.DataFrame) -> None:
    samples = next(
        m
        for m in fake_records.speeds("decoder", 40, len("decoder"))
        if m.name == "train_tokens_per_second"
    ).values
    assert summary.loc["decoder", "train_tokens_per_second"] == pytest.approx(
        float(np.median(samples))
    )
    assert summary.loc["decoder", "state_bytes"] == 524_288
    assert math.isnan(summary.loc["encoder", "decode_tokens_per_second"])


def test_failed_and_skipped_stay_with_their_reason(summary: pd.DataFrame, page: str) -> None:
    assert summary.loc["broken", "status"] == "failed"
    assert "no width fits" in summary.loc["broken", "reason"]
    assert summary.loc["refused", "status"] == "skipped"
    assert summary.loc["lstm", "status"] == "done"
    assert "seed 3 failed: diverged at step 340" in summary.loc["lstm", "reason"]
    assert "seed 3 unfinished" in summary.loc["gru", "reason"]
    failures = page[page.index("Without a result") :]
    for words in (
        "diverged at step 340",
        "no width fits",
        "can not be trained as a causal model",
        "again=failed",
        "not finished",
    ):
        assert words in failures
    assert "the worker gave no answer for 120 s" in failures


def test_runs_csv_holds_every_number(suite: Path) -> None:
    table = pd.read_csv(suite / "report" / "runs.csv")
    assert (table["metric"] == "a_metric_from_the_future").sum() == 21
    assert (table["metric"] == "train_tokens_per_second").sum() == 40 * (7 + 3 + 1)
    failed = table[table["arch"] == "broken"]
    assert failed["metric"].isna().all()
    assert "no width fits" in str(failed["reason"].iloc[0])
    reasons = table[(table["arch"] == "encoder") & (table["metric"] == "decode_tokens_per_second")]
    assert reasons["value"].isna().all()
    assert reasons["note"].str.contains("reads both directions").all()


def test_writes_only_its_own_folder(tmp_path: Path) -> None:
    root = fake_records.write(
        tmp_path / "suite", seeds=1, archs=("lstm", "encoder", "gru", "pairs"), machines=1
    )

    def state() -> dict[str, bytes]:
        return {
            str(p): p.read_bytes()
            for p in sorted(tmp_path.rglob("*"))
            if p.is_file() and "report" not in p.parts
        }

    before = state()
    reporting.make_report(root)[0]
    first = {p.name: p.read_bytes() for p in (root / "report").iterdir()}
    assert state() == before
    assert set(first) == {*FILES, "index.html", "report.md"}
    reporting.make_report(root)[0]
    assert first == {p.name: p.read_bytes() for p in (root / "report").iterdir()}


# --- what may stand beside what -------------------------------------------------------------------


def table(page: str, name: str) -> str:
    start = page.index(f'<table class="sortable" id="{name}"')
    return page[start : page.index("</table>", start)]


def test_encoders_stand_apart(page: str) -> None:
    ranked = table(page, "comparison-1-bits_per_byte-0-table")
    apart = table(page, "comparison-1-pseudo_perplexity-0-table")
    assert "decoder" in ranked
    assert "encoder" not in ranked
    assert "encoder" in apart
    assert "decoder" not in apart
    assert "not a likelihood, and never ranked with perplexity" in page


def test_encoders_never_enter_a_figure_of_quality(suite: Path) -> None:
    parts = build(read_records(suite)).comparisons
    assert all("encoder" not in set(table["arch"]) for table in parts[0].likelihoods)
    assert [set(table["arch"]) for table in parts[0].pseudo] == [{"encoder"}]


def test_speeds_of_machines_are_never_mixed(page: str, suite: Path) -> None:
    assert "Speeds from different machines are never on one axis" in page
    analysis = build(read_records(suite))
    assert [session.machine for session in analysis.sessions] == ["0a1b2c3d", "1a1b2c3d"]
    assert set(analysis.variants.summary["machine"].dropna()) == {"0a1b2c3d"}
    (view, _) = build_views(analysis)
    largest, other = view.sessions
    assert largest.machine == "0a1b2c3d"
    measures = measure_table([view], analysis.variants.means)
    rates = measures[measures["metric"] == "train_tokens_per_second"]
    by_session = dict(iter(rates.groupby("session")["value"]))
    assert set(by_session) == {largest.name, other.name}
    assert largest.medians["train_tokens_per_second"].isin(by_session[largest.name]).sum() == 6


def test_one_machine_puts_its_speeds_into_the_table(tmp_path: Path) -> None:
    root = fake_records.write(tmp_path / "suite", seeds=2, machines=1)
    page = reporting.make_report(root)[0].read_text()
    assert "train tokens/s" in table(page, "comparison-1-bits_per_byte-0-table")
    assert "never on one axis" not in page


def test_other_text_budget_and_protocol_make_other_tables(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    for arch in ("lstm", "gru"):
        fake_records.write_run(root, arch, 0)
        fake_records.write_run(root, arch, 0, data_digest="e2e2e2e2", data="elsewhere")
        fake_records.write_run(root, arch, 0, parameters=100_000)
    page = reporting.make_report(root)[0].read_text()
    assert "The text differs" in page
    assert "The budget differs" in page
    parts = build(read_records(root)).comparisons
    assert [len(part.rows) for part in parts] == [2, 2, 2]
    assert all(list(part.rows["label"]) == ["gru", "lstm"] for part in parts)
    lights = {tuple(view.rows["light"]) for view in build_views(build(read_records(root)))}
    assert len(lights) == 1


def test_unequal_order_is_said_loudly(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    fake_records.write_run(root, "lstm", 0, order="order-a")
    fake_records.write_run(root, "gru", 0, order="order-b")
    page = reporting.make_report(root)[0].read_text()
    assert "this comparison is not fair" in page
    assert "order-a ≠ order-b" in page
    assert "WARNING" in reporting.make_report(root)[1]


def test_later_sitting_stands_over_an_earlier_one(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    for arch in ("lstm", "gru"):
        fake_records.write_run(root, arch, 0)
        fake_records.write_measure(root, arch, sitting="20260101T000000")
    rate = Metric(
        "train_tokens_per_second", "tokens/s", "higher", (5.0, 7.0, 6.0), rounds=(0, 1, 2)
    )
    fake_records.write_measure(root, "lstm", sitting="20260202T000000", metrics=[rate])
    analysis = build(read_records(root))
    assert len(analysis.sessions) == 2
    rates = analysis.variants.summary.set_index("arch")["train_tokens_per_second"]
    assert rates["lstm"] == 6.0
    assert rates["gru"] > 1000


def test_ratios_only_pair_shared_rounds(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    rounds = {
        "lstm": {0: 10.0, 1: 20.0, 2: 40.0, 5: 7.0},
        "gru": {4: 900.0, 2: 20.0, 1: 10.0, 0: 5.0},
    }
    for arch, samples in rounds.items():
        rate = Metric(
            "train_tokens_per_second",
            "tokens/s",
            "higher",
            tuple(samples.values()),
            rounds=tuple(samples),
        )
        fake_records.write_run(root, arch, 0)
        fake_records.write_measure(root, arch, metrics=[rate])
    fake_records.write_measure(
        root, "lstm", twin=True, reason="the worker gave no answer for 120 s"
    )
    analysis = build(read_records(root))
    (session,) = analysis.sessions
    slow = analysis.variants.summary.set_index("arch").loc["gru", "subject"]
    assert session.ratios[str(slow), "train_tokens_per_second"][:3] == pytest.approx(
        (0.5, 0.5, 0.5)
    )
    assert not session.allows_claim("train_tokens_per_second")


# --- sentences ------------------------------------------------------------------------------------


def test_the_best_is_named_with_the_verdict_on_the_next_and_who_is_dominated(suite: Path) -> None:
    analysis = build(read_records(suite))
    said = summary_text.summary_sentences(analysis.comparisons[0], analysis.answers)
    assert said[1].startswith(
        "Lowest mean: lstm, 1.741 bits per byte on the test part: better than"
    )
    assert "not distinguishable from gru" in said[1]
    assert "decoder, convolution and classic by lstm." in " ".join(said)


def test_one_seed_says_that_seeds_were_not_sampled(tmp_path: Path) -> None:
    for arch in ("lstm", "pairs"):
        fake_records.write_run(tmp_path / "suite", arch, 0)
    page = reporting.make_report(tmp_path / "suite")[0].read_text()
    assert "over documents only" in page
    assert "seeds were not sampled" in page


def test_noise_is_a_figure_and_bounds_the_claim(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    for arch in ("lstm", "gru"):
        fake_records.write_run(root, arch, 0)
        fake_records.write_measure(root, arch)
    fake_records.write_measure(root, "gru", twin=True, factor=1.3)
    analysis = build(read_records(root))
    said = " ".join(summary_text.summary_sentences(analysis.comparisons[0], analysis.answers))
    assert "Fastest training: lstm" in said
    assert "A/A ±30" in said


# --- the page -------------------------------------------------------------------------------------

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Reader(HTMLParser):
    """Collects what a browser would: open elements, ids, addresses, scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self.scripts += tag == "script"
        self.ids += [named["id"] or ""] if "id" in named else []
        self.addresses += [
            named[key] or ""
            for key in ("href", "src", "xlink:href", "srcset", "data")
            if key in named
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def read_page(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def test_page_is_whole_and_stands_alone(page: str) -> None:
    reader = read_page(page)
    assert not reader.wrong
    assert not reader.open
    assert len(reader.ids) == len(set(reader.ids))
    inside = {*FILES, "report.md"}
    assert {"runs.csv", "columns.csv"} <= {*reader.addresses}
    assert not {"tasks.csv", "laws.csv"} & {*reader.addresses}  # they hold no rows here
    assert all(
        address in inside or (address.startswith("#") and address[1:] in reader.ids)
        for address in reader.addresses
    )
    own = without_scripts(page)
    for words in ("http:", "https:", "//www", "@import", "url(http", "file:"):
        assert words not in own


def without_scripts(page: str) -> str:
    """The page without its scripts and its data."""
    return re.sub(r"<script.*?</script>", "", page, flags=re.S)


def test_only_the_scripts_of_the_policy_may_run(page: str) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.S)
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    policy = unescape(re.findall(r'Security-Policy" content="([^"]*)"', page)[0])
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert re.findall(r"'sha256-([^']*)'", policy) == [
        base64.b64encode(d).decode() for d in digests
    ]
    assert read_page(page).scripts == len(scripts) + 1  # the data


def test_what_comes_from_outside_is_escaped(page: str) -> None:
    assert fake_records.HOSTILE not in page
    assert page.count("&lt;script&gt;alert(1)") > 10


def test_hostile_names_draw_and_stay_escaped(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    for arch in ("<b>$x$", '_under & "quote"\'', "lstm"):
        fake_records.write_run(root, arch.replace("/", ""), 0)
        fake_records.write_measure(root, arch)
    session = next((root / "measure").iterdir())
    session.rename(session.with_name('X"><img src=x onerror=document.title=1>'))
    text = reporting.make_report(root)[0].read_text()
    reader = read_page(text)
    assert not reader.wrong
    assert "<b>$x$" not in text
    assert "&lt;b&gt;$x$" in text
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror" in text


def test_stale_rows_are_marked(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    fake_records.write_run(root, "lstm", 0, source=source.training_source("made_up.lstm.Model"))
    assert '<span class="badge">stale' not in reporting.make_report(root)[0].read_text()
    fake_records.write_run(root, "gru", 0, source="0ld50urc")
    assert '<span class="badge">stale' in reporting.make_report(root)[0].read_text()


def test_texts_show_the_prompt_and_what_was_written(page: str) -> None:
    texts = page[page.index('<section id="texts">') : page.index('<section id="encoders">')]
    assert texts.count("<b>The function returns</b>") == 6
    assert "the decoder of &lt;script&gt;" in texts


def test_a_chart_without_numbers_is_left_out(tmp_path: Path) -> None:
    fake_records.write_run(tmp_path / "suite", "lstm", 0)
    page = reporting.make_report(tmp_path / "suite")[0].read_text()
    assert 'data-chart="curves"' in page
    for name in ("lengths", "memory-parts", "searches", "contexts", "regrets"):
        assert f'data-chart="{name}"' not in page


def test_a_suite_where_nothing_finished_still_has_a_page(tmp_path: Path) -> None:
    fake_records.write_run(tmp_path / "suite", "lstm", 0, "failed", "out of memory")
    page = reporting.make_report(tmp_path / "suite")[0].read_text()
    assert "No run has finished yet." in page
    assert "out of memory" in page
    assert "out of memory" in reporting.make_report(tmp_path / "suite")[1]


# --- the command ----------------------------------------------------------------------------------


def command(*arguments: Any) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-W", "error", "-m", "bench.report", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_nothing_to_read_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        end = command(folder)
        assert end.returncode == 2
        assert end.stdout == ""
        assert len(end.stderr.strip().splitlines()) == 1
        assert str(folder) in end.stderr


def test_command_makes_every_suite_below_a_folder(tmp_path: Path) -> None:
    for name in ("first", "second"):
        fake_records.write_run(tmp_path / name, "lstm", 0)
    end = command(tmp_path)
    assert end.returncode == 0, end.stderr
    assert all((tmp_path / name / "report" / "index.html").exists() for name in ("first", "second"))
    assert "lstm" in end.stdout


def test_terminal_text_is_compact_and_can_not_steer_the_terminal(
    suite: Path, tmp_path: Path
) -> None:
    lines = reporting.make_report(suite)[1].splitlines()
    assert max(map(len, lines)) < 130
    assert any(line.startswith("decoder") and "1.813" in line for line in lines)
    fake_records.write_run(tmp_path / "suite", "lstm", 0, "failed", "red \x1b[31m line\nbreak")
    assert "\x1b" not in reporting.make_report(tmp_path / "suite")[1]


def test_numbers_read_well() -> None:
    assert [
        formatting.format_number(value) for value in (0.0, 1234567.0, 0.01234, -2.5, float("nan"))
    ] == [
        "0",
        "1,234,567",
        "0.0123",
        "−2.50",
        "—",
    ]
    assert formatting.format_bytes(524_288) == "524 kB"
    assert formatting.format_large(1_024_000) == "1.02 M"
    assert formatting.join_words(["a", "b", "c"]) == "a, b and c"


def test_report_imports_no_torch_and_names_no_architecture() -> None:
    folder = Path(reporting.__file__).parent
    names = {path.stem for path in (folder.parents[1] / "conf" / "arch").glob("*.yaml")}
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        strings = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not strings & names
        roots = {
            alias.name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        roots |= {
            (node.module or "").split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
        }
        assert "torch" not in roots


@pytest.mark.slow
def test_a_report_over_a_thousand_records_costs_at_most_eight_processor_seconds(
    tmp_path: Path,
) -> None:
    """1,000 runs of 168 variants, and a sitting of full depth. Processor time: it does not depend on who else is at work."""
    root, archs = tmp_path / "suite", list(fake_records.PROFILES)
    for number in range(1000):
        rate = 1e-3 * (1 + number // (6 * len(archs)) / 10)
        fake_records.write_run(
            root, archs[number // 6 % len(archs)], number % 6, learning_rate=rate
        )
    fake_records.write_deep(root)
    command = [sys.executable, "-m", "bench.report", str(root)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert done.returncode == 0, done.stderr
    print(f"{spent:.1f} processor seconds")
    assert spent <= 8
