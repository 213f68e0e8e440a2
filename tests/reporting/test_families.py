"""The model cards: growth, papers, contract results, settings and commands."""

from pathlib import Path

import pytest

from bench import reporting
from bench.analysis.build import build
from bench.config.identity import architecture_id
from bench.records import contract_results, store
from bench.records.metrics import Metric
from bench.records.tables import read_records
from bench.reporting.sections.model_cards import row_settings
from tests import fake_records


def grown(name: str, values: dict[float, float]) -> list[Metric]:
    return [
        Metric(name, "unit", "lower", (value,), at={"length": length})
        for length, value in values.items()
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A trained and measured LSTM, a trained decoder that was not measured, and a measured one that was not trained."""
    root = tmp_path / "suite"
    fake_records.write_run(root, "lstm", 0)
    fake_records.write_run(root, "decoder", 0)
    metrics = [
        Metric("peak_train_memory_bytes", "bytes", "lower", (1e6,)),
        *grown("flops_per_token", {64.0: 1.2e6, 512.0: 1.8e6}),
        *grown(
            "unchecked_flops_per_token", {64.0: 1e6, 512.0: 1e6}
        ),  # a part of the above, not to be added
        *grown("train_tokens_per_second", {64.0: 1000.0, 512.0: 500.0}),
        *grown("state_bytes", {64.0: 2048.0, 512.0: 2048.0}),
    ]
    fake_records.write_measure(root, "lstm", metrics=metrics)
    folder = fake_records.write_measure(root, "gru")
    about = store.read_json(folder / "subject.json")
    arch = {"family": "recurrent", "card": {"summary": "Two gates. No more.", "paper": "Cho 2014"}}
    store.write_json(folder / "subject.json", about | {"described": arch})
    return root


def card(page: str, name: str) -> str:
    section = page[page.index('id="architectures"') :]
    return next(
        part.partition("</article>")[0]
        for part in section.split("<article")
        if f"><h3>{name} <small>" in part
    )


def test_a_card_tells_growth_paper_and_what_was_checked(root: Path) -> None:
    run = fake_records.make_run(root, "lstm")
    findings = [("output", "holds"), ("rows", "broken"), ("tracing", "not asked")]
    contract_results.write_contract_results(
        run, [{"name": name, "status": status, "came": ""} for name, status in findings]
    )
    page = reporting.make_report(root)[0].read_text(encoding="utf-8")
    lstm, decoder, gru = (card(page, name) for name in ("lstm", "decoder", "gru"))
    assert "1.20 MFLOP per token at 64 tokens, 1.80 MFLOP per token at 512: ×1.50" in lstm
    assert "1.00 ms per token at 64 tokens, 2.00 ms per token at 512: ×2.00" in lstm
    assert "2.05 kB at every length from 64 to 512" in lstm
    assert "failed: rows; 1 passed; skipped: tracing" in lstm
    assert (
        "Shape, precision and causality were checked before training, the rest was not: python -m bench.check arch=decoder"
        in decoder
    )
    assert "Two gates. No more." in gru
    assert "Cho 2014" in gru
    assert "Not checked: python -m bench.check arch=gru --keep" in gru
    assert "<small>Recurrent</small>" in gru
    assert page.index("<small>Recurrent</small>") < page.index("<small>Family of decoder</small>")
    path = root / "checks" / f"lstm-{architecture_id(run.arch)}.json"
    store.write_json(path, store.read_json(path) | {"source": "older"})
    assert "Sources changed since: python -m bench.check arch=lstm --keep" in card(
        reporting.make_report(root)[0].read_text(), "lstm"
    )


def test_every_row_has_its_settings_and_the_command_that_trains_it_again(tmp_path: Path) -> None:
    for arch in ("lstm", "gru"):
        fake_records.write_run(tmp_path, arch, 0, learning_rate=0.001 if arch == "gru" else 0.004)
    parts = build(read_records(tmp_path)).comparisons
    shared, rows = row_settings(parts)
    assert dict(shared)["train.steps"] == "1000"
    (gru,), (lstm,) = rows["gru"], rows["lstm"]
    assert dict(gru.settings)["train.learning_rate"] == "0.001"
    assert dict(lstm.settings)["arch._target_"] == "made_up.lstm.Model"
    assert set(dict(shared)) & set(dict(gru.settings)) == set()
    config = fake_records.make_run(tmp_path, "gru")
    assert len(shared) + len(gru.settings) > len(vars(config.train))
    assert gru.command.startswith("python -m bench.run arch=gru seed=0 again=all")
