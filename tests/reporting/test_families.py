"""Families in the report: hues that can be told apart, colours by family, and the cards."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import reporting
from bench.analysis import families
from bench.config.identity import architecture_id
from bench.records import contract_results, store
from bench.records.metrics import Metric
from bench.reporting.plots import base
from tests import fake_records

SIGHTS = {  # Machado et al. 2009, severity 1, on linear RGB
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
PAPERS = {"light": (families.PALETTE, "#fdfdfb"), "dark": (families.DARK_PALETTE, "#141517")}
Colour = NDArray[np.float64]


def linear(code: str) -> Colour:
    value = np.array([int(code[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def oklab(rgb: Colour) -> Colour:
    cones = np.array(
        [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]]
    )
    to_lab = np.array(
        [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]
    )
    return to_lab @ np.cbrt(np.clip(cones @ rgb, 0, None))


def contrast(first: str, second: str) -> float:
    dark, bright = sorted(
        float(linear(code) @ np.array([0.2126, 0.7152, 0.0722])) for code in (first, second)
    )
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("mode", PAPERS)
def test_families_are_told_apart_by_every_sight(mode: str, sight: str) -> None:
    bases = PAPERS[mode][0][:: families.SHADES]
    seen = [oklab(np.clip(np.array(SIGHTS[sight]) @ linear(code), 0, 1)) for code in bases]
    assert len(seen) == len(families.TITLES)
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) > 0.09


@pytest.mark.parametrize("mode", PAPERS)
def test_every_shade_stands_out_from_its_paper(mode: str) -> None:
    palette, paper = PAPERS[mode]
    assert len(set(palette)) == len(families.TITLES) * families.SHADES
    assert min(contrast(code, paper) for code in palette) > 3


def test_colours_follow_the_family_and_never_repeat() -> None:
    named = {f"a{number}": "attention" for number in range(9)} | {
        "g": "recurrent",
        "x": "nobody knows it",
        "y": "own",
    }
    found = families.assign_colours(named, taken={families.assign_colours({"": "recurrent"})[""]})
    looks = {name: (base.colour(number), base.dash(number)) for name, number in found.items()}
    assert len(set(looks.values())) == len(looks)
    assert {looks[f"a{n}"][0] for n in range(9)} == set(families.LIGHT["attention"].split())
    assert looks["g"][0] == families.LIGHT["recurrent"].split()[1]
    assert {looks["x"][0], looks["y"][0]} < set(families.LIGHT[families.OWN].split())


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
        for part in section.split("<article>")
        if f"</span>{name}</h4>" in part
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
    assert page.index("<h3>Recurrent</h3>") < page.index("<h3>Family of decoder</h3>")
    path = root / "checks" / f"lstm-{architecture_id(run.arch)}.json"
    store.write_json(path, store.read_json(path) | {"source": "older"})
    assert "Sources changed since: python -m bench.check arch=lstm --keep" in card(
        reporting.make_report(root)[0].read_text(), "lstm"
    )
