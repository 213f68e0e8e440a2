"""Scaling laws: known exponents and crossings are recovered, and unclear ones are not claimed."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from bench import reporting
from bench.analysis import aggregate, scaling
from bench.analysis.build import build
from bench.analysis.scaling import LawCrossing, ScalingStudy
from bench.records import tables as reading
from bench.records.metrics import Metric
from bench.reporting.sections import scaling as scaling_tables
from bench.reporting.sections import scaling_text
from bench.stats import scaling_laws
from bench.stats.scaling_laws import DATA, ScalingLaw
from tests import fake_records
from tests.stats.known_laws import A_STEP, CENTER, SIZES, STEPS, TRUTH, loss

CONF = Path(__file__).parents[2] / "conf"


def write(
    root: Path,
    truth: Mapping[str, np.ndarray],
    steps: Sequence[int] = STEPS,
    seeds: int = 1,
    noise: float = 0.002,
) -> None:
    """A suite of runs whose bits per byte follow known laws."""
    draw = np.random.default_rng(0)
    for arch, law in truth.items():
        for size in SIZES:
            for length in steps:
                for seed in range(seeds):
                    value = loss(law, size, length * A_STEP) * float(np.exp(draw.normal(0, noise)))
                    found = {
                        "bits_per_byte": value,
                        "parameters": size,
                        "tokens_seen": length * A_STEP,
                    }
                    found |= {"flops_per_token": 2.0 * size, "perplexity": 2.0**value}
                    metrics = [
                        Metric(name, "", "lower", (float(number),))
                        for name, number in found.items()
                    ]
                    changes = {"parameters": size, "steps": length, "order": f"{seed}-{length}"}
                    fake_records.write_run(root, arch, seed, metrics=metrics, **changes)


def scale(root: Path) -> ScalingStudy:
    (found,) = scaling.scaling_studies(aggregate.aggregate_variants(reading.read_records(root), []))
    return found


# --- from records ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two architectures at four sizes with three amounts of data, and their report."""
    root = tmp_path_factory.mktemp("scaling") / "suite"
    write(root, TRUTH, seeds=2)
    reporting.make_report(root)
    return root


def test_a_suite_of_sizes_and_amounts_becomes_laws_and_crossings(suite: Path) -> None:
    found = scale(suite)
    assert [one.label for one in found.series] == ["decoder", "lstm"]
    for one in found.series:
        assert len(one.cells) == 12
        assert (one.cells["seeds"] == 2).all()
        assert one.law is not None
        for place in (2, 4):
            _, low, high = one.law.interval(place)
            assert low <= TRUTH[one.label][place] <= high
    (crossing,) = [one for one in found.crossings if one.axis == DATA]
    expected = CENTER[1] * (0.55 / 0.50) ** (1 / 0.20)
    assert crossing.leader == "lstm"
    assert crossing.meeting.low <= expected <= crossing.meeting.high
    said = " ".join(scaling_text.scaling_sentences(found))
    assert "More data was better at every size" in said
    assert "decoder overtakes lstm with more data at 320 k parameters, at about" in said
    page = (suite / "report" / "index.html").read_text()
    for words in (
        "<h2>Scaling laws</h2>",
        "Lowest measured loss",
        "Which architecture overtakes which",
        'data-chart="scaling-1-chart"',
    ):
        assert words in page
    assert len(pd.read_csv(suite / "report" / "scaling.csv")) == 24
    table = pd.read_csv(suite / "report" / "laws.csv").set_index("architecture")
    assert table.loc["lstm", "data_exponent"] == pytest.approx(0.25, abs=0.15)


def test_how_far_a_crossing_is_extrapolated_is_said(tmp_path: Path) -> None:
    write(tmp_path, TRUTH, steps=(20, 60, 180), noise=0.0005)
    said = " ".join(scaling_text.scaling_sentences(scale(tmp_path)))
    assert "times the largest measured: extrapolated" in said


def test_laws_that_miss_their_cells_predict_nothing(tmp_path: Path) -> None:
    write(tmp_path, TRUTH, noise=0.06)
    found = scale(tmp_path)
    assert not any(one.is_certain for one in found.crossings)
    said = " ".join(scaling_text.scaling_sentences(found))
    assert "no crossing is derived from it" in said
    assert "overtakes" not in said


