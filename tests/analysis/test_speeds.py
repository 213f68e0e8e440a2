"""The report of speed and memory: ratios, claims, crossovers, gaps, and the tables of costs."""

import json
import re
from collections.abc import Mapping, Sequence
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import reporting, stats
from bench.analysis import crossovers, efficiency, session_builder, sessions, speed_groups
from bench.analysis.answers import build_answers
from bench.analysis.build import build
from bench.analysis.sessions import MeasuredSession
from bench.analysis.speed_groups import SpeedGroup
from bench.records import store
from bench.records import tables as reading
from bench.records.metrics import Metric
from bench.reporting import panel_data, summary_text
from bench.reporting.sections import crossings, machine, measured
from bench.reporting.views import build_views
from tests import fake_records

TRAIN = "train_tokens_per_second"
NOISE = np.random.default_rng(3)
FIRST = NOISE.bit_generator.state


@pytest.fixture(autouse=True)
def same_noise() -> None:
    """Every test draws the same numbers, whichever ran before it."""
    NOISE.bit_generator.state = FIRST


def rate(
    values: Any, name: str = TRAIN, at: dict[str, float] | None = None, rounds: Sequence[int] = ()
) -> Metric:
    samples = tuple(float(value) for value in values)
    return Metric(
        name, "", "higher", samples, at=at or {}, rounds=tuple(rounds) or tuple(range(len(samples)))
    )


def one(name: str, value: float) -> Metric:
    return Metric(name, "", "neither", (value,))


def sat(
    root: Path,
    entered: Mapping[str, Sequence[Metric]],
    again: Sequence[Metric] = (),
    doctor: Any = None,
    starts: Sequence[int] = (),
) -> MeasuredSession:
    """A session of made-up numbers; `again`: of the A/A control; `starts`: first rounds."""
    for arch, metrics in entered.items():
        fake_records.write_measure(root, arch, metrics=metrics, starts=list(starts))
    if again:
        folder = fake_records.write_measure(
            root, next(iter(entered)), twin=True, metrics=again, starts=list(starts)
        )
        if doctor is not None:
            store.write_json(folder.parent / "doctor.json", doctor)
    records = reading.read_records(root)
    (sitting,) = session_builder.build_sessions(records.measures, records.calibrations)
    return sitting


def grouped(sitting: MeasuredSession) -> SpeedGroup:
    (group,) = speed_groups.build_groups([sitting], [])
    return group


def subject(sitting: MeasuredSession, arch: str) -> str:
    return next(name for name, measured in sitting.arches.items() if measured == arch)


