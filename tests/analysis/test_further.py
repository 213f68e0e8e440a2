"""The page's parts on further protocols and encoders, from records made without training."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import reporting
from bench.analysis.build import build
from bench.records import store
from bench.records.metrics import Metric
from bench.records.tables import read_records
from bench.reporting import panel_data
from bench.reporting.views import build_views
from tests import fake_records

TRUE = {"lstm": 2.0, "classic": 2.2, "encoder": 2.6}  # bits per byte, left to right
WINDOWS = 24


def further(arch: str, nats: np.ndarray) -> list[Metric]:
    """What a run records beside its headline."""
    scale = 1 / (127 * np.log(2))
    found = [
        Metric("left_to_right_bits_per_byte", "bits/byte", "lower", (float(nats.mean() * scale),)),
        Metric("left_to_right_standard_error", "bits/byte", "neither", (0.1,)),
        Metric("filling_nats", "nats/token", "lower", (TRUE[arch] / 2,)),
        Metric("filling_nats_standard_error", "nats/token", "neither", (0.3,)),
        Metric("filling_accuracy", "share", "higher", (0.6,)),
        Metric("filling_accuracy_standard_error", "share", "neither", (0.04,)),
        Metric("filling_tokens", "tokens", "neither", (32.0,)),
    ]
    if arch == "encoder":
        bound = [
            Metric("any_order_bits_per_byte", "bits/byte", "lower", (2.9,)),
            Metric("any_order_standard_error", "", "neither", (0.05,)),
        ]
        return [*found, *bound]
    for place in (1, 2, 4, 128):
        found.append(
            Metric(
                "position_nats",
                "nats/token",
                "lower",
                (TRUE[arch] - 0.1 * np.log(place),),
                at={"position": place},
            )
        )
    why = "Classic learned positions for its context of 128 tokens, and cannot read token 256"
    for place in (64, 128, 256):
        refused = arch == "classic" and place > 128
        values = () if refused else (TRUE[arch] - 0.01 * np.log(place),)
        found.append(
            Metric(
                "context_nats",
                "nats/token",
                "lower",
                values,
                why if refused else "",
                {"context": place},
            )
        )
    found.append(
        Metric(
            "chunk_bits_per_byte",
            "bits/byte",
            "lower",
            (1.95,),
            "sample: 8 stretches of 1,024 tokens, chunk(128)",
        )
    )
    found.append(
        Metric(
            "stride_bits_per_byte",
            "bits/byte",
            "lower",
            (1.91,),
            "sample: 8 stretches of 1,024 tokens, stride(128, 32)",
        )
    )
    found.append(Metric("stride_gain", "bits/byte", "higher", (0.04,)))
    found.append(Metric("stride_gain_standard_error", "bits/byte", "neither", (0.002,)))
    state = (1.88,) if arch == "lstm" else ()
    return [
        *found,
        Metric(
            "stateful_bits_per_byte",
            "bits/byte",
            "lower",
            state,
            "" if state else "its state grows with the text",
        ),
    ]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results") / "suite"
    for arch, bits in TRUE.items():
        for seed in range(3):
            hard = np.random.default_rng(5).normal(
                1, 0.1, WINDOWS
            )  # of the windows, and so the same for all
            nats = (
                127
                * np.log(2)
                * bits
                * hard
                * np.random.default_rng(seed + len(arch)).normal(1, 0.005, WINDOWS)
            )
            documents = fake_records.make_documents(1.3, seed)
            profile = fake_records.PROFILES[arch]["nats"]
            folder = fake_records.write_run(
                root,
                arch,
                seed,
                metrics=[*fake_records.quality(arch, profile, documents), *further(arch, nats)],
                documents=documents,
            )
            table = pd.DataFrame(
                {
                    "window": 1 + 128 * np.arange(WINDOWS),
                    "tokens": 127,
                    "bytes": 127.0,
                    "nats": nats,
                }
            )
            store.write_parquet(folder / "windows.parquet", table)
            if arch != "encoder":
                state = Metric("bits_per_byte", "bits/byte", "lower", (1.7,))
                facts = {"protocol": "stateful", "part": "test"}
                again = folder / "evaluations" / "stateful-0a0a0a0a"
                again.mkdir(parents=True)
                if arch == "lstm":
                    store.write_result(again, "done", metrics=[state], facts=facts)
                else:
                    store.write_result(
                        again, "skipped", "its state grows with the text", facts=facts
                    )
    reporting.make_report(root)
    return root


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "report" / "index.html").read_text(encoding="utf-8")


def table(page: str, heading: str) -> str:
    begin = page.index(f"<h3>{heading}</h3>")
    return page[begin : page.index("</table>", begin) + 2000]


def test_encoders_are_ranked_beside_causal_models_on_the_same_windows(page: str) -> None:
    shown = table(page, "The same windows, left to right").partition("</table>")[0]
    assert shown.index(">lstm") < shown.index(">classic") < shown.index(">encoder")
    assert f"{WINDOWS} sampled windows of the test part, the same for all" in shown
    found = [float(number) for number in re.findall(r"lstm is better by (0\.\d+) ±", shown)]
    hard = np.random.default_rng(5).normal(1, 0.1, WINDOWS).mean()
    assert found == pytest.approx([0.2 * hard, 0.6 * hard], abs=0.02)
    assert shown.count("≤ 2.900") == 1


def test_an_encoder_stands_in_no_other_ranking(page: str) -> None:
    protocols = page[page.index('id="protocols"') : page.index('id="machine"')]
    assert ">lstm<" in protocols
    assert ">encoder<" not in protocols.replace("family of encoder", "")


def test_other_windows_are_another_table(root: Path, tmp_path: Path) -> None:
    for arch in ("lstm", "encoder"):
        nats = np.full(WINDOWS, 180.0)
        documents = fake_records.make_documents(1.3, 0)
        metrics = [*fake_records.quality(arch, 1.3, documents), *further(arch, nats)]
        folder = fake_records.write_run(
            tmp_path / "suite", arch, 0, metrics=metrics, documents=documents
        )
        first = 1 if arch == "lstm" else 2
        changed = pd.DataFrame(
            {
                "window": first + 128 * np.arange(WINDOWS),
                "tokens": 127,
                "bytes": 127.0,
                "nats": nats,
            }
        )
        store.write_parquet(folder / "windows.parquet", changed)
    reporting.make_report(tmp_path / "suite")
    page = (tmp_path / "suite" / "report" / "index.html").read_text(encoding="utf-8")
    assert ">lstm" not in table(page, "The same windows, left to right").partition("</table>")[0]


def test_each_protocol_has_a_column_and_each_gap_its_reason(page: str) -> None:
    shown = table(page, "Further protocols")
    for words in (
        "chunk, sample",
        "stride, sample",
        "stateful, sample",
        "best applicable, sample",
        "stateful, all text",
    ):
        assert words in shown
    assert "gains 0.040 ± 0.002" in shown
    assert "1.700" in shown
    assert "stateful, sample; stateful, all text · classic: its state grows with the text" in shown


def test_the_charts_of_context(root: Path, page: str) -> None:
    analysis = build(read_records(root))
    table = panel_data.context_data(build_views(analysis), analysis.records)
    assert set(table["panel"]) == {panel for _, _, panel in panel_data.CONTEXTS}
    assert (table["low"] <= table["y"] + 1e-9).all()
    assert (table["y"] <= table["high"] + 1e-9).all()
    assert set(table.loc[table["name"] != "", "key"]) == set(table["key"])
    assert "classic ends early: Classic learned positions" in page


def test_filling_in_stands_with_its_error(page: str) -> None:
    shown = table(page, "Filling in one hidden token")
    assert "60.0 %" in shown
    assert f"± {0.3 / np.sqrt(3):.3f}" in shown
    assert ">96<" in shown


def test_the_new_columns_stand_in_the_csv(root: Path) -> None:
    summary = pd.read_csv(root / "report" / "summary.csv").set_index("arch")
    assert summary.loc["encoder", "any_order_bits_per_byte"] == pytest.approx(2.9)
    assert summary.loc["lstm", "stateful_bits_per_byte"] == pytest.approx(1.88)
    assert np.isnan(summary.loc["classic", "stateful_bits_per_byte"])
    assert (
        summary.loc["lstm", "left_to_right_bits_per_byte"]
        < summary.loc["encoder", "left_to_right_bits_per_byte"]
    )
