"""The palette: colours fixed by name, told apart by everyone, legible as text."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from bench.reporting.palette import DARK, LIGHT, assign_styles, colour_number

SIGHTS = {  # Machado et al. 2009, severity 1, on linear RGB
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
PAPERS = {"light": (LIGHT, "#ffffff"), "dark": (DARK, "#141517")}
Colour = NDArray[np.float64]


def linear(code: str) -> Colour:
    value = np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def oklab(rgb: Colour) -> Colour:
    cones = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005]]  # fmt: skip
    axes = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099], [0.0259040371, 0.7827717662, -0.8086757660]]  # fmt: skip
    return np.array(axes) @ np.cbrt(np.array(cones) @ np.clip(rgb, 0, 1))


def luminance(code: str) -> float:
    return float(linear(code) @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("paper", PAPERS)
def test_colours_are_told_apart_by_every_kind_of_sight(paper: str) -> None:
    colours, _ = PAPERS[paper]
    for sight, matrix in SIGHTS.items():
        seen = [oklab(np.array(matrix) @ linear(code)) for code in colours]
        nearest = min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2))
        assert nearest >= (0.16 if sight == "normal" else 0.08), sight


@pytest.mark.parametrize("paper", PAPERS)
def test_names_may_be_written_in_every_colour(paper: str) -> None:
    colours, background = PAPERS[paper]
    for code in colours:
        lights = sorted([luminance(code) + 0.05, luminance(background) + 0.05])
        assert lights[1] / lights[0] >= 4.5, code


def test_a_colour_depends_on_the_name_alone() -> None:
    alone = assign_styles([("mine", "mine")])["mine"]
    among = assign_styles((name, name) for name in ("a", "b", "mine", "z"))["mine"]
    assert alone.light == among.light == LIGHT[colour_number("mine")]


def test_the_default_suite_has_as_many_colours_as_architectures() -> None:
    suite = yaml.safe_load(Path("conf/suite/default.yaml").read_text(encoding="utf-8"))
    names = suite["hydra"]["sweeper"]["params"]["arch"].split(",")
    assert len({colour_number(name) for name in names}) == len(names)


def test_rows_of_one_colour_differ_otherwise_and_a_control_has_the_colour_of_its_row() -> None:
    names = [f"architecture {n}" for n in range(40)]
    styles = assign_styles((name, name) for name in names)
    assert len({(style.light, style.dash, style.shape) for style in styles.values()}) == 40
    pair = assign_styles([("x", "x"), ("x again", "x")])
    assert pair["x"].light == pair["x again"].light
    assert pair["x"].dash != pair["x again"].dash
    variants = assign_styles((f"x (steps={n})", "x") for n in range(5))
    assert len({style.light for style in variants.values()}) > 1