def test_where_the_oracle_is_known_its_loss_is_the_floor(tmp_path: Path) -> None:
    """Nats per token and the oracle's on the same tokens, as synthetic sources record them."""
    law = TRUTH["lstm"]
    for size in SIZES:
        for steps in STEPS:
            found = {
                "nats_per_token": loss(law, size, steps * A_STEP),
                "oracle_nats_per_token": float(law[0]),
            }
            found["regret"] = found["nats_per_token"] - found["oracle_nats_per_token"]
            found |= {
                "parameters": size,
                "tokens_seen": steps * A_STEP,
                "flops_per_token": 2.0 * size,
            }
            metrics = [
                Metric(name, "", "lower", (float(number),)) for name, number in found.items()
            ]
            fake_records.write_run(
                tmp_path, "lstm", 0, metrics=metrics, parameters=size, steps=steps
            )
    found_scale = scale(tmp_path)
    (one,) = found_scale.series
    assert found_scale.unit == "nats per token"
    assert found_scale.floor == pytest.approx(1.2)
    assert one.law is not None
    assert one.law.floor_given
    assert one.law.best == pytest.approx(np.concatenate([[1.2], one.law.best[1:]]))
    assert one.law.best[[2, 4]] == pytest.approx(law[[2, 4]], rel=1e-4)
    assert "given, not fitted" in " ".join(scaling_tables.scaling_tables(found_scale)[0].notes)


def test_two_amounts_of_data_give_no_law_and_say_why(tmp_path: Path) -> None:
    write(tmp_path, TRUTH, steps=STEPS[:2])
    found = scale(tmp_path)
    assert all(one.law is None for one in found.series)
    assert not found.crossings
    assert "lstm: no law is fitted: 4 sizes × 2 amounts of data in 8 cells" in " ".join(
        scaling_text.scaling_sentences(found)
    )


def test_a_law_that_misfits_predicts_nothing() -> None:
    """Neither where they would meet, nor that they never do."""
    for place in (1e6, math.inf):
        met = scaling_laws.LawCrossover(place, 1e5, math.inf, place / 1e6, 1.0)
        said = scaling_text.crossing_sentence(
            LawCrossing(scaling_laws.SIZE, 1e6, "lstm", "gru", 1e4, 1e6, 0.2, met)
        )
        turns = scaling_text.WITH_MORE[scaling_laws.SIZE]
        assert (
            said
            == f"lstm leads gru after 1.00 M tokens; whether this changes {turns} is not predicted."
        )


def test_a_number_at_its_bound_is_named(tmp_path: Path) -> None:
    """A loss that falls faster than a power law: the fit drives E to 0."""
    write(tmp_path, {"lstm": np.array([-0.5, 1.1, 0.3, 1.2, 0.2])}, noise=0.0)
    study = scale(tmp_path)
    (one,) = study.series
    assert one.law is not None
    assert one.law.at_bound == ("E",)
    (cells,) = scaling_tables.scaling_tables(study)[0].rows
    assert cells[1].text == "at the bound"


def test_along_flops_what_lies_beyond_a_measured_size_is_extrapolated() -> None:
    law = ScalingLaw(
        np.array([1.0, 1.0, 0.5, 1.0, 0.5]), np.ones((1, 5)), (1e5, 1e6), False, 0.01, 12, 6.0
    )
    size, tokens = law.split(6e11)
    assert (size, tokens) == pytest.approx((1e5, 1e6))  # equal slopes: at the center
    assert law.split(6e13) == pytest.approx((1e6, 1e7))


def test_one_size_is_no_sweep(tmp_path: Path) -> None:
    root = fake_records.write(tmp_path / "suite", seeds=1, archs=("lstm", "gru"), machines=1)
    assert (
        scaling.scaling_studies(aggregate.aggregate_variants(reading.read_records(root), [])) == []
    )


def test_the_amounts_of_one_recipe_are_compared_apart(suite: Path) -> None:
    """More training is no merit of an architecture: each amount is a comparison of its own."""
    page = (suite / "report" / "index.html").read_text()
    assert page.count("at most 25,000 parameters, 102,400 tokens") > 0
    assert "The length of training differs" in page


def test_architectures_that_were_trained_for_unlike_lengths_are_never_compared(
    tmp_path: Path,
) -> None:
    write(tmp_path, {"lstm": TRUTH["lstm"]}, steps=STEPS[:1])
    write(tmp_path, {"decoder": TRUTH["decoder"]}, steps=STEPS[1:2])
    parts = build(reading.read_records(tmp_path)).comparisons
    assert len(parts) == 2 * len(SIZES)
    assert all(part.rows["tokens_seen"].nunique() == 1 for part in parts)


def test_the_suite_sweeps_four_sizes_and_three_amounts() -> None:
    swept = yaml.safe_load((CONF / "suite" / "scaling.yaml").read_text())["hydra"]["sweeper"][
        "params"
    ]
    assert len(str(swept["arch"]).split(",")) >= 3
    assert len(str(swept["size.parameters"]).split(",")) >= 4
    assert len(str(swept["train.steps"]).split(",")) >= 3
