"""The sentences of the page and of the terminal, pinned once: `make snapshots` renews them."""

import re
from html import unescape

import pytest
from syrupy.assertion import SnapshotAssertion

from bench import reporting
from tests import fake_records


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The page without figures and style, and the text for the terminal."""
    root = fake_records.write(tmp_path_factory.mktemp("results") / "suite", machines=1)
    fake_records.write_references(root)
    page, text = reporting.make_report(root)
    html = page.read_text(encoding="utf-8").replace(str(root.parent), "results")
    html = re.sub(r"<(svg|style|script)\b.*?</\1>", "", html, flags=re.S)
    tooltips = re.sub(r'<[^>]*title="([^"]*)"[^>]*>', r"[\1] ", html)
    words = unescape(re.sub(r"<[^>]+>", " ", tooltips))
    lines = (re.sub(r"\s+", " ", line).strip() for line in words.splitlines())
    return "\n".join(filter(None, lines)), text


def test_snapshot_of_the_page(report: tuple[str, str], snapshot: SnapshotAssertion) -> None:
    assert report[0] == snapshot


def test_snapshot_of_the_terminal(report: tuple[str, str], snapshot: SnapshotAssertion) -> None:
    assert report[1] == snapshot
