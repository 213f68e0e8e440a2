"""The page in a browser: nothing but the file is read, and filter, address, hover, copies and print work."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest

from bench import reporting
from tests import fake_records

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(
    (
        path
        for path in map(Path, ("/usr/bin/chromium", "/usr/bin/chromium-browser"))
        if path.exists()
    ),
    None,
)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium")]
READY = "document.documentElement.dataset.ready === 'true'"
BARS = "[data-chart=side-by-side] .mark-symbol path"  # of quality: one for each row
LINES = "[data-chart=curves] .mark-line path"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = fake_records.write(tmp_path_factory.mktemp("results") / "suite")
    fake_records.write_references(root)
    return reporting.make_report(root)[0].as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """An empty tab; afterwards its page has requested nothing, written no message and opened no dialog."""
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    messages: list[str] = []
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.on(
        "request",
        lambda request: (
            messages.append(request.url)
            if not request.url.startswith(("file:", "data:", "blob:"))
            else None
        ),
    )
    tab.on("dialog", lambda dialog: (messages.append(dialog.message), dialog.dismiss()))
    yield tab
    tab.close()
    assert messages == []


@pytest.fixture
def report(tab: Any, address: str) -> Any:
    open_page(tab, address)
    return tab


def open_page(tab: Any, address: str) -> None:
    tab.goto(address)
    tab.wait_for_function(READY)


def shown_rows(tab: Any) -> list[str]:
    return tab.eval_on_selector_all(
        "#table [data-view]:not([hidden]) tbody tr:not([hidden]) th",
        "cells => cells.map(cell => cell.dataset.value)",
    )


def test_the_filter_acts_on_charts_and_tables_and_is_in_the_address(report: Any) -> None:
    before = report.locator(BARS).count()
    assert before == 6
    assert "lstm" in shown_rows(report)
    report.get_by_label("lstm", exact=True).uncheck()
    assert report.locator(BARS).count() == before - 1
    assert report.locator(LINES).count() == before - 1
    assert "lstm" not in shown_rows(report)
    assert "uniform" not in shown_rows(report)
    report.get_by_label("baselines", exact=True).check()
    assert "uniform" in shown_rows(report)  # a baseline is no architecture
    report.wait_for_function("location.search.includes('show=gru')")
    rows = shown_rows(report)
    open_page(report, report.url)
    assert shown_rows(report) == rows
    assert report.locator(BARS).count() == before - 1


def test_the_filter_acts_on_texts_and_cards(report: Any) -> None:
    report.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    for place in ("#texts article", "#architectures article"):
        own = report.locator(f"{place}[data-rows*='\"lstm\"']")
        assert own.count()
        assert own.first.is_visible()
        report.get_by_label("lstm", exact=True).uncheck()
        assert not own.first.is_visible()
        assert report.locator(place).filter(visible=True).count()
        report.get_by_label("lstm", exact=True).check()


def test_charts_grow_with_their_rows_and_names_keep_the_order_of_their_lines(report: Any) -> None:
    inside = """() => {
        const svg = document.querySelector("[data-chart=side-by-side] svg");
        const ends = [...svg.querySelectorAll("text")].map((one) => one.getBoundingClientRect().bottom);
        return Math.max(...ends) <= svg.getBoundingClientRect().bottom;
    }"""
    height = (
        "document.querySelector('[data-chart=side-by-side] svg').getBoundingClientRect().height"
    )
    before = report.evaluate(height)
    lstm = report.get_by_label("lstm", exact=True)
    for change, expected in ((lstm.uncheck, before - 20), (lstm.check, before)):
        change()
        report.wait_for_timeout(500)
        assert report.evaluate(height) == expected
        assert report.evaluate(inside)
    names = report.eval_on_selector_all(
        "[data-chart=curves] .role-mark text",
        "all => all.map((one) => [one.getBoundingClientRect().y, one.textContent])",
    )
    last = pd.read_csv(Path(unquote(urlsplit(report.url).path)).parent / "curves.csv")
    ends = (
        last[last["validation_nats"].notna()].sort_values("step").groupby(["arch", "seed"]).tail(1)
    )
    means = ends.groupby("label")["validation_nats"].mean().sort_values(ascending=False)
    shown = [name for _, name in sorted(names)]
    assert len(shown) == 6
    assert [name for name in means.index if name in shown] == [n for n in shown if n in means.index]


def test_names_in_the_chart_of_quality_are_written_once(report: Any) -> None:
    names = report.eval_on_selector_all(
        "[data-chart=tradeoff] .role-mark text", "texts => texts.map((text) => text.textContent)"
    )
    assert {"lstm", "gru"} <= {*names}
    assert len(names) == len(set(names))


def test_choices_of_the_curves(report: Any) -> None:
    assert report.locator(LINES).count() == 6
    report.locator("[name=seeds]").select_option("each")
    report.wait_for_function(f"document.querySelectorAll('{LINES}').length > 6")
    assert report.locator(LINES).count() == 18  # three seeds of each row
    report.locator("[name=over]").select_option("FLOPs")
    report.wait_for_function(
        "document.querySelector('[data-chart=curves]').textContent.includes('training FLOPs')"
    )
    assert "seeds=each" in report.url
    assert "over=FLOPs" in report.url


def test_control_and_wheel_zoom_and_a_plain_wheel_scrolls(report: Any) -> None:
    plot = report.locator("[data-chart=curves]")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    report.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    axis = "document.querySelector('[data-chart=curves] .role-axis-label').textContent"
    before = report.evaluate(axis)
    report.mouse.wheel(0, 120)
    assert report.evaluate(axis) == before
    box = plot.bounding_box()
    report.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    report.keyboard.down("Control")
    report.mouse.wheel(0, -400)
    report.wait_for_function(f"{axis} !== {before!r}")
    report.keyboard.up("Control")


def test_hovering_names_value_interval_and_ratio(report: Any) -> None:
    report.locator("[data-chart=side-by-side] .mark-rect path").nth(1).hover()
    text = report.locator("#vg-tooltip-element").inner_text()
    assert re.search(r"train tokens/s", text)
    assert re.search(r"95 % interval\s*[\d.]+ k to [\d.]+ k", text)
    assert "of lstm" in text


def test_the_reference_row_changes_the_verdicts(report: Any) -> None:
    verdict = (
        report.locator(
            "#table [data-view]:not([hidden]) tr", has=report.locator("th[data-value=decoder]")
        )
        .locator("td.g-verdict")
        .first
    )
    assert verdict.inner_text().startswith("worse")
    report.locator("[name=reference]").select_option(label="classic")
    assert verdict.inner_text().startswith("better")


def test_tables_sort_and_copy(report: Any) -> None:
    report.locator("#table [data-view]:not([hidden]) th", has_text="train tokens/s").get_by_role(
        "button"
    ).click()
    rates = report.eval_on_selector_all(
        "#table [data-view]:not([hidden]) tbody td:nth-child(8)",
        "cells => cells.map(cell => Number(cell.dataset.value)).filter(Number.isFinite)",
    )
    assert rates == sorted(rates, reverse=True)  # the best first
    rows = shown_rows(report)
    report.wait_for_function("location.search.includes('order=')")
    open_page(report, report.url)
    assert shown_rows(report) == rows
    report.evaluate(
        "navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }"
    )
    buttons = report.locator("#table .copy").first
    for name, start in (
        ("CSV", "architecture,"),
        ("Markdown", "| architecture |"),
        ("LaTeX", "\\begin{tabular}{lr"),
    ):
        buttons.get_by_role("button", name=name).click()
        assert report.evaluate("window.copied").startswith(start)
        assert "lstm" in report.evaluate("window.copied")


def test_folds_open_by_their_link_and_in_print(report: Any, address: str) -> None:
    assert not report.locator("#architectures > details").evaluate("fold => fold.open")
    report.goto(f"{address}#architectures")
    report.wait_for_function("document.querySelector('#architectures > details').open")
    report.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert report.evaluate(
        "[...document.querySelectorAll('section > details')].every(fold => fold.open)"
    )
    report.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not report.locator("#glossary > details").evaluate("fold => fold.open")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_no_page_is_wider_than_its_window(
    browser: Any, address: str, width: int, scheme: str
) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    open_page(tab, address)
    assert tab.evaluate("document.documentElement.dataset.theme") == scheme
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("document.documentElement.scrollHeight") <= (
        5 * 800 if width == 1280 else 10 * 800
    )
    tab.close()


def test_without_scripts_every_table_is_there(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(address)
    assert tab.locator("#table table").count() == 2
    assert all(tab.locator("#table table").nth(n).is_visible() for n in range(2))
    context.close()


def test_hostile_names_are_drawn_as_text(tab: Any, tmp_path: Path) -> None:
    names = [
        "<img src=x onerror=alert(1)>",
        "</script><script>alert(2)",
        "a" * 200,
        "'\"${datum} é",
    ]
    root = tmp_path / "<b>suite"
    for name in names:
        arch = name.replace("/", "|")  # names are names of files
        fake_records.write_run(root, arch, 0)
        fake_records.write_measure(root, arch)
    open_page(tab, reporting.make_report(root)[0].as_uri())
    labels = tab.eval_on_selector_all(
        "[data-chart=side-by-side] .role-axis-label text",
        "labels => labels.map(label => label.textContent)",
    )
    assert "<img src=x onerror=alert(1)>" in labels
    assert tab.locator("img, #table b").count() == 0
