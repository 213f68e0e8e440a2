"""The page in a browser: nothing but the file is read, and filter, address, hover, copies and print work."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
def tab(browser: Any, address: str) -> Iterator[Any]:
    """The page, ready; afterwards it has requested nothing and has said nothing."""
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
    open_page(tab, address)
    yield tab
    tab.close()
    assert messages == []


def open_page(tab: Any, address: str) -> None:
    tab.goto(address)
    tab.wait_for_function(READY)


def shown_rows(tab: Any) -> list[str]:
    return tab.eval_on_selector_all(
        "#table [data-view]:not([hidden]) tbody tr:not([hidden]) th",
        "cells => cells.map(cell => cell.dataset.value)",
    )


def test_the_filter_acts_on_charts_and_tables_and_is_in_the_address(tab: Any) -> None:
    before = tab.locator(BARS).count()
    assert before == 6
    assert "lstm" in shown_rows(tab)
    tab.get_by_label("lstm", exact=True).uncheck()
    assert tab.locator(BARS).count() == before - 1
    assert tab.locator(LINES).count() == before - 1
    assert "lstm" not in shown_rows(tab)
    assert "uniform" in shown_rows(tab)  # a baseline is no architecture
    tab.wait_for_function("location.search.includes('show=gru')")
    rows = shown_rows(tab)
    open_page(tab, tab.url)
    assert shown_rows(tab) == rows
    assert tab.locator(BARS).count() == before - 1


def test_choices_of_the_curves(tab: Any) -> None:
    assert tab.locator(LINES).count() == 6
    tab.locator("[name=seeds]").select_option("each")
    tab.wait_for_function(f"document.querySelectorAll('{LINES}').length > 6")
    assert tab.locator(LINES).count() == 18  # three seeds of each row
    tab.locator("[name=over]").select_option("FLOPs")
    tab.wait_for_function(
        "document.querySelector('[data-chart=curves]').textContent.includes('training FLOPs')"
    )
    assert "seeds=each" in tab.url
    assert "over=FLOPs" in tab.url


def test_shift_and_wheel_zoom_and_a_plain_wheel_scrolls(tab: Any) -> None:
    plot = tab.locator("[data-chart=curves]")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    axis = "document.querySelector('[data-chart=curves] .role-axis-label').textContent"
    before = tab.evaluate(axis)
    tab.mouse.wheel(0, 120)
    assert tab.evaluate(axis) == before
    box = plot.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    tab.keyboard.down("Shift")
    tab.mouse.wheel(0, -400)
    tab.wait_for_function(f"{axis} !== {before!r}")
    tab.keyboard.up("Shift")


def test_hovering_names_value_interval_and_ratio(tab: Any) -> None:
    tab.locator("[data-chart=side-by-side] .mark-rect path").nth(1).hover()
    text = tab.locator("#vg-tooltip-element").inner_text()
    assert re.search(r"train tokens/s", text)
    assert re.search(r"95 % interval\s*[\d.]+ k to [\d.]+ k", text)
    assert "of lstm" in text


def test_the_reference_row_changes_the_verdicts(tab: Any) -> None:
    verdict = (
        tab.locator(
            "#table [data-view]:not([hidden]) tr", has=tab.locator("th[data-value=decoder]")
        )
        .locator("td.g-verdict")
        .first
    )
    assert verdict.inner_text().startswith("worse")
    tab.locator("[name=reference]").select_option(label="classic")
    assert verdict.inner_text().startswith("better")


def test_tables_sort_and_copy(tab: Any) -> None:
    tab.locator("#table [data-view]:not([hidden]) th", has_text="train tokens/s").get_by_role(
        "button"
    ).click()
    rates = tab.eval_on_selector_all(
        "#table [data-view]:not([hidden]) tbody td:nth-child(8)",
        "cells => cells.map(cell => Number(cell.dataset.value)).filter(Number.isFinite)",
    )
    assert rates == sorted(rates)
    tab.evaluate(
        "navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }"
    )
    buttons = tab.locator("#table .copy").first
    for name, start in (
        ("CSV", "architecture,"),
        ("Markdown", "| architecture |"),
        ("LaTeX", "\\begin{tabular}{lr"),
    ):
        buttons.get_by_role("button", name=name).click()
        assert tab.evaluate("window.copied").startswith(start)
        assert "lstm" in tab.evaluate("window.copied")


def test_folds_open_by_their_link_and_in_print(tab: Any, address: str) -> None:
    assert not tab.locator("#architectures > details").evaluate("fold => fold.open")
    tab.goto(f"{address}#architectures")
    tab.wait_for_function("document.querySelector('#architectures > details').open")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate(
        "[...document.querySelectorAll('section > details')].every(fold => fold.open)"
    )
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not tab.locator("#glossary > details").evaluate("fold => fold.open")


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
