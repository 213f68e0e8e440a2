"""Figures: their files, and that they show the numbers of the CSV files."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from bench import reporting
from bench.config.errors import UserError
from bench.reporting.csv_export import read_table
from bench.reporting.figures.curves import learning_curves
from bench.reporting.figures.drawing import MAKERS, draw_figures
from bench.reporting.figures.files import parse_figures, write_figures
from bench.reporting.figures.side_by_side import quality_against_speed, side_by_side
from bench.reporting.figures.spread import spread_labels
from bench.reporting.figures.style import figure_style, log_ticks
from bench.reporting.figures.tables import read_groups
from tests import fake_records
from tests.readme_figures import reference_tables

Tables = dict[str, pd.DataFrame]
HOSTILE = ["<script>alert(1)</script>", "$x^2$ & _y_", "🦙 \\alpha", "long " * 40, '"quoted"\'s']


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The CSV files of the synthetic suite."""
    root = fake_records.write(tmp_path_factory.mktemp("results") / "suite")
    reporting.make_report(root)
    return {path.name: read_table(path) for path in (root / "report").glob("*.csv")}


def with_rows(tables: Tables, names: list[str]) -> Tables:
    """The first row of a suite as often as there are names, with all its numbers."""
    summary = tables["summary.csv"]
    first = summary[summary["bits_per_byte"].notna() & ~summary["control"]].iloc[[0]]
    subject, variant = first[["subject", "variant"]].iloc[0]
    changed = {}
    for file, table in tables.items():
        rows = first if file == "summary.csv" else table
        if "variant" in rows:
            rows = rows[(rows["variant"] == variant) & (rows.get("control") != True)]  # noqa: E712
        elif "subject" in rows:
            rows = rows[rows["subject"] == subject]
        else:
            changed[file] = rows.iloc[:0]
            continue
        copies = [
            rows.assign(**{
                key: text
                for key, text in {"arch": name, "label": name, "variant": f"v{n}", "subject": f"s{n}"}.items()
                if key in rows
            })
            for n, name in enumerate(names)
        ]  # fmt: skip
        for n, copy in enumerate(copies):
            if "run" in copy:
                copy["run"] = copy["run"].astype(str) + f"-{n}"
        changed[file] = pd.concat(copies, ignore_index=True)
    return changed


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "formats"),
    [
        ([], ("svg",)),
        (["figures=none"], ()),
        (["figures=pdf"], ("pdf",)),
        (["figures=png,pdf,png"], ("png", "pdf")),
    ],
)
def test_formats_are_chosen(words: list[str], formats: tuple[str, ...]) -> None:
    assert parse_figures(words) == formats


@pytest.mark.parametrize(
    "word", ["figures=", "figures=jpg", "figures=none,svg", "figures=svg,,pdf"]
)
def test_an_unknown_format_is_refused(word: str) -> None:
    with pytest.raises(UserError) as error:
        parse_figures([word])
    assert error.value.code == "invalid-value"
    assert word in str(error.value)