def noisy(value: float, rounds: int = 40, share: float = 0.004, weather: Any = 1.0) -> Any:
    return value * weather * (1 + share * NOISE.normal(size=rounds))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a full measurement and no run, its report, and the output in the terminal."""
    root = fake_records.write_deep(tmp_path_factory.mktemp("results") / "suite")
    return root, reporting.make_report(root)[1]


@pytest.fixture(scope="module")
def alone(made: tuple[Path, str]) -> Path:
    return made[0]


@pytest.fixture(scope="module")
def page(alone: Path) -> str:
    return unescape((alone / "report" / "index.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def full(alone: Path) -> SpeedGroup:
    records = reading.read_records(alone)
    return grouped(session_builder.build_sessions(records.measures, records.calibrations)[0])


# --- ratios ---------------------------------------------------------------------------------------


def test_a_known_ratio_is_recovered_though_the_machine_drifts(tmp_path: Path) -> None:
    weather = np.linspace(1.0, 0.5, 60) * (1 + 0.1 * NOISE.normal(size=60))
    entered = {
        "lstm": [rate(noisy(1000, 60, weather=weather))],
        "gru": [rate(noisy(800, 60, weather=weather))],
        "decoder": [rate(noisy(500, 60, weather=weather))],
    }
    sitting = sat(tmp_path, entered, [rate(noisy(1000, 60, weather=weather))])
    lstm, gru, decoder = (subject(sitting, arch) for arch in entered)
    assert sitting.reference == lstm
    found = sitting.ratios[gru, TRAIN]
    assert found.low < 0.8 < found.high
    assert 0 < found.half < 0.004
    assert found.mean_low < found.mean < found.mean_high
    assert found.rounds == 60
    direct = sitting.paired_ratios([(sessions.scalar_point(TRAIN), gru, decoder)])[0]
    assert direct is not None
    assert direct.low < 1.6 < direct.high
    assert (lstm, TRAIN) not in sitting.ratios


def test_processes_are_read_from_the_record_and_the_reference_is_both_of_its_entries(
    tmp_path: Path,
) -> None:
    entered = {
        "lstm": [rate(np.full(12, 1000.0))],
        "gru": [rate(np.repeat([700.0, 800.0, 900.0], 4))],
    }
    sitting = sat(tmp_path, entered, [rate(np.full(12, 1000.0) * 1.02)], starts=[0, 4, 8])
    found = sitting.ratios[subject(sitting, "gru"), TRAIN]
    both = 1000 * 1.02**0.5
    assert found.value == pytest.approx((0.7 * 0.8 * 0.9) ** (1 / 3) * 1000 / both)
    spread = np.log([0.7, 0.8, 0.9]).std(ddof=1) * 4.3027 / 3**0.5
    assert np.log(found.high / found.low) / 2 == pytest.approx(spread, rel=1e-3)
    assert sitting.aa_ratios[TRAIN].value == pytest.approx(1.02)
    pair = (sessions.scalar_point(TRAIN), subject(sitting, "gru"), subject(sitting, "lstm"))
    assert sitting.paired_ratios([pair]) == [found]


# --- what may be claimed --------------------------------------------------------------------------


def two(root: Path, again: Any, doctor: Any = None, cpu: Any = None) -> MeasuredSession:
    """lstm, entered twice, and gru; `again`: the samples of the twin."""
    clock = [rate(np.full(40, 900.0), "train_tokens_per_cpu_second")] if cpu is not None else []
    twin = [rate(cpu, "train_tokens_per_cpu_second")] if cpu is not None else []
    entered = {"lstm": [rate(np.full(40, 1000.0)), *clock], "gru": [rate(noisy(500)), *clock]}
    return sat(root, entered, [rate(again), *twin], doctor)


def said(sitting: MeasuredSession) -> str:
    group = grouped(sitting)
    answers = build_answers([], [group])
    return " ".join(
        [*summary_text.measurement_sentences([group], answers), *machine.warnings(sitting)]
    )


def test_a_quiet_pair_lets_it_rank(tmp_path: Path) -> None:
    sitting = two(tmp_path, noisy(1000))
    assert sitting.allows_claim(TRAIN)
    assert "No speed claim" not in said(sitting)
    assert "Fastest training: lstm, 2.00 times the rate of gru" in said(sitting)


@pytest.mark.parametrize(("again", "winners"), [(1100, 1), (5000, 2)])
def test_a_claim_clears_the_bound_of_the_pair_however_noisy(
    tmp_path: Path, again: float, winners: int
) -> None:
    """Twice the rate is more than noise where the same model differs by 10 %, not by five times."""
    sitting = two(tmp_path, noisy(again))
    bound = stats.aa_bound(sitting.aa_ratios[TRAIN])
    assert bound == pytest.approx(again / 1000, rel=0.01)
    (answer,) = build_answers([], [grouped(sitting)])
    assert [len(answer.winners), answer.reason] == [winners, ""]
    assert answer.noise_size == pytest.approx(bound - 1)
    assert (answer.next is None) == (winners == 2)


def test_median_and_mean_that_disagree_widen_the_bound(tmp_path: Path) -> None:
    hogged = np.where(np.arange(40) % 4 == 0, 600.0, 1000.0) * (1 + 1e-4 * NOISE.normal(size=40))
    sitting = two(tmp_path, hogged)
    pair = sitting.aa_ratios[TRAIN]
    assert 0.99 < pair.low < pair.high < 1.01
    assert not pair.agree
    assert stats.aa_bound(pair) == pytest.approx(1 / pair.mean_low)
    assert sitting.allows_claim(TRAIN)


def test_one_pair_whose_intervals_disagree_is_no_claim_of_its_own(tmp_path: Path) -> None:
    hogged = np.where(np.arange(40) % 4 == 0, 300.0, 800.0)
    sitting = sat(
        tmp_path, {"lstm": [rate(np.full(40, 1000.0))], "gru": [rate(hogged)]}, [rate(noisy(1000))]
    )
    assert sitting.allows_claim(TRAIN)
    assert "Fastest training is not distinguishable: lstm and gru" in said(sitting)
    cell = measured.speed_table(grouped(sitting)).rows[1][1]
    assert "no claim: the mean disagrees" in cell.small
    assert "no claim" not in measured.speed_table(grouped(sitting)).rows[0][1].small


def test_a_doctor_that_finds_a_ruler_off_leaves_no_claim(tmp_path: Path) -> None:
    off = {
        "name": "seconds",
        "expected": 1.0,
        "came": 1.1,
        "unit": "s",
        "off": True,
        "sentence": "seconds come out 10 % long",
    }
    sitting = two(tmp_path, noisy(1000), {"schema": 1, "findings": [off], "sentences": []})
    assert not sitting.allows_claim(TRAIN)
    assert "A calibration check failed: seconds come out 10 % long." in machine.warnings(sitting)
    assert "No speed claim about training: a calibration check failed." in said(sitting)
    assert "Fastest" not in said(sitting)
    assert "Least" not in said(sitting)
    reporting.make_report(tmp_path)
    text = (tmp_path / "report" / "index.html").read_text()
    assert '<p class="alarm">A calibration check failed' in text


def test_a_sitting_that_was_stopped_claims_nothing_and_stands_only_where_no_whole_one_does(
    tmp_path: Path,
) -> None:
    def write(root: Path, at: str, rate_: float, stopped: bool) -> None:
        for twin in (False, True):
            found = [rate(noisy(rate_))]
            fake_records.write_measure(
                root, "lstm", twin=twin, metrics=found, sitting=at, stopped=stopped
            )

    def used(root: Path) -> MeasuredSession:
        records = reading.read_records(root)
        (sitting,) = session_builder.build_sessions(records.measures, records.calibrations)
        return sitting

    write(tmp_path, "20260102T101010", 1000, stopped=True)
    assert not used(tmp_path).allows_claim(TRAIN)
    assert "No speed claim about training: the session was stopped before its end." in said(
        used(tmp_path)
    )
    write(tmp_path, "20260101T101010", 500, stopped=False)  # though it is the older one
    assert used(tmp_path).allows_claim(TRAIN)
    assert used(tmp_path).value(subject(used(tmp_path), "lstm"), TRAIN) == pytest.approx(
        500, rel=0.01
    )


def test_without_a_twin_the_first_is_the_reference_and_nothing_is_claimed(tmp_path: Path) -> None:
    sitting = sat(tmp_path, {"gru": [rate(noisy(500))], "lstm": [rate(noisy(1000))]})
    assert sitting.reference == subject(sitting, "gru")
    assert "no model was measured twice" in said(sitting)


# --- crossovers -----------------------------------------------------------------------------------

LENGTHS = (128, 256, 512, 1024, 2048)


def curves(seconds: Any, metric: str, shared: Any, rounds: int = 7) -> list[Metric]:
    values = [
        np.array([seconds(length)]) * shared * (1 + 0.002 * NOISE.normal(size=rounds))
        for length in LENGTHS
    ]
    return [
        rate(1 / v if metric == TRAIN else v, metric, {"length": n})
        for n, v in zip(LENGTHS, values, strict=True)
    ]


@pytest.mark.parametrize("metric", [TRAIN, "first_token_seconds", "decode_seconds_per_token"])
def test_a_crossover_is_read_off_where_it_is(tmp_path: Path, metric: str) -> None:
    shared = 1 + 0.3 * NOISE.random(size=7)
    base = [rate(noisy(1000), name) for name in sessions.RATES]
    entered = {
        "lstm": [*base, *curves(lambda n: 1.0, metric, shared)],
        "decoder": [*base, *curves(lambda n: (n / 600) ** 0.5, metric, shared)],
        "pairs": [*base, *curves(lambda n: 0.1, metric, shared)],
    }
    group = grouped(sat(tmp_path, entered, base))
    found = group.pairs
    assert len(found) == 3
    (crossing,) = found[0].crossings
    assert (crossing.low, crossing.high) == (512, 1024)
    assert crossing.length == pytest.approx(600, rel=0.02)
    verb = crossovers.CURVES[metric]
    assert (
        crossovers.pair_sentence(found[0], group.label)
        == f"decoder {verb} than lstm below about 600 tokens (between 512 and 1,024)."
    )
    others = [crossovers.pair_sentence(pair, group.label) for pair in found[1:]]
    assert f"pairs {verb} than lstm at every measured length (128 to 2,048 tokens)." in others


def test_an_unclear_length_lies_between_two_clear_ones(tmp_path: Path) -> None:
    wild = {
        n: rate(np.full(7, v), at={"length": n})
        for n, v in ((128, 2.0), (256, 1.5), (1024, 0.7), (2048, 0.5))
    }
    wild[512] = rate((0.5, 2, 0.6, 1.7, 1.0, 0.7, 1.5), at={"length": 512})
    flat = [rate(np.full(7, 1.0), at={"length": n}) for n in LENGTHS]
    base = rate(noisy(1000))
    group = grouped(
        sat(tmp_path, {"lstm": [base, *flat], "decoder": [base, *wild.values()]}, [base])
    )
    (pair,) = group.pairs
    assert pair.sides == (1, 1, 0, -1, -1)
    assert [(one.low, one.high) for one in pair.crossings] == [(256, 1024)]


def test_twice_across_and_never_clear_are_said(tmp_path: Path) -> None:
    base, flat = rate(noisy(1000)), [rate(np.full(7, 1.0), at={"length": n}) for n in LENGTHS]
    there = [
        rate(np.full(7, v), at={"length": n})
        for n, v in zip(LENGTHS, (2, 0.5, 0.5, 2, 3), strict=True)
    ]
    unclear = [rate((0.5, 0.7, 1.0, 1.0, 1.0, 1.5, 2.0), at={"length": n}) for n in LENGTHS]
    group = grouped(
        sat(
            tmp_path,
            {"lstm": [base, *flat], "gru": [base, *there], "classic": [base, *unclear]},
            [base],
        )
    )
    said = {
        (pair.first, pair.second): crossovers.pair_sentence(pair, group.label)
        for pair in group.pairs
    }
    lines = sorted(said.values())
    assert any(
        line.startswith("gru trains faster than lstm below about 180 tokens")
        and "again above" in line
        for line in lines
    )
    assert any("is not distinguishable at any of 5 lengths" in line for line in lines)


def test_no_crossover_is_told_where_nothing_may_be_claimed(tmp_path: Path) -> None:
    shared = np.ones(7)
    base = rate(noisy(1000))
    entered = {
        "lstm": [base, *curves(lambda n: 1.0, TRAIN, shared)],
        "decoder": [base, *curves(lambda n: (n / 600) ** 0.5, TRAIN, shared)],
    }
    noisy_group = grouped(sat(tmp_path / "noisy", entered, [rate(noisy(1100))]))
    (crossing,) = noisy_group.pairs[0].crossings  # at 512 the ratio is inside the A/A pair's bound
    assert (crossing.low, crossing.high) == (256, 1024)
    group = grouped(sat(tmp_path / "alone", entered))
    assert crossings.crossing_sentences(group) == []
    assert crossings.crossing_sentences(noisy_group) == [
        crossovers.pair_sentence(noisy_group.pairs[0], noisy_group.label)
    ]


def test_of_very_many_each_is_set_beside_the_reference(tmp_path: Path) -> None:
    base = rate(noisy(1000, 5))
    points = [rate((1.0, 1.0), at={"length": n}) for n in (128, 256)]
    names = [f"arch{number:02d}" for number in range(crossovers.MAX_PAIRED + 1)]
    group = grouped(sat(tmp_path, {name: [base, *points] for name in reversed(names)}, [base]))
    assert len(group.pairs) == crossovers.MAX_PAIRED


# --- the numbers of costs -------------------------------------------------------------------------


def test_utilisation_is_training_flops_over_the_measured_peak(tmp_path: Path) -> None:
    entered = {
        "lstm": [rate([1e4]), one("flops_per_token", 2e6), one("product_flops_per_second", 3e11)],
        "gru": [rate([1e4]), one("flops_per_token", 2e6)],
    }
    sitting = sat(tmp_path, entered)
    lstm, gru = subject(sitting, "lstm"), subject(sitting, "gru")
    assert efficiency.utilisation(sitting, lstm) == pytest.approx(3 * 2e6 * 1e4 / 3e11)
    assert np.isnan(efficiency.utilisation(sitting, gru))
    table = measured.cost_table(grouped(sitting))
    shown = {row[0].text: row[table.titles.index("utilisation")] for row in table.rows}
    assert shown["lstm"].text == "20.0 %"
    assert shown["gru"].text == "unknown"
    assert any("gru: unknown: no peak was measured" in note for note in table.notes)


def test_traffic_and_shares_are_quotients_of_one_process(tmp_path: Path) -> None:
    parts = {"forward_seconds": 0.02, "backward_seconds": 0.05, "optimizer_seconds": 0.03}
    numbers = {"traffic_bytes_per_token": 4e5, "copy_bytes_per_second": 8e9, **parts}
    sitting = sat(
        tmp_path, {"lstm": [rate([1e4]), *(one(name, value) for name, value in numbers.items())]}
    )
    lstm = subject(sitting, "lstm")
    assert efficiency.traffic_share(sitting, lstm) == pytest.approx(0.5)
    assert efficiency.step_shares(sitting, lstm) == pytest.approx((0.2, 0.5, 0.3))


@pytest.mark.parametrize(
    ("larger", "text"),
    [(1160.0, "launch-bound"), (1140.0, "compute-bound"), (900.0, "compute-bound")],
)
def test_a_rate_that_a_larger_batch_lifts_is_launch_bound(
    tmp_path: Path, larger: float, text: str
) -> None:
    sitting = sat(
        tmp_path,
        {"lstm": [rate([1000.0]), rate([larger], at={"batch": 32}), one("busy_share", 0.4)]},
    )
    found = efficiency.batch_gain(sitting, subject(sitting, "lstm"), TRAIN)
    assert found is not None
    assert found.text == text
    small = measured.speed_table(grouped(sitting)).rows[0][1].small
    assert f"{text}: {found.small}" in small
    assert found.small.endswith("at batch 32")
    assert "busy 40 % of the time" in small


def test_marks_of_reading_and_decoding(tmp_path: Path) -> None:
    metrics = [
        rate([100.0], "decode_tokens_per_second"),
        rate([120.0], "decode_tokens_per_second", {"batch": 2}),
        rate([700.0], "decode_tokens_per_second", {"batch": 8}),
        rate([900.0], "prefill_tokens_per_second"),
        rate([0.1], "first_token_seconds"),
        rate([0.8], "first_token_seconds", {"batch": 8}),
    ]
    sitting = sat(tmp_path, {"lstm": metrics})
    lstm = subject(sitting, "lstm")
    decode, prefill = (
        efficiency.batch_gain(sitting, lstm, f"{stem}_tokens_per_second")
        for stem in ("decode", "prefill")
    )
    assert decode is not None
    assert decode.batch == 8  # two sequences at once say too little
    assert decode.gain == pytest.approx(6)
    assert prefill is not None
    assert prefill.gain == pytest.approx(0)


# --- the page -------------------------------------------------------------------------------------


def test_a_folder_of_measurements_alone_has_a_page_and_a_table(
    made: tuple[Path, str], page: str
) -> None:
    alone, text = made
    assert reporting.find_suites(alone) == [alone]
    assert (
        "nothing was trained: classic, convolution, decoder, encoder, gru, lstm and pairs" in page
    )
    assert not re.search(r"Training of \d", page)
    for heading in ("Speed", "Why is it slower?", "Decoding", "Memory and energy"):
        assert f"<h3>{heading}</h3>" in page
    for chart in ("lengths", "memory-parts"):
        assert f'data-chart="{chart}"' in page
    assert any(line.startswith("lstm") and "the reference" in line for line in text.splitlines())
    assert "decoder trains faster than gru below about" in text
    assert "A/A control: lstm measured twice" in text
    assert max(map(len, text.splitlines())) < 130


def test_the_section_says_depth_rounds_and_widths(page: str) -> None:
    assert (
        "Measured at depth “full”: 60 rounds of rates and 7 rounds at each length. "
        "The median half width" in page
    )
    assert "A/A control: lstm measured twice, a ratio that should be 1: training " in page
    assert "Calibration: 2 checks on models of known cost, all passed." in page
    assert "A large matrix product reaches 1.1 TFLOP/s here." in page
    assert "Runnable processes, mean of a minute: 0.400 before and 1.10 after." in page
    assert "Clock of the cores, on average: 2,300 MHz before." in page
    assert "Temperature:" not in page
    assert "not available: no sensor" in page  # among all that is known of the machine


def test_a_gap_is_named_with_its_reason(full: SpeedGroup) -> None:
    notes = crossings.gap_notes(full)
    (training,) = [note for note in notes if note.startswith("Training")]
    why = "learned positions for 1,024 tokens: there is none for a longer context"
    assert f"classic at 2,048, 4,096, 8,192 and 16,384: {why}" in training
    assert "encoder" not in training
    (further,) = [note for note in notes if note.startswith("Time of a further token")]
    assert "encoder at any point: reads both directions" in further


def test_a_point_without_memory_leaves_the_others_standing(tmp_path: Path) -> None:
    lost = Metric(TRAIN, "", "higher", (), "out of memory", at={"length": 512})
    points = [rate(noisy(n, 7), at={"length": n}) for n in (128, 256, 1024)]
    sitting = sat(tmp_path, {"lstm": [rate(noisy(1000)), *points, lost]})
    (note,) = crossings.gap_notes(grouped(sitting))
    assert note.endswith("no number for lstm at 512: out of memory.")
    table = panel_data.length_data(build_views(build(reading.read_records(tmp_path))))
    assert list(table["x"]) == [128, 256, 1024]
    assert list(table["y"]) == pytest.approx([128, 256, 1024], rel=0.05)


def test_reasons_of_missing_numbers_stand_under_the_table_once(full: SpeedGroup) -> None:
    notes = measured.memory_table(full).notes
    assert (
        "— energy per token · all: not available: "
        "this system has no counter of energy that can be read" in notes
    )
    assert "energy per token" not in measured.memory_table(full).titles
    table = measured.decoding_table(full)
    assert sum("reads both directions" in note for note in table.notes) == 1
    titles = table.titles
    assert titles[1:5] == ["tokens/s, batch 1", "batch 8", "batch 32", "batch 128"]
    assert "further token at 16,384" in titles


def test_the_process_rise_is_never_a_ranking(full: SpeedGroup) -> None:
    help = {column.title: column.help for column in measured.memory_table(full).columns}
    assert "never ranked" in help["process growth"]
    assert not any(
        "process" in line
        for line in summary_text.measurement_sentences([full], build_answers([], [full]))
    )


def test_speeds_csv_and_crossovers_csv(alone: Path) -> None:
    table = pd.read_csv(alone / "report" / "speeds.csv")
    columns = (
        "machine,sitting,metric,at,arch,subject,median,ratio_to_reference,low,high,clock,claim"
    )
    wanted = columns.split(",")
    assert list(table.columns)[: len(wanted)] == wanted
    base = table[table["at"].isna() & (table["metric"] == TRAIN)].set_index("arch")
    assert base["ratio_to_reference"]["lstm"] == 1
    assert base["low"]["gru"] < 19_500 / 31_000 * 1.01
    assert base["high"]["gru"] > 19_500 / 31_000 * 0.99
    assert base["claim"].all()
    cpu = table[table["metric"] == "train_tokens_per_cpu_second"]
    assert set(cpu["clock"]) == {"cpu"}
    assert not cpu["claim"].any()
    assert {"length=512", "batch=8"} <= set(table["at"].dropna())
    crossed = pd.read_csv(alone / "report" / "crossovers.csv")
    assert len(crossed.drop_duplicates(["metric", "first", "second"])) == 21 + 15 + 15
    found = crossed[
        (crossed["first"] == "decoder")
        & (crossed["second"] == "gru")
        & (crossed["metric"] == TRAIN)
    ].iloc[0]
    true = 128 + (1 / 19_500 - 1 / 20_500) / 2.5e-8
    assert found["length"] == pytest.approx(true, rel=0.2)
    assert found["faster_below"] == "decoder"


def test_two_machines_never_share_an_axis(tmp_path: Path) -> None:
    for name in ("0a1b2c3d", "1a1b2c3d"):
        fake_records.write_deep(tmp_path, ("lstm", "gru"), machine=name)
    records = reading.read_records(tmp_path)
    found = build(records).groups
    assert [group.session.machine for group in found] == ["0a1b2c3d", "1a1b2c3d"]
    reporting.make_report(tmp_path)
    text = (tmp_path / "report" / "index.html").read_text()
    assert "Speeds from different machines are never on one axis" in text
    assert text.count("<h3>Speed</h3>") == 2
    table = pd.read_csv(tmp_path / "report" / "speeds.csv")
    assert (table.groupby("machine")["ratio_to_reference"].max() >= 1).all()


def test_an_older_measurement_still_has_its_tables(tmp_path: Path) -> None:
    fake_records.write(
        tmp_path / "suite", seeds=1, archs=("lstm", "encoder", "gru", "pairs"), machines=1
    )
    page, text = reporting.make_report(tmp_path / "suite")
    html = page.read_text()
    assert "No calibration is stored with this session." in html
    assert "first step" not in html
    assert "<h3>Why is it slower?</h3>" in html
    assert "utilisation · all: unknown: no peak was measured in this process" in html
    assert "bits/byte" in text


def test_what_has_no_finished_run_stands_in_a_table_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    fake_records.write_run(root, "lstm", 0)
    for arch in ("lstm", "gru"):
        fake_records.write_measure(root, arch)
    records = reading.read_records(root)
    found = build(records).groups
    assert [list(group.names["label"]) for group in found] == [["lstm"], ["gru"]]
    assert found[1].title == "Measured without a finished run"


def test_a_broken_doctor_allows_no_claim(tmp_path: Path) -> None:
    folder = fake_records.write_measure(tmp_path, "lstm")
    for content in ("not json", json.dumps(["a", "list"]), json.dumps({"schema": 1})):
        (folder.parent / "doctor.json").write_text(content)
        records = reading.read_records(tmp_path)
        (sitting,) = session_builder.build_sessions(records.measures, records.calibrations)
        assert [one["name"] for one in sitting.failed_checks] == ["doctor.json"]
        assert not sitting.allows_claim("train_tokens_per_second")


@pytest.mark.slow
def test_hundreds_of_architectures_in_one_sitting(tmp_path: Path) -> None:
    base = rate(noisy(1000, 60))
    points = [rate(noisy(n, 3), at={"length": n}) for n in LENGTHS]
    for number in range(200):
        fake_records.write_measure(tmp_path, f"arch{number}", metrics=[base, *points])
    records = reading.read_records(tmp_path)
    assert len(records.measures) == 200 * (60 + 15)
    (sitting,) = session_builder.build_sessions(records.measures)
    assert len(sitting.ratios) == 199