def test_files_of_each_format_are_written_and_old_ones_removed(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.reporting.figures.drawing.MAKERS", (side_by_side,))
    (tmp_path / "from_before.svg").write_text("")
    (tmp_path / "notes.txt").write_text("kept")
    files = write_figures(tables, tmp_path, ("svg", "pdf", "png"))
    assert [path.name for path in files["side_by_side"]] == [
        "side_by_side.svg", "side_by_side.pdf", "side_by_side.png",
    ]  # fmt: skip
    starts = [path.read_bytes()[:5] for path in files["side_by_side"]]
    assert starts == [b"<?xml", b"%PDF-", b"\x89PNG\r"]
    assert not (tmp_path / "from_before.svg").exists()
    first = (tmp_path / "side_by_side.svg").read_bytes()
    assert write_figures(tables, tmp_path, ("svg",))
    assert (tmp_path / "side_by_side.svg").read_bytes() == first
    assert not (tmp_path / "side_by_side.pdf").exists()
    assert write_figures(tables, tmp_path, ()) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_without_figures_neither_seaborn_nor_matplotlib_is_imported() -> None:
    code = (
        "import sys, bench.reporting, bench.reporting.csv_export\n"
        "from bench.reporting.figures.files import write_figures\n"
        "from pathlib import Path\n"
        "write_figures({}, Path('none'), ())\n"
        "sys.exit('seaborn' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- numbers --------------------------------------------------------------------------------------


def test_side_by_side_shows_the_numbers_of_summary_csv(tables: Tables) -> None:
    group = read_groups(tables)[0][0]
    with figure_style():
        panels = {axes.get_title(loc="left"): axes for axes in side_by_side(group).axes}
    summary = tables["summary.csv"]
    summary = summary[~summary["control"] & (summary["seeds"] > 0)].set_index("label")
    names = [text.get_text() for text in panels["Quality"].get_yticklabels()]
    assert set(names) == set(summary.index)
    causal = summary["bits_per_byte"].dropna().sort_values()
    assert names[: len(causal)] == list(causal.index)
    points = np.concatenate(
        [
            dots.get_offsets()[:, 0]
            for dots in panels["Quality"].collections
            if hasattr(dots, "get_sizes") and len(dots.get_sizes())
        ]
    )
    assert sorted(points[np.isfinite(points)]) == pytest.approx(list(causal))
    for title, column in (
        ("Training", "train_tokens_per_second"),
        ("Training memory", "peak_train_memory_bytes"),
    ):
        bars = [bar.get_width() for bar in panels[title].patches]
        assert sorted(np.array(bars)[np.isfinite(bars)]) == pytest.approx(
            sorted(summary[column].dropna())
        )
    assert "Decoding, 32 texts" in panels or "Decoding, one text" in panels


def test_curves_show_the_means_over_seeds_of_curves_csv(tables: Tables) -> None:
    group = read_groups(tables)[0][0]
    with figure_style():
        axes = learning_curves(group).axes[1]
    curves = tables["curves.csv"]
    rows = curves[(curves["label"] == "lstm") & ~curves["control"]].dropna(
        subset=["validation_nats"]
    )
    wanted = rows.groupby("tokens")["validation_nats"].mean()
    lines = [line.get_xydata() for line in axes.lines if len(line.get_xdata()) == len(wanted)]
    assert any(np.allclose(line, wanted.reset_index().to_numpy()) for line in lines)
    assert {text.get_text() for text in axes.texts} >= {"lstm", "gru", "decoder"}


def test_masked_and_causal_losses_share_no_panel(tables: Tables) -> None:
    group = read_groups(tables)[0][0]
    with figure_style():
        figure = learning_curves(group)
    assert [axes.get_ylabel() for axes in figure.axes] == ["nats per token"] * 2 + [
        "nats per masked token"
    ] * 2


def test_the_pareto_front_holds_the_rows_that_no_other_beats(tables: Tables) -> None:
    group = read_groups(tables)[0][0]
    with figure_style():
        axes = quality_against_speed(group).axes[0]
    rows = group.rows.dropna(subset=["bits_per_byte", "train_tokens_per_second"])
    x, y = rows["train_tokens_per_second"].to_numpy(), rows["bits_per_byte"].to_numpy()
    best = {(a, b) for a, b in zip(x, y, strict=True) if not ((x > a) & (y < b)).any()}
    assert {tuple(point) for point in axes.lines[0].get_xydata()} == best


def test_controls_and_unfinished_rows_are_left_out(tables: Tables) -> None:
    groups, left = read_groups(tables)
    labels = {label for group in groups for label in group.rows["label"]}
    assert not any(label.endswith(" again") for label in labels)
    assert "broken" not in labels
    summary = tables["summary.csv"]
    assert left == max(0, summary["comparison"].nunique() - len(groups))


# --- bad input ------------------------------------------------------------------------------------


def test_hostile_names_are_written_as_they_are(tables: Tables, tmp_path: Path) -> None:
    changed = with_rows(tables, HOSTILE)
    changed["summary.csv"].loc[1, "bits_per_byte"] = np.inf
    changed["summary.csv"].loc[2, ["bits_per_byte", "train_tokens_per_second"]] = np.nan
    changed["curves.csv"].loc[3, "nats"] = np.nan
    files = write_figures(changed, tmp_path, ("svg",))
    assert len(files) >= 3
    for (path,) in files.values():
        texts = [text for text in ElementTree.parse(path).getroot().itertext() if text.strip()]
        assert all("<script" not in text or text.startswith("<script>alert") for text in texts)
    side = (tmp_path / "side_by_side.svg").read_text(encoding="utf-8")
    assert "<script" not in side
    assert "&lt;script&gt;alert" in side
    assert "$x^2$ &amp; _y_" in side
    assert "🦙 \\alpha" in side
    assert "long " * 5 not in side


def test_one_row_is_drawn(tables: Tables) -> None:
    names = [name for name, _ in draw_figures(with_rows(tables, ["alone"]))]
    assert "side_by_side" in names
    assert "learning_curves" in names
    assert "quality_against_speed" not in names  # one point is no trade-off


def test_of_many_rows_the_best_are_named_and_the_others_counted(tables: Tables) -> None:
    changed = with_rows(tables, [f"row {n}" for n in range(44)])
    group = read_groups(changed)[0][0]
    with figure_style():
        side, curves = side_by_side(group), learning_curves(group)
    assert len(side.axes[0].get_yticklabels()) == 40
    assert "4 further rows" in side.get_supxlabel()
    assert len(curves.axes[1].texts) == 12
    assert "named: 12 of 44" in curves.get_supxlabel()


def test_a_suite_without_results_has_no_figures(tables: Tables) -> None:
    empty = {name: table.iloc[:0] for name, table in tables.items()}
    assert list(draw_figures(empty)) == []


@pytest.mark.slow
def test_the_figures_of_the_readme_are_those_of_the_reference(tmp_path: Path) -> None:
    files = write_figures(reference_tables(), tmp_path, ("svg",))
    folder = Path("docs/figures")
    assert {f"{name}.svg" for name in files} == {path.name for path in folder.iterdir()}
    for (path,) in files.values():
        texts = [
            set(ElementTree.parse(one).getroot().itertext()) for one in (path, folder / path.name)
        ]
        assert texts[0] == texts[1]


@pytest.mark.slow
def test_all_figures_of_34_rows_and_many_seeds(tables: Tables, tmp_path: Path) -> None:
    changed = with_rows(tables, [f"architecture_{n}" for n in range(34)])
    files = write_figures(changed, tmp_path, ("svg", "png"))
    assert {make.__name__ for make in MAKERS} & set(files) >= {"side_by_side", "learning_curves"}


def test_ticks_of_a_logarithmic_axis_are_few_and_inside() -> None:
    for low, high in ((9e3, 25e3), (1.0, 1.1), (1e-4, 1e4), (3e5, 4e9)):
        ticks = log_ticks(low, high)
        assert 1 <= len(ticks) <= 9
        assert all(low <= tick <= high for tick in ticks)


def test_labels_are_moved_apart_as_little_as_needed() -> None:
    assert spread_labels([0.1, 0.5, 0.9], 0.1, 0, 1) == [0.1, 0.5, 0.9]
    assert spread_labels([0.5, 0.5], 0.2, 0, 1) == pytest.approx([0.4, 0.6])
    assert spread_labels([0.0, 0.01, 0.02], 0.1, 0, 1) == pytest.approx([0.0, 0.1, 0.2])


# --- scaling and synthetic sources ----------------------------------------------------------------


def test_the_scaling_figure_shows_the_cells_of_scaling_csv(tables: Tables) -> None:
    cells = pd.DataFrame(
        [
            ("python_docs", 64, "bits per byte", arch, size, tokens, 6.0 * size * tokens, 5.0 - n)
            for arch in ("a", "b")
            for n, (size, tokens) in enumerate([(1e4, 1e5), (1e4, 4e5), (4e4, 1e5), (4e4, 4e5)])
        ],
        columns="data context unit architecture parameters tokens training_flops loss".split(),
    ).assign(budget=lambda rows: rows["parameters"], law=lambda rows: rows["loss"] + 0.1)
    empty = {name: table.iloc[:0] for name, table in tables.items()}
    ((name, figure),) = draw_figures(empty | {"scaling.csv": cells})
    assert name == "scaling"
    by_size, by_data, by_flops = figure.axes
    points = [tuple(point) for point in by_size.collections[0].get_offsets()]
    assert np.allclose(sorted(points), [(1e4, 4.0), (1e4, 4.0), (4e4, 2.0), (4e4, 2.0)])
    assert np.allclose(by_data.lines[0].get_xydata(), [(1e5, 3.1), (4e5, 2.1)])
    assert len(by_flops.collections[0].get_offsets()) == len(cells)


def test_the_regret_matrix_has_the_regrets_of_summary_csv(tables: Tables) -> None:
    rows = [("a", "recall", 0.5), ("a", "dyck", 0.00002), ("b", "recall", 0.25), ("b", "dyck", 0.1)]
    summary = pd.DataFrame(rows, columns=["arch", "data", "regret"]).assign(
        data_digest=lambda table: table["data"], control=False, seeds=0, comparison=""
    )
    empty = {name: table.iloc[:0] for name, table in tables.items()}
    ((name, figure),) = draw_figures(empty | {"summary.csv": summary})
    assert name == "regret"
    shown = figure.axes[0].collections[0].get_array()
    assert sorted(np.ravel(shown)) == sorted(row[2] for row in rows)
    assert {text.get_text() for text in figure.axes[0].texts} == {
        "0.500",
        "2e-05",
        "0.250",
        "0.100",
    }
